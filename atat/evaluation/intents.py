"""Exact match by intent, and its mean over intents, in which a rare one weighs as much as any."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from atat.evaluation import metrics
from atat.evaluation.metrics import Metric, Outcome
from atat.semantics import target_sequence

MAX_INTENTS = 60  # more are no table that anybody reads, and test splits have one or two of each
MALFORMED = "(malformed)"


@dataclass(frozen=True)
class Intent:
    """Exact match of the utterances of one intent, and its most frequent confusion.

    Attributes:
        em_hyp, accuracy: shares of them with intent and slots right, with the intent right.
        taken_for: the intent that it was most often taken for, "" where it never was.
        num_taken: how often.
    """

    name: str
    em_hyp: Metric
    accuracy: Metric
    taken_for: str
    num_taken: int


def counts(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray] | None:
    """What the macro average sums over, a weighted share: weights of what is right, and weights.

    Returns:
        float (n,) twice, one an utterance; the utterances of each intent weigh the same together.
        None for nested references, and unless there are 2 to MAX_INTENTS intents.
    """
    sizes = Counter(outcome.label for outcome in outcomes)
    if not 2 <= len(sizes) <= MAX_INTENTS or any(outcome.nested for outcome in outcomes):
        return None
    weights = np.array([1.0 / (len(sizes) * sizes[outcome.label]) for outcome in outcomes])
    return weights * [outcome.em_hyp for outcome in outcomes], weights


def macro(numerators: np.ndarray, denominators: np.ndarray) -> Metric:
    """The mean over intents, of what `counts` gave (or of the mean of that over seeds).

    The interval combines Wilson's of each group of utterances of one weight, so that an intent
    with a single utterance is not held for certain, as the bootstrap would. Source: Zou and
    Donner 2008, Construction of confidence intervals about effect measures, section 2 (MOVER).

    >>> weights = np.array([0.5, 0.25, 0.25])  # an intent with one utterance, one with two
    >>> score = macro(weights * [1, 1, 0], weights)
    >>> score["value"], score["n"], round(score["low"], 2), round(score["high"], 2)
    (0.75, 3, 0.3, 0.95)
    """
    value, below, above = 0.0, 0.0, 0.0
    for weight in np.unique(denominators):
        right = numerators[denominators == weight] / weight
        share, total = min(right.mean(), 1.0), weight * len(right)
        low, high = _wilson(share, len(right))
        value += total * share
        below += (total * (share - low)) ** 2
        above += (total * (high - share)) ** 2
    low, high = value - sqrt(below), value + sqrt(above)
    numbers = {"value": value, "low": max(low, 0.0), "high": min(high, 1.0)}
    return {"n": len(numerators), **{key: float(number) for key, number in numbers.items()}}


def by_intent(lines: Sequence[dict[str, Any]]) -> list[Intent]:
    """Each intent of scored lines of `hyp.jsonl`, the worst first.

    >>> line = {"em_hyp": False, "reference": "go( )go", "hypothesis": "stop( )stop"}
    >>> (go,) = by_intent([line])
    >>> go.name, go.em_hyp["k"], go.taken_for, go.num_taken
    ('go', 0, 'stop', 1)
    """
    of_intent: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        of_intent.setdefault(target_sequence.parse(line["reference"]).label, []).append(line)
    found = []
    for name, own in of_intent.items():
        heard = Counter(understood(line["hypothesis"]) for line in own)
        num_right = heard.pop(name, 0)
        taken_for, num_taken = min(heard.items(), key=lambda x: (-x[1], x[0]), default=("", 0))
        em_hyp = metrics.proportion(sum(line["em_hyp"] for line in own), len(own))
        accuracy = metrics.proportion(num_right, len(own))
        found.append(Intent(name, em_hyp, accuracy, taken_for, num_taken))
    return sorted(found, key=lambda intent: (intent.em_hyp["value"], intent.name))


def understood(sequence: str) -> str:
    """The intent of a hypothesis."""
    try:
        return target_sequence.parse(sequence).label
    except ValueError:
        return MALFORMED


def _wilson(share: float, n: int) -> tuple[float, float]:
    """As `metrics.proportion`, also for a mean over seeds, which is no whole number of n."""
    z = NormalDist().inv_cdf((1 + metrics.CONFIDENCE) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)
