"""The threshold's rule on cases made by hand, and the figures against arithmetic."""

import numpy as np
import pytest
from scipy.stats import poisson

from atat.evaluation.calibration_metrics import (
    Bin,
    bins,
    choose_threshold,
    coverage,
    expected_error,
    rate,
)

GOOD = np.array([0.99, 0.9, 0.8, 0.4])
BAD = np.array([0.7, 0.6, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("per_hour", "hours", "accept", "highest_rejected", "share"),
    [
        (3, 1.0, 0.75, 0.3, 1.0),  # two are accepted, three are expected
        (2, 1.0, 0.75, 0.6, 0.75),  # one
        (2, 0.5, 0.75, 0.7, 0.75),  # none
        (2, 0.4, 0.75, 0.7, 0.75),  # still none, though 0.8 of one is wanted
        (0, 9.0, 0.5, 0.7, 0.75),
    ],
)
def test_the_threshold_is_the_smallest_with_few_enough_false_accepts(
    per_hour, hours, accept, highest_rejected, share
):
    threshold, problem = choose_threshold(GOOD, BAD, hours, per_hour, accept)
    assert problem is None
    assert threshold == np.nextafter(highest_rejected, 1)
    assert (threshold <= GOOD).mean() == share
    assert (threshold <= BAD).sum() == max(int(per_hour * hours) - 1, 0)


def test_as_many_false_accepts_as_there_are_need_no_threshold():
    assert choose_threshold(GOOD, BAD, 1.0, 6, 1.0) == (0.0, None)


def test_accepting_enough_goes_first_where_both_cannot_be():
    threshold, problem = choose_threshold(GOOD, BAD, 2.0, 0.5, 1.0)
    assert threshold == 0.4 and (threshold <= GOOD).all()
    assert problem == (
        "1.5 false accepts an hour are to be expected, wanted at most 0.5: "
        "fewer would accept less than 100.0 %"
    )


def test_ties_are_rejected_together():
    threshold, problem = choose_threshold(GOOD, np.full(5, 0.7), 1.0, 2, 0.5)
    assert threshold > 0.7 and problem is None
    # Nothing can be told apart: what is sure is that it says so.
    threshold, problem = choose_threshold(np.ones(3), np.ones(3), 1.0, 0, 0.9)
    assert threshold == 1.0 and "4.0 false accepts" in problem


def test_bins_and_their_error_by_hand():
    p_N, right_N = np.array([0.05, 0.95, 0.95, 1.0]), np.array([False, True, False, True])
    assert bins(p_N, right_N) == [
        Bin(0.25, pytest.approx(0.05), 0.0),
        Bin(0.75, pytest.approx(2.9 / 3), pytest.approx(2 / 3)),
    ]
    assert expected_error(p_N, right_N) == pytest.approx(0.25 * 0.05 + 0.75 * 0.3)
    # The first weighs as much as the others together.
    share_N = np.array([3.0, 1.0, 1.0, 1.0])
    assert expected_error(p_N, right_N, share_N) == pytest.approx(0.5 * 0.05 + 0.5 * 0.3)


def test_coverage_ends_at_the_exact_match_of_all():
    covered_N, right_N = coverage(np.array([0.1, 0.9, 0.5]), np.array([False, True, True]))
    assert covered_N == pytest.approx([1 / 3, 2 / 3, 1])
    assert right_N == pytest.approx([1, 1, 2 / 3])


@pytest.mark.parametrize(("count", "hours"), [(0, 2.0), (3, 2.0), (40, 0.5)])
def test_a_rate_has_the_poisson_interval(count, hours):
    found = rate(count, hours)
    assert found["value"] == count / hours
    assert poisson.cdf(count, found["high"] * hours) == pytest.approx(0.025)
    assert count == 0 or poisson.sf(count - 1, found["low"] * hours) == pytest.approx(0.025)
