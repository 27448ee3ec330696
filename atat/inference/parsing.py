"""Audio files, recordings and sentences of a command line, and what is understood as JSON."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from atat.inference.result import Result
from atat.models.checkpoint import check_experiment

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics
    from atat.inference.whisper_grammar import WhisperGrammar

TOGETHER = 16  # files decoded as one batch


def understand(
    model: "SpeechToSemantics | WhisperGrammar",
    inputs: list[tuple[str, Any]],
    max_duration_s: float | None = None,
    threshold: float | None = None,
    **options: Any,
) -> Iterator[tuple[str, "Result | ValueError | OSError"]]:
    """What the model makes of each input, in order.

    Args:
        inputs: kind ("file" or "text") and source of each: a sentence, a path, an open file, or
            (samples, sample rate).
        max_duration_s, threshold, options: as `SpeechToSemantics`.

    Yields:
        The input's kind, and its result, or the error that says why there is none.
    """
    for first in range(0, len(inputs), TOGETHER):
        group = inputs[first : first + TOGETHER]
        outcomes: list[Any] = [None] * len(group)
        heard = []
        for i, (kind, source) in enumerate(group):
            try:
                if kind == "text":
                    outcomes[i] = model(text=source, **options | {"ctc_weight": 0.0})
                else:
                    samples, rate = source if isinstance(source, tuple) else (source, None)
                    heard.append((i, model.hear(samples, rate, max_duration_s)))
            except (ValueError, OSError) as e:
                outcomes[i] = e
        if heard:
            results = model.understand([recording for _, recording in heard], threshold, **options)
            for (i, _), result in zip(heard, results, strict=True):
                outcomes[i] = result
        yield from zip((kind for kind, _ in group), outcomes, strict=True)


def line(name: str, kind: str, result: Result, with_nbest: bool, has_tags: bool = True) -> str:
    """A result as a line of JSON; what has nothing to say is left out.

    Args:
        has_tags: false where words were asked for, which have no intent and slots.
    """
    about = result.to_dict()
    nbest = about.pop("nbest")
    if has_tags:
        about = {"is_understood": about.pop("is_understood"), **about}
    else:
        about, *nbest = ({"words": r["semantics"], **r} for r in (about, *nbest))
        for reading in (about, *nbest):
            for key in ("is_understood", "intent", "slots", "semantics"):
                reading.pop(key, None)
    for reading in (about, *nbest):
        if reading["score"] is not None:
            reading["score"] = round(reading["score"], 4)
    for key in ("reason", "unknown", "duration_s"):
        if not about[key]:
            del about[key]
    for key in ("confidence", "accepted", "slot_confidence", "spoken_slots"):
        if about[key] is None:
            del about[key]
    if with_nbest:
        about["nbest"] = nbest
    return json.dumps({kind: name, **about}, ensure_ascii=False)


def load(
    args: argparse.Namespace, options: dict[str, Any], with_speech: bool
) -> "SpeechToSemantics | WhisperGrammar":
    """What understands. A mistake in the options is the same for every input: it is said once."""
    if args.exp is not None:
        check_experiment(args.exp)
    if with_speech or args.exp is not None:
        import torch

        torch.set_num_threads(args.num_threads)
    if args.grammar is not None:
        from atat.inference.whisper_grammar import WhisperGrammar  # with NumPy

        WhisperGrammar.options(**options)
        WhisperGrammar.threshold(args.threshold)
        return WhisperGrammar.load(
            args.grammar, args.whisper, args.device, with_speech, args.spoken_values
        )

    from atat.inference import confidence
    from atat.inference.predictor import SpeechToSemantics

    model = SpeechToSemantics.load(args.exp, args.device, spoken_values=args.spoken_values)
    chosen = asdict(model.options(**options))
    confidence.judge(model.confidence, chosen, args.threshold)
    return model
