"""Scores by intent, against SciPy's intervals, simulation and counts by hand."""

import numpy as np
import pytest

from atat.evaluation import intents, metrics


def outcome(label: str, is_right: bool) -> metrics.Outcome:
    said = f"{label}( a( x )a ){label}"
    return metrics.judge(said, said if is_right else "other( )other")


def test_the_macro_average_weighs_all_intents_the_same():
    outcomes = [outcome("often", i > 0) for i in range(40)] + [outcome("rare", False)] * 2
    score = intents.macro(*intents.counts(outcomes))
    assert score["value"] == pytest.approx((39 / 40 + 0) / 2)
    assert score["n"] == 42 and 0 <= score["low"] < score["value"] < score["high"] <= 1


def test_its_interval_is_wilsons_where_all_intents_have_the_same_number():
    outcomes = [outcome(f"i{i % 5}", i % 3 > 0) for i in range(50)]
    expected = metrics.proportion(sum(o.em_hyp for o in outcomes), 50)
    score = intents.macro(*intents.counts(outcomes))
    for key in ("value", "low", "high"):
        assert score[key] == pytest.approx(expected[key])


def test_an_intent_with_one_utterance_is_not_held_for_certain():
    outcomes = [outcome("often", True) for _ in range(100)] + [outcome("rare", True)]
    score = intents.macro(*intents.counts(outcomes))
    rare = metrics.proportion(1, 1)
    assert score["value"] == 1.0 and score["high"] == 1.0
    assert score["low"] == pytest.approx(1 - (1 - rare["low"]) / 2, abs=0.01)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draw, sizes, truth = np.random.default_rng(3), (40, 12, 5, 3), (0.9, 0.7, 0.8, 0.6)
    weights = np.concatenate([np.full(n, 1 / (len(sizes) * n)) for n in sizes])
    num_held = 0
    for _ in range(400):
        right = np.concatenate([draw.random(n) < p for n, p in zip(sizes, truth, strict=True)])
        score = intents.macro(weights * right, weights)
        num_held += score["low"] <= np.mean(truth) <= score["high"]
    assert 0.92 <= num_held / 400 <= 1.0


def test_a_mean_over_seeds_has_an_interval_too():
    weights = np.array([0.25, 0.25, 0.5])
    score = intents.macro(weights * [1.0, 0.5, 1 / 3], weights)
    assert score["value"] == pytest.approx((0.75 + 1 / 3) / 2)


@pytest.mark.parametrize("num", [1, intents.MAX_INTENTS + 1])
def test_one_intent_or_too_many_have_no_average(num):
    assert intents.counts([outcome(f"i{i}", True) for i in range(num)]) is None


def test_nested_references_have_no_average():
    nested = [metrics.judge(f"{x}( b( c( d )c )b ){x}", "") for x in "xy"]
    assert intents.counts(nested) is None


def test_intents_come_worst_first_with_what_they_are_taken_for():
    def line(said, understood, em_hyp=False):
        return {"reference": said, "hypothesis": understood, "em_hyp": em_hyp}

    lines = [
        line("go( )go", "stop( )stop"),
        line("go( )go", "stop("),
        line("go( )go", "halt("),
        line("go( to( a )to )go", "go( to( b )to )go"),
        line("stop( )stop", "stop( )stop", True),
    ]
    go, stop = intents.by_intent(lines)
    assert (go.name, go.em_hyp["k"], go.em_hyp["n"], go.accuracy["k"]) == ("go", 0, 4, 1)
    assert (go.taken_for, go.num_taken) == (intents.MALFORMED, 2)
    assert (stop.name, stop.em_hyp["value"], stop.taken_for) == ("stop", 1.0, "")
