"""What is measured: the recordings that can be read, and labels that a model can give."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from atat.common import cli
from atat.config.schema import FeaturesConfig
from atat.grammar.grammar import Grammar
from atat.inference import recorded_audio
from atat.semantics import target_sequence

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics

MAX_SHOWN = 10  # labels


def readable(wavs: Mapping[str, str], settings: FeaturesConfig) -> dict[str, str]:
    """Utterance -> audio file, of those that features can be made of; the others are said.

    In one of them nobody may speak: that is heard, and it is no intent.

    Args:
        wavs: utterance -> audio file.
        settings: of the model's features.

    Raises:
        ValueError: there is not one.
    """
    found, wrong = {}, ""
    for key, path in cli.progress(wavs.items(), desc="reading"):
        try:
            recorded_audio.extract_features(path, settings)
        except (ValueError, OSError) as e:
            wrong = wrong or str(e)
            print(f"left out: {key}: {e}", file=sys.stderr)
        else:
            found[key] = path
    if not found:
        raise ValueError(f"not one of {len(wavs)} recordings can be read; the first: {wrong}")
    if len(found) < len(wavs):
        print(f"{len(wavs) - len(found)} of {len(wavs)} recordings are left out", file=sys.stderr)
    return found


def not_understandable(model: "SpeechToSemantics", references: Mapping[str, str]) -> dict[str, str]:
    """Utterance -> why its label is none that the model can give, of those that are not.

    Args:
        model: trained. Without a grammar it is asked for intents and slots alone, not for values.
        references: utterance -> target sequence.
    """
    tags = set(model.tokenizer.tags)
    grammar = None if model.grammar is None else Grammar.load(model.grammar)
    why: dict[object, str] = {}  # the frame's key -> what is wrong, or ""
    for sequence in references.values():
        frame = target_sequence.frame(sequence)
        if frame.key in why:
            continue
        unknown = [tag for tag in target_sequence.tags(sequence) if tag not in tags]
        if unknown:
            why[frame.key] = f"the model has no {unknown[0]}"
        elif grammar is not None and grammar.with_meaning(frame) is None:
            meant = target_sequence.build(frame)
            why[frame.key] = f"{grammar.path}: has no sentence that means {meant}"
        else:
            why[frame.key] = ""
    reasons = {i: why[target_sequence.frame(s).key] for i, s in references.items()}
    return {i: reason for i, reason in reasons.items() if reason}


def warn_of_labels(model: "SpeechToSemantics", references: Mapping[str, str]) -> None:
    """Say which labels the model cannot give, as `not_understandable`: they count as its errors."""
    found = not_understandable(model, references)
    for key, reason in list(found.items())[:MAX_SHOWN]:
        print(f"never right: {key}: {reason}", file=sys.stderr)
    if found:
        print(
            f"{len(found)} of {len(references)} labels are none that the model can give, and count "
            "as its errors; correct them where they are misspelt",
            file=sys.stderr,
        )
