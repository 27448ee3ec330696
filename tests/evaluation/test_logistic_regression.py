import numpy as np
import pytest

from atat.evaluation.calibration_metrics import expected_error
from atat.evaluation.logistic_regression import fit
from atat.inference.confidence import sigmoid


def draw(rng, num, weights, bias):
    x_NK = rng.normal(size=(num, len(weights)))
    return x_NK, rng.random(num) < sigmoid(x_NK @ weights + bias)


def test_the_fit_finds_the_weights_that_made_the_data():
    x_NK, right_N = draw(np.random.default_rng(0), 40000, np.array([2.0, -1.0, 0.0]), 0.5)
    weights_K, bias = fit(x_NK, right_N, np.ones(len(right_N)))
    assert weights_K == pytest.approx([2.0, -1.0, 0.0], abs=0.06)
    assert bias == pytest.approx(0.5, abs=0.06)


def test_a_weight_of_two_is_the_same_as_being_there_twice():
    x_NK, right_N = draw(np.random.default_rng(1), 60, np.array([1.0, 0.5]), 0.0)
    twice = fit(np.vstack([x_NK, x_NK]), np.tile(right_N, 2), np.ones(120))
    weighted = fit(x_NK, right_N, np.full(60, 2.0))
    assert weighted[0] == pytest.approx(twice[0]) and weighted[1] == pytest.approx(twice[1])


def test_the_penalty_holds_what_is_separable():
    x_NK, right_N = np.array([[-1.0], [-0.5], [0.5], [1.0]]), np.array([False, False, True, True])
    weak, strong = (fit(x_NK, right_N, np.ones(4), l2)[0][0] for l2 in (0.01, 10.0))
    assert 0 < strong < weak < 20


def test_fitted_probabilities_are_calibrated_and_a_better_measure_separates_better():
    rng = np.random.default_rng(2)
    x_NK, right_N = draw(rng, 8000, np.array([3.0]), 0.0)
    noisy_NK = x_NK + rng.normal(0, 3, x_NK.shape)
    spread, errors = [], []
    for measure_NK in (x_NK, noisy_NK):
        weights_K, bias = fit(measure_NK[:4000], right_N[:4000], np.ones(4000))
        p_N = sigmoid(measure_NK[4000:] @ weights_K + bias)
        errors.append(expected_error(p_N, right_N[4000:]))
        spread.append(p_N[right_N[4000:]].mean() - p_N[~right_N[4000:]].mean())
    assert max(errors) < 0.04
    assert spread[0] > spread[1] + 0.2
    # Overconfidence shows: the same scores, three times as sure.
    sure_N = sigmoid(3 * (noisy_NK[4000:] @ weights_K + bias))
    assert expected_error(sure_N, right_N[4000:]) > errors[1] + 0.05


def test_all_right_or_all_wrong_cannot_be_fitted():
    with pytest.raises(ValueError, match="all right, expected some of both"):
        fit(np.zeros((3, 1)), np.ones(3, bool), np.ones(3))
