"""Valid input, made invalid: bytes are flipped, cut, repeated and nested; values are exchanged.

Random bytes are refused at the first line of every reader. What is nearly right gets further.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

MAX_BYTES = 1 << 16  # of an input, but for those that are blown up
BLOWN_UP_BYTES = 1 << 20
BLOWN_UP_EVERY = 500
NUM_CHANGES = (1, 1, 1, 2, 2, 3, 5)

NUMBERS = (
    *("0", "-1", "1", "2", "127", "255", "256", "65535", "65536", "2147483647", "-2147483648"),
    *("4294967295", "9223372036854775807", "9223372036854775808", "1e308", "1e309", "-0.0"),
    *("nan", "inf", "-inf", "0x10", "1_000", "1.", ".5", "00", "99999999999999999999", "9" * 5000),
)
TEXTS = (
    *("\0", "\ufeff", "\u00a0", "\u2028", "\u202e", "\u0301" * 200, "\ud7ff", "\U0001f600"),
    *(
        "\x1b[2J",
        "\r",
        "\r\n",
        "\n",
        "\t",
        "\x85",
        "\v",
        "\f",
        "\u0130",
        "\ufdfa",
        "\u2019",
        "e\u0301",
    ),
    *("", " ", "  ", "'", '"', "\\", "/", "../../etc/passwd", "/etc/passwd", "/dev/zero", "-", "~"),
    *(
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "<",
        ">",
        "|",
        ":",
        ";",
        ",",
        "=",
        "$",
        "@",
        "#",
        "%",
        "&",
        "*",
    ),
    *("null", "true", "~", "none", "None", "${oc.env:HOME}", "${a}", "!!python/object:os.system"),
    *("|sh", "cat /etc/passwd |", "$(id)", "`id`", "; id", "%s%n", "{0}", "a" * 300, "__class__"),
)
BYTES = (
    *(b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\x00" * 8, b"\xff" * 8),
    *(b"\x80", b"\x7f", b"\xf0\x9f", b"PK\x03\x04", b"\x1f\x8b", b"RIFF", b"OggS", b"fLaC", b"ID3"),
)
BRACKETS = ((b"[", b"]"), (b"(", b")"), (b"{", b"}"), (b"<", b">"), (b'{"a":', b"}"), (b"- ", b""))
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, float("nan")),
    *(float("inf"), "", " ", "a", "\0", "1", "../a", "/etc/passwd", [], {}, [[]], [None], ["a", 1]),
    *({"a": 1}, {"": None}, [0] * 300, "a" * 300, "\ud800", "\x1b[2J", "${oc.env:HOME}", [[["a"]]]),
)

Change = Callable[[random.Random, bytearray, Sequence[bytes], Sequence[bytes]], None]


def _place(draw: random.Random, data: bytearray) -> tuple[int, int]:
    """Start and end of a part, mostly a short one."""
    start = draw.randrange(len(data) + 1)
    longest = len(data) - start
    length = min(longest, draw.choice((1, 1, 2, 4, 8, 16, 64, longest)))
    return start, start + length


def _flip(draw: random.Random, data: bytearray, *_: Any) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _set(draw: random.Random, data: bytearray, *_: Any) -> None:
    if data:
        data[draw.randrange(len(data))] = draw.randrange(256)


def _remove(draw: random.Random, data: bytearray, *_: Any) -> None:
    start, end = _place(draw, data)
    del data[start:end]


def _cut(draw: random.Random, data: bytearray, *_: Any) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _repeat(draw: random.Random, data: bytearray, *_: Any) -> None:
    start, end = _place(draw, data)
    times = draw.choice((2, 2, 3, 10, 120, 1000))
    data[start:end] = data[start:end] * min(times, MAX_BYTES // max(end - start, 1) + 1)


def _move(draw: random.Random, data: bytearray, *_: Any) -> None:
    start, end = _place(draw, data)
    part = data[start:end]
    if draw.random() < 0.5:
        del data[start:end]
    at = draw.randrange(len(data) + 1)
    data[at:at] = part


def _insert(
    draw: random.Random, data: bytearray, words: Sequence[bytes], seeds: Sequence[bytes]
) -> None:
    start, end = _place(draw, data)
    kinds: list[bytes] = [
        draw.choice(NUMBERS).encode(),
        draw.choice(TEXTS).encode("utf-8", "surrogatepass"),
        draw.choice(BYTES),
        draw.randbytes(draw.randrange(1, 9)),
        *([draw.choice(words)] * 3 if words else []),
    ]
    data[start : end if draw.random() < 0.5 else start] = draw.choice(kinds)


def _number(draw: random.Random, data: bytearray, *_: Any) -> None:
    """Another number in the place of one that is written in digits."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if found:
        match = draw.choice(found)
        data[match.start() : match.end()] = draw.choice(NUMBERS).encode()


