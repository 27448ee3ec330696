"""Kaldi archives of features, one a split: written in order, read by utterance id.

A directory holds `feats.ark` (binary matrices), `feats.scp` (`id feats.ark:offset`),
`utt2num_frames`, and `utt2crc32`, a checksum of each utterance's numbers (archives of before 0.2
have none, and are taken as they are). The scp names the archive relative to its own directory, so
that the directory can be moved: for Kaldi's tools and `kaldiio.load_scp`, change into it first.
"""

# T frames, F mel bins

import os
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from atat.common.ragged import Names, RaggedBuilder

ARK, SCP, SIZES = "feats.ark", "feats.scp", "utt2num_frames"
CHECKSUMS = "utt2crc32"
# Between an utterance's offset and its numbers: "\0B", "FM ", and two sizes, each as "\4" and
# int32 (Kaldi, matrix/kaldi-matrix.cc).
HEADER_BYTES = 15


class FeatureWriter:
    """Write the four files into a directory that exists; a context manager."""

    def __init__(self, directory: Path) -> None:
        import kaldiio  # a quarter of a second that readers need not wait

        self._save = kaldiio.save_ark
        with ExitStack() as stack:
            self._ark = stack.enter_context((directory / ARK).open("wb"))
            self._scp = stack.enter_context((directory / SCP).open("w", encoding="utf-8"))
            self._sizes = stack.enter_context((directory / SIZES).open("w", encoding="utf-8"))
            checksums = (directory / CHECKSUMS).open("w", encoding="utf-8")
            self._checksums = stack.enter_context(checksums)
            self._files = stack.pop_all()

    def write(self, key: str, feats_TF: np.ndarray) -> None:
        """Append one utterance; ids must come sorted by code point."""
        offset = self._ark.tell() + len(f"{key} ".encode())
        values_TF = np.ascontiguousarray(feats_TF, dtype="<f4")
        self._save(self._ark, {key: values_TF})
        self._scp.write(f"{key} {ARK}:{offset}\n")
        self._sizes.write(f"{key} {len(feats_TF)}\n")
        self._checksums.write(f"{key} {zlib.crc32(values_TF.data):08x}\n")

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()


