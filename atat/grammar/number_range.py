"""Ranges of numbers in templates, as they are said and as they are written."""

from functools import lru_cache

from atat.grammar.spelling import cardinal as _cardinal
from atat.grammar.template_readers import MAX_VALUES

MAX_NUMBER = 10**9

cardinal = lru_cache(MAX_VALUES)(_cardinal)  # of ranges that are used again


def numbers(
    start: int, stop: int, step: int = 1, fractions: int = 1, multiplier: float | None = None
) -> dict[str, str]:
    """What is said of the numbers of a range -> what is written.

    Args:
        start: the first.
        stop: the last, which the range includes.
        step: between them, 1 or more.
        fractions: 1; 2 adds the half behind each number, 10 its tenths.
        multiplier: of what is written.

    Raises:
        ValueError: an empty range, or one that is too long.

    >>> numbers(0, 100, 50), numbers(-1, 0, fractions=2)
    ({'zero': '0', 'fifty': '50', 'one hundred': '100'}, {'minus one': '-1', \
'minus zero point five': '-0.5', 'zero': '0', 'zero point five': '0.5'})
    """
    if step < 1 or start > stop:
        raise ValueError(f"got {start} to {stop} by {step}")
    whole = range(start, stop + 1, step)
    if max(abs(start), abs(stop)) > MAX_NUMBER or len(whole) * fractions > MAX_VALUES:
        raise ValueError(f"got {start} to {stop} by {step}")
    values: dict[str, str] = {}
    for number in whole:
        for tenths in range(0, 10, 10 // fractions):
            value = 10 * number + tenths
            said = "minus " * (value < 0) + cardinal(abs(value) // 10)
            if value % 10:
                said += f" point {cardinal(abs(value) % 10)}"
            exact = value / 10 if multiplier is None else value / 10 * multiplier
            values[said] = f"{exact:.10g}"
    return values
