"""What accepts outputs of two parts (a model: tests/test_transcript_first.py)."""

import numpy as np
import pytest

from atat.data.tokenizer import Tokenizer
from atat.inference import constraints
from atat.inference.beam_search import Hypothesis
from atat.inference.transcripts import AfterTranscript, EndedBy, taken_off
from tests.inference.accepting import accepts

TREE = "light( turn on the room( hallway )room light )light"
WORDS = "living hallway on"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TREE, f"stop( stop {WORDS} )stop"] * 5, vocab_size=40)


@pytest.fixture(params=["sequences", "well_formed"])
def semantics(request, tokenizer):
    if request.param == "sequences":
        return constraints.from_sequences([TREE], tokenizer)
    return constraints.make(tokenizer, "well_formed", with_tags=True)


def test_a_transcript_is_any_words_and_ends_where_semantics_begin(semantics, tokenizer):
    between = tokenizer.task_ids["nlu"]
    accept = AfterTranscript(semantics, tokenizer, between)
    tree, words = tokenizer.encode(TREE), tokenizer.encode(WORDS)
    assert accepts(accept, tokenizer, [between, *tree])
    assert accepts(accept, tokenizer, [*words, between, *tree])
    for wrong in (
        [],
        words,
        [*words, between],
        [*words, *tree],
        [*words, between, between, *tree],
        [*words, between, *tree, between],
        [tokenizer.eos, between, *tree],
        [tokenizer.unk, between, *tree],
    ):
        assert not accepts(accept, tokenizer, wrong)


def test_hypotheses_in_either_part_stand_side_by_side(semantics, tokenizer):
    between = tokenizer.task_ids["nlu"]
    accept = AfterTranscript(semantics, tokenizer, between)
    words = tokenizer.encode(WORDS)
    state_N = accept.advance(np.full(2, accept.start), np.array([between, words[0]]))
    allowed_NV = accept.allowed(state_N)
    assert (allowed_NV[0] == semantics.allowed(np.array([semantics.start]))[0]).all()
    assert allowed_NV[1, between] and allowed_NV[1, words].all()
    assert not allowed_NV[1, [tokenizer.eos, *tokenizer.tag_ids]].any()


def test_a_transcript_leaves_room_for_what_follows(tokenizer):
    sequences = constraints.from_sequences(["stop( )stop"], tokenizer)
    between = tokenizer.task_ids["nlu"]
    accept = AfterTranscript(sequences, tokenizer, between)
    words = tokenizer.encode(WORDS)
    for room, may_begin, may_wait in (
        (0, False, False),
        (2, False, False),
        (3, True, False),
        (4, True, True),
    ):
        allowed_V = accept.allowed(np.array([accept.start]), room)[0]
        assert (allowed_V[between], allowed_V[words].any()) == (may_begin, may_wait)


def test_words_may_end_in_another_token(tokenizer):
    between, words = tokenizer.task_ids["nlu"], tokenizer.encode(WORDS)
    accept = EndedBy(constraints.any_words(tokenizer), tokenizer.eos, between)
    assert accepts(accept, tokenizer, words, end=between)
    assert not accepts(accept, tokenizer, words)
    assert not accepts(accept, tokenizer, tokenizer.encode(TREE), end=between)


def test_semantics_of_two_transcripts_are_one_result():
    one, two = Hypothesis((5, 9, 1, 6, 2), -1.0), Hypothesis((7, 9, 1, 6, 2), -2.0)
    other, nothing = Hypothesis((7, 9, 3), -3.0), Hypothesis((7, 8), -4.0)
    assert taken_off([one, two, other, nothing], 9) == [
        Hypothesis((1, 6, 2), -1.0, (5,)),
        Hypothesis((3,), -3.0, (7,)),
        Hypothesis((), -4.0, (7, 8)),
    ]
