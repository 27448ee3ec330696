import itertools
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atat.data.tokenizer import Tokenizer
from atat.grammar.grammar import Grammar
from atat.grammar.sentence_dealer import Dealer
from atat.inference import constraints
from atat.inference.constraints import DEAD, Table, WellFormed
from atat.semantics import target_sequence
from atat.semantics.tag_nesting import OUTSIDE
from tests.inference.accepting import accepts

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "egs" / "commands" / "grammar.yaml"
COFFEE = ROOT.parent / "shared/corpora/speech-to-intent-benchmark/data/rhino/coffee_maker.yaml"
TOY = """
context:
  expressions:
    light: ["turn [on, off] (the) $room:room light", "turntable $room:room"]
    stop: ["stop (it)"]
  slots:
    room: [hall, hallway, living room]
"""
SEQUENCES = [
    "light( turn on the room( hallway )room light )light",
    "light( turntable off the room( living room )room )light",
    "stop( stop it )stop",
]

WORDS = ["turn", "on", "hallway", "stop", "it"]


@pytest.fixture(scope="module")
def tokenizer():
    # Few pieces, so that words share beginnings and one can be the beginning of another.
    return Tokenizer.train(SEQUENCES * 5, vocab_size=30)


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "g.yaml").write_text(TOY)
    return Grammar.load(tmp_path / "g.yaml")


def language(accept, eos, limit=100_000):
    """Every accepted token sequence, by trying all allowed tokens; all hypotheses in one batch."""
    found, prefixes, state_N = set(), [()], np.array([accept.start])
    while prefixes:
        allowed_NV = accept.allowed(state_N)
        assert allowed_NV.any(1).all(), "a state from which nothing can follow"
        found |= {prefixes[n] for n in np.flatnonzero(allowed_NV[:, eos]).tolist()}
        allowed_NV[:, eos] = False
        rows, tokens = allowed_NV.nonzero()
        prefixes = [(*prefixes[n], t) for n, t in zip(rows.tolist(), tokens.tolist(), strict=True)]
        assert len(prefixes) < limit
        state_N = accept.advance(state_N[rows], tokens)
        assert (state_N >= 0).all()
    return found


@pytest.mark.parametrize("with_tags", [True, False])
def test_grammar_acceptor_has_exactly_the_grammars_sequences(toy, tokenizer, with_tags):
    accept = constraints.from_grammar(toy, tokenizer, with_tags)
    sequences = {" ".join(symbols) for symbols in toy.automaton(with_tags).sequences()}
    assert len(sequences) == toy.count(with_tags)
    assert language(accept, tokenizer.eos) == {tuple(tokenizer.encode(s)) for s in sequences}


def test_sequences_acceptor_has_exactly_the_given_sequences(tokenizer):
    accept = constraints.from_sequences(SEQUENCES, tokenizer)
    assert language(accept, tokenizer.eos) == {tuple(tokenizer.encode(s)) for s in SEQUENCES}


@given(st.sets(st.lists(st.integers(0, 5), max_size=4).map(tuple), min_size=1, max_size=8))
def test_table_agrees_with_a_list_of_sequences(sequences):
    states = {prefix: n for n, prefix in enumerate(
        sorted({s[:end] for s in sequences for end in range(len(s) + 1)})
    )}  # fmt: skip
    arcs = [(states[p[:-1]], p[-1], n) for p, n in states.items() if p]
    arcs = np.array(arcs, np.int64).reshape(-1, 3)
    np.random.default_rng(0).shuffle(arcs)
    final = np.array([prefix in sequences for prefix in states])
    accept = Table(*arcs.T, final, vocab_size=7, eos=6)
    assert language(accept, eos=6) == sequences
    # Every token in every state, in one batch, the dead state too.
    prefixes = [*states, None]
    state_N = np.array([states.get(prefix, DEAD) for prefix in prefixes])
    allowed_NV = accept.allowed(state_N)
    for token in range(6):
        after_N = accept.advance(state_N, np.full_like(state_N, token))
        for n, prefix in enumerate(prefixes):
            expected = DEAD if prefix is None else states.get((*prefix, token), DEAD)
            assert after_N[n] == expected
            assert allowed_NV[n, token] == (expected != DEAD)


