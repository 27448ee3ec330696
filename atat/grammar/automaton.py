"""Finite sets of sequences as minimal deterministic automata, without ever listing the set.

States are built from the end backwards and equal ones are shared: a state is its arcs and whether
a sequence may end there, so two states with the same future are the same state, and what comes out
is minimal (Daciuk et al. 2000, "Incremental construction of minimal acyclic finite-state automata",
state the idea for word lists; here `union` makes it work for grammars too).
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 300  # symbols in a sequence: `union` recurses two deep a symbol, Python allows 1000


@dataclass(frozen=True)
class Automaton:
    """A finite set of sequences; symbols are strings or integers.

    An arc always leads to a state with a smaller number, so that a loop over the states in order
    sees every state after all that follow it.
    """

    start: int
    final: list[bool]  # one a state: a sequence may end here
    arcs: list[dict[Any, int]]  # one a state: symbol -> next state

    def __contains__(self, sequence: Iterable[Hashable]) -> bool:
        state = self.start
        for symbol in sequence:
            if (after := self.arcs[state].get(symbol)) is None:
                return False
            state = after
        return self.final[state]

    def __len__(self) -> int:
        """Number of states."""
        return len(self.arcs)

    def count(self) -> int:
        """Number of sequences, exactly; it may be far beyond what could be listed."""
        counts: list[int] = []
        for final, arcs in zip(self.final, self.arcs, strict=True):
            counts.append(final + sum(counts[target] for target in arcs.values()))
        return counts[self.start]

    def sequences(
        self, order: Callable[[list[tuple[Any, int]]], None] = lambda arcs: None
    ) -> Iterator[tuple[Any, ...]]:
        """Every sequence, lazily.

        Args:
            order: rearranges in place the list of (symbol, state) arcs to follow next, e.g. a
                shuffle.
        """
        stack: list[tuple[int, tuple[Any, ...]]] = [(self.start, ())]
        while stack:
            state, symbols = stack.pop()
            if self.final[state]:
                yield symbols
            arcs = list(self.arcs[state].items())
            order(arcs)
            stack.extend((target, (*symbols, symbol)) for symbol, target in reversed(arcs))


class Builder:
    """Makes states; every state is made after the states that its arcs lead to."""

    def __init__(self, max_states: int = 300_000) -> None:
        """
        Args:
            max_states: ValueError beyond, where the automaton of a set explodes.
        """
        self._final: list[bool] = []
        self._arcs: list[dict[Any, int]] = []
        self._known: dict[tuple[bool, frozenset[tuple[Any, int]]], int] = {}
        self._unions: dict[frozenset[int], int] = {}
        self._max_states = max_states
        self.end = self.state({}, final=True)  # the set that holds the empty sequence only

    def state(self, arcs: dict[Any, int], final: bool = False) -> int:
        """The state with these arcs, symbol -> state."""
        key = (final, frozenset(arcs.items()))
        known = self._known.get(key)
        if known is not None:
            return known
        if len(self._arcs) + len(self._unions) > self._max_states:
            raise ValueError(f"too large: its automaton has more than {self._max_states} states")
        self._final.append(final)
        self._arcs.append(arcs)
        self._known[key] = len(self._arcs) - 1
        return self._known[key]

    def chain(self, symbols: Sequence[Hashable], then: int) -> int:
        """The state that reads the symbols one after the other and goes on in state `then`."""
        for symbol in reversed(symbols):
            then = self.state({symbol: then})
        return then

    def union(self, states: Iterable[int]) -> int:
        """The state whose sequences are those of all the states."""
        members = frozenset(states)
        if len(members) == 1:
            return next(iter(members))
        if members not in self._unions:
            targets: dict[Hashable, list[int]] = {}
            for member in sorted(members):
                for symbol, target in self._arcs[member].items():
                    targets.setdefault(symbol, []).append(target)
            arcs = {symbol: self.union(group) for symbol, group in targets.items()}
            final = any(self._final[member] for member in members)
            self._unions[members] = self.state(arcs, final)
        return self._unions[members]

    def finish(self, start: int) -> Automaton:
        """The automaton that starts in `start`, with the states reached from there only."""
        reached, stack = {start}, [start]
        while stack:
            new = set(self._arcs[stack.pop()].values()) - reached
            reached |= new
            stack.extend(new)
        kept = sorted(reached)
        number = {state: index for index, state in enumerate(kept)}
        return Automaton(
            start=number[start],
            final=[self._final[state] for state in kept],
            arcs=[{a: number[t] for a, t in self._arcs[state].items()} for state in kept],
        )


def from_sequences(sequences: Iterable[Sequence[Hashable]]) -> Automaton:
    """The automaton of a list of sequences.

    >>> a = from_sequences(["tap", "taps", "top", "tops"])
    >>> a.count(), len(a), tuple("taps") in a, tuple("ta") in a
    (4, 5, True, False)
    """
    builder = Builder()
    chains = []
    for sequence in sequences:
        if len(sequence) > MAX_LENGTH:
            raise ValueError(f"a sequence has {len(sequence)} symbols, at most {MAX_LENGTH}")
        chains.append(builder.chain(sequence, builder.end))
    return builder.finish(builder.union(chains))


def spell(automaton: Automaton, spelling: Callable[[Any], Sequence[Hashable]]) -> Automaton:
    """The same set with every symbol replaced by one or more others.

    >>> a = spell(from_sequences([["tea"], ["ten"]]), list)
    >>> sorted("".join(symbols) for symbols in a.sequences()), len(a)
    (['tea', 'ten'], 4)
    """
    builder = Builder()
    made: list[int] = []
    for final, arcs in zip(automaton.final, automaton.arcs, strict=True):
        parts = [builder.chain(spelling(symbol), made[target]) for symbol, target in arcs.items()]
        made.append(builder.union([*parts, builder.end] if final else parts))
    return builder.finish(made[automaton.start])
