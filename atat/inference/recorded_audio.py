"""Audio inputs of all kinds as log mel features, or why there is no speech."""

# T feature frames, F mel bins

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atat.config.schema import FeaturesConfig
from atat.data import audio, filter_bank
from atat.inference import audio_arguments

if TYPE_CHECKING:
    from atat.inference.audio_arguments import AudioSource


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


def extract_features(
    source: "AudioSource",
    settings: FeaturesConfig,
    sample_rate: float | None = None,
    max_duration_s: float | None = None,
    allow_url: bool = False,
) -> Recording:
    """Extract features of one audio input.

    Args:
        source: as `audio_arguments.read` takes it.
        settings: of the features that the model takes.
        sample_rate: in Hz, of samples that come without one.
        max_duration_s: longer audio is refused; by default, and at most for Whisper's features,
            their limit.
        allow_url: addresses are fetched.

    Returns:
        The features; without frames, and with a reason, where there is no speech.

    Raises:
        ValueError, OSError: an input that cannot be used, by name.
    """
    start = time.perf_counter()
    nothing_TF = np.zeros((0, settings.num_mel_bins), np.float32)
    limit = filter_bank.longest_s(settings, max_duration_s)
    name, samples = audio_arguments.name_of(source), np.zeros(0, np.float32)
    try:
        samples = audio_arguments.read(
            source, settings.sample_rate_hz, limit, sample_rate, allow_url
        )
        feats_TF, reason = filter_bank.extract(samples, settings), None
    except audio.NoSpeechError as e:
        feats_TF, reason = nothing_TF, str(e).removeprefix(f"{name}: ")
    except ValueError as e:
        raise ValueError(f"{name}: {str(e).removeprefix(f'{name}: ')}") from e
    duration_s = len(samples) / settings.sample_rate_hz
    return Recording(feats_TF, duration_s, time.perf_counter() - start, reason)
