"""Rhino's built-in slot types: what is said of each value, and what Rhino gives for it."""

from itertools import islice
from string import ascii_lowercase

from atat.grammar.spelling import cardinal, ordinal


def _built_in() -> dict[str, dict[str, str]]:
    """Rhino's built-in types: value as it is said -> as Rhino gives it.

    Numbers come in digits ('25', '50%': picovoice/rhino issues 271 and 433); so do ordinals here
    ('first' is '1'), which its documentation does not show. A letter is one letter.
    """
    integers = {cardinal(number): str(number) for number in range(100)}
    ordinals = {ordinal(number): str(number) for number in range(1, 100)}
    percents = {f"{cardinal(number)} percent": f"{number}%" for number in range(101)}
    letters = {letter: letter for letter in ascii_lowercase}
    digits = dict(islice(integers.items(), 10))
    return {
        "pv.SingleDigitInteger": digits,
        "pv.TwoDigitInteger": integers,
        "pv.SingleDigitOrdinal": dict(islice(ordinals.items(), 9)),
        "pv.TwoDigitOrdinal": ordinals,
        "pv.Percent": percents,
        "pv.Alphabetic": letters,
        "pv.Alphanumeric": letters | digits,
    }


BUILT_IN = _built_in()
