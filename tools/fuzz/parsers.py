"""What is fuzzed: parsers, each with valid input to begin from and the errors it documents."""

import importlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atat.common.cli import MISTAKES
from tools.fuzz import mutations

ROOT = Path(__file__).resolve().parents[2]
TARGETS = tuple(
    f"tools.fuzz.{name}" for name in ("texts", "corpora", "audio", "models", "services")
)

Draw = Callable[[random.Random, Sequence[bytes], Sequence[bytes]], bytes]


def text(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Text whose bytes, numbers, words and lines are changed."""
    return mutations.mutated(draw, seeds, mutations.TEXT, words)


def binary(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Bytes that are changed."""
    return mutations.mutated(draw, seeds, mutations.BINARY, words)


@dataclass(frozen=True)
class Prepared:
    """A parser that is ready.

    Attributes:
        seeds: inputs that it accepts.
        parse: takes an input; what it returns does not matter.
        names: one of these is in each error, so that a user knows which file is meant.
    """

    seeds: Sequence[bytes]
    parse: Callable[[bytes], object]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parser:
    """Something that reads what a stranger may give.

    Attributes:
        prepare: makes it ready; takes a directory for files of its own.
        draw: makes an input of the seeds.
        words: what its input is made of.
        errors: what it may raise; as one line and exit code 2 users see these.
    """

    name: str
    prepare: Callable[[Path], Prepared]
    draw: Draw = text
    words: tuple[bytes, ...] = ()
    errors: tuple[type[BaseException], ...] = MISTAKES


PARSERS: dict[str, Parser] = {}


def parser(
    draw: Draw = text,
    words: str = "",
    errors: tuple[type[BaseException], ...] = MISTAKES,
) -> Callable[[Callable[[Path], Prepared]], Callable[[Path], Prepared]]:
    """Register a function that makes a parser ready, under its name.

    Args:
        words: separated by spaces.
    """

    def register(prepare: Callable[[Path], Prepared]) -> Callable[[Path], Prepared]:
        own = tuple(word.encode() for word in words.split())
        PARSERS[prepare.__name__] = Parser(prepare.__name__, prepare, draw, own, errors)
        return prepare

    return register


def of_file(
    path: Path, seeds: Sequence[str | bytes], read: Callable[[Path], object], *names: str
) -> Prepared:
    """A parser of a file's path.

    Args:
        path: where inputs are written.
        names: what errors may name instead of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    coded = [seed.encode() if isinstance(seed, str) else seed for seed in seeds]
    return Prepared(coded, parse, (path.name, *names))


def of_string(seeds: Sequence[str], read: Callable[[str], object]) -> Prepared:
    """A parser of text that is no file's; what is not UTF-8 comes as from a command line."""
    return Prepared(
        [seed.encode() for seed in seeds],
        lambda data: read(data.decode("utf-8", "surrogateescape")),
    )


def load_all(modules: Sequence[str] = TARGETS) -> dict[str, Parser]:
    """The parsers that modules register, by name."""
    for module in modules:
        importlib.import_module(module)
    return PARSERS
