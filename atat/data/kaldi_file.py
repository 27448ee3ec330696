"""One file of a Kaldi data directory: a line is "id, white space, rest", sorted, ids unique.

Tabs, line ends of Windows, a byte order mark, empty lines and white space around a line are taken
as what they are meant to be. Messages show characters that nobody sees: `a-1<U+00A0>`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from atat.common.advice import rerun

# Recordings of a user's own are written by hand, and in no stage.
AGAIN = f"if a recipe wrote it, {rerun(1)}"
RERUN = f"; correct the line; {AGAIN}"  # the command last, to be pasted
BOM = "\ufeff"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def entries(path: Path, shown: Path, parse: Callable[[str], str]) -> Iterator[tuple[int, str, str]]:
    """Number of the line, id and value, one by one.

    Args:
        path: the file.
        shown: what messages call it.
        parse: makes the value of the rest of a line, or raises ValueError, saying why it cannot.

    Raises:
        ValueError: it breaks a rule of the format; names file and line.
    """
    previous = ""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                parts = line.lstrip(BOM).split(maxsplit=1)
                if not parts:
                    continue
                if "\0" in line:
                    raise ValueError(f"{shown}:{number}: has zero bytes: {_CONVERT_16}")
                key, value = parts[0], parts[1].rstrip() if len(parts) > 1 else ""
                try:
                    if key <= previous:
                        raise ValueError(_out_of_order(key, previous))
                    if not value:
                        raise ValueError("has an empty value, expected 'id value'")
                    value = parse(value)
                except ValueError as error:
                    where = f"{shown}:{number}: id '{visible(key)}'"
                    raise ValueError(f"{where}: {error}{RERUN}") from error
                yield number, key, value
                previous = key
    except UnicodeDecodeError as error:
        raise ValueError(_undecoded(path, shown)) from error
    if not previous:
        raise ValueError(f"{shown}: is empty; {AGAIN}")


def read(path: Path, shown: Path, parse: Callable[[str], str]) -> dict[str, str]:
    """Id -> value, in the file's order; arguments and errors are those of `entries`."""
    return {key: value for _, key, value in entries(path, shown, parse)}


def _out_of_order(key: str, previous: str) -> str:
    if key == previous:
        return "stands here for the second time"
    return (
        f"stands after '{visible(previous)}', expected lines sorted by code point "
        "(LC_ALL=C sort -o FILE FILE), each id once"
    )


def visible(text: str) -> str:
    """A text with what cannot be seen, or looks like a space, by its number.

    >>> visible("a-1\\u00a0on\\r")
    'a-1<U+00A0>on<U+000D>'
    """
    return "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text)


_CONVERT_16 = "is UTF-16, expected UTF-8 (iconv -f utf-16 -t utf-8)"


def _undecoded(path: Path, shown: Path) -> str:
    """What is wrong with a file that is not UTF-8."""
    content = path.read_bytes()
    if content.startswith(_UTF_16):
        return f"{shown}:1: {_CONVERT_16}"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        return (
            f"{shown}:{number}: byte 0x{content[error.start]:02x} is not UTF-8 "
            "(if the file is latin-1: iconv -f latin1 -t utf-8)"
        )
    return f"{shown}: not UTF-8"
