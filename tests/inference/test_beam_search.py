"""Beam search against exhaustive search, greedy search, random automata and broken input."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atat.inference.beam_search import CTC_FLOOR, Hypothesis, search
from atat.inference.ctc_prefix_score import CtcPrefixScorer
from tests.toy import log_softmax

# blank, padding, a task token, the end, two words, a tag
BLANK, PAD, TASK, EOS, A, B, TAG = range(7)
SIZE = 7
BANNED = (BLANK, PAD, TASK)


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


@dataclass
class ToyState:
    hidden_BKD: np.ndarray
    memory_BD: np.ndarray

    def select(self, parent_BK):
        rows_B1 = np.arange(len(parent_BK))[:, None]
        return ToyState(self.hidden_BKD[rows_B1, parent_BK], self.memory_BD)

    def select_utterances(self, index_B):
        return ToyState(self.hidden_BKD[index_B], self.memory_BD[index_B])


class ToyDecoder:
    """A recurrent network with random weights: its output depends on memory and whole prefix."""

    def __init__(self, seed=0, size=SIZE, width=8, sharp=3.0):
        rng = np.random.default_rng(seed)
        self.embedding, self.output = (normal(rng, size, width) * sharp for _ in range(2))
        self.recurrent = normal(rng, width, width)

    def start(self, memory_BTD, mask_BT, num_hyps):
        weight_BT1 = mask_BT[..., None].astype(np.float32)
        mean_BD = (memory_BTD * weight_BT1).sum(1) / weight_BT1.sum(1)
        return ToyState(mean_BD[:, None].repeat(num_hyps, 1), mean_BD)

    def step(self, token_BK, state):
        hidden_BKD = np.tanh(
            state.hidden_BKD @ self.recurrent + self.embedding[token_BK] + state.memory_BD[:, None]
        )
        return log_softmax(hidden_BKD @ self.output.T), ToyState(hidden_BKD, state.memory_BD)


class UniformDecoder(ToyDecoder):
    """Everything is equally likely: nothing but ties."""

    def step(self, token_BK, state):
        return np.full((*token_BK.shape, SIZE), -math.log(SIZE), np.float32), state


class Automaton:
    """A random deterministic automaton; -1 where there is no transition."""

    def __init__(self, next_SV):
        self.start = 0
        self.next_SV = next_SV
        self.asked_illegal = False
        # Fewest tokens to an end, by as many rounds of trying all arcs as there are states.
        needed = [0 if int(row[EOS]) >= 0 else 99 for row in next_SV]
        for _ in needed:
            for state, row in enumerate(next_SV.tolist()):
                ways = [needed[to] + 1 for t, to in enumerate(row) if to >= 0 and t in (A, B, TAG)]
                needed[state] = min([needed[state], *ways])
        self.needed_S = np.array([*needed, 99])  # the last is for -1

    @classmethod
    def random(cls, seed, num_states=4):
        rng = np.random.default_rng(seed)
        next_SV = rng.integers(0, num_states, (num_states, SIZE))
        return cls(np.where(rng.random((num_states, SIZE)) < 0.4, -1, next_SV))

    def allowed(self, state_N, room):
        next_NV = self.next_SV[state_N]
        in_time_NV = self.needed_S[next_NV] < room
        in_time_NV[:, EOS] = True
        return (next_NV >= 0) & in_time_NV

    def advance(self, state_N, token_N):
        next_N = self.next_SV[state_N, token_N]
        self.asked_illegal |= bool((next_N < 0).any())
        return next_N

    def accepts(self, tokens):
        state = 0
        for token in (*tokens, EOS):
            state = int(self.next_SV[state, token])
            if state < 0:
                return False
        return True


def memory(batch=1, num_frames=4, width=8, seed=5):
    memory_BTD = normal(np.random.default_rng(seed), batch, num_frames, width)
    return memory_BTD, np.ones((batch, num_frames), bool)


def run(decoder, memory_BTD, mask_BT, **options):
    first_B = np.full(len(memory_BTD), TASK)
    return search(decoder, memory_BTD, mask_BT, first_B, eos=EOS, **{"banned": BANNED, **options})


def exhaustive(decoder, memory_BTD, mask_BT, max_length, acceptor=None, bonus=0.0, ctc=None, w=0.0):
    """Every sequence and its score, best first, by one walk each; one utterance."""
    results = []
    for length in range(max_length + 1):
        for tokens in itertools.product((A, B, TAG), repeat=length):
            if acceptor is not None and not acceptor.accepts(tokens):
                continue
            state, score = decoder.start(memory_BTD, mask_BT, 1), 0.0
            for previous, token in itertools.pairwise((TASK, *tokens, EOS)):
                log_probs_BKV, state = decoder.step(np.array([[previous]]), state)
                score += float(log_probs_BKV[0, 0, token])
            score = (1 - w) * score + bonus * length
            if ctc is not None:
                prefix = ctc.start(1)
                zero = np.zeros((1, 1), np.int64)
                for token in tokens:
                    prefix = ctc.advance(prefix, zero, np.array([[token]]))
                score += w * max(float(ctc.score(prefix)[0, 0, EOS]), CTC_FLOOR)
            if score > -math.inf:
                results.append(Hypothesis(tokens, score))
    return sorted(results, key=lambda h: -h.score)


def assert_same(got, expected):
    assert [h.tokens for h in got] == [h.tokens for h in expected]
    for a, b in zip(got, expected, strict=True):
        assert math.isclose(a.score, b.score, rel_tol=1e-5, abs_tol=1e-5), (a, b)


def test_what_is_given_stands_before_what_is_found_and_costs_nothing():
    decoder, (memory_BTD, mask_BT) = ToyDecoder(), memory(batch=2)
    given_BP = np.array([[A, TAG], [B, B]])
    found_B = run(decoder, memory_BTD, mask_BT, beam=300, nbest=3, max_length=3, given_BP=given_BP)
    for b, found in enumerate(found_B):
        rest = []
        for length in range(4):
            for tokens in itertools.product((A, B, TAG), repeat=length):
                state, score = decoder.start(memory_BTD[b : b + 1], mask_BT[b : b + 1], 1), 0.0
                for place, token in enumerate((TASK, *given_BP[b], *tokens)):
                    log_probs_BKV, state = decoder.step(np.array([[token]]), state)
                    if place >= given_BP.shape[1]:
                        score += float(log_probs_BKV[0, 0, (*tokens, EOS)[place - 2]])
                rest.append(Hypothesis(tokens, pytest.approx(score, abs=1e-4)))
        best = sorted(rest, key=lambda h: -h.score.expected)[:3]
        assert found == best


@pytest.mark.parametrize("nbest", [1, 50])
@pytest.mark.parametrize("bonus", [0.0, 2.5, -0.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_as_wide_as_everything_is_exhaustive_search(seed, bonus, nbest):
    decoder, (memory_BTD, mask_BT) = ToyDecoder(seed), memory(seed=seed)
    (got,) = run(
        decoder, memory_BTD, mask_BT, beam=400, nbest=nbest, max_length=4, length_bonus=bonus
    )
    assert_same(got, exhaustive(decoder, memory_BTD, mask_BT, 4, bonus=bonus)[:nbest])


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_joint_search_with_ctc_is_exhaustive_too(weight):
    decoder, (memory_BTD, mask_BT) = ToyDecoder(1), memory()
    ctc_BTV = log_softmax(2 * normal(np.random.default_rng(2), 1, 4, SIZE))
    ctc = CtcPrefixScorer(ctc_BTV, mask_BT, eos=EOS, silent=[TAG])
    (got,) = run(
        decoder,
        memory_BTD,
        mask_BT,
        beam=400,
        nbest=20,
        max_length=4,
        ctc_log_probs_BTV=ctc_BTV,
        ctc_weight=weight,
        ctc_silent_tokens=[TAG],
    )
    expected = exhaustive(decoder, memory_BTD, mask_BT, 4, ctc=ctc, w=weight)
    if weight < 1:
        assert_same(got, expected[:20])
    else:  # tags are free, so many tie: the scores are what is comparable
        best = {h.tokens: h.score for h in expected}
        for a, b in zip(got, expected, strict=False):
            assert math.isclose(a.score, b.score, rel_tol=1e-5, abs_tol=1e-5)
            assert math.isclose(a.score, best[a.tokens], rel_tol=1e-5, abs_tol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_beam_one_is_greedy(seed):
    decoder, (memory_BTD, mask_BT) = ToyDecoder(seed), memory(seed=seed)
    state, token, tokens, score = decoder.start(memory_BTD, mask_BT, 1), TASK, [], 0.0
    while token != EOS:
        log_probs_BKV, state = decoder.step(np.array([[token]]), state)
        log_probs_V = log_probs_BKV[0, 0]
        log_probs_V[list(BANNED)] = -math.inf
        token = EOS if len(tokens) == 6 else int(log_probs_V.argmax())
        score += float(log_probs_V[token])
        tokens.append(token)
    (got,) = run(decoder, memory_BTD, mask_BT, beam=1, max_length=6)
    assert_same(got, [Hypothesis(tuple(tokens[:-1]), score)])


@pytest.mark.parametrize("options", [{}, {"length_bonus": 0.7}, {"acceptor": True}, {"ctc": True}])
@pytest.mark.parametrize("beam", [1, 3, 8])
def test_a_batch_is_its_utterances_one_by_one(beam, options):
    decoder = ToyDecoder(2, sharp=1.5)
    memory_BTD, _ = memory(batch=9, num_frames=6, seed=beam)
    mask_BT = np.arange(6)[None] < np.array([6, 1, 3, 2, 6, 5, 4, 1, 2])[:, None]
    ctc_BTV = log_softmax(normal(np.random.default_rng(0), 9, 6, SIZE))
    options = dict(options, beam=beam, nbest=3, max_length=12)
    if options.pop("acceptor", None):
        options["acceptor"] = Automaton.random(4)
    use_ctc = options.pop("ctc", False)
    if use_ctc:
        options.update(ctc_weight=0.4, ctc_silent_tokens=[TAG], ctc_log_probs_BTV=ctc_BTV)
    batched = run(decoder, memory_BTD, mask_BT, **options)
    # They end at different steps, or this shows little.
    assert len({len(h.tokens) for hyps in batched for h in hyps}) > 1
    for b, got in enumerate(batched):
        length = int(mask_BT[b].sum())
        if use_ctc:
            options["ctc_log_probs_BTV"] = ctc_BTV[b : b + 1, :length]
        (alone,) = run(
            decoder, memory_BTD[b : b + 1, :length], mask_BT[b : b + 1, :length], **options
        )
        assert_same(got, alone)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), beam=st.sampled_from([1, 2, 400]))
def test_an_acceptor_lets_nothing_else_out(seed, beam):
    decoder, automaton = ToyDecoder(seed), Automaton.random(seed)
    memory_BTD, mask_BT = memory(seed=seed)
    (got,) = run(
        decoder, memory_BTD, mask_BT, beam=beam, nbest=10, max_length=4, acceptor=automaton
    )
    assert not automaton.asked_illegal
    assert all(automaton.accepts(h.tokens) for h in got)
    expected = exhaustive(decoder, memory_BTD, mask_BT, 4, automaton)
    assert bool(got) == bool(expected)  # what can end in time is found with any beam
    if beam == 400:
        assert_same(got, expected[:10])


def test_what_cannot_end_in_time_does_not_come_out():
    next_SV = np.full((6, SIZE), -1)
    next_SV[range(5), A] = np.arange(1, 6)
    next_SV[5, EOS] = 0  # a sequence is five A
    decoder, (memory_BTD, mask_BT) = ToyDecoder(), memory(batch=2)
    for max_length, expected in [(4, []), (5, [(A,) * 5]), (50, [(A,) * 5])]:
        for hyps in run(
            decoder, memory_BTD, mask_BT, acceptor=Automaton(next_SV), max_length=max_length
        ):
            assert [h.tokens for h in hyps] == expected


def test_without_acceptor_the_length_limit_ends_what_runs():
    class Endless(ToyDecoder):
        def step(self, token_BK, state):
            log_probs_BKV, state = super().step(token_BK, state)
            log_probs_BKV[..., EOS] = -50.0
            return log_probs_BKV, state

    memory_BTD, mask_BT = memory(batch=3)
    for hyps in run(Endless(), memory_BTD, mask_BT, beam=2, max_length=7, nbest=2):
        assert [len(h.tokens) for h in hyps] == [7] * 2
        assert all(h.score < -50 for h in hyps)  # what the end costs is counted


def test_special_symbols_never_come_out_even_if_they_score_best():
    class Special(ToyDecoder):
        def step(self, token_BK, state):
            log_probs_BKV, state = super().step(token_BK, state)
            log_probs_BKV[..., list(BANNED)] = 5.0
            return log_probs_BKV, state

    for hyps in run(Special(), *memory(batch=4), beam=4, nbest=4, max_length=9):
        assert not {t for h in hyps for t in h.tokens} & {*BANNED, EOS}


def test_ties_are_broken_the_same_way_every_time():
    memory_BTD, mask_BT = memory(batch=5)
    options = {"beam": 4, "nbest": 4, "max_length": 5, "length_bonus": math.log(SIZE)}
    batched = run(UniformDecoder(), memory_BTD, mask_BT, **options)
    assert all(hyps == batched[0] for hyps in batched)
    assert run(UniformDecoder(), memory_BTD[:1], mask_BT[:1], **options) == batched[:1]


class Scripted(ToyDecoder):
    """The same scores for every hypothesis, other ones at each step."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.num_steps = steps, 0

    def step(self, token_BK, state):
        scores = self.steps[min(self.num_steps, len(self.steps) - 1)]
        self.num_steps += 1
        log_probs_BKV = np.full((*token_BK.shape, SIZE), -20.0, np.float32)
        for token, score in scores.items():
            log_probs_BKV[..., token] = score
        return log_probs_BKV, state


