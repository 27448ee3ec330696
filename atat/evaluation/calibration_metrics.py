"""Calibration of probabilities: choice of the threshold, calibration error, coverage, rates."""

# N examples

from typing import NamedTuple

import numpy as np

from atat.evaluation.metrics import CONFIDENCE, Metric

NUM_BINS = 10


class Bin(NamedTuple):
    """Examples of like probability: their share, mean probability, and share that is right."""

    share: float
    probability: float
    right: float


def choose_threshold(
    in_domain_N: np.ndarray,
    negatives_N: np.ndarray,
    hours: float,
    false_accepts_per_hour: float,
    accept: float,
) -> tuple[float, str | None]:
    """The smallest threshold with few enough false accepts that accepts enough in-domain speech.

    A threshold just above the (k + 1)-th of the negatives accepts k of them, and of as many others
    k + 1 are to be expected: that is what must be few enough, but where not even none is. Where no
    threshold does both, the largest that accepts enough.

    Args:
        in_domain_N: probabilities, float; what reaches the threshold is accepted.
        negatives_N: likewise, of what is to be rejected.
        hours: of the negatives, above 0.
        false_accepts_per_hour: most that are wanted, 0 or more.
        accept: least share of the in-domain examples, 0 to 1.

    Returns:
        the threshold, and one line on what is not met, or None.

    >>> good, bad = np.array([0.9, 0.8, 0.6]), np.array([0.7, 0.5, 0.1])
    >>> choose_threshold(good, bad, 1.0, 1, 1.0)[0] > 0.5
    True
    >>> choose_threshold(good, bad, 1.0, 0, 1.0)[0]
    0.6
    """
    ranked_N = np.sort(negatives_N)[::-1]
    num_allowed = max(int(false_accepts_per_hour * hours) - 1, 0)
    threshold = 0.0
    if num_allowed < len(ranked_N):
        threshold = float(np.nextafter(ranked_N[num_allowed], np.inf))
    needed = int(np.ceil(accept * len(in_domain_N) - 1e-9))
    largest = float(np.sort(in_domain_N)[::-1][needed - 1]) if needed else 1.0
    if threshold <= largest:
        return threshold, None
    expected = ((negatives_N >= largest).sum() + 1) / hours
    return largest, (
        f"{expected:.1f} false accepts an hour are to be expected, wanted at most "
        f"{false_accepts_per_hour:g}: fewer would accept less than {100 * accept:.1f} %"
    )


def bins(
    probability_N: np.ndarray, right_N: np.ndarray, share_N: np.ndarray | None = None
) -> list[Bin]:
    """Examples by probability in NUM_BINS of equal width; those that are empty are left out.

    Args:
        probability_N: float, 0 to 1.
        right_N: bool.
        share_N: weight of each example, float; None: all the same.
    """
    share_N = np.ones(len(probability_N)) if share_N is None else share_N
    number_N = np.minimum((probability_N * NUM_BINS).astype(int), NUM_BINS - 1)
    found = []
    for number in np.unique(number_N):
        is_in_N = number_N == number
        weights = share_N[is_in_N]
        found.append(
            Bin(
                weights.sum() / share_N.sum(),
                float(np.average(probability_N[is_in_N], weights=weights)),
                float(np.average(right_N[is_in_N], weights=weights)),
            )
        )
    return found


def expected_error(
    probability_N: np.ndarray, right_N: np.ndarray, share_N: np.ndarray | None = None
) -> float:
    """Expected calibration error: mean distance of a bin's probability from its share of right.

    Source: Guo et al. 2017, equation 3.

    >>> float(round(expected_error(np.array([0.9, 0.9]), np.array([True, False])), 3))
    0.4
    """
    found = bins(probability_N, right_N, share_N)
    return float(sum(b.share * abs(b.probability - b.right) for b in found))


def coverage(probability_N: np.ndarray, right_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share accepted, and share of it that is right, as the threshold falls; float (N,) each.

    >>> covered, right = coverage(np.array([0.2, 0.9]), np.array([False, True]))
    >>> covered.tolist(), right.tolist()
    ([0.5, 1.0], [1.0, 0.5])
    """
    order_N = np.argsort(-probability_N, kind="stable")
    count_N = np.arange(1, len(order_N) + 1)
    return count_N / len(order_N), right_N[order_N].cumsum() / count_N


def rate(count: int, hours: float) -> Metric:
    """Events an hour, with the exact Poisson interval (Garwood 1936).

    >>> {key: round(number, 2) for key, number in rate(0, 2.0).items()}
    {'value': 0.0, 'k': 0, 'hours': 2.0, 'low': 0.0, 'high': 1.84}
    """
    from scipy.stats import chi2

    tail = (1 - CONFIDENCE) / 2
    low = chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    high = chi2.ppf(1 - tail, 2 * count + 2) / 2
    return {
        "value": count / hours,
        "k": count,
        "hours": hours,
        "low": float(low / hours),
        "high": float(high / hours),
    }
