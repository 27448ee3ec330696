"""CTC prefix scores against the sum over every alignment."""

import itertools
import math

import numpy as np
import pytest
import torch

from atat.inference.ctc_prefix_score import IMPOSSIBLE, CtcPrefixScorer, _scan, log_likelihood
from tests.toy import log_softmax

BLANK, EOS = 0, 1


def outputs(*shape, seed=0, sharp=2.0):
    return log_softmax(np.random.default_rng(seed).normal(size=shape) * sharp)


def collapse(path):
    return tuple(label for label, _ in itertools.groupby(path) if label != BLANK)


def oracle(log_probs_TV, prefix, exactly):
    """log P(the labels begin with `prefix`, or are `prefix`), by enumeration of all V^T paths."""
    num_frames, num_labels = log_probs_TV.shape
    total = 0.0
    for path in itertools.product(range(num_labels), repeat=num_frames):
        labels = collapse(path)
        if labels == prefix if exactly else labels[: len(prefix)] == prefix:
            total += math.exp(sum(float(log_probs_TV[t, v]) for t, v in enumerate(path)))
    return math.log(total) if total > 0 else -math.inf


def walk(scorer, tokens):
    """State of one hypothesis after `tokens`, as two identical hypotheses of every utterance."""
    state = scorer.start(2)
    num_utterances = state.last_BK.shape[0]
    parent_BK = np.array([[0, 1]] * num_utterances)
    for token in tokens:
        state = scorer.advance(state, parent_BK, np.full_like(parent_BK, token))
    return state


def close(got, expected):
    return got == expected or math.isclose(got, expected, rel_tol=1e-5, abs_tol=1e-5)


@pytest.mark.parametrize("tokens", [(), (2,), (2, 3), (2, 2), (3, 2, 2), (2, 3, 2, 3)])
def test_scores_are_the_sum_over_all_alignments(tokens):
    log_probs_BTV = outputs(2, 4, 4, seed=len(tokens))
    scorer = CtcPrefixScorer(log_probs_BTV, np.ones((2, 4), bool), eos=EOS)
    state = walk(scorer, tokens)
    score_BKV = scorer.score(state)
    for b in range(2):
        assert close(float(score_BKV[b, 0, EOS]), oracle(log_probs_BTV[b], tokens, exactly=True))
        assert close(float(state.prefix_BK[b, 0]), oracle(log_probs_BTV[b], tokens, exactly=False))
        for token in (2, 3):
            expected = oracle(log_probs_BTV[b], (*tokens, token), exactly=False)
            assert close(float(score_BKV[b, 1, token]), expected), (b, token)


def test_padded_frames_change_nothing():
    log_probs_BTV = outputs(1, 7, 5, seed=3)
    short = CtcPrefixScorer(log_probs_BTV[:, :4], np.ones((1, 4), bool), eos=EOS)
    padded = CtcPrefixScorer(log_probs_BTV, np.arange(7)[None] < 4, eos=EOS)
    for tokens in [(), (2, 3), (4, 4)]:
        a, b = (scorer.score(walk(scorer, tokens))[..., 1:] for scorer in (short, padded))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_silent_tokens_leave_the_prefix_as_it_is():
    scorer = CtcPrefixScorer(outputs(2, 6, 7), np.ones((2, 6), bool), eos=EOS, silent=[5, 6])
    plain, tagged = walk(scorer, (2, 2, 3)), walk(scorer, (5, 2, 6, 2, 5, 5, 3, 6))
    np.testing.assert_array_equal(scorer.score(plain), scorer.score(tagged))
    silent_BK2 = scorer.score(plain)[..., 5:]
    assert (silent_BK2 == plain.prefix_BK[..., None]).all()


def test_advance_follows_the_parents_and_select_utterances_the_utterances():
    scorer = CtcPrefixScorer(outputs(3, 5, 5), np.ones((3, 5), bool), eos=EOS)
    state = scorer.advance(scorer.start(2), np.zeros((3, 2), np.int64), np.array([[2, 3]] * 3))
    crossed = scorer.advance(state, np.array([[1, 0]] * 3), np.array([[4, 4]] * 3))
    expected_34, expected_24 = (scorer.score(walk(scorer, t)) for t in [(3, 4), (2, 4)])
    got = scorer.score(crossed)
    np.testing.assert_allclose(got[:, 0], expected_34[:, 0], rtol=1e-5)
    np.testing.assert_allclose(got[:, 1], expected_24[:, 0], rtol=1e-5)
    kept = np.array([2, 0])
    state = scorer.select_utterances(kept, crossed)
    np.testing.assert_array_equal(scorer.score(state), got[kept])


def test_impossible_is_minus_infinity_and_never_nan():
    log_probs_BTV = np.full((3, 3, 4), -np.inf, np.float32)
    log_probs_BTV[0, :, 2] = 0.0  # one label for sure
    log_probs_BTV[1, :, BLANK] = 0.0  # silence for sure
    mask_BT = np.array([[True] * 3, [True] * 3, [False] * 3])  # the last has no frame at all
    scorer = CtcPrefixScorer(log_probs_BTV, mask_BT, eos=EOS)
    for tokens in [(), (2,), (3,), (2, 2), (2, 3, 2, 3, 2)]:
        state = walk(scorer, tokens)
        score_BKV = scorer.score(state)
        assert not np.isnan(score_BKV).any() and not np.isnan(state.prefix_BK).any()
        assert score_BKV[0, 0, EOS] == (0.0 if tokens == (2,) else -math.inf)
        assert score_BKV[1, 0, EOS] == score_BKV[2, 0, EOS] == (0.0 if tokens == () else -math.inf)


def test_extreme_outputs_stay_finite_where_the_truth_is():
    log_probs_BTV = outputs(2, 400, 50, sharp=30.0)
    scorer = CtcPrefixScorer(log_probs_BTV, np.ones((2, 400), bool), eos=EOS)
    state = walk(scorer, range(2, 20))
    assert (state.prefix_BK > IMPOSSIBLE / 2).all()
    assert not np.isnan(scorer.score(state)).any()


def test_scan_is_the_recursion_frame_by_frame():
    enter_T, stay_T = outputs(1, 1, 13)[0, 0], outputs(1, 1, 13, seed=1)[0, 0]
    reached = [IMPOSSIBLE]
    for t in range(13):
        reached.append(np.logaddexp(reached[-1], enter_T[t]) + stay_T[t])
    got_S = _scan(enter_T[None, None], stay_T[None, None])[0, 0]
    np.testing.assert_allclose(got_S, reached, rtol=0, atol=1e-5)


def test_the_likelihood_of_labels_is_that_of_torchs_loss():
    log_probs_BTV = outputs(4, 9, 6)
    frames, labels = [9, 7, 3, 5], [[2, 3, 3, 5], [4], [2, 2, 3], []]
    mask_BT = np.arange(9)[None] < np.array(frames)[:, None]
    loss_B = torch.nn.functional.ctc_loss(
        torch.from_numpy(log_probs_BTV).transpose(0, 1),
        torch.tensor([label for row in labels for label in row]),
        torch.tensor(frames),
        torch.tensor([len(row) for row in labels]),
        reduction="none",
    )
    got_B = log_likelihood(log_probs_BTV, mask_BT, labels)
    assert got_B[2] == -np.inf  # two alike need a blank between
    np.testing.assert_allclose(got_B, -loss_B.numpy(), rtol=1e-5)