def _integer(draw: random.Random, data: bytearray, *_: Any) -> None:
    """Another number in the place of one that is written in bytes."""
    width = draw.choice((1, 2, 4, 8))
    if len(data) >= width:
        # Headers are at the beginning.
        at = draw.randrange(min(len(data) - width + 1, draw.choice((64, 512, 1 << 20))))
        top = 1 << 8 * width
        value = draw.choice((0, 1, top - 1, top // 2, top // 2 - 1, top - 2, draw.randrange(top)))
        data[at : at + width] = value.to_bytes(width, draw.choice(("little", "big")))


def _nest(draw: random.Random, data: bytearray, *_: Any) -> None:
    """Brackets around a part, one or a thousand."""
    opening, closing = draw.choice(BRACKETS)
    times = draw.choice((1, 2, 30, 150, 3000))
    start, end = _place(draw, data)
    part = bytes(data[start:end])
    data[start:end] = opening * times + part + closing * draw.choice((times, times, 0, times - 1))


def _splice(
    draw: random.Random, data: bytearray, words: Sequence[bytes], seeds: Sequence[bytes]
) -> None:
    """The beginning of one, the end of another."""
    other = draw.choice(seeds)
    data[draw.randrange(len(data) + 1) :] = other[draw.randrange(len(other) + 1) :]


def _lines(draw: random.Random, data: bytearray, *_: Any) -> None:
    """A line away, twice, or elsewhere; two of them in the place of each other."""
    lines = bytes(data).splitlines(keepends=True)
    if lines:
        at, to = draw.randrange(len(lines)), draw.randrange(len(lines))
        match draw.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines.insert(to, lines[at])
            case 2:
                lines.insert(to, lines.pop(at))
            case 3:
                lines[at] = lines[to].rstrip(b"\r\n") + b" " + lines[at]
        data[:] = b"".join(lines)


def _words(draw: random.Random, data: bytearray, *_: Any) -> None:
    """A word away, twice, or another's."""
    parts = re.split(rb"(\s+|[,:;=()\[\]{}<>|])", bytes(data))
    at, to = draw.randrange(len(parts)), draw.randrange(len(parts))
    parts[at] = draw.choice((b"", parts[to], parts[at] * 2, parts[at] + parts[to]))
    data[:] = b"".join(parts)


def _encode(draw: random.Random, data: bytearray, *_: Any) -> None:
    """The whole of it as another computer writes it."""
    text = bytes(data).decode("utf-8", "replace")
    match draw.randrange(5):
        case 0:
            data[:] = text.encode("utf-16")
        case 1:
            data[:] = text.encode("latin-1", "replace")
        case 2:
            data[:] = text.replace("\n", "\r\n").encode()
        case 3:
            data[:] = ("\ufeff" + text).encode()
        case 4:
            data[:] = text.upper().encode()


def _empty(draw: random.Random, data: bytearray, *_: Any) -> None:
    data[:] = draw.choice((b"", b"\n", b"\0", b"\xff", b"{}", b"[]", b"null", b"0", b" "))


ANY = (_flip, _set, _remove, _cut, _repeat, _move, _insert, _insert, _splice)
TEXT: tuple[Change, ...] = (*ANY, _number, _nest, _lines, _lines, _words, _words, _words, _encode)
BINARY: tuple[Change, ...] = (*ANY, _flip, _set, _integer, _integer, _integer, _integer)


def mutated(
    draw: random.Random,
    seeds: Sequence[bytes],
    changes: Sequence[Change],
    words: Sequence[bytes] = (),
) -> bytes:
    """One of the seeds, changed in a few places.

    Args:
        draw: where all chance comes from.
        seeds: valid inputs.
        changes: `TEXT` or `BINARY`.
        words: what the format's files are made of.
    """
    data = bytearray(draw.choice(seeds))
    if draw.random() < 0.002:
        _empty(draw, data)
        return bytes(data)
    for _ in range(draw.choice(NUM_CHANGES)):
        draw.choice(changes)(draw, data, words, seeds)
    if data and draw.randrange(BLOWN_UP_EVERY) == 0:
        start, end = _place(draw, data)
        times = BLOWN_UP_BYTES // max(end - start, 1)
        data[start:end] = data[start:end] * times
        return bytes(data[:BLOWN_UP_BYTES])
    return bytes(data[:MAX_BYTES])


def exchanged(draw: random.Random, value: Any) -> Any:
    """A value as JSON has them, with another in some place of it.

    >>> draw = random.Random(1)
    >>> exchanged(draw, {"a": [1, 2]}) != {"a": [1, 2]}
    True
    """
    value = json.loads(json.dumps(value))
    places = list(_places(value))
    if not places:
        return draw.choice(VALUES)
    within, key = draw.choice(places)
    match draw.randrange(6):
        case 0 | 1 | 2:
            within[key] = draw.choice(VALUES)
        case 3:
            del within[key]
        case 4:
            other, key_of_other = draw.choice(places)
            within[key] = json.loads(json.dumps(other[key_of_other]))
        case 5:
            if isinstance(within, dict):
                within[draw.choice((*TEXTS, *map(str, within)))] = within.pop(key)
            else:
                within.extend(within[key:] * draw.choice((1, 50)))
    return value


def _places(value: Any) -> Any:
    """Every (container, key) inside of a value."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def json_mutated(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """JSON (one value, or lines of them) whose values are exchanged, or whose bytes are changed."""
    if draw.random() < 0.35:
        return mutated(draw, seeds, TEXT, words)
    seed = draw.choice(seeds)
    try:
        parts: list[Any] = [json.loads(seed)]
    except ValueError:
        parts = [_json_or_bytes(line) for line in seed.splitlines()]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(parts))
        if not isinstance(parts[at], bytes):
            parts[at] = exchanged(draw, parts[at])
    as_ascii = draw.random() < 0.2
    return b"\n".join(
        part
        if isinstance(part, bytes)
        else json.dumps(part, ensure_ascii=as_ascii).encode("utf-8", "surrogatepass")
        for part in parts
    )


def _json_or_bytes(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line
