"""Audio in containers that libsndfile does not know (webm, m4a, wma, ...), by FFmpeg.

PyAV brings FFmpeg's libraries (`pip install av`); without it one line says what to do.
"""

import importlib.util
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from atat.data.audio_mixdown import Mixdown, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".webm", ".mka", ".mkv", ".m4a", ".mp4", ".3gp", ".wma", ".amr", ".aac", ".aifc")
TELLING = ("matroska", "mov")  # demuxers whose length is written down, not estimated
SLACK_S = 0.2  # of a container's length: what coders add and take away
CONVERT = "ffmpeg -i IN OUT.wav"


@dataclass(frozen=True)
class Container:
    """A kind of file that FFmpeg reads: what users call it, its demuxer, what it starts with."""

    kind: str
    demuxer: str
    offset: int
    magic: bytes


# A demuxer is named for each: FFmpeg would guess from the content otherwise, and take text for a
# playlist of other files and addresses.
CONTAINERS = (
    Container("webm or mkv", "matroska", 0, b"\x1aE\xdf\xa3"),
    Container("m4a, mp4 or 3gp", "mov", 4, b"ftyp"),
    Container("wma", "asf", 0, bytes.fromhex("3026b2758e66cf11")),
    Container("amr", "amr", 0, b"#!AMR"),
    Container("aac", "aac", 0, b"\xff\xf1"),
    Container("aac", "aac", 0, b"\xff\xf9"),
    Container("flv", "flv", 0, b"FLV"),
    Container("avi", "avi", 8, b"AVI "),
    # Codecs that libsndfile does not know, in containers that it does.
    Container("wav", "wav", 8, b"WAVE"),
    Container("ogg", "ogg", 0, b"OggS"),
    Container("caf", "caf", 0, b"caff"),
    Container("aiff", "aiff", 8, b"AIFC"),
)


def container_of(head: bytes) -> Container | None:
    """The kind of file that begins so (16 bytes), if FFmpeg is to be asked."""
    for container in CONTAINERS:
        if head[container.offset :].startswith(container.magic):
            return container
    return None


def decode(
    name: str,
    file: IO[bytes],
    container: Container,
    max_duration_s: float,
    why: str,
    part: Part | None = None,
) -> Mixdown:
    """Decode the first audio of a file, or a part of it.

    Args:
        name: for messages.
        file: seekable, at its beginning.
        container: what it is.
        max_duration_s: longer audio is refused.
        why: libsndfile does not read it.
        part: what of it; nothing behind it is decoded.

    Raises:
        ValueError: with the file's name: PyAV is not there; no audio, or none that can be read;
            what `Mixdown` refuses.
    """
    if importlib.util.find_spec("av") is None:
        raise ValueError(
            f"{name}: {container.kind} that needs PyAV ({why}): pip install av, or convert it: "
            f"{CONVERT}"
        )
    import av

    try:
        with av.open(file, format=container.demuxer, **_of_any_titles(av.__version__)) as source:
            if not source.streams.audio:
                raise ValueError(f"{name}: {container.kind} without audio")
            mix, end_s = None, 0.0
            for block_NC, rate_hz, block_end_s in _blocks(source):
                end_s = block_end_s
                if mix is None:
                    mix = Mixdown(name, rate_hz, block_NC.shape[1], max_duration_s, part)
                mix.add(block_NC)
                if mix.is_full:
                    break
            else:
                _check_end(name, container, source, end_s)
    except (av.FFmpegError, EOFError) as e:
        reason = getattr(e, "strerror", None) or e
        raise ValueError(
            f"{name}: {container.kind} that cannot be read (damaged or truncated?): {reason}"
        ) from e
    if mix is None:
        raise ValueError(f"{name}: no samples in it (empty or truncated), expected audio")
    return mix


def _of_any_titles(version: str) -> dict[str, Any]:
    """How PyAV of a version is told to open a file whose title is not UTF-8: from 19 on it does."""
    return {} if int(version.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}


def _check_end(name: str, container: Container, source: Any, end_s: float) -> None:
    """Raise ValueError where audio ends before its container says: FFmpeg reads what there is.

    What a browser records live says nothing of its end.
    """
    if container.demuxer not in TELLING:
        return
    stream = source.streams.audio[0]
    if stream.duration is not None:
        promised_s = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    elif source.duration is not None and len(source.streams) == 1:  # else the video's, maybe
        promised_s = source.duration / 1e6
    else:
        return
    if end_s < promised_s - SLACK_S:
        raise ValueError(
            f"{name}: truncated: {promised_s:.1f} s of audio promised, {end_s:.1f} s there; copy "
            "it again"
        )


def _blocks(source: Any) -> "Iterator[tuple[np.ndarray, int, float]]":
    """float32 (N, C) of each frame of the first audio stream, its rate in Hz, its end in s."""
    from av.audio.resampler import AudioResampler

    resampler = None
    for frame in source.decode(audio=0):
        if resampler is None:  # of the sample format alone
            resampler = AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
            rate_hz = frame.sample_rate
        for made in resampler.resample(frame):
            yield made.to_ndarray().T, rate_hz, (frame.time or 0.0) + frame.samples / rate_hz