def test_search_stops_as_soon_as_nothing_can_win():
    decoder = Scripted({A: -0.001}, {A: -0.001}, {A: -0.001}, {EOS: -0.001})
    for hyps in run(decoder, *memory(batch=6), max_length=1000):
        assert hyps[0].tokens == (A, A, A)
    assert decoder.num_steps == 4


def test_search_stops_when_nothing_is_left():
    next_SV = np.full((3, SIZE), -1)
    next_SV[0, A], next_SV[1, EOS] = 1, 2  # A and nothing else
    decoder = Scripted({A: -1.0})
    (hyps,) = run(decoder, *memory(), nbest=5, max_length=1000, acceptor=Automaton(next_SV))
    assert [h.tokens for h in hyps] == [(A,)]
    assert decoder.num_steps == 2


@pytest.mark.parametrize("beam", [1, 2])
def test_as_many_come_out_as_are_asked_for(beam):
    decoder = Scripted({EOS: -1.0, A: -1.1, B: -3.0})
    for hyps in run(decoder, *memory(batch=3), beam=beam, nbest=6, max_length=20):
        assert len(hyps) == len({h.tokens for h in hyps}) == 6
        assert [h.score for h in hyps] == sorted((h.score for h in hyps), reverse=True)


@pytest.mark.parametrize(("max_length", "expected"), [(4, ()), (5, (A,) * 5)])
def test_a_length_bonus_is_waited_for_as_long_as_it_can_pay(max_length, expected):
    # Ending at once costs 1, later 2.4; each A gives 0.3: five are needed.
    decoder = Scripted({EOS: -1.0, A: -3.0}, {A: -3.0, EOS: -2.4})
    (hyps,) = run(decoder, *memory(), beam=4, max_length=max_length, length_bonus=3.3)
    assert hyps[0].tokens == expected


