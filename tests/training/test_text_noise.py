"""Sentences with mistakes."""

import numpy as np
import pytest

from atat.training.text_noise import noisy

PIECES = range(100, 200)
SENTENCE = np.arange(1, 41)  # none of PIECES, so that what was put in shows


def drawn(share, num=500):
    draw = np.random.default_rng(0)
    return [noisy(SENTENCE, share, PIECES, draw) for _ in range(num)]


def test_without_a_share_nothing_is_changed():
    assert all((out == SENTENCE).all() for out in drawn(0.0, 5))


def test_a_share_of_the_tokens_is_replaced_followed_or_left_out():
    sentences = drawn(0.2)
    put_in = np.mean([np.isin(out, PIECES).sum() for out in sentences])
    kept = np.mean([np.isin(out, SENTENCE).sum() for out in sentences])
    assert kept == pytest.approx(40 - 0.2 * 0.8 * 40, abs=0.5)  # replaced or left out
    assert put_in == pytest.approx(0.2 * 0.8 * 40, abs=0.5)  # replaced or followed
    assert np.mean([len(out) for out in sentences]) == pytest.approx(40, abs=0.3)
    for out in sentences:
        assert (np.diff(out[np.isin(out, SENTENCE)]) > 0).all()  # in their order
    others = np.concatenate([out[np.isin(out, PIECES)] for out in sentences])
    assert len(set(others.tolist())) == len(PIECES)


def test_a_sentence_is_never_empty():
    draw = np.random.default_rng(0)
    assert all(len(noisy(np.array([7]), 1.0, PIECES, draw)) for _ in range(50))
