"""Audio files and arrays as float32 samples, mono, at the sample rate of the features."""

# N samples, C channels

import io
import numbers
from pathlib import Path
from typing import IO

import numpy as np

from atat.data import audio_decoding, audio_segment, ffmpeg_audio
from atat.data.audio_mixdown import (
    MAX_CHANNELS,
    Mixdown,
    Part,
    check_longest,
    check_rate,
)
from atat.data.audio_mixdown import NoSpeechError as NoSpeechError  # what callers catch

SAMPLE_RATE_HZ = 16000
# A stream (standard input) is taken whole before its header can be believed.
MAX_STREAM_BYTES = 128 * 2**20
BLOCK_SAMPLES = 2**18  # of an array, mixed at a time

SUFFIXES = (
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aiff",
    ".aif",
    ".au",
    ".caf",
    ".w64",
    *ffmpeg_audio.SUFFIXES,
)


def read(
    source: str | Path | IO[bytes],
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    max_duration_s: float = 30.0,
    name: str | None = None,
) -> np.ndarray:
    """Read an audio file: wav, flac, ogg, mp3 or what else libsndfile knows, and what FFmpeg knows
    where PyAV is installed; any rate from 4 to 192 kHz, up to 32 channels.

    Args:
        source: a path, a part of a file (atat/data/audio_segment.py), or a file object open for
            binary reading (standard input: `sys.stdin.buffer`), which need not be seekable.
        sample_rate_hz: what it is resampled to.
        max_duration_s: a longer file is refused, from its header where that says so.
        name: for messages; by default the file's own.

    Returns:
        float32 (N,) within [-1, 1], channels averaged. Silence is allowed.

    Raises:
        ValueError: with the file's name: empty, truncated, not audio, shorter than 0.01 s, longer
            than `max_duration_s`, samples that are NaN, infinite or beyond 2**31.
        NoSpeechError: channels that cancel each other out.
        FileNotFoundError, IsADirectoryError, PermissionError, OSError: as for any file.
    """
    if isinstance(source, str | Path) and (part := audio_segment.split(source)) is not None:
        path, start_s, end_s = part
        check_longest(str(source), end_s - start_s, max_duration_s)
        with open(path, "rb") as file:
            wanted = Part(start_s, end_s)
            return _read(str(source), file, sample_rate_hz, max_duration_s, wanted)
    if not isinstance(source, str | Path):
        name = name or str(getattr(source, "name", "audio"))
        return _read(name, source, sample_rate_hz, max_duration_s)
    with open(source, "rb") as file:
        return _read(name or str(source), file, sample_rate_hz, max_duration_s)


def _read(
    name: str,
    file: IO[bytes],
    sample_rate_hz: int,
    max_duration_s: float,
    part: Part | None = None,
) -> np.ndarray:
    """As `read`, of an open file."""
    if not isinstance(got := file.read(0), bytes | bytearray):
        raise ValueError(
            f"{name}: reading gives {type(got).__name__}, expected bytes (open it with 'rb')"
        )
    is_stream = not (hasattr(file, "seekable") and file.seekable())
    whole = _taken_whole(name, file) if is_stream else file
    mix = audio_decoding.decode(name, whole, max_duration_s, is_stream, part)
    return mix.samples(sample_rate_hz)


def files(directory: Path) -> list[Path]:
    """Audio files of a directory and those below it, by their names' endings, sorted.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{directory}: no audio files here ({' '.join(SUFFIXES)})")
    return found


def to_mono_16k(
    samples: np.ndarray, sample_rate_hz: float, max_duration_s: float = float("inf")
) -> np.ndarray:
    """Convert an array as a recorder or another library gives it.

    Args:
        samples: (N,), (N, C), or (1, N) and (2, N) as torchaudio and librosa have them; floating
            point within [-1, 1], or int8, int16 or int32 at full scale (what is in an int64, nobody
            knows).
        sample_rate_hz: of the samples.
        max_duration_s: longer audio is refused.

    Returns:
        float32 (N',), mono, at 16 kHz.

    Raises:
        ValueError: another shape or type, samples that are NaN, infinite or beyond 2**31, a rate or
            length that no recording has.
        NoSpeechError: channels that cancel each other out.
    """
    samples = _channels_last(np.asarray(samples))
    if isinstance(sample_rate_hz, bool) or not isinstance(sample_rate_hz, numbers.Real):
        raise ValueError(f"got a sample rate of {sample_rate_hz!r}, expected a number of Hz")
    check_rate("samples", sample_rate_hz)
    check_longest("samples", len(samples) / sample_rate_hz, max_duration_s)
    scale = np.float32(1)
    if samples.dtype.name in ("int8", "int16", "int32"):
        scale = np.float32(-float(np.iinfo(samples.dtype).min))
    elif samples.dtype.kind != "f":
        raise ValueError(f"got samples of type {samples.dtype}, expected floats or int8, 16, 32")
    mix = Mixdown("samples", sample_rate_hz, samples.shape[1], max_duration_s)
    for start in range(0, len(samples), BLOCK_SAMPLES):
        block_NC = samples[start : start + BLOCK_SAMPLES]
        mix.add(block_NC / scale if block_NC.dtype.kind == "i" else block_NC)
    return mix.samples(SAMPLE_RATE_HZ)


def _channels_last(samples: np.ndarray) -> np.ndarray:
    """(N, C) of samples in any order that can be told."""
    if samples.ndim == 1 and samples.size:
        return samples[:, None]
    if samples.ndim == 2 and samples.size:
        rows, columns = samples.shape
        if columns <= MAX_CHANNELS and rows >= columns:
            return samples
        if rows <= 2:  # more of them may as well be several recordings
            return samples.T
    raise ValueError(
        f"got samples of shape {samples.shape}, expected (N,), (N, channels), (1, N) or (2, N); "
        "transpose more channels, and give several recordings as a list"
    )


def _taken_whole(name: str, file: IO[bytes]) -> IO[bytes]:
    """What comes through a pipe, as a file."""
    data = file.read(MAX_STREAM_BYTES + 1)
    if len(data) > MAX_STREAM_BYTES:
        raise ValueError(f"{name}: longer than {MAX_STREAM_BYTES >> 20} MiB; give it as a file")
    return io.BytesIO(data)
