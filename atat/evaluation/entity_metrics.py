"""Scenario and action accuracy, and entity F1 that counts how far off a filler is: SLU-F1.

Source: Bastianelli et al. 2020 (arXiv 2011.13205), the section on metrics. A table asks for these
beside the metrics of every recipe (`metrics` in tables.yaml); intents are `<scenario>_<action>`,
slots are entities, a slot's value is its filler. `counts` has what each of them sums over.

An entity of the hypothesis is held against the reference's entity of the same type that is nearest
to it and not taken yet, in the hypothesis's order: a true positive, and its distance counts as a
false positive and as a false negative. What is left over is a whole false positive or negative.
The authors' scorer decides what the paper leaves open: distances divide by the words of the
reference, and by the characters of the longer of the two; case does not count.
"""

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from atat.evaluation import metrics
from atat.evaluation.metrics import Metric
from atat.semantics.target_sequence import Frame

SHARES = ("scenario_accuracy", "action_accuracy")  # 0 or 1 an utterance

_CONTRACTED = re.compile(r"(?<=\w)('(?:s|m|re|ve|ll|d)|n't)(?!\S)")

Entity = tuple[str, str]  # type and filler
Counts = dict[str, tuple[np.ndarray, np.ndarray]]  # numerators and denominators, float (n,)
Distance = Callable[[str, str], float]  # of a filler of the reference, and one of the hypothesis


class Meaning(NamedTuple):
    """What an utterance asks for, as these metrics see it."""

    scenario: str
    action: str
    entities: tuple[Entity, ...]  # in reading order


class Errors(NamedTuple):
    """True and false positives and false negatives, of which distances make fractions."""

    true_positives: float
    false_positives: float
    false_negatives: float


def meaning(frame: Frame) -> Meaning:
    """The meaning of a frame; its intent's name is divided at the first `_`, fillers into tokens.

    >>> meaning(Frame("audio_volume_mute", (("date", "Today's"),)))
    Meaning(scenario='audio', action='volume_mute', entities=(('date', "today 's"),))
    """
    scenario, _, action = frame.intent.partition("_")
    entities = tuple((name, apart(value.lower())) for name, value in frame.slots)
    return Meaning(scenario, action, entities)


def apart(text: str) -> str:
    """A text as tokens: what is contracted stands by itself, as in the Penn Treebank.

    >>> apart("jessica's friends can't come at five o'clock")
    "jessica 's friends ca n't come at five o'clock"
    """
    return _CONTRACTED.sub(r" \1", text)


@lru_cache(maxsize=100_000)
def word_distance(reference: str, hypothesis: str) -> float:
    """Word error rate of a filler, 0 or more; of an empty reference: 1, or 0 if both are empty.

    >>> word_distance("next week", "week"), word_distance("noon", "in the noon")
    (0.5, 2.0)
    """
    import jiwer

    if not reference.split():
        return float(bool(hypothesis.split()))
    return float(jiwer.wer(reference, hypothesis))


@lru_cache(maxsize=100_000)
def char_distance(reference: str, hypothesis: str) -> float:
    """Edits between two fillers over the characters of the longer one, 0 to 1.

    >>> char_distance("five am", "five pm") == 1 / 7, char_distance("noon", "")
    (True, 1.0)
    """
    import jiwer

    reference, hypothesis = (" ".join(filler.split()) for filler in (reference, hypothesis))
    if not reference or not hypothesis:
        return float(reference != hypothesis)
    found = jiwer.process_characters(reference, hypothesis)
    edits = found.substitutions + found.insertions + found.deletions
    return edits / max(len(reference), len(hypothesis))


def entity_errors(
    reference: Sequence[Entity], hypothesis: Sequence[Entity], distance: Distance
) -> Errors:
    """The errors of one utterance.

    >>> entity_errors([("time", "five am")], [("time", "five pm"), ("date", "today")],
    ...     word_distance)
    Errors(true_positives=1, false_positives=1.5, false_negatives=0.5)
    """
    left = list(reference)
    found, too_much, missing = 0, 0.0, 0.0
    for name, filler in hypothesis:
        near = [(distance(f, filler), place) for place, (n, f) in enumerate(left) if n == name]
        if not near:
            too_much += 1.0
            continue
        off, place = min(near)
        del left[place]
        found, too_much, missing = found + 1, too_much + off, missing + off
    return Errors(found, too_much, missing + len(left))


def counts(references: Sequence[Meaning], hypotheses: Sequence[Meaning | None]) -> Counts:
    """What the metrics are ratios of sums of: numerators and denominators, by metric.

    F1 is 2 TP / (2 TP + FP + FN); SLU-F1 is that of the errors by words and those by characters
    together. Those of entities are left out where no reference has one.

    Args:
        references: one an utterance.
        hypotheses: in the same order; None has no meaning (malformed).

    Returns:
        float (n,) twice, one an utterance.

    >>> play = Meaning("play", "music", (("song_name", "hey jude"),))
    >>> found = counts([play], [Meaning("play", "music", (("song_name", "jude"),))])
    >>> {name: round(float(a.sum() / b.sum()), 3) for name, (a, b) in found.items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'scenario_accuracy': 1.0, 'action_accuracy': 1.0, 'word_distance_f1': 0.667,
     'char_distance_f1': 0.667, 'slu_f1': 0.667}
    """
    pairs = [
        (ours, got or Meaning("", "", ())) for ours, got in zip(references, hypotheses, strict=True)
    ]
    ones = np.ones(len(pairs))
    found = {
        "scenario_accuracy": (_array(a.scenario == b.scenario for a, b in pairs), ones),
        "action_accuracy": (_array(a.action == b.action for a, b in pairs), ones),
    }
    if any(reference.entities for reference in references):
        words, chars = (
            np.array(
                [entity_errors(a.entities, b.entities, distance) for a, b in pairs], dtype=float
            )
            for distance in (word_distance, char_distance)
        )
        found["word_distance_f1"] = _f1(words)
        found["char_distance_f1"] = _f1(chars)
        found["slu_f1"] = _f1(words + chars)
    return found


def of_sequences(
    references: Sequence[str],
    hypotheses: Sequence[str],
    key: Callable[[str], Frame],
    names: Collection[str],
) -> Counts:
    """`counts` of target sequences, those metrics that are asked for.

    Args:
        references: one an utterance.
        hypotheses: in the same order; they may be malformed.
        key: intent and slots of a sequence, as `metrics.judge` has it.
        names: of metrics.
    """
    if not names:
        return {}

    def read(sequence: str) -> Meaning | None:
        try:
            return meaning(key(" ".join(sequence.split())))
        except ValueError:
            return None

    found = counts([meaning(key(r)) for r in references], [read(h) for h in hypotheses])
    return {name: found[name] for name in found if name in names}


def scores(
    found: Mapping[str, tuple[np.ndarray, np.ndarray]], speakers: Sequence[Hashable] | None = None
) -> dict[str, Metric]:
    """The metrics of `counts`, with intervals: Wilson's for shares, bootstrap for F1.

    Args:
        found: numerators and denominators by metric, float (n,) each, one an utterance.
        speakers: as for `metrics.ratio`.
    """
    return {
        name: metrics.proportion(int(above.sum()), len(above))
        if name in SHARES
        else metrics.ratio(above, below, speakers, highest=1.0)
        for name, (above, below) in found.items()
    }


def _f1(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, too_much, missing = errors.T
    return 2 * found, 2 * found + too_much + missing


def _array(values: Iterable[float]) -> np.ndarray:
    return np.fromiter(map(float, values), float)
