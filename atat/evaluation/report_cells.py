"""Tables of a report: header, rows and the format of numbers in their cells."""

from dataclasses import dataclass

from atat.evaluation.hints import Hint
from atat.evaluation.metrics import Metric


@dataclass(frozen=True)
class Table:
    """A header and rows of plain text; `note` stands below, `hints` say what is not there yet."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    hints: tuple[Hint, ...] = ()


def percent(metric: Metric) -> str:
    """A share with its interval, as `91.4 % (88.6\u201393.6)`."""
    low, high = 100 * metric["low"], 100 * metric["high"]
    return f"{100 * metric['value']:.1f} % ({low:.1f}\u2013{high:.1f})"


def points(change: Metric, unit: str = "") -> str:
    """A difference of shares with its interval, in points.

    >>> points({"value": 0.05, "low": -0.01, "high": 0.11})
    '+5.0 (-1.0 to +11.0)'
    """
    value, low, high = (100 * change[key] for key in ("value", "low", "high"))
    return f"{value:+.1f}{unit} ({low:+.1f} to {high:+.1f})"


def p_value(p: float) -> str:
    """`= 0.012`, or that it is below 0.001."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def number(value: float | None, form: str) -> str:
    """In a format; "" where there is none."""
    return "" if value is None else format(value, form)
