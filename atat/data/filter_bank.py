"""Audio samples to log mel features, Kaldi's or Whisper's."""

# T frames, F mel bins, N samples

import functools
import warnings
from typing import TYPE_CHECKING

import numpy as np

from atat.config.schema import FeaturesConfig
from atat.data.active_speech import active_range, at_level

if TYPE_CHECKING:
    from kaldi_native_fbank import FbankOptions

INT16_SCALE = 32768.0  # Kaldi's samples are 16-bit integers
WHISPER_MAX_DURATION_S = 30.0  # what its encoder knows


def fbank(samples: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    """Log mel filter bank as Kaldi defines it: no dither, snip edges, povey window, from 20 Hz.

    Args:
        samples: float (N,) within [-1, 1] at `settings.sample_rate_hz`.
        settings: the rate, the number of bins, and length and shift of a frame are used.

    Returns:
        float32 (T, F), natural logarithm of power at 16-bit scale.

    Raises:
        ValueError: less than one frame of audio.
    """
    import kaldi_native_fbank

    bank = kaldi_native_fbank.OnlineFbank(
        _options(
            settings.sample_rate_hz,
            settings.num_mel_bins,
            settings.frame_length_ms,
            settings.frame_shift_ms,
        )
    )
    # A memoryview: the one sequence that costs neither a list nor NumPy's scalars.
    scaled = (samples * np.float32(INT16_SCALE)).data
    bank.accept_waveform(settings.sample_rate_hz, scaled)
    bank.input_finished()
    if bank.num_frames_ready == 0:
        raise ValueError(
            f"{len(samples) / settings.sample_rate_hz:.3f} s of audio, expected a frame of "
            f"{settings.frame_length_ms / 1000} s or more"
        )
    return np.array([bank.get_frame(t) for t in range(bank.num_frames_ready)])


def log_mel(samples: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    """Log mel features of the kind that `settings.kind` names; the rest as in `fbank`."""
    if settings.kind == "kaldi":
        return fbank(samples, settings)
    if settings.kind == "whisper":
        return whisper_mel(samples, settings)
    raise ValueError(f"features.kind: got '{settings.kind}', expected kaldi or whisper")


def whisper_mel(samples: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    """Log mel power as Whisper's encoder was trained on (Radford et al. 2022, section 2.2).

    Frames around multiples of the shift, Hann window, Slaney's mel filters. Whisper's own limit to
    80 dB and its scale are applied to the normalised features (`whisper.normalize`), after
    augmentation.

    Arguments and errors as in `fbank`; float32 (T, F), natural logarithm of power, T = N / shift.
    """
    rate = settings.sample_rate_hz
    length = round(settings.frame_length_ms * rate / 1000)
    shift = round(settings.frame_shift_ms * rate / 1000)
    if len(samples) < length:
        raise ValueError(
            f"{len(samples) / rate:.3f} s of audio, expected a frame of {length / rate} s or more"
        )
    padded = np.pad(samples.astype(np.float32), length // 2, mode="reflect")
    frames_TN = np.lib.stride_tricks.sliding_window_view(padded, length)[::shift]
    frames_TN = frames_TN[: len(samples) // shift]
    window_N = np.hanning(length + 1)[:-1].astype(np.float32)
    power_TK = np.abs(np.fft.rfft(frames_TN * window_N)) ** 2
    power_TF = power_TK @ _slaney_filters(settings.num_mel_bins, length, rate)
    return np.log(np.maximum(power_TF, 1e-10)).astype(np.float32)


def extract(samples: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    """Features of one recording as the model takes them: speech found if `trim_db` is set, and
    brought to `level_db` if that is.

    Arguments, result and errors as in `fbank`, and:

    Raises:
        ValueError: shorter than `settings.min_duration_s`.
        audio.NoSpeechError: silent, where a level is wanted.
    """
    start, end = speech_range(samples, settings)
    return of_speech(samples[start:end], settings)


def of_speech(samples: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    """As `extract`, of the part of a recording that `speech_range` has found."""
    return log_mel(levelled(samples, settings), settings)


def levelled(samples: np.ndarray, settings: FeaturesConfig) -> np.ndarray:
    """Speech at `level_db`, as it is where that is not set; errors as of `extract`."""
    if settings.level_db is None:
        return samples
    return at_level(samples, settings.level_db, settings.sample_rate_hz)


class LimitWarning(UserWarning):
    """A limit that cannot be as it is wanted."""


def longest_s(settings: FeaturesConfig, wanted_s: float | None = None) -> float:
    """The longest audio that features are made of: Whisper's encoder knows 30 s, no setting more.

    Args:
        settings: of the features.
        wanted_s: instead of `settings.max_duration_s`.
    """
    limit = wanted_s or settings.max_duration_s
    if settings.kind != "whisper":
        return limit
    return whisper_longest_s(wanted_s) if wanted_s else min(limit, WHISPER_MAX_DURATION_S)


def whisper_longest_s(wanted_s: float | None = None) -> float:
    """The longest audio that Whisper's encoder takes; where more is wanted, a warning says so."""
    if wanted_s is not None and wanted_s > WHISPER_MAX_DURATION_S:
        warnings.warn(
            f"max_duration_s: got {wanted_s:g}, and the limit stays {WHISPER_MAX_DURATION_S:g} s, "
            "which is all that Whisper's encoder knows",
            LimitWarning,
            stacklevel=3,
        )
    return min(wanted_s or WHISPER_MAX_DURATION_S, WHISPER_MAX_DURATION_S)


def speech_range(samples: np.ndarray, settings: FeaturesConfig) -> tuple[int, int]:
    """The part of a recording that features are made of: all of it unless `trim_db` is set.

    Returns:
        its first sample and the one after its last.

    Raises:
        ValueError: the recording is shorter than `settings.min_duration_s`.
    """
    duration_s = len(samples) / settings.sample_rate_hz
    if duration_s < settings.min_duration_s:
        raise ValueError(
            f"{duration_s:.3f} s long, expected {settings.min_duration_s} s or more "
            "(features.min_duration_s)"
        )
    if settings.trim_db is None:
        return 0, len(samples)
    return active_range(samples, settings.sample_rate_hz, settings.trim_db)


@functools.cache
def _options(
    sample_rate_hz: int, num_mel_bins: int, length_ms: float, shift_ms: float
) -> "FbankOptions":
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = sample_rate_hz
    options.frame_opts.frame_length_ms = length_ms
    options.frame_opts.frame_shift_ms = shift_ms
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.frame_opts.window_type = "povey"
    options.frame_opts.preemph_coeff = 0.97
    options.mel_opts.num_bins = num_mel_bins
    options.mel_opts.low_freq = 20.0
    options.mel_opts.high_freq = 0.0  # up to half the sample rate
    options.use_energy = False
    return options


@functools.cache
def _slaney_filters(num_mel_bins: int, length: int, sample_rate_hz: int) -> np.ndarray:
    """(K, F), K bins of the spectrum: triangles between points that are equally far on Slaney's mel
    scale (linear to 1 kHz, logarithmic above; Slaney 1998, "Auditory Toolbox"), of equal area."""
    hz_per_mel, knee_hz, log_step = 200 / 3, 1000.0, np.log(6.4) / 27
    knee = knee_hz / hz_per_mel
    highest = knee + np.log(sample_rate_hz / 2 / knee_hz) / log_step
    mel_P = np.linspace(0.0, highest, num_mel_bins + 2)
    hz_P = np.where(mel_P < knee, mel_P * hz_per_mel, knee_hz * np.exp((mel_P - knee) * log_step))
    hz_K1 = np.linspace(0.0, sample_rate_hz / 2, length // 2 + 1)[:, None]
    rising_KF = (hz_K1 - hz_P[:-2]) / (hz_P[1:-1] - hz_P[:-2])
    falling_KF = (hz_P[2:] - hz_K1) / (hz_P[2:] - hz_P[1:-1])
    filters_KF = np.minimum(rising_KF, falling_KF).clip(min=0.0) * 2.0 / (hz_P[2:] - hz_P[:-2])
    return filters_KF.astype(np.float32)