def test_utterances_that_are_done_leave_the_batch():
    rows = []

    class Shrinking(ToyDecoder):
        def step(self, token_BK, state):
            rows.append(len(token_BK))
            return super().step(token_BK, state)

    memory_BTD, mask_BT = memory(batch=12)
    hyps = run(Shrinking(seed=2), memory_BTD, mask_BT, beam=2, max_length=40)
    assert all(hyps)
    assert rows[0] == 12 and rows[-1] < 12


def test_no_frames_noise_and_silence_give_no_nan():
    decoder = ToyDecoder()
    memory_BTD = normal(np.random.default_rng(0), 3, 4, 8) * 1e4
    memory_BTD[1], memory_BTD[2] = 0.0, np.nan
    mask_BT = np.array([[True] * 4, [True] * 4, [False] * 4])  # the last has padding only
    ctc_BTV = np.full((3, 4, SIZE), -np.inf, np.float32)
    ctc_BTV[..., BLANK] = 0.0
    for weight in (0.0, 0.5, 1.0):
        results = run(
            decoder,
            memory_BTD,
            mask_BT,
            beam=3,
            nbest=3,
            max_length=5,
            ctc_log_probs_BTV=ctc_BTV,
            ctc_weight=weight,
            ctc_silent_tokens=[TAG],
        )
        for hyps in results:
            assert hyps and all(math.isfinite(h.score) for h in hyps)
            if weight:  # CTC is sure that nothing was said
                assert not {A, B} & {*hyps[0].tokens}


