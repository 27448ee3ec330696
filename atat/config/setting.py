"""A field of the settings: default, meaning, and which values it may have."""

import copy
import math
from collections.abc import Callable
from dataclasses import field
from typing import Any, NamedTuple


class Expected(NamedTuple):
    """Which values a setting may have: in words, and as a test that NaN does not pass."""

    said: str
    fits: Callable[[Any], bool]


AT_LEAST_0 = Expected("0 or more", lambda value: value >= 0)
AT_LEAST_1 = Expected("1 or more", lambda value: value >= 1)
ABOVE_0 = Expected("above 0", lambda value: 0 < value < math.inf)
AT_MOST_0 = Expected("0 or less", lambda value: value <= 0)
SHARE = Expected("0 to 1", lambda value: 0 <= value <= 1)
HALF = Expected("0 to 0.5", lambda value: 0 <= value <= 0.5)
SHARE_ABOVE_0 = Expected("above 0 and up to 1", lambda value: 0 < value <= 1)
BELOW_1 = Expected("0 to below 1", lambda value: 0 <= value < 1)
ODD = Expected("odd, 1 or more", lambda value: value >= 1 and value % 2 == 1)
RANGE = Expected("[low, high]", lambda pair: len(pair) == 2 and pair[0] <= pair[1])
RANGE_ABOVE_0 = Expected("[low, high], both above 0", lambda pair: RANGE.fits(pair) and pair[0] > 0)
TWO_BELOW_1 = Expected(
    "two numbers of 0 to below 1", lambda pair: len(pair) == 2 and all(map(BELOW_1.fits, pair))
)


def up_to(most: int) -> Expected:
    """A number of 1 or more, below what nobody has a machine for."""
    return Expected(f"1 to {most:,}", lambda value: 1 <= value <= most)


def one_of(*known: Any) -> Expected:
    """Any of the known values."""
    return Expected(f"one of {', '.join(map(str, known))}", lambda value: value in known)


def some_of(*known: Any) -> Expected:
    """A list with one or more of the known values, and no others."""
    return Expected(
        f"some of {', '.join(map(str, known))}", lambda values: values and set(values) <= set(known)
    )


def any_of(*known: Any) -> Expected:
    """A list of the known values, and no others; it may be empty."""
    return Expected(
        f"any of {', '.join(map(str, known))}", lambda values: set(values) <= set(known)
    )


def setting(default: Any, meaning: str, expected: Expected | None = None, *, was: str = "") -> Any:
    """A field of a settings class.

    Args:
        default: its value where nothing else is said; a list or mapping is copied.
        meaning: a line for the reference, with the unit, and the paper's value where that differs.
        expected: which values it may have; None, where it is set, is always one where the type
            allows it.
        was: its name in earlier versions, which is still read.
    """
    metadata = {"meaning": meaning, "expected": expected, "was": was}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)
