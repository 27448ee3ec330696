"""MPEG and Ogg: audio in frames or pages without any header of the whole.

Of MPEG audio without a Xing or Info frame, libsndfile estimates the length from the first frame's
bit rate, and stops there: files of variable bit rate are cut, or pass for truncated ones. Counted
frames, in an Info frame of our own before them, make the length exact.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO

from atat.data.audio_headers import spliced

# MPEG audio, layer III: ISO/IEC 11172-3 and 13818-3. By version bits: 3 is MPEG-1, 2 MPEG-2, 0
# its extension to low rates ("2.5").
RATES_HZ = {
    3: (44100, 48000, 32000),
    2: (22050, 24000, 16000),
    0: (11025, 12000, 8000),
}
KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MAX_RESYNC_BYTES = 1024  # as mpg123 in libsndfile, which gives up then
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what may stand after the last frame
MAX_SEARCHED_BYTES = 16 * 2**20  # behind the last frame: tags may have pictures
MIN_FRAMES = 4  # of one kind, one behind the other: no chance
# Headers of layer III: no reserved version, bit rate or sample rate.
SYNC = re.compile(rb"\xff(?=[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xeb])")
MAX_CANDIDATES = 10_000  # of them behind the last frame; random bytes have one in 15,000
INFO_BYTES = 128  # of an Info frame, beside header and side information


@dataclass(frozen=True)
class MpegFrame:
    """What the header of a frame says.

    Attributes:
        kind: version, rate and channels, which all frames of a file share.
        num_bytes: of the frame.
        num_samples: of each channel.
        rate_hz: samples a second.
        side_bytes: of side information, which follows the header.
    """

    kind: tuple[int, int, bool]
    num_bytes: int
    num_samples: int
    rate_hz: int
    side_bytes: int


def counted_mpeg(
    name: str, file: IO[bytes], num_bytes: int, max_duration_s: float
) -> io.BufferedReader | None:
    """MPEG audio, layer III, with an Info frame that says how many frames there are.

    Args:
        name: for messages.
        file: seekable.
        num_bytes: of the file.
        max_duration_s: nothing is counted beyond it.

    Returns:
        None where it is something else, or has such a frame.

    Raises:
        ValueError: it has one, of fewer frames than there are, or other frames follow: libsndfile
            would read no others.
    """
    start = _after_id3(file, 0, num_bytes)
    first = _frame_at(file, start)
    if first is None or start + first.num_bytes > num_bytes:
        return None
    after = start + first.num_bytes
    if after < num_bytes and not _is_start(file, after, first) and not _is_tag(file, after):
        return None  # chance: two bytes of something else
    file.seek(start)
    header = file.read(4)
    has_crc = not header[1] & 1
    file.seek(start + 4 + 2 * has_crc + first.side_bytes)
    info = file.read(12)
    promised = None
    if info[:4] in (b"Xing", b"Info") and info[7:] and info[7] & 1:
        promised = int.from_bytes(info[8:], "big") + 1  # and the frame that says so
    count, end = 0, start
    for after in _ends_of_frames(file, start, num_bytes, first):
        count, end = count + 1, after
        if count * first.num_samples / first.rate_hz > max_duration_s + 1:
            break
    else:
        _check_last(name, file, end)
    if promised is not None:
        if count > promised:
            raise ValueError(
                f"{name}: its header counts {promised - 1} frames, more follow (several files one "
                "after the other?) and would not be read; convert it (ffmpeg -i IN OUT.wav)"
            )
        return None
    return spliced(_info_frame(header, count), file, start)


def _info_frame(header: bytes, num_frames: int) -> bytes:
    """A frame without sound that says how many follow."""
    without_crc = header[1] | 1
    heads = (  # of all bit rates, without padding
        bytes([header[0], without_crc, rate << 4 | header[2] & 0b1100, header[3]])
        for rate in range(1, 15)
    )
    head, frame = next(  # the least that has room
        (head, frame)
        for head in heads
        if (frame := _mpeg_frame(head)) is not None
        and frame.num_bytes >= 4 + frame.side_bytes + INFO_BYTES
    )
    about = b"Info" + (1).to_bytes(4, "big") + num_frames.to_bytes(4, "big")
    return (head + bytes(frame.side_bytes) + about).ljust(frame.num_bytes, b"\0")


def _check_last(name: str, file: IO[bytes], end: int) -> None:
    """Refuse a file with more MPEG audio behind its last frame: of another rate or channels, or
    behind a tag or more that is broken than a decoder steps over."""
    file.seek(end)
    rest = file.read(MAX_SEARCHED_BYTES)
    for match in islice(SYNC.finditer(rest), MAX_CANDIDATES):
        at, kinds = match.start(), list[tuple[int, int, bool]]()
        while len(kinds) < MIN_FRAMES and (frame := _mpeg_frame(rest[at : at + 4])) is not None:
            kinds.append(frame.kind)
            at += frame.num_bytes
        if len(kinds) == MIN_FRAMES and len(set(kinds)) == 1:
            raise ValueError(
                f"{name}: more MPEG audio begins {match.start()} bytes behind its last frame "
                "(several files one after the other?) and would not be read; convert it "
                "(ffmpeg -i IN OUT.wav)"
            )


def _ends_of_frames(file: IO[bytes], at: int, num_bytes: int, first: MpegFrame) -> Iterator[int]:
    """Where whole frames end, over tags and up to 1024 bytes of anything else."""
    while at < num_bytes:
        frame = _frame_at(file, at)
        if frame is None or frame.kind != first.kind:
            after: int | None = _after_id3(file, at, num_bytes)
            if after == at:
                after = None if _is_tag(file, at) else _resynced(file, at, first)
            if after is None:
                return
            at = after
        elif at + frame.num_bytes > num_bytes:
            return
        else:
            at += frame.num_bytes
            yield at


def _resynced(file: IO[bytes], at: int, first: MpegFrame) -> int | None:
    """Where the next frame begins that has another after it."""
    file.seek(at)
    window = file.read(MAX_RESYNC_BYTES + 4)
    for skipped in range(1, len(window) - 3):
        frame = _mpeg_frame(window[skipped : skipped + 4])
        if frame is None or frame.kind != first.kind:
            continue
        if _is_start(file, at + skipped + frame.num_bytes, first):
            return at + skipped
    return None


def _is_start(file: IO[bytes], at: int, first: MpegFrame) -> bool:
    frame = _frame_at(file, at)
    return frame is not None and frame.kind == first.kind


def _is_tag(file: IO[bytes], at: int) -> bool:
    file.seek(at)
    return file.read(11).startswith(TAGS)


def _frame_at(file: IO[bytes], at: int) -> MpegFrame | None:
    file.seek(at)
    return _mpeg_frame(file.read(4))


def _mpeg_frame(header: bytes) -> MpegFrame | None:
    """What four bytes say, if they are the header of a frame of layer III.

    >>> _mpeg_frame(bytes.fromhex("fff388c4")).num_bytes
    288
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0b11100110 != 0b11100010:
        return None
    version, bit_rate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    rate_hz, is_mono, is_1 = RATES_HZ[version][rate], header[3] >> 6 == 3, version == 3
    kbps = (KBPS_1 if is_1 else KBPS_2)[bit_rate]
    num_samples = 1152 if is_1 else 576
    num_bytes = num_samples // 8 * kbps * 1000 // rate_hz + (header[2] >> 1 & 1)
    side_bytes = (17 if is_mono else 32) if is_1 else (9 if is_mono else 17)
    return MpegFrame((version, rate, is_mono), num_bytes, num_samples, rate_hz, side_bytes)