def test_more_labels_than_frames_are_unlikely_and_not_impossible():
    next_SV = np.full((6, SIZE), -1)
    next_SV[range(5), A] = np.arange(1, 6)
    next_SV[5, EOS] = 0  # five A, that need nine frames
    ctc_BTV = log_softmax(normal(np.random.default_rng(0), 1, 4, SIZE))
    options = {"acceptor": Automaton(next_SV), "ctc_log_probs_BTV": ctc_BTV, "ctc_weight": 0.5}
    (hyps,) = run(ToyDecoder(), *memory(), **options)
    assert hyps[0].tokens == (A,) * 5 and -600 < hyps[0].score < -500


def test_an_empty_batch_is_an_empty_result():
    assert run(ToyDecoder(), np.zeros((0, 4, 8), np.float32), np.zeros((0, 4), bool)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam: got 0"),
        ({"nbest": 0}, "nbest: got 0"),
        ({"max_length": 0}, "max_length: got 0"),
        ({"ctc_weight": 1.5}, "ctc_weight: got 1.5"),
        ({"ctc_weight": 0.3}, "there are no CTC scores"),
    ],
)
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        run(ToyDecoder(), *memory(), **options)


def test_nan_is_an_error_and_not_an_answer():
    memory_BTD, mask_BT = memory()
    with pytest.raises(ValueError, match="NaN"):
        run(ToyDecoder(), memory_BTD * np.nan, mask_BT)
