"""What readers of other template languages share: words, slot types, checks of a sentence."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from atat.grammar.expressions import (
    MAX_WORDS,
    Choice,
    Expression,
    GrammarFile,
    Phrase,
    Word,
    length,
)
from atat.grammar.spelling import NotAWordError, spell_out, word

MAX_VALUES = 10_000  # of a slot
MAX_ALL_VALUES = 50_000  # of all slots, one that is used again counted again
MAX_TEMPLATES = 20_000  # of a file
MAX_LENGTH = 10_000  # characters of a template
NOTHING = Phrase(())
_PUNCTUATION = '.,;:!?\u2026\u00bf\u00a1"\u201c\u201d'


class Translation:
    """The grammar that a file of templates becomes, an intent and a slot type after the other.

    Attributes:
        content: what was added so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = GrammarFile("")
        self._lengths: dict[int, tuple[int, int]] = {}
        self._kept: list[Expression] = []  # so that none has the `id` of another
        self._fixed: dict[str, dict[str, str]] = {}
        self._types: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}
        self._num_templates = self._num_values = 0

    def count_template(self, text: str, where: str) -> None:
        """Note one more template; ValueError where there are too many, or it is too long."""
        self._num_templates += 1
        if self._num_templates > MAX_TEMPLATES:
            raise ValueError(f"{where} more than {MAX_TEMPLATES} templates in the file")
        if len(text) > MAX_LENGTH:
            raise ValueError(f"{where} {len(text)} characters, expected at most {MAX_LENGTH}")

    def count_values(self, num: int, where: str) -> None:
        """Note more values of slots; ValueError where there are too many."""
        self._num_values += num
        if self._num_values > MAX_ALL_VALUES:
            raise ValueError(f"{where} more than {MAX_ALL_VALUES} values in the slots of the file")

    def add(
        self, intent: str, expression: Expression, fixed: Mapping[str, str], where: str
    ) -> None:
        """Add the sentences of one template.

        Args:
            intent: its intent.
            expression: the sentences.
            fixed: slots that they imply and do not say; the same for all of an intent.
            where: file and line, for messages.
        """
        if self.check_length(expression, where) == 0:
            raise ValueError(f"{where} the template can be empty, expected at least one word")
        known = self._fixed.setdefault(intent, dict(fixed))
        if known != fixed:
            raise ValueError(
                f"{where} intent '{intent}' implies the slots {dict(fixed) or 'none'} here and "
                f"{known or 'none'} above; a model tells intents apart, not templates: give "
                "these sentences an intent of their own"
            )
        if fixed:
            self.content.fixed_slots[intent] = dict(fixed)
        self.content.intents.setdefault(intent, []).append(expression)

    def check_length(self, expression: Expression, where: str) -> int:
        """The words of its shortest phrase; ValueError where the longest has too many."""
        shortest, longest = length(expression, self.content.slot_types, self._lengths)
        if longest > MAX_WORDS:
            raise ValueError(f"{where} a sentence can have {longest} words, at most {MAX_WORDS}")
        self._kept.append(expression)
        return shortest

    def slot_type(self, base: str, values: Mapping[str, str]) -> str:
        """The name of the type with these values (what is said -> as it is written)."""
        key = tuple(sorted(values.items()))
        name = self._types.get((base, key))
        if name is None:
            name, number = base, 1
            while name in self.content.slot_types:
                number += 1
                name = f"{base}-{number}"
            self._types[base, key] = name
            self.content.slot_types[name] = tuple(values)
            self.content.written[name] = dict(values)
        return name

    def finish(self) -> GrammarFile:
        """The whole; ValueError where it has no sentences."""
        if not self.content.intents:
            raise ValueError(f"{self.path}: the grammar is empty: no intent has sentences")
        return self.content


def words(text: str, where: str) -> tuple[Word, ...]:
    """The words of a text between two spaces, spelled out, without punctuation around them.

    Raises:
        ValueError: one that cannot be said.
    """
    try:
        return tuple(map(Word, _said(text)))
    except NotAWordError as error:
        raise ValueError(
            f"{where} {error}: words have letters, apostrophes and hyphens; spell numbers and "
            "signs out as they are said"
        ) from error


@lru_cache(10_000)
def _said(text: str) -> tuple[str, ...]:
    said = (one.strip(_PUNCTUATION) for one in spell_out(text).split())
    return tuple(word(one) for one in said if one)


def phrase(*parts: Expression) -> Expression:
    """Parts one after the other; what says nothing is left out."""
    flat: list[Expression] = []
    for part in parts:
        flat += part.parts if isinstance(part, Phrase) else [part]
    return flat[0] if len(flat) == 1 else Phrase(tuple(flat))


def choice(options: Iterable[Expression]) -> Expression:
    """One of the options; what all of them begin with stands once, before it."""
    left = list({id(option): option for option in options}.values())
    if len(left) == 1:
        return left[0]
    rows = [option.parts if isinstance(option, Phrase) else (option,) for option in left]
    shared = 0
    while all(len(row) > shared and row[shared] is rows[0][shared] for row in rows):
        shared += 1
    rest = Choice(tuple(phrase(*row[shared:]) for row in rows))
    return phrase(*rows[0][:shared], rest)
