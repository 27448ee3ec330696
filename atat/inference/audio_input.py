"""Audio inputs: files and arrays of all kinds as log mel features, or why there is no speech."""

# T feature frames, F mel bins

import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soxr
import torch

from atat.config.schema import FeaturesConfig
from atat.data import audio, filter_bank
from atat.models import whisper

AudioSource = str | Path | IO[bytes] | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class Recording:
    """The features of one audio input.

    Attributes:
        feats_TF: log mel features, float32; T is 0 where there is no speech.
        duration_s: of the audio, before any trimming.
        seconds: spent on reading and extraction.
        reason: why there is no speech, else None.
    """

    feats_TF: np.ndarray
    duration_s: float
    seconds: float
    reason: str | None = None


def hear(
    source: AudioSource,
    settings: FeaturesConfig,
    sample_rate: int | None = None,
    max_duration_s: float | None = None,
) -> Recording:
    """Extract features of one audio file or array.

    Args:
        source: path or open file of audio, or samples: (num_samples,) or (num_samples,
            num_channels), floats within [-1, 1], or int8, int16, int32 at full scale.
        settings: of the features that the model takes.
        sample_rate: of arrays, in Hz; files have their own.
        max_duration_s: longer audio is refused; by default, and at most for Whisper's features,
            their limit.

    Returns:
        The features; without frames, and with a reason, where there is no speech.

    Raises:
        ValueError, FileNotFoundError: an input that cannot be used, by name.
    """
    start = time.perf_counter()
    nothing_TF = np.zeros((0, settings.num_mel_bins), np.float32)
    limit = max_duration_s or settings.max_duration_s
    if settings.kind == "whisper":
        limit = min(limit, whisper.MAX_DURATION_S)
    name, samples = "samples", np.zeros(0, np.float32)
    try:
        if isinstance(source, np.ndarray | torch.Tensor):
            samples = _from_array(source, sample_rate, settings, limit)
        elif isinstance(source, str | Path) or hasattr(source, "read"):
            is_path = isinstance(source, str | Path)
            name = str(source if is_path else getattr(source, "name", "audio"))
            samples = audio.read(source, settings.sample_rate_hz, limit)
        else:
            raise ValueError(
                f"got {type(source).__name__}, expected an audio file's path, an open file or "
                "samples as an array"
            )
        feats_TF, reason = filter_bank.extract(samples, settings), None
    except audio.NoSpeechError as e:
        feats_TF, reason = nothing_TF, str(e).removeprefix(f"{name}: ")
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{name}: no such file") from e
    except ValueError as e:
        raise ValueError(f"{name}: {str(e).removeprefix(f'{name}: ')}") from e
    duration_s = len(samples) / settings.sample_rate_hz
    return Recording(feats_TF, duration_s, time.perf_counter() - start, reason)


def _from_array(
    source: np.ndarray | torch.Tensor,
    sample_rate: int | None,
    settings: FeaturesConfig,
    max_duration_s: float,
) -> np.ndarray:
    """Mono float32 samples at the rate of the features."""
    if sample_rate is None:
        raise ValueError("got samples without sample_rate, expected their rate in Hz")
    samples = audio.to_mono_16k(np.asarray(source), sample_rate)
    duration_s = len(samples) / audio.SAMPLE_RATE_HZ
    if duration_s > max_duration_s:
        raise ValueError(
            f"samples: {duration_s:.1f} s long, the limit is {max_duration_s} s (max_duration_s)"
        )
    if settings.sample_rate_hz != audio.SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, audio.SAMPLE_RATE_HZ, settings.sample_rate_hz)
    return samples
