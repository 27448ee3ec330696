"""Held-out pairs: combinations of slot values that training lacks, to test generalisation to them.

Which pairs these are depends on their names alone, so training (`exclude_pairs` of a source) and
scoring (`pairs` of a subset) agree without a list, whatever the corpus.
"""

import itertools

from atat.common.files import sha256
from atat.semantics import target_sequence


def has_held_out(frame: target_sequence.Frame, share: float) -> bool:
    """Whether two slots of a frame have values that are held out together.

    Two values of one slot name (a list of rooms) are a pair too; the order does not matter.

    Args:
        frame: intent and slots of an utterance.
        share: of all pairs, 0 to 1; those of a smaller share are among those of every larger one.
    """
    return any(_place(*pair) < share for pair in itertools.combinations(sorted(frame.slots), 2))


def _place(one: tuple[str, str], other: tuple[str, str]) -> float:
    """Of a pair, from 0 to 1, evenly spread over pairs."""
    return int(sha256(*one, *other)[:8], 16) / 16**8
