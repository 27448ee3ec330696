"""Understanding of a stream of audio: pieces in, events out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from atat.inference.result import Result


@dataclass(frozen=True)
class Event:
    """What a session has noticed.

    Attributes:
        kind: "speech" (it begins), "words" (partial words so far), "result" (speech has ended and
            was understood or not), "too_long" (speech beyond the limit, which is not understood).
        time_s: position in the stream, from its beginning: where speech begins ("speech"), up to
            where it was heard ("words", "too_long"), where it ends ("result").
        words: of "words".
        result: of "result".
    """

    kind: str
    time_s: float
    words: str = ""
    result: Result | None = None


class Session:
    """One stream of audio and a model, which several sessions may share; for one thread."""

    def __init__(
        self,
        model: Any,
        *,
        sample_rate: int = 16000,
        threshold: float | None = None,
        max_duration_s: float | None = None,
        partial_words: bool = True,
        **options: Any,
    ):
        """
        Args:
            model: a `SpeechToSemantics`, or what has its methods `hear` and `understand`.
            sample_rate: of the stream, in Hz.
            threshold: least confidence that is accepted, 0 to 1; None: the calibrated one.
            max_duration_s: of an utterance; None: the model's limit.
            partial_words: give "words" while one speaks, where the model has CTC.
            options: of the search, as `SpeechToSemantics` takes them.
        """
        raise NotImplementedError

    def accept(self, samples: np.ndarray) -> list[Event]:
        """Take the next piece: mono int16, or float within [-1, 1], of any length."""
        raise NotImplementedError

    def finish(self) -> list[Event]:
        """The stream has ended: what is still open is understood."""
        raise NotImplementedError
