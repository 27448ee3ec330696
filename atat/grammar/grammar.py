"""A grammar of commands: counts, samples and parses its sentences without ever listing them all."""

from collections import Counter
from collections.abc import Iterator
from functools import cache, cached_property
from itertools import islice
from pathlib import Path

from atat.grammar import rhino_file
from atat.grammar.automaton import Automaton, Builder
from atat.grammar.expressions import Choice, Expression, GrammarFile, Phrase, Slot, Word
from atat.semantics import target_sequence

MAX_READINGS = 100  # parses of one sentence; more of them help nobody


class Grammar:
    """Intents, each a list of expressions; slots and their values.

    Attributes:
        path: the file it was read from; text: its content, in our form where it has another.
        intents: names in the order of the file.
        expressions: intent -> its expressions.
        slot_types: type -> its values, for the types that an expression uses.
        slots: name -> the values it can have. The names are in the order of their types in the
            file, which is the canonical order where a label has none of its own.
        fixed_slots: intent -> slot -> value, of slots that its sentences imply and do not say.
        spoken_values: whether `written` leaves a slot's value in the words that are said.
    """

    def __init__(self, path: str | Path, content: GrammarFile) -> None:
        self.path = Path(path)
        self.spoken_values = False
        self.text = content.text
        self.intents = list(content.intents)
        self.slot_types = content.slot_types
        self.expressions = content.intents
        self.fixed_slots = content.fixed_slots
        self._notes = content.notes
        kinds = list(self.slot_types)
        found = [
            (kinds.index(slot.type), intent, slot)
            for intent, expressions in self.expressions.items()
            for expression in expressions
            for slot in slots_of(expression)
        ]
        self.slots: dict[str, tuple[str, ...]] = {}
        self._written: dict[str, dict[str, dict[str, str]]] = {}
        for _, intent, slot in sorted(found, key=lambda one: one[0]):
            values = self.slots.get(slot.name, ()) + self.slot_types[slot.type]
            self.slots[slot.name] = tuple(dict.fromkeys(values))
            self._add_written(intent, slot.name, content.written[slot.type])

    @classmethod
    def load(cls, path: str | Path) -> "Grammar":
        """Read a grammar file.

        Raises:
            FileNotFoundError, ValueError: as `rhino_file.read`, one line with file and line; or
                an intent's slot has two written forms of one value.
        """
        return cls(path, rhino_file.read(path))

    def _add_written(self, intent: str, slot_name: str, values: dict[str, str]) -> None:
        """Note how an intent's slot is written; ValueError where it is otherwise already."""
        known = self._written.setdefault(intent, {}).setdefault(slot_name, {})
        for spoken, value in values.items():
            if known.setdefault(spoken, value) != value:
                raise ValueError(
                    f"{self.path}: slot '{slot_name}' of intent '{intent}': '{spoken}' is written "
                    f"both '{known[spoken]}' and '{value}', expected one form (give the slots "
                    "different names, or the sentences different intents)"
                )

    def automaton(self, with_tags: bool = True) -> Automaton:
        """The minimal automaton of all target sequences, or of all sentences (no tags).

        Symbols are words and tags. Raises ValueError if it is too large to build.
        """
        return self._annotated if with_tags else self._spoken

    def count(self, with_tags: bool = False) -> int:
        """Exact number of distinct sentences, or of distinct target sequences."""
        return self.automaton(with_tags).count()

    def count_by_intent(self) -> dict[str, int]:
        """Exact number of distinct sentences of each intent."""
        return {intent: spoken.count() for intent, spoken in self._spoken_by_intent.items()}

    def warnings(self) -> list[str]:
        """What is allowed but hardly meant, or read in another way: one line each.

        Ambiguity, slots that a sentence has twice, then names unused, brackets of one choice,
        numbers and signs spelled out, words that are not English.
        """
        lines = []
        extra = self.count(with_tags=True) - self.count()
        if extra:
            sentence = _ambiguous_sentence(self._annotated)
            one, other = self.readings(sentence)[:2]
            lines.append(
                f"{self.path}: ambiguous: {extra} more readings than sentences, "
                f"e.g. '{sentence}' is '{one}' and '{other}'"
            )
        for intent, expressions in self.expressions.items():
            most: Counter[str] = Counter()
            for expression in expressions:
                most |= _slot_counts(expression)
            lines += [
                f"{self.path}: a sentence of '{intent}' can have the slot '{name}' {count} times: "
                "its value is a list then; slots of one type may have different names"
                for name, count in most.items()
                if count > 1
            ]
        return lines + list(self._notes)

    def parse(self, words: str) -> list[target_sequence.Frame]:
        """Every parse of a sentence (at most 100); none if it is not in the grammar.

        >>> grammar.parse("turn the light off")  # doctest: +SKIP
        [Frame(intent='setLight', slots=(('state', 'off'),))]
        """
        return [target_sequence.frame(reading) for reading in self.readings(words)]

    def readings(self, words: str) -> list[str]:
        """As `parse`, as target sequences."""
        return list(islice(_readings(self._annotated, words.lower().split()), MAX_READINGS))

    def written(self, intent: str, slot_name: str, spoken: str) -> str:
        """A slot's value as the grammar file writes it, and built-in numbers as Rhino gives them.

        Args:
            intent: as in semantics; slots of one name are written as their intent has them.
            slot_name: as in semantics.
            spoken: the value as sentences and semantics have it, in words. What the intent's slot
                cannot be comes back as it is.

        >>> grammar.written("setTimer", "minutes", "twenty five")  # doctest: +SKIP
        '25'
        """
        if self.spoken_values:
            return spoken
        return self._written.get(intent, {}).get(slot_name, {}).get(spoken, spoken)

    @property
    def written_values(self) -> dict[str, dict[str, dict[str, str]]]:
        """Intent -> slot -> spoken value -> as `written` has it, where that differs."""
        if self.spoken_values:
            return {}
        return {
            intent: {
                name: {spoken: value for spoken, value in values.items() if spoken != value}
                for name, values in slots.items()
            }
            for intent, slots in self._written.items()
        }

    def with_meaning(self, frame: target_sequence.Frame) -> Automaton | None:
        """The automaton of all target sequences of a frame, in whatever order its slots are said.

        None where the grammar cannot say it.
        """
        return _with_meaning(self._annotated, frame)

    # Automata --------------------------------------------------------------------------------

    @property
    def _spoken_by_intent(self) -> dict[str, Automaton]:
        return self._all_spoken[1]

    @cached_property
    def _annotated(self) -> Automaton:
        return self._build(with_tags=True)[0]

    @property
    def _spoken(self) -> Automaton:
        return self._all_spoken[0]

    @cached_property
    def _all_spoken(self) -> tuple[Automaton, dict[str, Automaton]]:
        return self._build(with_tags=False)

    def _build(self, with_tags: bool) -> tuple[Automaton, dict[str, Automaton]]:
        """The automaton of the whole grammar and one an intent."""
        builder = Builder()
        known: dict[tuple[int, int], int] = {}

        def compile(expression: Expression, then: int) -> int:
            """The state that reads the expression and goes on in state `then`."""
            key = (id(expression), then)
            if key not in known:
                known[key] = compile_new(expression, then)
            return known[key]

        def compile_new(expression: Expression, then: int) -> int:
            match expression:
                case Word(text):
                    return builder.state({text: then})
                case Phrase(parts):
                    for part in reversed(parts):
                        then = compile(part, then)
                    return then
                case Choice(options):
                    return builder.union([compile(option, then) for option in options])
                case Slot(kind, name):
                    then = tagged(f"){name}", then)
                    values = [value.split() for value in self.slot_types[kind]]
                    return tagged(
                        f"{name}(", builder.union([builder.chain(v, then) for v in values])
                    )

        def tagged(tag: str, then: int) -> int:
            return builder.state({tag: then}) if with_tags else then

        starts = {}
        try:
            for intent, expressions in self.expressions.items():
                end = tagged(f"){intent}", builder.end)
                alternatives = builder.union([compile(one, end) for one in expressions])
                starts[intent] = tagged(f"{intent}(", alternatives)
            whole = builder.finish(builder.union(starts.values()))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        return whole, {intent: builder.finish(start) for intent, start in starts.items()}


