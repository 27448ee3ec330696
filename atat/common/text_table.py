"""Tables as plain text, for a terminal."""

from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text in columns; the first row is the header, numbers stand to the right.

    >>> print(align([["run", "n"], ["test", "500"], ["test_nlu", "20"]]))
    run         n
    --------  ---
    test      500
    test_nlu   20
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width for width in widths]
    text = []
    for row in [rows[0], rule, *rows[1:]]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
