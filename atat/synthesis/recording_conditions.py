"""Speech as other microphones and rooms record it, and recordings in which nothing is said."""

# N samples, C channels

import functools
from collections.abc import Callable, Sequence

import numpy as np
import soxr

from atat.data import audio
from atat.synthesis import noise

RATE_HZ = audio.SAMPLE_RATE_HZ
NOTHING_SAID = ("digital silence", "white noise", "hum", "two channels that cancel")
NUM_SOUNDS = 20  # of each kind in which nothing is said
ROOM_DBFS = -60.0  # RMS of a quiet room around the speech
PAUSES_S = (0.5, 1.0, 2.0)
PEAKS_DBFS = (-50.0, -30.0, -20.0, 0.0)
OFFSET = 0.05  # of full scale
OVER_DB = 12.0  # over full scale, of what is clipped
SOUND_S = (1.0, 5.0)
SOUND_DBFS = (-60.0, -20.0)  # RMS
HUM_HZ = (50.0, 60.0)

Draw = np.random.Generator
# What a device hands over: int16 (N,) or (N, C), and its rate in Hz.
Sound = tuple[np.ndarray, int]
Change = Callable[[Draw, np.ndarray], Sound]


def recorded(samples: np.ndarray) -> np.ndarray:
    """int16, as a recording is; what is beyond full scale is clipped.

    >>> recorded(np.array([0.5, 2.0, -2.0])).tolist()
    [16384, 32767, -32767]
    """
    return np.clip(np.round(samples * 32768.0), -32767, 32767).astype(np.int16)


def in_a_room(draw: Draw, speech_N: np.ndarray, pause_s: float) -> Sound:
    """Speech in the noise of a quiet room, and so many seconds of the room before and after."""
    around = np.pad(speech_N, round(pause_s * RATE_HZ))
    return recorded(around + at_rms(noise.fan(draw, len(around)), ROOM_DBFS)), RATE_HZ


def at_peak(speech_N: np.ndarray, peak_dbfs: float) -> np.ndarray:
    """float (N,) with its loudest sample at a level in dB of full scale."""
    return speech_N * (10 ** (peak_dbfs / 20) / max(np.abs(speech_N).max(), 1e-9))


def at_rms(samples_N: np.ndarray, level_dbfs: float) -> np.ndarray:
    """float (N,) with its mean power at a level in dB of full scale."""
    return samples_N * (10 ** (level_dbfs / 20) / np.sqrt(np.mean(np.square(samples_N))))


def _peaking(_: Draw, speech_N: np.ndarray, peak_dbfs: float) -> Sound:
    return recorded(at_peak(speech_N, peak_dbfs)), RATE_HZ


def conditions() -> dict[str, Change]:
    """Name of a condition -> its change of speech, float (N,) at 16 kHz within [-1, 1]."""
    found: dict[str, Change] = {"as it is": lambda _, x: (recorded(x), RATE_HZ)}
    for pause_s in PAUSES_S:
        found[f"{pause_s:g} s of room around"] = functools.partial(in_a_room, pause_s=pause_s)
    for peak_dbfs in PEAKS_DBFS:
        found[f"peak at {peak_dbfs:g} dBFS"] = functools.partial(_peaking, peak_dbfs=peak_dbfs)
    found[f"DC offset of {OFFSET:g}"] = lambda _, x: (recorded(x + OFFSET), RATE_HZ)
    found["8 kHz"] = lambda _, x: (recorded(soxr.resample(x, RATE_HZ, 8000)), 8000)
    found[f"clipped by {OVER_DB:g} dB"] = functools.partial(_peaking, peak_dbfs=OVER_DB)
    return found


def sounds(draw: Draw, speech: Sequence[np.ndarray]) -> dict[str, list[Sound]]:
    """Kind -> recordings in which nothing is said, NUM_SOUNDS each.

    Args:
        draw: of their lengths (SOUND_S), and of the noise.
        speech: float (N,) each, of which two channels that cancel are made.
    """
    lengths = [round(draw.uniform(*SOUND_S) * RATE_HZ) for _ in range(NUM_SOUNDS)]
    levels_dbfs = np.linspace(*SOUND_DBFS, NUM_SOUNDS)
    silence, white, hum, cancelling = NOTHING_SAID
    found: dict[str, list[np.ndarray]] = {
        silence: [np.zeros(num) for num in lengths],
        white: [
            at_rms(draw.standard_normal(num), level)
            for num, level in zip(lengths, levels_dbfs, strict=True)
        ],
        hum: [
            at_rms(_hum(HUM_HZ[i % len(HUM_HZ)], num), level)
            for i, (num, level) in enumerate(zip(lengths, levels_dbfs, strict=True))
        ],
        cancelling: [
            np.stack([speech[i % len(speech)], -speech[i % len(speech)]], axis=1)
            for i in range(NUM_SOUNDS)
        ],
    }
    return {kind: [(recorded(one), RATE_HZ) for one in made] for kind, made in found.items()}


def _hum(base_hz: float, num: int) -> np.ndarray:
    time_N = np.arange(num) / RATE_HZ
    overtones = (np.sin(2 * np.pi * n * base_hz * time_N) / n for n in (1, 2, 3, 5))
    return sum(overtones, start=np.zeros(num))
