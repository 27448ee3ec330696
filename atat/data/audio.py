"""Audio files and arrays as float32 samples, mono, at the sample rate of the features."""

# N samples, C channels

import io
import numbers
import os
import stat
from pathlib import Path
from typing import IO

import numpy as np

from atat.data import audio_segment

SAMPLE_RATE_HZ = 16000
MIN_DURATION_S = 0.01
MAX_CHANNELS = 32  # of an array; more, and it is the other way round
# A stream (standard input) is taken whole before its header can be believed.
MAX_STREAM_BYTES = 512 * 2**20

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
)

SILENCE_DB = -75.0  # of full scale: where no 10 ms are louder, nobody speaks
CANCELLED_DB = 40.0  # so much quieter together than alone: the channels are of opposite phase

# Of `active_range`.
FRAME_S = 0.01
SMOOTHING_FRAMES = 7  # a median over 70 ms ignores clicks
NOISE_PERCENTILES = (10, 40)  # of the levels in a recording: the noise, and how it swells
# Steady noise hides little above its level, swelling noise must not be taken for speech.
MARGIN_PER_SWELL = 2.5
MARGIN_DB = (5.0, 10.0)
PADDING_S_PER_DB = 0.01  # of speech that may lie below what counts: more where noise hides more
MAX_PAUSE_S = 0.7
MIN_SPEECH_S = 0.08


class NoSpeechError(ValueError):
    """Audio as it should be, in which nobody speaks."""


def read(
    source: str | Path | IO[bytes],
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    max_duration_s: float = 30.0,
) -> np.ndarray:
    """Read an audio file: wav, flac, ogg or what else libsndfile knows; any rate, any channels.

    Args:
        source: a path, a part of a file (atat/data/audio_segment.py), or a file object open for
            binary reading (standard input: `sys.stdin.buffer`), which need not be seekable.
        sample_rate_hz: what it is resampled to.
        max_duration_s: a longer file is refused from its header, before it is decoded.

    Returns:
        float32 (N,) within [-1, 1], channels averaged. Silence is allowed.

    Raises:
        ValueError: with the file's name: empty, truncated, not audio, shorter than 0.01 s, longer
            than `max_duration_s`, NaN or infinite samples.
        FileNotFoundError, IsADirectoryError, PermissionError: as for any file.
    """
    if isinstance(source, str | Path) and (part := audio_segment.split(source)) is not None:
        return _decode(str(source), audio_segment.cut(*part), sample_rate_hz, max_duration_s)
    if not isinstance(source, str | Path):
        name = str(getattr(source, "name", "audio"))
        return _decode(name, _seekable(name, source), sample_rate_hz, max_duration_s)
    with open(source, "rb") as file:
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        whole = file if is_regular else _seekable(str(source), file)
        return _decode(str(source), whole, sample_rate_hz, max_duration_s)


