"""Many short sequences, of integers or characters, in flat arrays: a million take little memory."""

# N sequences

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Ragged:
    """Many short sequences of integers in two flat arrays.

    Args:
        flat: all of them, one behind the other.
        ends_N: where in it each ends.
    """

    def __init__(self, flat: np.ndarray, ends_N: np.ndarray) -> None:
        self.flat, self.ends_N = flat, ends_N

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | np.ndarray]) -> "Ragged":
        """Those that are given, as int32."""
        builder = RaggedBuilder("i")
        for sequence in sequences:
            builder.append(sequence)
        return builder.ragged()

    def __len__(self) -> int:
        return len(self.ends_N)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.ends_N[row - 1] if row else 0 : self.ends_N[row]]

    @property
    def lengths_N(self) -> np.ndarray:
        """Integers in each."""
        return np.diff(self.ends_N, prepend=0)


class Selection:
    """Some sequences of a `Ragged`, in an order of their own.

    Args:
        ragged: what they are of.
        rows_N: which of it; -1 stands for an empty sequence.
    """

    def __init__(self, ragged: Ragged, rows_N: np.ndarray) -> None:
        self.ragged, self.rows_N = ragged, rows_N

    def __len__(self) -> int:
        return len(self.rows_N)

    def __getitem__(self, place: int) -> np.ndarray:
        row = int(self.rows_N[place])
        return self.ragged[row] if row >= 0 else self.ragged.flat[:0]

    @property
    def lengths_N(self) -> np.ndarray:
        """Integers in each."""
        return np.where(self.rows_N >= 0, self.ragged.lengths_N[self.rows_N], 0)


class Names(Sequence[str]):
    """Strings that are kept as UTF-8 in one array."""

    def __init__(self, characters: Ragged | Selection) -> None:
        self._characters = characters

    def __len__(self) -> int:
        return len(self._characters)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._characters[place].tobytes().decode()


class RaggedBuilder:
    """A `Ragged` that grows.

    Args:
        kind: "i" of int32, "B" of uint8.
    """

    def __init__(self, kind: str) -> None:
        self._flat, self._ends = array(kind), array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, sequence: Iterable[int]) -> None:
        """One more sequence."""
        self._flat.extend(sequence)
        self._ends.append(len(self._flat))

    def ragged(self) -> Ragged:
        """What there is so far."""
        dtype = {"B": np.uint8, "i": np.int32}[self._flat.typecode]
        flat = np.frombuffer(self._flat, dtype) if self._flat else np.empty(0, dtype)
        return Ragged(flat, np.array(self._ends, dtype=np.int64))
