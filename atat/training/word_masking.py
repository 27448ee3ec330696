"""The task `mlm`: speech with some words masked, from which the whole transcript is to be told.

Paper: 15 % of the words' audio, masked before the filter bank; what stands there instead it does
not say (`train.mlm_fill`).
"""

# N samples, W words, T frames, F mel bins

import numpy as np

from atat.config.schema import FeaturesConfig, TrainConfig
from atat.data import audio, filter_bank
from atat.data.ctm import Word

SLACK_S = 0.1  # by which an aligner's frames may go beyond the audio
TICKS_PER_S = 10_000  # of times that are kept as integers: finer than any alignment


def ticks(words: list[Word]) -> np.ndarray:
    """Start and end of every word, one after the other; int32 (2 W,).

    >>> ticks([Word("a", 0.1, 0.25), Word("b", 0.5, 0.1)]).tolist()
    [1000, 3500, 5000, 6000]
    """
    times = [(word.start_s, word.start_s + word.duration_s) for word in words]
    return np.round(TICKS_PER_S * np.array(times).ravel()).astype(np.int32)


def choose(num_words: int, share: float, draw: np.random.Generator) -> np.ndarray:
    """Which words to mask: `share` of them on average, whatever their number."""
    size = int(share * num_words + draw.random())
    return draw.choice(num_words, size=min(size, num_words), replace=False)


def mask(
    samples: np.ndarray, spans_W2: np.ndarray, fill: str, draw: np.random.Generator
) -> np.ndarray:
    """The samples with other sound in some spans.

    Args:
        samples: float32 (N,).
        spans_W2: first sample and the one after the last.
        fill: zero, or noise: white, of the mean power of the samples.
        draw: of the noise.
    """
    samples = samples.copy()
    level = np.sqrt(np.mean(np.square(samples))) if fill == "noise" else 0.0
    for start, end in spans_W2:
        size = len(samples[start:end])
        samples[start:end] = level * draw.standard_normal(size) if fill == "noise" else 0.0
    return samples


def masked_features(
    path: str,
    ticks_2W: np.ndarray,
    settings: FeaturesConfig,
    train: TrainConfig,
    draw: np.random.Generator,
) -> np.ndarray:
    """Features of an audio file as stage 2 makes them, some of its words masked; float32 (T, F).

    As many frames as unmasked: where the speech begins and ends is found before.

    Args:
        path: of the audio, a file or a part of one.
        ticks_2W: of the words, as `ticks` gives them.
        settings: of the features.
        train: share of the words that are masked, and with what.
        draw: of the words, and of the noise.

    Raises:
        FileNotFoundError, ValueError: the audio is not what it was in stage 2, or ends before
            its words do.
    """
    rate = settings.sample_rate_hz
    samples = audio.read(path, rate, settings.max_duration_s)
    start, end = filter_bank.speech_range(samples, settings)
    spans_W2 = ticks_2W.reshape(-1, 2).astype(np.int64) * rate // TICKS_PER_S
    if spans_W2.size and spans_W2.max() > len(samples) + SLACK_S * rate:
        raise ValueError(
            f"{path}: its last word ends at {spans_W2.max() / rate:.2f} s by the alignment, but "
            f"the audio has {len(samples) / rate:.2f} s (align again)"
        )
    chosen = choose(len(spans_W2), train.mlm_share, draw)
    # Brought to its level with all its words: what is left of them would be amplified, or silent.
    speech = filter_bank.levelled(samples[start:end], settings)
    spans_W2 = (spans_W2 - start).clip(0, len(speech))
    return filter_bank.log_mel(mask(speech, spans_W2[chosen], train.mlm_fill, draw), settings)
