"""What a grammar's sentences are made of: words, phrases, choices and slots; what a file says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_BYTES = 1 << 20  # a grammar is written by hand
MAX_DEPTH = 20  # brackets in brackets, macros in macros
MAX_WORDS = 100  # in a sentence: half a minute of speech


@dataclass(frozen=True, eq=False)
class Word:
    """One word, in lower case."""

    text: str


@dataclass(frozen=True, eq=False)
class Phrase:
    """Its parts one after the other; without parts, nothing is said."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """One of the options."""

    options: tuple["Expression", ...]


@dataclass(frozen=True)
class Slot:
    """A value of the type; two of the same type and name are the same slot."""

    type: str
    name: str


Expression = Word | Phrase | Choice | Slot


@dataclass
class GrammarFile:
    """What a file says. Names keep the order of the file."""

    text: str
    intents: dict[str, list[Expression]] = field(default_factory=dict)
    slot_types: dict[str, tuple[str, ...]] = field(default_factory=dict)  # type -> values
    # type -> value as it is said -> as the file has it, or as Rhino gives it for built-in types
    written: dict[str, dict[str, str]] = field(default_factory=dict)
    # intent -> slot -> value, of slots that all its sentences imply and none says
    fixed_slots: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # `file:line: ...` of what is hardly meant


def length(
    expression: Expression,
    values: Mapping[str, Sequence[str]],
    known: dict[int, tuple[int, int]],
) -> tuple[int, int]:
    """Words in the shortest and the longest phrase of an expression.

    Args:
        expression: may use another one in many places; each is counted once.
        values: slot type -> its values, as they are said.
        known: of expressions seen before, by `id`; filled.
    """
    if id(expression) not in known:
        match expression:
            case Word():
                result = 1, 1
            case Slot(type=kind):
                counts = [len(value.split()) for value in values[kind]]
                result = min(counts), max(counts)
            case Phrase(parts=parts):
                lengths = [length(part, values, known) for part in parts]
                result = sum(low for low, _ in lengths), sum(high for _, high in lengths)
            case Choice(options=options):
                lengths = [length(option, values, known) for option in options]
                result = min(low for low, _ in lengths), max(high for _, high in lengths)
        known[id(expression)] = result
    return known[id(expression)]