def slots_of(expression: Expression) -> list[Slot]:
    """Each slot of an expression, once: a macro that is used twice is the same object twice."""
    slots, seen, stack = [], set(), [expression]
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        match one:
            case Slot():
                slots.append(one)
            case Phrase(parts) | Choice(parts):
                stack.extend(reversed(parts))
    return slots


@cache
def _slot_counts(expression: Expression) -> Counter[str]:
    """How often a sentence of an expression can have each slot, at most."""
    counts: Counter[str] = Counter()
    match expression:
        case Slot(_, name):
            counts[name] = 1
        case Phrase(parts):
            for part in parts:
                counts += _slot_counts(part)
        case Choice(options):
            for option in options:
                counts |= _slot_counts(option)
    return counts


def _readings(annotated: Automaton, words: list[str]) -> Iterator[str]:
    """Target sequences of the automaton that have these words."""
    dead: set[tuple[int, int]] = set()  # (state, position) from which no parse ends

    def walk(state: int, position: int, tokens: tuple[str, ...]) -> Iterator[str]:
        if (state, position) in dead:
            return
        found = False
        if position == len(words) and annotated.final[state]:
            found = True
            yield " ".join(tokens)
        for symbol, target in annotated.arcs[state].items():
            is_tag = target_sequence.is_tag(symbol)
            if is_tag or words[position : position + 1] == [symbol]:
                for reading in walk(target, position + (not is_tag), (*tokens, symbol)):
                    found = True
                    yield reading
        if not found:
            dead.add((state, position))

    return walk(annotated.start, 0, ())