def test_no_hypotheses_give_no_rows(toy, tokenizer):
    for accept in (constraints.from_grammar(toy, tokenizer, True), WellFormed(tokenizer)):
        none = np.zeros(0, np.int64)
        assert accept.allowed(none).shape == (0, len(tokenizer))
        assert accept.advance(none, none).shape == (0,)


def is_well_formed(sequence, nesting=None, max_depth=8):
    try:
        root = target_sequence.parse(sequence)
    except ValueError:
        return False

    def may_stand(node, outer, depth):
        children = [child for child in node.children if isinstance(child, target_sequence.Node)]
        known = nesting is None or node.label in nesting.get(outer, [])
        return (
            known
            and depth <= max_depth
            and all(may_stand(child, node.label, depth + 1) for child in children)
        )

    return may_stand(root, OUTSIDE, 1)


@pytest.mark.parametrize(
    ("known", "num_accepted"),
    [
        ({}, 30),
        ({"nesting": {OUTSIDE: ["light", "stop"], "light": ["room"], "room": []}}, 5),
        ({"nesting": {OUTSIDE: ["light"], "light": ["room"], "room": ["stop"]}}, 4),
        ({"max_depth": 2}, 30),
    ],
)
def test_well_formed_accepts_what_parses_and_nothing_else(tokenizer, known, num_accepted):
    accept = WellFormed(tokenizer, **known)
    word = tokenizer.encode("stop")[-1]
    symbols = [*tokenizer.encode(" ".join(tokenizer.tags)), word]
    for length in range(6):
        rows = list(itertools.product(symbols, repeat=length))
        state_N = np.full(len(rows), accept.start)
        for token_N in np.array(rows).T if length else []:
            state_N = accept.advance(state_N, token_N)
        expected = [is_well_formed(tokenizer.decode(row), **known) for row in rows]
        assert accept.allowed(state_N)[:, tokenizer.eos].tolist() == expected
    assert sum(expected) == num_accepted


@given(seed=st.integers(0, 1000))
def test_whatever_well_formed_lets_through_parses(tokenizer, seed):
    rng = random.Random(seed)
    accept = WellFormed(tokenizer, max_depth=5)
    state, tokens = np.array([accept.start]), []
    while True:
        choices = np.flatnonzero(accept.allowed(state)[0]).tolist()
        closing = [c for c in choices if tokenizer.symbols[c].startswith(")")]
        token = rng.choice(closing if closing and len(tokens) > 30 else choices)
        if token == tokenizer.eos:
            break
        tokens.append(token)
        state = accept.advance(state, np.array([token]))
    assert target_sequence.parse(tokenizer.decode(tokens))
    assert not {0, 1, 2, 3, *tokenizer.task_ids.values()} & set(tokens)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), room=st.integers(2, 30))
def test_whoever_minds_the_room_always_ends_in_time(tokenizer, seed, room):
    rng = random.Random(seed)
    sequences = constraints.from_sequences(SEQUENCES, tokenizer)
    shortest = min(len(tokenizer.encode(sequence)) for sequence in SEQUENCES)
    for accept, least in ((WellFormed(tokenizer, max_depth=5), 2), (sequences, shortest)):
        state, token = np.array([accept.start]), None
        if room < least:
            assert not accept.allowed(state, room).any()
            continue
        for left in range(room, -1, -1):
            choices = np.flatnonzero(accept.allowed(state, left)[0]).tolist()
            assert set(choices) <= set(np.flatnonzero(accept.allowed(state)[0]).tolist())
            token = rng.choice(choices)
            if token == tokenizer.eos:
                break
            state = accept.advance(state, np.array([token]))
        assert token == tokenizer.eos


