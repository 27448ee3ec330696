"""A share of a stage's work, for one of several jobs that have no memory in common.

A job with ATAT_SHARE=3/8 in its environment does the third of eight shares of what takes long in
stages 1 (rendering), 2 (features) and 5 (decoding), leaves it on the disk, and stops. The same
command without it finds all shares there, does what is missing, and puts them together. A share is
every eighth item, so that all take about as long.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

VARIABLE = "ATAT_SHARE"
DIRECTORY = ".shares"  # beside what they are shares of
Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """One of several: number is 1 to count."""

    number: int
    count: int

    def of(self, items: Sequence[Item]) -> list[Item]:
        """The items of this share.

        >>> Share(2, 3).of("abcdefgh")
        ['b', 'e', 'h']
        """
        return list(items[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"


class Done(Exception):
    """A share is done, and the command ends; what it left."""


def mine() -> Share | None:
    """The share that this process is asked for; None: all of the work.

    Raises:
        ValueError: ATAT_SHARE is no such share.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError(f"{VARIABLE}: got '{text}', expected NUMBER/COUNT, as 3/8")
    return Share(int(match[1]), int(match[2]))
