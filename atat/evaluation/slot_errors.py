"""Slot errors of a run, and the most frequent confusions of values, for the report."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame

NOTHING = "(nothing)"
MAX_TAKEN = 5  # mistakes shown of a slot


@dataclass(frozen=True)
class Taken:
    """A confusion of values, how often it occurred, and the `id` of one utterance with it."""

    said: str
    understood: str
    count: int
    id: str


@dataclass(frozen=True)
class SlotErrors:
    """A slot: how often it was said, how often wrong, and its most frequent mistakes.

    An inserted value counts as wrong too.
    """

    slot: str
    num_said: int
    num_wrong: int
    taken: list[Taken]


def count(
    lines: Sequence[dict[str, Any]], key: Callable[[str], Frame] = target_sequence.frame
) -> list[SlotErrors]:
    """The slots that were got wrong, the worst first; none for transcripts.

    Slots of a wrong intent are compared too; a malformed hypothesis has no slots.

    Args:
        lines: of one run, scored.
        key: what EM Hyp compares, see `metrics.judge`.

    >>> said, understood = "go( to( rome )to )go", "go( to( oslo )to )go"
    >>> (to,) = count([{"id": "a", "em_hyp": False, "reference": said, "hypothesis": understood}])
    >>> to.slot, to.num_wrong, to.taken
    ('to', 1, [Taken(said='rome', understood='oslo', count=1, id='a')])
    """
    num_said: Counter[str] = Counter()
    mistakes: dict[str, Counter[tuple[str, str]]] = {}
    example: dict[tuple[str, str, str], str] = {}
    for line in lines:
        if "em_hyp" not in line:
            continue
        said = key(line["reference"]).slots
        understood = _slots(line["hypothesis"], key)
        num_said.update(slot for slot, _ in said)
        for slot, value, other in _differences(said, understood):
            mistakes.setdefault(slot, Counter())[value, other] += 1
            example.setdefault((slot, value, other), line["id"])
    found = [
        SlotErrors(
            slot,
            num_said[slot],
            pairs.total(),
            [
                Taken(*pair, number, example[(slot, *pair)])
                for pair, number in pairs.most_common(MAX_TAKEN)
            ],
        )
        for slot, pairs in mistakes.items()
    ]
    return sorted(found, key=lambda errors: (-errors.num_wrong, errors.slot))


def _slots(sequence: str, key: Callable[[str], Frame]) -> tuple[tuple[str, str], ...]:
    try:
        return key(sequence).slots
    except ValueError:
        return ()


def _differences(
    said: Sequence[tuple[str, str]], understood: Sequence[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """(slot, value said, value understood) of what differs, in reading order within a slot."""
    missing = list((Counter(said) - Counter(understood)).elements())
    extra = list((Counter(understood) - Counter(said)).elements())
    found = []
    for slot, value in missing:
        match = next((pair for pair in extra if pair[0] == slot), None)
        if match is not None:
            extra.remove(match)
        found.append((slot, value, match[1] if match else NOTHING))
    return found + [(slot, NOTHING, value) for slot, value in extra]