def test_well_formed_depth_is_cut_to_what_64_bits_hold():
    class Many:
        blank, pad, unk, eos = range(4)

        def __init__(self):
            self.tags = [f"a{n}(" for n in range(2000)] + [f")a{n}" for n in range(2000)]
            self.tag_ids, self.task_ids = set(range(4, 4004)), {}

        def __len__(self):
            return 4005

        def encode(self, tag):
            return [4 + self.tags.index(tag)]

    accept = WellFormed(Many(), max_depth=8)
    state = np.array([0])
    depth = 0
    while accept.allowed(state)[0, 4 + 1999]:
        state = accept.advance(state, np.array([4 + 1999]))
        depth += 1
    assert depth == 5  # 2002^5 < 2^63 < 2002^6
    for _ in range(depth):
        state = accept.advance(state, np.array([4 + 3999]))
    assert np.flatnonzero(accept.allowed(state)[0]).tolist() == [3]


def test_any_words_lets_words_through_and_nothing_else(tokenizer):
    accept = constraints.make(tokenizer, "well_formed", with_tags=False)
    assert accepts(accept, tokenizer, tokenizer.encode("turn the hallway on"))
    assert accepts(accept, tokenizer, [])
    assert not accepts(accept, tokenizer, tokenizer.encode("stop( stop )stop"))
    allowed = np.flatnonzero(accept.allowed(np.array([0]))[0]).tolist()
    assert tokenizer.eos in allowed and not {0, 1, 2, *tokenizer.task_ids.values()} & set(allowed)


def test_make_knows_its_constraints(toy, tokenizer):
    accept = constraints.make(tokenizer, "grammar", with_tags=True, grammar=toy.path)
    assert accepts(accept, tokenizer, tokenizer.encode(SEQUENCES[0]))
    room = tokenizer.encode("room( hall )room")
    assert accepts(constraints.make(tokenizer, "well_formed", with_tags=True), tokenizer, room)
    nested = {OUTSIDE: ["light", "stop"], "light": ["room"]}
    accept = constraints.make(tokenizer, "well_formed", with_tags=True, nesting=nested)
    assert not accepts(accept, tokenizer, room)
    with pytest.raises(ValueError, match="needs a grammar"):
        constraints.make(tokenizer, "grammar", with_tags=True)
    with pytest.raises(ValueError, match="got constraint 'tight'"):
        constraints.make(tokenizer, "tight", with_tags=True)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [("stop it", "stop zz", "word 'zz'"), ("stop:", "halt:", r"tag '\)?halt\(?'")],
)
def test_a_grammar_that_the_vocabulary_cannot_spell_is_refused(
    tmp_path, tokenizer, old, new, reason
):
    (tmp_path / "g.yaml").write_text(TOY.replace("stop (it)", "stop it").replace(old, new))
    with pytest.raises(ValueError, match=f"g.yaml: the {reason} is not in the model's vocabulary"):
        constraints.from_grammar(Grammar.load(tmp_path / "g.yaml"), tokenizer, True)


@pytest.mark.parametrize("path", [DEFAULT, COFFEE], ids=["commands", "coffee"])
def test_large_grammars_are_built_in_seconds_and_accept_their_samples(path):
    if not path.is_file():
        pytest.skip("the benchmark is not on this machine")
    grammar = Grammar.load(path)
    dealer = Dealer(grammar, random.Random(0))
    sample = [
        dealer.draw(intent).sequence for intent in 2000 // len(grammar.intents) * grammar.intents
    ]
    tokenizer = Tokenizer.train(sample, vocab_size=120)
    started = time.process_time()
    accept = constraints.make(tokenizer, "grammar", with_tags=True, grammar=path)
    assert time.process_time() - started < 3
    assert accept.num_states < 20_000
    for sequence in sample[:50]:
        assert accepts(accept, tokenizer, tokenizer.encode(sequence))
        assert not accepts(accept, tokenizer, tokenizer.encode(sequence)[:-1])
