"""SLU-F1 and its like against sums by hand; published predictions: tests/prepare."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.config.experiment_tables import METRICS
from atat.evaluation import entity_metrics, metrics
from atat.evaluation.entity_metrics import Meaning, char_distance, entity_errors, word_distance
from atat.semantics import target_sequence

FILLER = st.text("ab ", max_size=6)
ENTITIES = st.lists(st.tuples(st.sampled_from(["date", "time"]), FILLER), max_size=4)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "chars"),
    [
        ("five am", "five am", 0.0, 0.0),
        ("five am", "five pm", 1 / 2, 1 / 7),
        ("five", "at five", 1.0, 3 / 7),  # over the words of the reference, the longer's characters
        ("noon", "in the after noon", 3.0, 13 / 17),
        ("next week", "", 1.0, 1.0),
        ("", "week", 1.0, 1.0),
        ("", "", 0.0, 0.0),
        ("jessica 's", "jessica", 1 / 2, 3 / 10),
    ],
)
def test_distances_of_fillers(reference, hypothesis, words, chars):
    assert word_distance(reference, hypothesis) == pytest.approx(words)
    assert char_distance(reference, hypothesis) == pytest.approx(chars)


@given(FILLER, FILLER)
def test_the_distance_by_characters_is_a_share_and_symmetric(one, other):
    assert 0.0 <= char_distance(one, other) <= 1.0
    assert char_distance(one, other) == char_distance(other, one)
    assert (char_distance(one, other) == 0.0) == (one.split() == other.split())


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ([], [], (0, 0, 0)),
        ([("date", "today")], [("date", "today")], (1, 0, 0)),
        # Another type is no partner, however near.
        ([("date", "today")], [("time", "today")], (0, 1, 1)),
        # The nearest of the same type, not the first.
        ([("date", "may"), ("date", "june the first")], [("date", "the first")], (1, 1 / 3, 4 / 3)),
        # One partner each; a second answer is too much.
        ([("date", "today")], [("date", "today"), ("date", "today")], (1, 1, 0)),
        # In the hypothesis's order: the first takes "a b", though the second is just that.
        ([("date", "a b"), ("date", "c d")], [("date", "a x"), ("date", "a b")], (2, 1.5, 1.5)),
        # Of equally near ones the first.
        ([("date", "a b"), ("date", "c b")], [("date", "x b"), ("date", "c b")], (2, 0.5, 0.5)),
        # Words may be wrong more often than there are words.
        ([("time", "noon")], [("time", "after the noon")], (1, 2, 2)),
    ],
)
def test_an_entity_is_held_against_the_nearest_of_its_type(reference, hypothesis, expected):
    assert entity_errors(reference, hypothesis, word_distance) == pytest.approx(expected)


@given(ENTITIES, ENTITIES)
def test_with_equality_for_distance_it_is_the_exact_f1(reference, hypothesis):
    """Exact F1 counts what both have; a near partner that is not equal is a whole error twice."""

    def unequal(one: str, other: str) -> float:
        return float(one != other)

    found = entity_errors(reference, hypothesis, unequal)
    same = sum(min(reference.count(e), hypothesis.count(e)) for e in set(reference))
    # Each answer that is right takes its own, so no fewer are found than are equal.
    assert found.true_positives >= same
    assert found.true_positives + found.false_negatives >= len(reference)
    assert found.true_positives + found.false_positives >= len(hypothesis)


def test_corpora_are_sums_of_utterances():
    references = [
        Meaning("alarm", "set", (("time", "five am"), ("date", "today"))),
        Meaning("audio", "volume_mute", ()),
        Meaning("play", "music", (("song_name", "hey jude"),)),
    ]
    hypotheses = [
        Meaning("alarm", "remove", (("time", "five pm"),)),
        Meaning("audio", "volume_mute", (("time", "now"),)),
        None,  # malformed
    ]
    found = entity_metrics.counts(references, hypotheses)
    values = {name: above.sum() / below.sum() for name, (above, below) in found.items()}
    assert values["scenario_accuracy"] == pytest.approx(2 / 3)
    assert values["action_accuracy"] == pytest.approx(1 / 3)
    # Found: 1 ("five pm", off by 1/2 or 1/7). Too much: 1. Missing: "today" and "hey jude".
    words, chars = 2 / (2 + 2 * 0.5 + 1 + 2), 2 / (2 + 2 / 7 + 1 + 2)
    assert values["word_distance_f1"] == pytest.approx(words)
    assert values["char_distance_f1"] == pytest.approx(chars)
    assert values["slu_f1"] == pytest.approx(4 / (4 + 1 + 2 / 7 + 2 + 4))
    assert set(found) == set(METRICS) <= set(metrics.TITLES)
    scores = entity_metrics.scores(found)
    for name, metric in scores.items():
        assert metric["value"] == pytest.approx(values[name]) and metric["n"] == 3
        assert metric["low"] <= metric["value"] <= metric["high"]


def test_without_entities_there_is_no_f1_of_them():
    mute = Meaning("audio", "volume_mute", ())
    assert set(entity_metrics.counts([mute], [mute])) == set(entity_metrics.SHARES)


def test_sequences_give_scenario_action_and_entities_and_case_does_not_count():
    right = "alarm_set( wake me date( Today )date time( five )time )alarm_set"
    found = entity_metrics.of_sequences(
        [right, right],
        ["alarm_set( date( today )date time( five )time )alarm_set", "alarm_set( date( today"],
        target_sequence.frame,
        METRICS,
    )
    assert found["slu_f1"][0].tolist() == [8, 0] and found["slu_f1"][1].tolist() == [8, 4]
    assert found["scenario_accuracy"][0].tolist() == [1, 0]
    one = entity_metrics.of_sequences([right], [right], target_sequence.frame, ["slu_f1"])
    assert list(one) == ["slu_f1"]
    assert entity_metrics.of_sequences([right], [right], target_sequence.frame, []) == {}


def test_an_interval_of_many_utterances_is_around_the_value():
    rng = np.random.default_rng(1)
    reference = Meaning("alarm", "set", (("time", "five am"),))
    wrong = Meaning("alarm", "set", (("time", "five pm"),))
    hypotheses = [wrong if rng.random() < 0.3 else reference for _ in range(400)]
    score = entity_metrics.scores(entity_metrics.counts([reference] * 400, hypotheses))["slu_f1"]
    assert score["low"] < score["value"] < score["high"] < score["low"] + 0.1
