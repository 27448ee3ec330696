"""Headers of audio files that say how many samples follow: held against what is there.

libsndfile reads what there is, whatever a header promises, so that a half-copied recording would
pass for a whole one. Headers that were never finished (a size of 0, of "unknown", of twice what is
there) are common where a program writes to a pipe or is stopped; their samples are all there.
"""

import io
import math
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

Order = Literal["little", "big"]

ANOTHER = re.compile(rb"(RIFF|RIFX|RF64|FORM).{4}(WAVE|AIFF|AIFC)", re.DOTALL)  # file begins here
UNKNOWN_SIZE = 0x7FFFF000  # ffmpeg, sox and arecord leave about 2 or 4 GiB in a pipe
BUFFER_BYTES = 2**16
MAX_CHUNKS = 1000  # before the samples, or after them; each costs a seek
MAX_REST_BYTES = 4096  # after the samples, of what is no chunk: tags
MAX_HEADER_BYTES = 16 * 2**20  # before the samples: pictures and notes may stand there
MAX_BEHIND_BYTES = 4 * 2**20  # behind samples whose number nobody wrote
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")


class AudioWarning(UserWarning):
    """A file that is not as it should be, and was read all the same."""


class Spliced(io.RawIOBase):
    """Other bytes in place of a file's beginning; without the name, which libsndfile believes.

    (By a name that ends in .raw it takes any file to have no header.)
    """

    def __init__(self, head: bytes, file: IO[bytes], start: int) -> None:
        """
        Args:
            head: what stands in place of the file's first bytes.
            file: seekable.
            start: of the bytes that follow the head.
        """
        self._head, self._file, self._start = head, file, start
        self._size = len(head) + file.seek(0, os.SEEK_END) - start
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: "Buffer") -> int:
        """As of any file: from the head, then from the file."""
        view = memoryview(buffer).cast("B")
        if self._at < len(self._head):
            data = self._head[self._at : self._at + len(view)]
        else:
            self._file.seek(self._start + self._at - len(self._head))
            data = self._file.read(len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def spliced(head: bytes, file: IO[bytes], start: int) -> io.BufferedReader:
    """`Spliced`, with a buffer."""
    return io.BufferedReader(Spliced(head, file, start), BUFFER_BYTES)


@dataclass(frozen=True)
class Chunk:
    """A part of a RIFF, W64 or AIFF file: its name, where its size stands, where it begins."""

    name: bytes
    size_at: int
    position: int
    size: int


@dataclass(frozen=True)
class Promise:
    """How many bytes of samples a header says there are.

    Attributes:
        size_at, width, order: where that number stands, its bytes and their order.
        counted: what the number counts beside the samples.
        position: of the first sample.
        size: bytes of samples promised.
        has_chunks: others may follow behind the samples, names and sizes of four bytes each.
    """

    size_at: int
    width: int
    order: Order
    counted: int
    position: int
    size: int
    has_chunks: bool = False


def repaired(name: str, file: IO[bytes], num_bytes: int, is_stream: bool) -> io.BufferedReader:
    """The file, with a header that says what is there.

    Args:
        name: for messages.
        file: from its beginning; seekable.
        num_bytes: of the file.
        is_stream: it came through a pipe, where nobody could have known its size: no warning.

    Raises:
        ValueError: the samples end before they should, or there are none; another file follows.
    """
    promise = _promise(name, file, num_bytes)
    if promise is None:
        return spliced(b"", file, 0)
    there = max(num_bytes - promise.position, 0)
    is_unknown = promise.size >= (UNKNOWN_SIZE if promise.width == 4 else 2**62)
    is_empty = promise.size == 0 < there and not _is_chunks(file, promise, num_bytes)
    if not (is_unknown or is_empty or (there > 0 and promise.size == 2 * there)):
        if promise.size > there:
            raise ValueError(
                f"{name}: truncated: {promise.size} bytes of samples promised, {there} there; "
                "copy it again"
            )
        _check_alone(name, file, promise)
        _warn_of_rest(name, file, promise, num_bytes)
        return spliced(b"", file, 0)
    if promise.position > MAX_HEADER_BYTES:
        raise ValueError(f"{name}: {promise.position} bytes before its samples; convert it anew")
    if promise.has_chunks:
        there = _end_of_samples(file, promise, num_bytes) - promise.position
    if not is_stream:
        got = "an unknown number of" if is_unknown else promise.size
        warnings.warn(
            f"{name}: its header promises {got} bytes of samples, {there} are there: all were read",
            AudioWarning,
            stacklevel=2,
        )
    file.seek(0)
    head = bytearray(file.read(promise.position))
    size = min(there + promise.counted, 2 ** (8 * promise.width) - 1)
    in_place = slice(promise.size_at, promise.size_at + promise.width)
    head[in_place] = size.to_bytes(promise.width, promise.order)
    return spliced(bytes(head), file, promise.position)


def _promise(name: str, file: IO[bytes], num_bytes: int) -> Promise | None:
    """None where the format has no such number, or libsndfile checks it itself."""
    file.seek(0)
    head = file.read(16)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _riff(name, file, num_bytes, "big" if head[:4] == b"RIFX" else "little")
    if head == W64_RIFF:
        for chunk in _chunks(name, file, 40, num_bytes, "little", name_width=16):
            if chunk.name == W64_DATA:
                return Promise(chunk.size_at, 8, "little", 24, chunk.position, chunk.size)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        for chunk in _chunks(name, file, 12, num_bytes, "big"):
            if chunk.name == b"SSND":  # it begins with an offset and a block's size
                size = max(chunk.size - 8, 0)
                return Promise(chunk.size_at, 4, "big", 8, chunk.position + 8, size, True)
    if head[:4] in (b".snd", b"dns."):
        order: Order = "big" if head[:4] == b".snd" else "little"
        position, size = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
        return None if size == 0xFFFFFFFF else Promise(8, 4, order, 0, position, size)
    return None


def _riff(name: str, file: IO[bytes], num_bytes: int, order: Order) -> Promise:
    long_size = None  # of an RF64 file, which stands in a chunk of its own
    for chunk in _chunks(name, file, 12, num_bytes, order):
        if chunk.name == b"ds64":
            file.seek(chunk.position + 8)
            long_at, long_size = chunk.position + 8, int.from_bytes(file.read(8), "little")
        if chunk.name == b"data":
            if long_size is not None and chunk.size == 0xFFFFFFFF:
                return Promise(long_at, 8, "little", 0, chunk.position, long_size, True)
            return Promise(chunk.size_at, 4, order, 0, chunk.position, chunk.size, True)
    raise ValueError(f"{name}: truncated: no samples in it; copy it again")


def _chunks(
    name: str, file: IO[bytes], at: int, num_bytes: int, order: Order, name_width: int = 4
) -> Iterator[Chunk]:
    """Chunks from a position on, until the file ends."""
    is_w64 = name_width == 16  # its sizes count name and size, and all is in steps of 8 bytes
    width, step = (8, 8) if is_w64 else (4, 2)
    for _ in range(MAX_CHUNKS):
        if at + name_width + width > num_bytes:
            return
        file.seek(at)
        header = file.read(name_width + width)
        size = int.from_bytes(header[name_width:], order)
        size = max(size - len(header), 0) if is_w64 else size
        position = at + len(header)
        yield Chunk(header[:name_width], at + name_width, position, size)
        at = position + size + -size % step
    raise ValueError(
        f"{name}: more than {MAX_CHUNKS} chunks before its samples: no recording has that"
    )


def _is_chunks(file: IO[bytes], promise: Promise, num_bytes: int) -> bool:
    """Whether what follows the samples promised is more chunks, to the file's end."""
    at = promise.position + promise.size + promise.size % 2
    for _ in range(MAX_CHUNKS):
        if at + 8 > num_bytes:
            return at in (num_bytes, num_bytes + 1)
        file.seek(at)
        header = file.read(8)
        if not (header[:4].isascii() and header[:4].decode().isprintable()):
            return False
        size = int.from_bytes(header[4:], promise.order)
        at += 8 + size + size % 2
    return True


def _end_of_samples(file: IO[bytes], promise: Promise, num_bytes: int) -> int:
    """Where samples end whose number nobody wrote: at the file's end, or before chunks that fit
    exactly between them and that."""
    import numpy as np

    searched = max(promise.position, num_bytes - MAX_BEHIND_BYTES)
    searched += (searched - promise.position) % 2  # chunks begin at every second byte
    file.seek(searched)
    rest = np.frombuffer(file.read(num_bytes - searched), np.uint8)
    if len(rest) < 8:
        return num_bytes
    pairs = rest[: len(rest) // 2 * 2].reshape(-1, 2)
    is_printable = np.all((pairs >= 0x20) & (pairs < 0x7F), axis=1)
    at = 2 * np.flatnonzero(is_printable[:-3] & is_printable[1:-2])
    number = "<u4" if promise.order == "little" else ">u4"
    sizes = rest[at[:, None] + np.arange(4, 8)].view(number)[:, 0]
    ends = at + 8 + sizes.astype(np.int64) + sizes % 2
    is_whole = (sizes > 0) & (ends <= len(rest) + 1)
    begins: dict[int, list[int]] = {}  # end -> where chunks begin that end there
    for begin, end in zip(at[is_whole].tolist(), ends[is_whole].tolist(), strict=True):
        begins.setdefault(end, []).append(begin)
    # The last may lack the byte that makes its length even.
    reached, new = set[int](), [len(rest), len(rest) + 1]
    while new:
        new = [begin for end in new for begin in begins.pop(end, ())]
        reached.update(new)
    return searched + min(reached, default=num_bytes - searched)


def _check_alone(name: str, file: IO[bytes], promise: Promise) -> None:
    """Refuse a second file close behind the first, which would pass for a chunk of that."""
    file.seek(promise.position + promise.size)
    if ANOTHER.search(file.read(BUFFER_BYTES)):
        raise ValueError(
            f"{name}: several files one after the other, of which only the first would be read; "
            "join their samples instead (sox A.wav B.wav OUT.wav)"
        )


def _warn_of_rest(name: str, file: IO[bytes], promise: Promise, num_bytes: int) -> None:
    """Say that there is more than was promised: a header of when the recording began."""
    there = num_bytes - promise.position
    is_w64 = promise.counted == 24  # its chunks have longer names
    if promise.size == 0 or there - promise.size <= MAX_REST_BYTES or is_w64:
        return
    if not _is_chunks(file, promise, num_bytes):
        warnings.warn(
            f"{name}: its header promises {promise.size} bytes of samples, {there} are there: "
            "the rest was not read",
            AudioWarning,
            stacklevel=3,
        )


def check_sphere(name: str, file: IO[bytes], num_bytes: int) -> None:
    """Refuse a NIST SPHERE file, whose header is text, that ends before its samples do.

    Raises:
        ValueError: it does.
    """
    file.seek(0)
    head = file.read(BUFFER_BYTES)
    if not (size := re.match(rb"NIST_1A\n *(\d{1,7})\n", head)):
        return
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    fields = [re.search(rb"\n%s -i (\d{1,15})\n" % field, head) for field in names]
    if fields[0] is not None:
        promised = math.prod(int(field[1]) for field in fields if field)
        if promised > (there := max(num_bytes - int(size[1]), 0)):
            raise ValueError(
                f"{name}: truncated: {promised} bytes of samples promised, {there} there; "
                "copy it again"
            )
