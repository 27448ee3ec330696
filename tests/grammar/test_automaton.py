import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.grammar import automaton

SETS = st.sets(st.text("abc", max_size=5), min_size=1, max_size=12)


def residuals(sequences):
    """Distinct sets of continuations, one a live prefix: the size of the minimal automaton
    (Myhill-Nerode)."""
    prefixes = {sequence[:end] for sequence in sequences for end in range(len(sequence) + 1)}
    return {
        frozenset(s[len(prefix) :] for s in sequences if s.startswith(prefix))
        for prefix in prefixes
    }


@given(SETS)
def test_automaton_holds_exactly_its_sequences_in_the_fewest_states(sequences):
    made = automaton.from_sequences(sorted(sequences))
    assert {"".join(symbols) for symbols in made.sequences()} == sequences
    assert made.count() == len(sequences)
    assert len(made) == len(residuals(sequences))
    assert all(tuple(sequence) in made for sequence in sequences)


@given(SETS, st.text("abcd", max_size=6))
def test_membership_agrees_with_the_set(sequences, probe):
    assert (tuple(probe) in automaton.from_sequences(sorted(sequences))) == (probe in sequences)


@given(SETS, SETS)
def test_union_is_the_union_of_the_sets(one, other):
    builder = automaton.Builder()
    parts = [
        builder.union([builder.chain(sequence, builder.end) for sequence in sorted(part)])
        for part in (one, other)
    ]
    made = builder.finish(builder.union(parts))
    assert {"".join(symbols) for symbols in made.sequences()} == one | other


@given(SETS, st.fixed_dictionaries(dict.fromkeys("abc", st.text("xy", min_size=1, max_size=3))))
def test_spelling_replaces_every_symbol(sequences, spelling):
    made = automaton.spell(automaton.from_sequences(sorted(sequences)), spelling.get)
    expected = {"".join(spelling[symbol] for symbol in sequence) for sequence in sequences}
    assert {"".join(symbols) for symbols in made.sequences()} == expected
    assert made.count() == len(expected)


@given(SETS)
def test_every_arc_leads_to_a_smaller_state(sequences):
    made = automaton.from_sequences(sorted(sequences))
    assert all(t < state for state, arcs in enumerate(made.arcs) for t in arcs.values())


def test_sequences_come_in_the_order_asked_for():
    made = automaton.from_sequences(["ab", "ac", "b"])
    rng = random.Random(0)
    seen = {tuple(made.sequences(rng.shuffle)) for _ in range(50)}
    assert len(seen) > 1 and {frozenset(order) for order in seen} == {frozenset(made.sequences())}


def test_count_is_exact_where_listing_would_never_end():
    builder = automaton.Builder()
    state = builder.end
    for _ in range(100):
        state = builder.state({"a": state, "b": state})
    assert builder.finish(state).count() == 2**100


def test_an_exploding_set_and_an_endless_sequence_are_refused():
    builder = automaton.Builder(max_states=100)
    with pytest.raises(ValueError, match="more than 100 states"):
        builder.chain(list(range(200)), builder.end)
    longest = automaton.MAX_LENGTH
    twins = ["a" * longest, "a" * (longest - 1) + "b"]  # `union` goes down to their last symbols
    assert automaton.from_sequences(twins).count() == 2
    with pytest.raises(ValueError, match=f"{longest + 1} symbols"):
        automaton.from_sequences(["a" * (longest + 1)])
