"""Draws sentences of a grammar, and of what it is made of rather what was used less."""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from atat.grammar.expressions import Choice, Expression, Phrase, Slot, Word
from atat.grammar.grammar import Grammar, slots_of

PATIENCE = 200  # draws in a row that gave nothing new

# A value of a slot, or an option of a choice by its place.
Option = tuple[Choice | Slot, Any]
# One of these, or an expression of an intent: what is covered and counted.
Unit = tuple[Hashable, Hashable]
Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class Sentence:
    """A sentence of the grammar, and the alternatives and slot values that it has."""

    intent: str
    sequence: str  # target sequence
    words: str
    units: tuple[Unit, ...]  # what it is made of

    @property
    def group(self) -> "Group":
        """Its intent, and the slots that its expression can have."""
        return self.intent, _group(self.units[0][1])

    @property
    def slots(self) -> tuple[str, frozenset[str]]:
        """Its combination of slots, within its intent."""
        names = (place.name for place, _ in self.units if isinstance(place, Slot))
        return self.intent, frozenset(names)


Group = tuple[str, tuple[str, ...]]  # an intent, and the slots that an expression can have


class Dealer:
    """Draws sentences; rather of what was used less, so that all is used about equally often.

    Attributes:
        units: the alternatives and then the slot values of the grammar.
        groups: intent -> its combinations of slots -> the expressions that can have these.
    """

    def __init__(self, grammar: Grammar, rng: random.Random) -> None:
        self.grammar = grammar
        self.rng = rng
        self.uses: Counter[Unit] = Counter()
        self._is_fair = True
        self.groups: dict[str, dict[tuple[str, ...], list[Expression]]] = {}
        for intent, expressions in grammar.expressions.items():
            groups = self.groups[intent] = {}
            for expression in expressions:
                groups.setdefault(_group(expression), []).append(expression)
        self._above: dict[Expression, set[Expression]] = {}
        self._expressions_with: dict[Expression, dict[str, list[Expression]]] = {}
        nodes = _nodes(grammar)
        self._parents: dict[Expression, list[Expression]] = {}
        for node in nodes:
            for part in _parts(node):
                self._parents.setdefault(part, []).append(node)
        self.units: list[Option] = [
            (node, place)
            for node in nodes
            if isinstance(node, Choice)
            for place in range(len(node.options))
        ]
        slots = [node for node in nodes if isinstance(node, Slot)]
        self.units += [(slot, value) for slot in slots for value in grammar.slot_types[slot.type]]

    def draw(self, intent: str, group: tuple[str, ...] | None = None) -> Sentence:
        """A sentence of an intent; with a group, of an expression that can have these slots."""
        if group is None:
            group = self.rng.choice(list(self.groups[intent]))
        return self.say(intent, self._pick(intent, self.groups[intent][group]))

    def use(self, sentence: Sentence) -> None:
        """Count what a sentence is made of."""
        self.uses.update(sentence.units)

    def expressions_with(self, unit: Option) -> dict[str, list[Expression]]:
        """The expressions that can have an alternative or a slot value, by intent."""
        node = unit[0]
        if node not in self._expressions_with:
            above = self._all_above(node)
            found = {
                intent: [one for one in expressions if one in above]
                for intent, expressions in self.grammar.expressions.items()
            }
            self._expressions_with[node] = {i: many for i, many in found.items() if many}
        return self._expressions_with[node]

    def say(self, intent: str, expression: Expression, unit: Option | None = None) -> Sentence:
        """A sentence of an expression; with a unit that it can have, one that has it."""
        units: list[Unit] = [(intent, expression)]
        missing = [unit] if unit else []
        above = self._all_above(unit[0]) if unit else set()

        tokens: list[str] = []
        words: list[str] = []

        def walk(one: Expression) -> None:
            match one:
                case Word(text):
                    tokens.append(text)
                    words.append(text)
                case Phrase(parts):
                    for part in parts:
                        walk(part)
                case Choice(options):
                    if one not in above:
                        place = self._pick(one, range(len(options)))
                    elif unit and one is unit[0]:
                        place = unit[1]
                    else:
                        leading = [i for i, option in enumerate(options) if option in above]
                        place = self.rng.choice(leading)
                    units.append((one, place))
                    walk(options[place])
                case Slot(kind, name):
                    if missing and one == missing[0][0]:
                        value = missing.pop()[1]
                    else:
                        value = self._pick(one, self.grammar.slot_types[kind])
                    units.append((one, value))
                    tokens.extend((f"{name}(", value, f"){name}"))
                    words.append(value)

        walk(expression)
        sequence = " ".join([f"{intent}(", *tokens, f"){intent}"])
        return Sentence(intent, sequence, " ".join(words), tuple(units))

    def search(
        self, draw: Callable[[], Sentence], is_wanted: Callable[[Sentence], bool]
    ) -> Sentence | None:
        """The first of some draws that is wanted; None after PATIENCE in vain.

        What was used less may have no more sentences that are wanted: half the draws disregard it.
        """
        for number in range(PATIENCE):
            self._is_fair = number < PATIENCE // 2
            if is_wanted(sentence := draw()):
                break
        else:
            sentence = None
        self._is_fair = True
        return sentence

    def _pick(self, place: Hashable, items: Sequence[Item]) -> Item:
        """Of two items drawn, the less used."""
        if len(items) == 1:
            return items[0]
        one, other = (items[int(self.rng.random() * len(items))] for _ in range(2))
        return other if self._is_fair and self.uses[place, other] < self.uses[place, one] else one

    def _all_above(self, node: Expression) -> set[Expression]:
        """The expressions that a node is part of, itself too."""
        if node not in self._above:
            above, stack = {node}, [node]
            while stack:
                new = set(self._parents.get(stack.pop(), ())) - above
                above |= new
                stack.extend(new)
            self._above[node] = above
        return self._above[node]


@cache
def _group(expression: Expression) -> tuple[str, ...]:
    return tuple(sorted({slot.name for slot in slots_of(expression)}))


def _parts(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Phrase(parts) | Choice(parts):
            return parts
    return ()


def _nodes(grammar: Grammar) -> list[Expression]:
    """Every part of every expression once, in the order of the file."""
    found: dict[Expression, None] = {}
    stack = [one for many in grammar.expressions.values() for one in many][::-1]
    while stack:
        node = stack.pop()
        if node not in found:
            found[node] = None
            stack.extend(reversed(_parts(node)))
    return list(found)