def files(directory: Path) -> list[Path]:
    """Audio files of a directory and those below it, by their names' endings, sorted.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{directory}: no audio files here ({' '.join(SUFFIXES)})")
    return found


def to_mono_16k(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Convert an array as a recorder or another library gives it.

    Args:
        samples: (N,) or (N, C), floating point within [-1, 1], or int8, int16 or int32 at full
            scale (what is in an int64, nobody knows).

    Returns:
        float32 (N',), mono, at 16 kHz.

    Raises:
        ValueError: another shape or type, NaN or infinite samples, a rate that is not positive.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise ValueError(f"got samples of shape {samples.shape}, expected (N,) or (N, channels)")
    if samples.ndim == 2 and samples.shape[1] > max(samples.shape[0], MAX_CHANNELS):
        raise ValueError(
            f"got samples of shape {samples.shape}, expected (N, channels): transpose them"
        )
    if isinstance(sample_rate_hz, bool) or not isinstance(sample_rate_hz, numbers.Real):
        raise ValueError(f"got a sample rate of {sample_rate_hz!r}, expected a number of Hz")
    if not np.isfinite(sample_rate_hz) or sample_rate_hz <= 0:
        raise ValueError(f"got a sample rate of {sample_rate_hz}, expected Hz above 0")
    if samples.dtype.name in ("int8", "int16", "int32"):
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    elif samples.dtype.kind != "f":
        raise ValueError(f"got samples of type {samples.dtype}, expected floats or int8, 16, 32")
    return _convert("samples", samples, sample_rate_hz, SAMPLE_RATE_HZ)


def active_range(
    samples: np.ndarray,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    trim_db: float = 40.0,
    padding_s: float = 0.2,
) -> tuple[int, int]:
    """Find the speech inside a recording: from its first to its last active frame, padded.

    A frame of 10 ms is active when its level, smoothed by a median, is within `trim_db` of the
    loudest and clearly above the noise, whose level is taken to be the 10th percentile. The level
    is that of what moves: a constant offset (DC) has none. Active frames with pauses of up to 0.7 s
    between them belong together; a group with less than 80 ms of activity is a click or a breath
    and does not count. The padding grows with what the noise may hide of quiet beginnings and ends.

    Args:
        samples: float (N,) within [-1, 1].
        sample_rate_hz: of the samples.
        trim_db: how far below the loudest frame is still speech, in dB, above 0.
        padding_s: kept before and after, at least.

    Returns:
        start, end: sample indices; the whole recording where nothing stands out.
    """
    hop = round(FRAME_S * sample_rate_hz)
    level_db = levels_db(samples, sample_rate_hz)
    if len(level_db) == 0:
        return 0, len(samples)
    padded = np.pad(level_db, SMOOTHING_FRAMES // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING_FRAMES)
    smooth_db = np.median(windows, axis=1)
    noise_db, swell_db = np.percentile(smooth_db, NOISE_PERCENTILES)
    margin_db = np.clip(MARGIN_PER_SWELL * (swell_db - noise_db), *MARGIN_DB)
    hidden_db = max(noise_db + margin_db - (smooth_db.max() - trim_db), 0.0)
    active = smooth_db >= smooth_db.max() - trim_db + hidden_db

    at = np.flatnonzero(active)
    groups = np.split(at, np.flatnonzero(np.diff(at) > MAX_PAUSE_S / FRAME_S) + 1)
    groups = [group for group in groups if len(group) >= MIN_SPEECH_S / FRAME_S]
    if not groups:
        return 0, len(samples)
    padding = round((padding_s + PADDING_S_PER_DB * hidden_db) * sample_rate_hz)
    start, end = groups[0][0] * hop - padding, (groups[-1][-1] + 1) * hop + padding
    return int(max(start, 0)), int(min(end, len(samples)))


def levels_db(samples: np.ndarray, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Level of each whole frame of 10 ms, in dB of full scale, without its mean (DC); (T,)."""
    hop = round(FRAME_S * sample_rate_hz)
    num_frames = len(samples) // hop
    frames = samples[: num_frames * hop].reshape(num_frames, hop)
    return 10 * np.log10(np.var(frames, axis=1, dtype=np.float64) + 1e-10)


def at_level(samples: np.ndarray, level_db: float, sample_rate_hz: int) -> np.ndarray:
    """A recording without its mean, its loudest 10 ms at `level_db` of full scale.

    Raises:
        NoSpeechError: it is silent (below SILENCE_DB), so that its noise would become loud.
    """
    loudest_db = levels_db(samples, sample_rate_hz).max(initial=-np.inf)
    if loudest_db < SILENCE_DB:
        raise NoSpeechError(
            f"no speech: silent (its loudest 10 ms have {max(loudest_db, -100.0):.0f} dB of full "
            f"scale, expected {SILENCE_DB:.0f} dB or more)"
        )
    return (samples - samples.mean()) * np.float32(10 ** ((level_db - loudest_db) / 20))


