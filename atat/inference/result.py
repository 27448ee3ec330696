"""The result of an input: intent, slots, the sequence itself."""

from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from atat.semantics import target_sequence


@dataclass(frozen=True, repr=False)
class Reading:
    """One prediction: a hypothesis with its intent and slots.

    Attributes:
        intent: None where the sequence has no tags or is not well formed.
        slots: name -> value; a list of values for a slot that is there more than once.
        semantics: the sequence itself (words only for the task asr).
        score: its log-probability (with the length bonus, mixed with CTC's, and of the transcript
            that a model may write before it); None by a grammar.
        reason: why there is no intent, else None.
    """

    intent: str | None
    slots: dict[str, str | list[str]]
    semantics: str
    score: float | None
    reason: str | None = None

    def __repr__(self) -> str:
        kind = type(self).__name__
        if self.intent is not None:
            return f"{kind}(intent={self.intent!r}, slots={self.slots!r}{self._more()})"
        about = f", reason={self.reason!r}" if self.reason else ""
        return f"{kind}(semantics={self.semantics!r}{about}{self._more()})"

    def _more(self) -> str:
        return ""


@dataclass(frozen=True, repr=False)
class Result(Reading):
    """The best prediction of an input, and what else is known of it.

    Where it is rejected (`accepted` is False), there is no intent and there are no slots, so that
    nobody acts on them; what they would have been is the first of `nbest`, and `reason` says why
    they are not taken.

    Attributes:
        nbest: predictions of different meanings, this one and the others by score; may be fewer
            than asked for.
        unknown: words of a text input, as typed, that are in no sentence of the grammar, where it
            is not understood; without a grammar, those with characters that the model has not.
        duration_s: of audio.
        seconds: that it took, feature extraction included; the share of one in a batch.
        confidence: probability that intent and slots are all right; None where the experiment is
            not calibrated (`python -m atat.calibrate`) for the options in use. Of text: 1 for a
            sentence of the grammar, for one near to it the meaning's share of the n best, else 0;
            None without a grammar.
        accepted: whether it reaches the threshold.
        slot_confidence: slot -> probability that it is right.
        spoken_slots: the slots as they were said, where the grammar writes a value otherwise
            ("twenty five" for "25"); None where it does not.
        error: why this input of a list could not be used at all, by its name; a single input raises
            it instead.
    """

    nbest: tuple[Reading, ...] = ()
    unknown: tuple[str, ...] = ()
    duration_s: float | None = None
    seconds: float = 0.0
    confidence: float | None = None
    accepted: bool | None = None
    slot_confidence: dict[str, float] | None = None
    spoken_slots: dict[str, str | list[str]] | None = None
    error: str | None = None

    def _more(self) -> str:
        return "" if self.confidence is None else f", confidence={self.confidence:.3g}"

    @property
    def is_understood(self) -> bool:
        """Whether there is an intent to act on; `reason` says why not."""
        return self.intent is not None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"is_understood": self.is_understood}


class About(TypedDict, total=False):
    """What is known of an input beside its predictions: attributes of its `Result`."""

    unknown: tuple[str, ...]
    duration_s: float | None
    seconds: float
    confidence: float | None
    accepted: bool | None
    slot_confidence: dict[str, float] | None


def read(sequence: str, score: float | None, has_tags: bool) -> Reading:
    """The prediction that a sequence holds.

    Args:
        sequence: a target sequence, well formed or not, or words.
        score: its log-probability; None by a grammar.
        has_tags: false for a transcript, which has no intent.
    """
    if not has_tags:
        return Reading(None, {}, sequence, score)
    try:
        frame = target_sequence.frame(sequence)
    except ValueError as e:
        return Reading(None, {}, sequence, score, f"not well formed: {e}")
    return Reading(frame.intent, slots(frame), sequence, score)


def score_of(reading: Reading) -> float:
    """The score of a prediction that beam search found (one by a grammar has none)."""
    assert reading.score is not None, reading
    return reading.score


def slots(frame: target_sequence.Frame) -> dict[str, str | list[str]]:
    """Slots as a mapping; a name that is there more than once has the list of its values.

    >>> bought = (("what", "milk"), ("what", "bread"), ("when", "today"))
    >>> slots(target_sequence.Frame("buy", bought))
    {'what': ['milk', 'bread'], 'when': 'today'}
    """
    values: dict[str, list[str]] = {}
    for name, value in frame.slots:
        values.setdefault(name, []).append(value)
    return {name: held if len(held) > 1 else held[0] for name, held in values.items()}
