"""Audio files to mono samples: libsndfile decodes, and FFmpeg what that does not know."""

# N samples, C channels

import functools
import os
import re
from typing import IO, TYPE_CHECKING

from atat.data import ffmpeg_audio
from atat.data.audio_headers import check_sphere, repaired, spliced
from atat.data.audio_mixdown import Mixdown, Part, check_longest
from atat.data.mpeg_and_ogg import check_ogg, counted_mpeg

if TYPE_CHECKING:
    import soundfile

MIN_DURATION_S = 0.01
BLOCK_VALUES = 2**18  # decoded at a time, all channels together: 1 MiB
MALFORMED = 3  # libsndfile's error code
UNKNOWN_LENGTH = 2**62  # libsndfile's, of a stream, is just below 2**63
# Samples that may be missing at the end. libsndfile estimates the first two from their first frame;
# of the frames of layer III, which are counted, a decoder may keep back its delay and the last.
SLACK = {
    "MPEG_LAYER_I": UNKNOWN_LENGTH,
    "MPEG_LAYER_II": UNKNOWN_LENGTH,
    "MPEG_LAYER_III": 2 * 1152,
}
# Subtypes, of any format, that can be entered at any sample and then have what the whole file has.
SEEKABLE = re.compile(r"(PCM_|FLOAT$|DOUBLE$|[UA]LAW$|ALAC_)")


def decode(
    name: str, file: IO[bytes], max_duration_s: float, is_stream: bool, part: Part | None = None
) -> Mixdown:
    """Decode the audio of a file, or a part of it.

    Args:
        name: for messages.
        file: seekable, read from where it stands.
        max_duration_s: longer audio is refused, where possible before it is decoded.
        is_stream: it came through a pipe.
        part: what of it; nothing behind it is decoded, and nothing before it where the format can
            be entered at any sample.

    Raises:
        ValueError: with the file's name: empty, truncated, not audio that can be read; of a length,
            rate, number of channels or with values that no recording has; a part outside of it.
    """
    start = file.tell()
    num_bytes = file.seek(0, os.SEEK_END) - start
    if num_bytes == 0:
        raise ValueError(f"{name}: empty (0 bytes), expected audio")
    if start > 0:
        file = spliced(b"", file, start)
    mix = _decoded_by_either(name, file, num_bytes, max_duration_s, is_stream, part)
    mix.check_end()
    if (duration_s := mix.num_samples / mix.rate_hz) < MIN_DURATION_S:
        raise ValueError(f"{name}: {duration_s:.4f} s long, expected {MIN_DURATION_S} s or more")
    return mix


def _decoded_by_either(
    name: str,
    file: IO[bytes],
    num_bytes: int,
    max_duration_s: float,
    is_stream: bool,
    part: Part | None,
) -> Mixdown:
    """Decoded by libsndfile, or by FFmpeg what that refuses."""
    import soundfile

    file.seek(0)
    container = ffmpeg_audio.container_of(file.read(16))
    limit_s = max_duration_s if part is None else part.end_s
    whole = counted_mpeg(name, file, num_bytes, limit_s)
    if whole is None:
        check_ogg(name, file, num_bytes)
        check_sphere(name, file, num_bytes)
        whole = repaired(name, file, num_bytes, is_stream)
    try:
        sound = _forward()(whole)
    except (soundfile.SoundFileError, TypeError) as e:
        if getattr(e, "code", None) == MALFORMED:  # FFmpeg would read as far as it goes
            raise ValueError(f"{name}: damaged or truncated: {_reason(e)}") from e
        if container is not None:
            file.seek(0)
            return ffmpeg_audio.decode(name, file, container, max_duration_s, _reason(e), part)
        raise ValueError(
            f"{name}: not audio that can be read: {_reason(e)}; expected wav, flac, ogg, mp3, ..., "
            f"or convert it: {ffmpeg_audio.CONVERT}"
        ) from e
    with sound:
        try:
            return _by_libsndfile(name, sound, max_duration_s, part)
        except (soundfile.SoundFileError, TypeError) as e:
            raise ValueError(f"{name}: damaged or truncated: {_reason(e)}") from e


@functools.cache
def _forward() -> "type[soundfile.SoundFile]":
    """A sound file that is read from beginning to end."""
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            """False: soundfile seeks after each block, which some codecs cannot do."""
            return False

    return Forward


def _by_libsndfile(
    name: str, sound: "soundfile.SoundFile", max_duration_s: float, part: Part | None
) -> Mixdown:
    """All of an open file, or a part of it."""
    rate_hz, promised = sound.samplerate, sound.frames
    mix = Mixdown(name, rate_hz, sound.channels, max_duration_s, part)
    if promised == 0:
        raise ValueError(f"{name}: no samples in it (empty or truncated), expected audio")
    is_known = promised < UNKNOWN_LENGTH
    if is_known and part is None:
        check_longest(name, promised / rate_hz, max_duration_s)
    if is_known and mix.start > 0 and SEEKABLE.match(sound.subtype):
        start = min(mix.start, promised)
        sound.seek(start)
        mix.skip(start)
    num = max(BLOCK_VALUES // sound.channels, 1)
    while not mix.is_full and len(block_NC := sound.read(num, dtype="float32", always_2d=True)):
        mix.add(block_NC)
    if is_known and not mix.is_full and mix.position < promised - SLACK.get(sound.subtype, 0):
        raise ValueError(
            f"{name}: truncated: {promised} samples promised, {mix.position} there; copy it again"
        )
    return mix


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")
