"""Mono samples of decoded audio, block by block: a small hostile file costs little memory."""

# N samples, C channels

from typing import NamedTuple

import numpy as np

MAX_CHANNELS = 32
MIN_RATE_HZ, MAX_RATE_HZ = 4000, 192000
# Integers at full scale in a float file are taken; beyond them is no sound.
MAX_VALUE = 2.0**31
CANCELLED_DB = 40.0  # so much quieter together than alone: the channels are of opposite phase
SILENT_VARIANCE = 1e-12
MAX_OVERSHOOT_S = 0.5  # that a part may end after its recording: times are rounded (Kaldi's too)


class NoSpeechError(ValueError):
    """Audio as it should be, in which nobody speaks."""


class Part(NamedTuple):
    """From when to when in a recording, in seconds."""

    start_s: float
    end_s: float


class Mixdown:
    """Mono samples of blocks of several channels, checked as they come.

    Attributes:
        num_samples: that were kept.
        position: samples of the recording that have come by.
    """

    def __init__(
        self,
        name: str,
        rate_hz: float,
        num_channels: int,
        max_duration_s: float,
        part: Part | None = None,
    ) -> None:
        """
        Args:
            name: for messages.
            rate_hz: samples a second.
            num_channels: of every block.
            max_duration_s: more is refused.
            part: what is kept; None: all.

        Raises:
            ValueError: a rate or number of channels that no recording has.
        """
        if num_channels > MAX_CHANNELS:
            raise ValueError(f"{name}: {num_channels} channels, expected at most {MAX_CHANNELS}")
        check_rate(name, rate_hz)
        self.name, self.rate_hz, self.max_duration_s = name, rate_hz, max_duration_s
        self._range = slice(None)
        if part is not None:
            self._range = slice(round(part.start_s * rate_hz), round(part.end_s * rate_hz))
        self.num_samples = self.position = 0
        self._blocks: list[np.ndarray] = []
        # Sums of each channel and of the mix, for their variances.
        self._sums = np.zeros((2, num_channels + 1))

    @property
    def start(self) -> int:
        """The first sample that is kept."""
        return self._range.start or 0

    @property
    def is_full(self) -> bool:
        """Whether nothing that is still to come would be kept."""
        return self._range.stop is not None and self.position >= self._range.stop

    def skip(self, num_samples: int) -> None:
        """Pass over samples before `start`, without looking at them."""
        self.position += num_samples

    def check_end(self) -> None:
        """Raise ValueError for a part that is not inside of the recording, which is over."""
        end = self._range.stop
        if end is None or self.is_full:
            return
        if not self.num_samples or end > self.position + MAX_OVERSHOOT_S * self.rate_hz:
            raise ValueError(
                f"{self.name}: got a segment from {self.start / self.rate_hz:g} to "
                f"{end / self.rate_hz:g} s, expected it inside of the recording, which has "
                f"{self.position / self.rate_hz:.2f} s (correct segments)"
            )

    def add(self, block_NC: np.ndarray) -> None:
        """Take the next block, floating point (N, C), or what of it is wanted.

        Raises:
            ValueError: NaN or infinite samples, or too large ones; too many.
        """
        before, self.position = self.position, self.position + len(block_NC)
        if self._range.stop is not None:
            block_NC = block_NC[max(self.start - before, 0) : max(self._range.stop - before, 0)]
            if not len(block_NC):
                return
        peak = max(block_NC.max(initial=0.0), -block_NC.min(initial=0.0))
        if not np.isfinite(peak):
            raise ValueError(f"{self.name}: NaN or infinite samples, expected finite ones")
        if peak > MAX_VALUE:
            raise ValueError(
                f"{self.name}: samples of up to {peak:.1e}, expected -1 to 1; it is damaged, or no "
                "sound"
            )
        mono_N = block_NC[:, 0] if block_NC.shape[1] == 1 else block_NC.mean(axis=1)
        mono_N = mono_N.astype(np.float32, copy=False)
        if block_NC.shape[1] > 1:
            all_NC = np.column_stack([block_NC, mono_N]).astype(np.float64)
            self._sums += all_NC.sum(axis=0), np.square(all_NC).sum(axis=0)
        self.num_samples += len(mono_N)
        if self.num_samples > self.max_duration_s * self.rate_hz:
            raise ValueError(
                f"{self.name}: longer than the limit, {self.max_duration_s} s (max_duration_s)"
            )
        self._blocks.append(mono_N)

    def samples(self, sample_rate_hz: int) -> np.ndarray:
        """All of it, float32 (N,) within [-1, 1] at a rate.

        Raises:
            NoSpeechError: the channels cancel each other out.
        """
        import soxr

        if self._sums[0].any() and self._cancels():
            raise NoSpeechError(
                f"{self.name}: no speech: its channels cancel each other out (opposite phase); "
                "give one of them alone"
            )
        mono_N = np.concatenate(self._blocks)
        self._blocks.clear()
        if self.rate_hz != sample_rate_hz:
            mono_N = soxr.resample(mono_N, self.rate_hz, sample_rate_hz)
        # Float files may go beyond full scale, and so may a resampled one at full scale.
        peak = max(mono_N.max(initial=1.0), -mono_N.min(initial=-1.0))
        return mono_N / peak if peak > 1.0 else mono_N

    def _cancels(self) -> bool:
        """Whether next to nothing is left of the channels together."""
        sums, squares = self._sums / self.num_samples
        *alone, together = squares - np.square(sums)
        loudest = max(alone)
        return bool(loudest > SILENT_VARIANCE and together < loudest * 10 ** (-CANCELLED_DB / 10))


def check_rate(name: str, rate_hz: float) -> None:
    """Raise ValueError for a sample rate that no recording of speech has."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ValueError(
            f"{name}: a sample rate of {rate_hz} Hz, expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )


def check_longest(name: str, duration_s: float, max_duration_s: float) -> None:
    """Raise ValueError for audio that is too long."""
    if duration_s > max_duration_s:
        raise ValueError(
            f"{name}: {duration_s:.1f} s long, the limit is {max_duration_s} s (max_duration_s)"
        )
