"""Additive noise, at an SNR of the loudest frames: babble, fan, street, or recorded.

The ratio is that of the speech's loudest frame to the noise's loudest frame, so neither pauses
around the speech nor those of the noise count. Source: `benchmark/mixer.py` of the
speech-to-intent benchmark. All of it follows from a seed.
"""

# N samples

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from atat.data import audio

RATE_HZ = audio.SAMPLE_RATE_HZ
FRAME = 2048  # samples of a frame, one beginning where another ends: the benchmark's
MAX_EXCERPT_S = 600.0  # of a recorded noise; a longer file is refused
MAX_SILENT = 50  # excerpts drawn in vain, of digital silence
VOICES = (4, 9)  # people of a babble, from and below
SYLLABLES_HZ = (3.0, 6.0)  # how often a voice that is made of noise swells: syllables a second

Draw = np.random.Generator


def mix(speech_N: np.ndarray, noise_N: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech and noise together.

    Args:
        speech_N: float, within [-1, 1].
        noise_N: float, as long.
        snr_db: power of the speech's loudest frame over that of the noise's loudest frame.

    Returns:
        float32 (N,) within [-1, 1]: louder than that, the whole is made quieter. Speech without
        power stays as it is, since no ratio to it can be had.

    Raises:
        ValueError: lengths that differ, or noise without power.
    """
    if len(speech_N) != len(noise_N):
        raise ValueError(f"got {len(noise_N)} samples of noise for {len(speech_N)} of speech")
    power = loudest_power(noise_N)
    if power == 0:
        raise ValueError("got noise without power, expected some sound in it")
    gain = np.sqrt(loudest_power(speech_N) / power) * 10 ** (-snr_db / 20)
    mixed = speech_N + gain * noise_N
    return (mixed / max(np.abs(mixed).max(initial=0.0), 1.0)).astype(np.float32)


def loudest_power(samples_N: np.ndarray) -> float:
    """Mean power of the loudest whole frame; of all samples where they are fewer than a frame.

    >>> loudest_power(np.repeat([0.125, 0.5, 0.0], FRAME))
    0.25
    """
    length = min(FRAME, len(samples_N))
    frames = samples_N[: len(samples_N) // length * length].reshape(-1, length)
    return float(np.square(frames, dtype=np.float64).mean(axis=1).max())


def fan(draw: Draw, num: int) -> np.ndarray:
    """(N,) steady noise that falls towards high frequencies, and the hum of a motor."""
    base_hz = draw.uniform(80, 240)
    time_N = np.arange(num) / RATE_HZ
    hum_N = sum(
        np.sin(2 * np.pi * (n * base_hz * time_N + draw.random())) / n**1.5 for n in range(1, 6)
    )
    noise_N = _coloured(draw, num, draw.uniform(0.5, 0.9))
    return noise_N + draw.uniform(0.1, 0.6) * hum_N


def street(draw: Draw, num: int) -> np.ndarray:
    """(N,) low noise that swells as cars pass, and a few impulses."""
    time_N = np.arange(num) / RATE_HZ
    noise_N = 0.3 * _coloured(draw, num, 0.8)
    for _ in range(max(round(num / RATE_HZ), 1)):  # a car a second, near or far
        passes_s, width_s = draw.uniform(0, num / RATE_HZ), draw.uniform(0.3, 1.5)
        nearness_N = np.exp(-(((time_N - passes_s) / width_s) ** 2))
        noise_N += draw.uniform(0.2, 1.0) * nearness_N * _coloured(draw, num, draw.uniform(0.6, 1))
    for at in draw.integers(num, size=draw.integers(3)):
        decay_N = np.exp(-np.arange(num - at) / (0.02 * RATE_HZ))
        noise_N[at:] += 3.0 * decay_N * draw.standard_normal(num - at)
    return noise_N


def babble(draw: Draw, num: int, speech: Sequence[str | Path] = ()) -> np.ndarray:
    """(N,) four to eight people at once, each beginning somewhere in what they say.

    Args:
        draw: of who speaks, and from where.
        num: samples.
        speech: files of people (or synthesisers) that speak; none: noise that swells as speech.
    """
    noise_N = np.zeros(num)
    for _ in range(draw.integers(*VOICES)):
        voice_N = _said(draw, num, speech) if speech else _murmured(draw, num)
        noise_N += draw.uniform(0.5, 1.0) * voice_N
    return noise_N


def _said(draw: Draw, num: int, speech: Sequence[str | Path]) -> np.ndarray:
    """(N,) three of the files, as loud as each other, over and over."""
    said = [audio.read(speech[i], RATE_HZ) for i in draw.integers(len(speech), size=3)]
    voice_N = np.concatenate([one / max(np.sqrt(np.mean(one**2)), 1e-6) for one in said])
    return np.resize(np.roll(voice_N, -draw.integers(len(voice_N))), num)


def _murmured(draw: Draw, num: int) -> np.ndarray:
    """(N,) noise coloured as a voice, with syllables, and pauses between groups of them."""
    num_syllables = int(num / RATE_HZ * SYLLABLES_HZ[1]) + 2
    ends_s = np.cumsum(1 / draw.uniform(*SYLLABLES_HZ, num_syllables))
    loudness = draw.uniform(0.3, 1.0, num_syllables) * (draw.random(num_syllables) > 0.2)
    loudness[0] = 1.0  # never silent throughout
    time_N = np.arange(num) / RATE_HZ
    syllable_N = np.searchsorted(ends_s, time_N, side="right")
    starts_s = np.append(0.0, ends_s)
    length_N = np.diff(starts_s)[syllable_N]
    swell_N = np.sin(np.pi * (time_N - starts_s[syllable_N]) / length_N)
    return loudness[syllable_N] * swell_N * _coloured(draw, num, draw.uniform(0.6, 1.0))


def recorded(draw: Draw, num: int, files: Sequence[str | Path]) -> np.ndarray:
    """(N,) an excerpt, not silent, of one of the files, which begins again where it is too short.

    Raises:
        ValueError, FileNotFoundError: a file that cannot be used, or that is silent wherever tried.
    """
    for _ in range(MAX_SILENT):
        path = files[int(draw.integers(len(files)))]
        samples_N = audio.read(path, RATE_HZ, MAX_EXCERPT_S)
        excerpt_N = np.resize(np.roll(samples_N, -draw.integers(len(samples_N))), num)
        if excerpt_N.any():
            return excerpt_N
    raise ValueError(f"{path}: silent in {MAX_SILENT} draws, expected noise; take the file away")


def source(kind: str, speech: Sequence[str | Path]) -> Callable[[Draw, int], np.ndarray]:
    """The generator of a kind of noise: `(draw, num) -> (N,)`, float.

    Args:
        kind: babble, fan or street, or a directory with noise files.
        speech: files of which babble is made; none: it is made of noise.

    Raises:
        ValueError: no such kind or directory. FileNotFoundError: one without audio.
    """
    if kind in ("fan", "street"):
        return {"fan": fan, "street": street}[kind]
    if kind == "babble":
        return lambda draw, num: babble(draw, num, speech)
    if not Path(kind).is_dir():
        raise ValueError(
            f"noise: got '{kind}', expected babble, fan, street or a directory of noise files"
        )
    files = audio.files(Path(kind))
    return lambda draw, num: recorded(draw, num, files)


def _coloured(draw: Draw, num: int, slope: float) -> np.ndarray:
    """(N,) noise of unit power whose amplitude falls with frequency to the power of `slope`."""
    spectrum = np.fft.rfft(draw.standard_normal(num))
    spectrum /= np.maximum(np.arange(len(spectrum)), 50.0 * num / RATE_HZ) ** slope
    noise_N = np.fft.irfft(spectrum, num)
    return noise_N / max(np.sqrt(np.mean(np.square(noise_N))), 1e-12)