Slots = tuple[tuple[str, str], ...]


def _with_meaning(annotated: Automaton, frame: target_sequence.Frame) -> Automaton | None:
    """The part of the automaton whose sequences have this intent and these slots."""
    builder = Builder()
    known: dict[tuple[int, Slots, tuple[str, ...], str], int | None] = {}

    def walk(state: int, left: Slots, tags: tuple[str, ...], value: str) -> int | None:
        """The state that goes on with `left` to be said, inside `tags`, after `value` of a slot."""
        key = state, left, tags, value
        if annotated.final[state]:
            return builder.end  # nothing follows the tag that closes the intent
        if key not in known:
            arcs = {}
            for symbol, target in annotated.arcs[state].items():
                after = step(symbol, left, tags, value)
                then = walk(target, *after) if after is not None else None
                if then is not None:
                    arcs[symbol] = then
            known[key] = builder.state(arcs) if arcs else None
        return known[key]

    def step(
        symbol: str, left: Slots, tags: tuple[str, ...], value: str
    ) -> tuple[Slots, tuple[str, ...], str] | None:
        """What is left after a symbol; None where the frame does not allow it."""
        if not target_sequence.is_tag(symbol):
            return left, tags, f"{value} {symbol}".strip() if len(tags) > 1 else ""
        if symbol.endswith("("):
            label = symbol[:-1]
            wanted = label in dict(left) if tags else label == frame.intent
            return (left, (*tags, label), "") if wanted else None
        if len(tags) == 1:
            return None if left else (left, (), "")
        slot = tags[-1], value
        if slot not in left:
            return None
        place = left.index(slot)
        return left[:place] + left[place + 1 :], tags[:-1], ""

    start = walk(annotated.start, tuple(sorted(frame.slots)), (), "")
    return None if start is None else builder.finish(start)


def _ambiguous_sentence(annotated: Automaton) -> str:
    """A shortest ambiguous sentence, of an automaton that has one.

    Two parses are followed side by side, word by word, from where their tags first differ.
    """

    def steps(state: int) -> Iterator[tuple[tuple[str, ...], str | None, int]]:
        """(tags read, then a word or None at the end, state after it)."""
        if annotated.final[state]:
            yield (), None, state
        for symbol, target in annotated.arcs[state].items():
            if target_sequence.is_tag(symbol):
                for tags, word, after in steps(target):
                    yield (symbol, *tags), word, after
            else:
                yield (), symbol, target

    @cache
    def by_word(state: int) -> dict[str | None, list[tuple[tuple[str, ...], int]]]:
        """The same steps, of each word: a slot has thousands."""
        found: dict[str | None, list[tuple[tuple[str, ...], int]]] = {}
        for tags, word, after in steps(state):
            found.setdefault(word, []).append((tags, after))
        return found

    level: dict[tuple[int, int, bool], list[str]] = {(annotated.start, annotated.start, False): []}
    seen = set(level)
    while level:
        following: dict[tuple[int, int, bool], list[str]] = {}
        for (one, other, differ), sentence in level.items():
            for tags, word, after in steps(one):
                for other_tags, other_after in by_word(other).get(word, ()):
                    differs = differ or tags != other_tags
                    if word is None and differs:
                        return " ".join(sentence)
                    pair = (after, other_after, differs)
                    if word is not None and pair not in seen:
                        seen.add(pair)
                        following[pair] = [*sentence, word]
        level = following
    raise AssertionError("no sentence has two readings")