def _seekable(name: str, file: IO[bytes]) -> IO[bytes]:
    if file.seekable():
        return file
    data = file.read(MAX_STREAM_BYTES + 1)
    if len(data) > MAX_STREAM_BYTES:
        raise ValueError(f"{name}: longer than {MAX_STREAM_BYTES >> 20} MiB; give it as a file")
    return io.BytesIO(data)


def _decode(name: str, file: IO[bytes], sample_rate_hz: int, max_duration_s: float) -> np.ndarray:
    import soundfile

    start = file.tell()
    num_bytes = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    if num_bytes == 0:
        raise ValueError(f"{name}: empty (0 bytes), expected audio")
    _check_wav_is_whole(name, file, num_bytes)
    file.seek(start)
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as e:
        raise ValueError(f"{name}: not audio that can be read: {e.error_string}") from e
    with sound:
        promised, rate = sound.frames, sound.samplerate
        duration_s = promised / rate
        if promised == 0:
            raise ValueError(f"{name}: no samples in it (empty or truncated), expected audio")
        if duration_s < MIN_DURATION_S:
            raise ValueError(
                f"{name}: {duration_s:.4f} s long, expected {MIN_DURATION_S} s or more"
            )
        if duration_s > max_duration_s:
            raise ValueError(
                f"{name}: {duration_s:.1f} s long, the limit is {max_duration_s} s "
                "(features.max_duration_s)"
            )
        try:
            samples = sound.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as e:
            raise ValueError(f"{name}: damaged or truncated: {e.error_string}") from e
    if len(samples) < promised:
        raise ValueError(
            f"{name}: truncated: {promised} samples promised, {len(samples)} there; copy it again"
        )
    return _convert(name, samples, rate, sample_rate_hz)


def _convert(name: str, samples: np.ndarray, rate: float, sample_rate_hz: int) -> np.ndarray:
    """Mono float32 at `sample_rate_hz`, within [-1, 1]."""
    import soxr

    if not np.isfinite(samples).all():
        raise ValueError(f"{name}: NaN or infinite samples, expected finite ones")
    mono = (samples if samples.ndim == 1 else samples.mean(axis=1)).astype(np.float32)
    if samples.ndim == 2 and _cancels(samples, mono):
        raise NoSpeechError(
            f"{name}: no speech: its channels cancel each other out (opposite phase); give one of "
            "them alone"
        )
    if rate != sample_rate_hz:
        mono = soxr.resample(mono, rate, sample_rate_hz)
    # Float files may go beyond full scale, and so may a resampled one at full scale.
    peak = np.abs(mono).max(initial=1.0)
    return mono / peak if peak > 1.0 else mono


def _cancels(samples: np.ndarray, mono: np.ndarray) -> bool:
    """Whether next to nothing is left of the channels (N, C) together."""
    alone, together = np.var(samples, axis=0).max(), np.var(mono)
    return bool(alone > 0 and together < alone * 10 ** (-CANCELLED_DB / 10))


def _check_wav_is_whole(name: str, file: IO[bytes], num_bytes: int) -> None:
    """Raise if a RIFF file's data end beyond the file; libsndfile would read what is there."""
    if file.read(4) != b"RIFF":
        return
    position = 12
    file.seek(8, os.SEEK_CUR)
    while len(header := file.read(8)) == 8:
        size = int.from_bytes(header[4:], "little")
        position += 8
        # Writers that could not seek back (ffmpeg, sox in a pipe) leave a size of about 2 or 4 GiB.
        unknown = size >= 0x7FFFF000
        if header[:4] == b"data":
            if not unknown and position + size > num_bytes:
                raise ValueError(
                    f"{name}: truncated: {size} bytes of samples promised, "
                    f"{max(num_bytes - position, 0)} there; copy it again"
                )
            return
        step = size + size % 2  # chunks are padded to even sizes
        position += step
        file.seek(step, os.SEEK_CUR)
    raise ValueError(f"{name}: truncated: no samples in it; copy it again")