class FeatureReader:
    """Features of one split by utterance id: `reader["a-1"]` is float32 (T, F).

    One open file and some 60 bytes an utterance; it can be handed to other processes, forked or
    spawned: each read says where, so that none moves another's place in the file. (kaldiio seeks,
    and takes 2.6 times as long; docs/log.md.)

    Attributes:
        ids: utterance ids, sorted by code point.
        num_frames: mapping of id to its number of frames T.

    Raises:
        FileNotFoundError: the split has no features.
        ValueError: its files do not belong together; KeyError: no such utterance.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        ark, scp, sizes = (self._directory / name for name in (ARK, SCP, SIZES))
        for path in (ark, scp, sizes):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is not there; {_again(self._directory)}")
        offsets, num_frames = array("q"), array("i")
        keys, previous = RaggedBuilder("B"), ""
        try:
            with scp.open(encoding="utf-8") as places, sizes.open(encoding="utf-8") as lengths:
                for place, length in zip_longest(places, lengths, fillvalue=""):
                    key, _, where = place.rpartition(":")[0].partition(" ")
                    same, _, frames = length.partition(" ")
                    if not key or key != same or where != ARK or key <= previous:
                        raise ValueError("it is out of order, or of another utterance")
                    offsets.append(int(place.rpartition(":")[2]) + HEADER_BYTES)
                    num_frames.append(int(frames))
                    keys.append(key.encode())
                    previous = key
        except (ValueError, OverflowError) as e:
            raise ValueError(
                f"{scp}: entry {len(keys) + 1} and that of {sizes} cannot be used ({e}); "
                f"{_again(self._directory)}"
            ) from e
        self._key_bytes = keys.ragged()
        self.ids = Names(self._key_bytes)
        self._offsets = np.array(offsets, dtype=np.int64)
        self._num_frames = np.array(num_frames, dtype=np.int64)
        self._file = os.open(ark, os.O_RDONLY | os.O_CLOEXEC)
        num_bins = os.pread(self._file, 4, offsets[0] - 4) if offsets else b""
        self._num_bins = int.from_bytes(num_bins, "little")
        self._check_places(ark)
        self._checksums = self._read_checksums()

    def _check_places(self, ark: Path) -> None:
        """Raise ValueError unless the utterances stand one behind the other to the end."""
        keys = self._key_bytes.lengths_N + 1
        lengths = HEADER_BYTES + keys + 4 * self._num_frames * self._num_bins
        ends = np.cumsum(lengths)
        starts = ends - 4 * self._num_frames * self._num_bins
        end = int(ends[-1]) if len(ends) else 0
        if os.fstat(self._file).st_size != end or not np.array_equal(starts, self._offsets):
            raise ValueError(
                f"{ark}: has {os.fstat(self._file).st_size} bytes; by {SCP} and {SIZES} beside it "
                f"the utterances stand otherwise; {_again(self._directory)}"
            )

    def _read_checksums(self) -> np.ndarray | None:
        """CRC-32 by row; -1 once an utterance has been compared."""
        path = self._directory / CHECKSUMS
        if not path.is_file():
            return None
        found = array("q")
        try:
            with path.open(encoding="utf-8") as file:
                for line, expected in zip_longest(file, self.ids):
                    key, checksum = (line or "").rstrip("\n").split(" ")
                    if key != expected:
                        raise ValueError(f"its utterances are not those of {SCP}")
                    found.append(int(checksum, 16))
            return np.array(found, dtype=np.int64)
        except ValueError as e:
            raise ValueError(f"{path}: cannot be used ({e}); {_again(self._directory)}") from e

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, key: str) -> bool:
        row = bisect_left(self.ids, key)
        return row < len(self.ids) and self.ids[row] == key

    def __getitem__(self, key: str) -> np.ndarray:
        row = self._row(key)
        feats_TF = np.empty((self._num_frames[row], self._num_bins), dtype="<f4")
        got = os.preadv(self._file, [feats_TF.reshape(-1).view(np.uint8).data], self._offsets[row])
        if got != feats_TF.nbytes:
            raise ValueError(
                f"{self._directory / ARK}: ends within '{key}'; {_again(self._directory)}"
            )
        if self._checksums is not None and self._checksums[row] >= 0:
            if zlib.crc32(feats_TF.data) != self._checksums[row]:
                raise ValueError(
                    f"{self._directory / ARK}: the numbers of '{key}' are not those that were "
                    f"written (CRC-32); {_again(self._directory)}"
                )
            self._checksums[row] = -1
        return feats_TF

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Id and number of frames T of each utterance, in order."""
        return zip(self.ids, self._num_frames.tolist(), strict=True)

    @property
    def num_frames(self) -> Mapping[str, int]:
        """Number of frames T by utterance id."""
        return _NumFrames(self)

    def _row(self, key: str) -> int:
        row = bisect_left(self.ids, key)
        if row == len(self.ids) or self.ids[row] != key:
            raise KeyError(f"{self._directory} has no features of '{key}'")
        return row

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureReader, (self._directory,)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


def is_whole(directory: Path) -> bool:
    """Whether all features of a split are there, as they were written."""
    try:
        reader = FeatureReader(directory)
        for key in reader.ids:
            reader[key]
    except (ValueError, FileNotFoundError):
        return False
    return len(reader) > 0  # of emptied files none contradicts another


def _again(directory: Path) -> str:
    return f"remove {directory} and run the same ./run.sh again, which makes it again (stage 2)"


class _NumFrames(Mapping[str, int]):
    """The sizes of a reader's utterances, kept in its array."""

    def __init__(self, reader: FeatureReader) -> None:
        self._reader = reader

    def __getitem__(self, key: str) -> int:
        return int(self._reader._num_frames[self._reader._row(key)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._reader.ids)

    def __len__(self) -> int:
        return len(self._reader.ids)