def _after_id3(file: IO[bytes], at: int, num_bytes: int) -> int:
    """Where the ID3v2 tags end that begin here; here, if none does."""
    while at < num_bytes:
        file.seek(at)
        header = file.read(10)
        if len(header) < 10 or header[:3] != b"ID3":
            break
        size = 0
        for byte in header[6:]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if header[5] & 0x10 else 0)
    return at


def check_ogg(name: str, file: IO[bytes], num_bytes: int) -> None:
    """Raise if an Ogg file ends within a page, or holds another stream after its first.

    libsndfile reads what there is of the first.

    Raises:
        ValueError: with the file's name.
    """
    at, is_begun = 0, False
    while at + 27 <= num_bytes:
        file.seek(at)
        header = file.read(27)
        if header[:4] != b"OggS":
            return
        sizes = file.read(header[26])
        at += 27 + header[26] + sum(sizes)
        is_start = bool(header[5] & 2)
        if is_start and is_begun:
            raise ValueError(
                f"{name}: several Ogg streams one after the other, of which only the first would "
                "be read; convert it (ffmpeg -i IN OUT.wav)"
            )
        is_begun |= not is_start
    if at > num_bytes:
        raise ValueError(
            f"{name}: truncated: a page ends at byte {at}, the file at {num_bytes}; copy it again"
        )
