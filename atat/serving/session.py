"""Understanding of a stream of audio: pieces in, events out.

session = Session(SpeechToSemantics.load("egs/commands/exp/atat"), sample_rate=48000)
for piece in pieces:                    # of 20 to 200 ms, or any length
    for event in session.accept(piece):
        ...                             # speech, words, words, result
session.finish()
"""

# N samples

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atat.data.audio_mixdown import check_rate
from atat.data.filter_bank import longest_s, whisper_longest_s
from atat.inference.result import Result
from atat.serving.partial_words import words_so_far
from atat.serving.voice_activity import HOP, MODEL_FILE, RATE_HZ, Endpointer, VoiceActivity

PAUSE_S = 0.6
PRE_ROLL_S = 0.5  # before speech: what the detector misses of it, and noise as it is
ALIGNMENT = 160  # samples: an utterance begins where a whole recording has a feature frame (10 ms)
WORDS_EVERY_S = 0.3  # partial words, at most so often ...
# ... and so much of the utterance apart: each of them encodes all of it again, so that together
# they encode at most 1 / 0.25 + 1 times its length, and what the first ones take.
WORDS_EVERY_SHARE = 0.25
MAX_PEAK = 8.0  # of floats: a little beyond full scale happens, integers as floats are a mistake


@dataclass(frozen=True)
class Event:
    """What a session has noticed.

    Each "speech" is followed by any number of "words", and by one "result" or "too_long".

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
    """One stream of audio and a model, which several sessions may share; for one thread.

    What is kept of the stream is the utterance that is being spoken, up to its limit, and half a
    second before it. The events are the same whatever the size of the pieces.
    """

    def __init__(
        self,
        model: Any,
        *,
        sample_rate: float = RATE_HZ,
        threshold: float | None = None,
        max_duration_s: float | None = None,
        partial_words: bool = True,
        pause_s: float = PAUSE_S,
        voice_activity: Callable[[np.ndarray], float] | None = None,
        **options: Any,
    ) -> None:
        """
        Args:
            model: a `SpeechToSemantics`, or what has its methods `extract_features` and `predict`.
            sample_rate: of the stream, in Hz.
            threshold: least confidence that is accepted, 0 to 1; None: the calibrated one.
            max_duration_s: of an utterance, from half a second before it; None, and at most for
                Whisper's features: the model's limit.
            partial_words: give "words" while one speaks, where the model has CTC.
            pause_s: of silence, after which speech has ended.
            voice_activity: gives the probability of speech in each frame of 512 samples at 16 kHz;
                None: silero-vad's network, from the model's directory or its package.
            options: of the search, as `SpeechToSemantics` takes them.

        Raises:
            ValueError: an argument that is out of range, or that the model does not take.
            FileNotFoundError: there is no network for voice activity.
        """
        if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | float | np.number):
            raise ValueError(f"sample_rate: got {sample_rate!r}, expected a number of Hz")
        check_rate("stream", sample_rate)
        for name, value in (("pause_s", pause_s), ("max_duration_s", max_duration_s)):
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name}: got {value}, expected seconds above 0")
        model.predict([], threshold, **options)  # raises, where they are none of its options
        self.model, self.threshold, self.options = model, threshold, options
        self.max_duration_s = _limit(model, max_duration_s)
        self._longest = int(self.max_duration_s * RATE_HZ)
        self._with_words = partial_words
        self._activity = voice_activity or VoiceActivity(_vad_file(model))
        self._endpointer = Endpointer(pause_s)
        self._resampler = None
        if sample_rate != RATE_HZ:
            import soxr

            self._resampler = soxr.ResampleStream(sample_rate, RATE_HZ, 1, dtype="float32")
        self._block = max(int(sample_rate), 1)  # samples that are resampled at a time
        self._finished = False
        self._rest_N = np.zeros(0, np.float32)  # less than a frame
        # The latest frames: of an utterance from where it starts, else what may come before one.
        self._frames: deque[np.ndarray] = deque()
        self._start: int | None = None  # sample of the stream where the utterance starts
        self._words, self._words_at, self._next_words = "", 0, 0

    def accept(self, samples: np.ndarray) -> list[Event]:
        """Take the next piece of the stream.

        Args:
            samples: mono (N,), int16 or float within [-1, 1], of any length.

        Returns:
            What was noticed with it, in order; understanding an utterance happens in here.

        Raises:
            ValueError: no such samples; nothing of them was taken. Or the stream has finished.
        """
        if self._finished:
            raise ValueError("got samples after the end of the stream, expected a new session")
        samples_N = _checked(samples)
        events: list[Event] = []
        for start in range(0, len(samples_N), self._block):
            events += self._accept(_as_float(samples_N[start : start + self._block]))
        return events

    def finish(self) -> list[Event]:
        """The stream has ended: what is still open is understood. A second call gives nothing."""
        if self._finished:
            return []
        self._finished = True
        events = self._accept(np.zeros(0, np.float32), last=True)
        if len(self._rest_N):
            events += self._frame(self._rest_N)
        if self._start is not None:
            events.append(self._understood())
        self._frames.clear()
        return events

    def _accept(self, samples_N: np.ndarray, last: bool = False) -> list[Event]:
        if self._resampler is not None:
            samples_N = self._resampler.resample_chunk(samples_N, last=last)
        samples_N = np.concatenate([self._rest_N, samples_N])
        whole = len(samples_N) // HOP * HOP
        self._rest_N = samples_N[whole:].copy()
        events: list[Event] = []
        for start in range(0, whole, HOP):
            events += self._frame(samples_N[start : start + HOP].copy())
        return events

    def _frame(self, frame_N: np.ndarray) -> list[Event]:
        """Take the next frame, which is shorter at the end of the stream alone."""
        self._frames.append(frame_N)
        padded_N = np.pad(frame_N, (0, HOP - len(frame_N)))
        noticed = self._endpointer.accept(self._activity(padded_N))
        begin = self._endpointer.begin * HOP
        if noticed == "begin":
            first = max(begin - round(PRE_ROLL_S * RATE_HZ), self._first_kept)
            self._start = -(-first // ALIGNMENT) * ALIGNMENT
            self._words, self._words_at = "", 0
            self._next_words = begin + round(WORDS_EVERY_S * RATE_HZ)
            return [Event("speech", begin / RATE_HZ)]
        if self._start is None:
            self._forget(self._endpointer.end if noticed == "end" else 0)
            return []
        if noticed == "end":
            event = self._understood()
            self._forget(self._endpointer.end)
            return [event]
        if self._endpointer.end * HOP - self._start > self._longest:
            self._start = None  # until the next pause
            return [Event("too_long", self._position / RATE_HZ)]
        return self._partial_words() if self._with_words else []

    @property
    def _position(self) -> int:
        """Samples at 16 kHz that were taken; a shorter frame is counted as what it is."""
        return self._endpointer.num_frames * HOP - HOP + len(self._frames[-1])

    @property
    def _first_kept(self) -> int:
        """Sample of the stream that the first of the kept frames begins with."""
        return (self._endpointer.num_frames - len(self._frames)) * HOP

    def _forget(self, before: int) -> None:
        """Drop frames that no utterance can need any more: those before one, and old ones."""
        longest = round(PRE_ROLL_S * RATE_HZ) // HOP + 8
        surplus = max(len(self._frames) - longest, before - self._first_kept // HOP)
        for _ in range(min(surplus, len(self._frames) - 1)):
            self._frames.popleft()

    def _utterance(self) -> np.ndarray:
        """float32 (N,) of the utterance so far, at 16 kHz; of the pause what the limit leaves."""
        assert self._start is not None  # where it is called
        skipped = self._start - self._first_kept
        return np.concatenate(self._frames)[skipped : skipped + self._longest]

    def _understood(self) -> Event:
        """The result of the utterance, which has ended."""
        samples_N, self._start = self._utterance(), None
        time_s = min(self._endpointer.end * HOP, self._position) / RATE_HZ
        try:
            recording = self.model.extract_features(samples_N, RATE_HZ, self.max_duration_s)
        except ValueError as e:  # shorter than the model takes
            error = " ".join(str(e).split())
            return Event("result", time_s, result=Result(None, {}, "", None, error, error=error))
        result = self.model.predict([recording], self.threshold, **self.options)[0]
        return Event("result", time_s, result=result)

    def _partial_words(self) -> list[Event]:
        """An event, where it is time for one and the words have changed; one in a pause at most."""
        position, endpointer = self._position, self._endpointer
        if position < self._next_words or self._words_at > endpointer.end * HOP:
            return []
        assert self._start is not None
        share = round(WORDS_EVERY_SHARE * (position - self._start))
        self._next_words = position + max(round(WORDS_EVERY_S * RATE_HZ), share)
        self._words_at = position
        words = words_so_far(self.model, self._utterance(), RATE_HZ, self.max_duration_s)
        if words is None:
            self._with_words = False
        if not words or words == self._words:
            return []
        self._words = words
        return [Event("words", position / RATE_HZ, words=words)]


def _limit(model: Any, max_duration_s: float | None) -> float:
    """Seconds of the longest utterance that a model takes."""
    settings = getattr(model, "settings", None)
    if settings is None:  # Whisper held to a grammar
        return whisper_longest_s(max_duration_s)
    return longest_s(settings.features, max_duration_s)


def _vad_file(model: Any) -> Path | None:
    """The network that a model's directory carries, if it does."""
    name = getattr(model, "name", None)
    path = None if name is None else Path(name) / MODEL_FILE
    return path if path is not None and path.is_file() else None


def _checked(samples: Any) -> np.ndarray:
    """The samples of a piece, as they are, if a stream may have them."""
    samples_N = np.asarray(samples)
    if samples_N.ndim != 1:
        raise ValueError(f"got samples of shape {samples_N.shape}, expected mono: (num_samples,)")
    if samples_N.dtype.kind == "f":
        peak = max(samples_N.max(initial=0.0), -samples_N.min(initial=0.0))
        if not np.isfinite(peak):
            raise ValueError("got NaN or infinite samples, expected finite ones")
        if peak > MAX_PEAK:
            raise ValueError(
                f"got floats of up to {peak:.4g}, expected -1 to 1 (16-bit samples as int16)"
            )
    elif samples_N.dtype.kind != "i" or samples_N.dtype.itemsize != 2:
        raise ValueError(f"got samples of type {samples_N.dtype}, expected int16 or floats")
    return samples_N


def _as_float(samples_N: np.ndarray) -> np.ndarray:
    """float32 within [-1, 1] of int16 or floats."""
    scale = 32768.0 if samples_N.dtype.kind == "i" else 1.0
    return samples_N.astype(np.float32) / np.float32(scale)
