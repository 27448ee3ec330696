"""Metrics against oracles: jiwer, counts by hand, enumeration of alignments, scipy, simulation."""

from itertools import permutations

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from atat.evaluation import metrics
from atat.evaluation.metrics import Overlap, judge
from atat.semantics import target_sequence, triples
from atat.semantics.target_sequence import Frame

NAMES = st.sampled_from(["room", "song", "day"])
VALUES = st.sampled_from(["one", "two", "three"])
FRAMES = st.builds(
    Frame,
    st.sampled_from(["play", "stop"]),
    st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple),
)
# The paper's nested example (docs/paper.md, "Target sequences"): 8 words, 4 brackets.
COFFEE = (
    "GetDistance( How far is Destination( GetRestaurantLocation( the TypeFood( coffee )TypeFood "
    "shop )GetRestaurantLocation )Destination )GetDistance"
)


def fewest_errors(reference: Frame, hypothesis: Frame) -> int:
    """Errors of the best of all alignments: None pads both sides, so a slot may stay alone."""
    ours = [*reference.slots, *[None] * len(hypothesis.slots)]
    best = min(
        (
            sum(cost(a, b) for a, b in zip(ours, order, strict=True))
            for order in permutations([*hypothesis.slots, *[None] * len(reference.slots)])
        ),
        default=0,
    )
    return best + (reference.intent != hypothesis.intent)


def cost(reference, hypothesis) -> float:
    if reference is None or hypothesis is None:
        return reference is not hypothesis  # an insertion, a deletion, or two paddings
    if reference[0] != hypothesis[0]:
        return float("inf")  # alignment is by slot name
    return reference[1] != hypothesis[1]


SMALL = FRAMES.filter(lambda frame: len(frame.slots) <= 3)


@settings(max_examples=150)
@given(SMALL, SMALL)
def test_semantic_errors_are_as_few_as_any_alignment_by_name_allows(reference, hypothesis):
    assert len(metrics.semantic_errors(reference, hypothesis)) == fewest_errors(
        reference, hypothesis
    )


@given(FRAMES, FRAMES)
def test_exact_match_is_equality_of_intent_and_multiset_of_slots(reference, hypothesis):
    outcome = judge(target_sequence.build(reference), target_sequence.build(hypothesis))
    assert outcome.em_hyp == (reference.key == hypothesis.key)
    assert outcome.em_full == (reference == hypothesis)
    assert (outcome.reason is None) == outcome.em_hyp


@given(FRAMES, st.randoms())
def test_slot_order_does_not_matter_to_exact_match(frame, random):
    slots = list(frame.slots)
    random.shuffle(slots)
    outcome = judge(
        target_sequence.build(frame), target_sequence.build(Frame(frame.intent, tuple(slots)))
    )
    assert outcome.em_hyp and outcome.semantic_errors == 0


@pytest.mark.parametrize(
    ("hypothesis", "errors"),
    [
        ("play( a( x )a b( y )b )play", []),
        ("stop( b( y )b a( x )a )stop", ["intent 'stop', expected 'play'"]),
        ("play( a( x )a )play", ["b 'y' is missing"]),
        ("play( a( z )a b( y )b )play", ["a 'z', expected 'x'"]),
        ("play( a( x )a b( y )b b( y )b )play", ["b 'y' is too much"]),
        ("play( b( x )b a( y )a )play", ["a 'y', expected 'x'", "b 'x', expected 'y'"]),
        ("play( c( x )c b( y )b )play", ["a 'x' is missing", "c 'x' is too much"]),
    ],
)
def test_semantic_errors_counted_by_hand(hypothesis, errors):
    outcome = judge("play( some a( x )a b( y )b )play", hypothesis)
    assert outcome.reason == ("; ".join(errors) or None)
    assert outcome.semantic_errors == len(errors)


def test_semer_is_errors_over_slots_plus_one_summed_over_the_corpus():
    outcomes = [
        judge("play( a( x )a b( y )b )play", "stop( a( z )a )stop"),  # S + S + D of 3
        judge("stop( now )stop", "stop( now )stop"),  # 0 of 1
        judge("play( a( x )a )play", "play( a( x )a c( y )c )play"),  # I of 2
    ]
    assert metrics.semantic_scores(outcomes)["semer"]["value"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    "hypothesis", ["", "play", "play( a( x", ")a", "play( a( x )b )play", "()"]
)
def test_a_malformed_hypothesis_is_a_wrong_answer_with_a_reason(hypothesis):
    outcome = judge("play( a( x )a )play", hypothesis)
    assert outcome.reason.startswith("malformed: ")
    assert not (outcome.em_hyp or outcome.em_full or outcome.intent or outcome.well_formed)
    assert outcome.semantic_errors == 2
    assert outcome.slots == Overlap(0, 1, 0)
    assert outcome.brackets == Overlap(0, 2, 0)


HEAT = "Increase( Heat( turn up the Location( bathroom )Location temperature )Heat )Increase"


@pytest.mark.parametrize(
    ("hypothesis", "reason"),
    [
        (HEAT, None),
        ("Increase( Location( washroom )Location Object( heat )Object )Increase", None),
        ("Increase( Heat( turn it up )Heat )Increase", "location 'washroom' is missing"),
        (
            "Decrease( Lamp( the Location( kitchen )Location )Lamp )Decrease",
            "intent 'decrease', expected 'increase'; location 'kitchen', expected 'washroom'; "
            "object 'lamp', expected 'heat'",
        ),
        (
            "Increase( up Heat( the Location( bathroom )Location )Heat )Increase",
            "location 'washroom' is missing; object 'heat' is missing; "
            "no meaning: words stand between 'Increase' and 'Heat'",
        ),
    ],
)
def test_triples_are_compared_as_triples_however_they_are_said(hypothesis, reason):
    outcome = judge(HEAT, hypothesis, triples.frame)
    assert outcome.reason == reason and outcome.em_hyp == (reason is None)
    assert outcome.em_full == (hypothesis == HEAT)
    assert not outcome.nested


@pytest.mark.parametrize(("action", "errors"), [("Activate", 2), ("Stop", 3)])
def test_what_parses_and_is_no_triple_is_well_formed_with_intent_and_brackets(action, errors):
    reference = "Activate( turn on Object( lights )Object )Activate"
    wrong = f"{action}( Lamp( turn )Lamp on Object( lights )Object ){action}"
    outcome = judge(reference, wrong, triples.frame)
    assert outcome.well_formed and not (outcome.em_hyp or outcome.em_full)
    assert outcome.intent == (action == "Activate")
    assert outcome.brackets == Overlap(1 + outcome.intent, 2, 3)
    assert outcome.slots == Overlap(0, 1, 0)
    assert outcome.semantic_errors == errors
    assert "no meaning: " in outcome.reason


@given(st.text(st.sampled_from("ab() ")) | st.text())
def test_no_hypothesis_is_a_crash(hypothesis):
    outcome = judge(COFFEE, hypothesis)
    assert not outcome.em_hyp and outcome.reason


def test_a_malformed_reference_is_an_error():
    with pytest.raises(ValueError, match="never closed"):
        judge("play( a", "play( a )play")


def test_brackets_of_the_papers_example_counted_by_hand():
    # How0 far1 is2 the3 coffee4 shop5
    assert metrics.brackets(target_sequence.parse(COFFEE)) == {
        ("GetDistance", 0, 6): 1,
        ("Destination", 3, 6): 1,
        ("GetRestaurantLocation", 3, 6): 1,
        ("TypeFood", 4, 5): 1,
    }


def test_brackets_agree_with_spans_of_nltk_trees():
    nltk = pytest.importorskip("nltk")
    tree = nltk.Tree.fromstring("(a x (b y (c z) (c)) (c z))", remove_empty_top_bracketing=True)
    ours = target_sequence.parse("a( x b( y c( z )c c( )c )b c( z )c )a")
    expected: dict = {}

    def spans(node, start):
        end = start
        for child in node:
            end = spans(child, end) if isinstance(child, nltk.Tree) else end + 1
        key = (node.label(), start, end)
        expected[key] = expected.get(key, 0) + 1
        return end

    spans(tree, 0)
    assert metrics.brackets(ours) == expected


def test_tree_scores_counted_by_hand():
    # Wrong: the food's label and the end of nothing else; 3 of 4 brackets on both sides.
    hypothesis = COFFEE.replace("TypeFood", "Food")
    outcomes = [judge(COFFEE, hypothesis), judge(COFFEE, COFFEE), judge(COFFEE, "GetDistance( far")]
    scores = metrics.semantic_scores(outcomes)
    assert scores["tree_f1"]["precision"] == 7 / 8
    assert scores["tree_f1"]["recall"] == 7 / 12
    assert scores["tree_f1"]["value"] == pytest.approx(2 * 7 / (8 + 12))
    assert scores["tree_precision"]["value"] == 7 / 8
    assert scores["tree_recall"]["value"] == 7 / 12
    for name in ("tree_precision", "tree_recall"):
        assert scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"] <= 1.0
    assert (scores["tree_valid"]["k"], scores["tree_valid"]["n"]) == (2, 3)


def test_trees_are_compared_whole_with_the_words_of_leaf_slots():
    other_carriers = COFFEE.replace("How far is", "is it far to").replace(" shop ", " ")
    by_frame, by_tree = (metrics.HYPOTHESES[name] for name in ("frame", "tree"))
    assert judge(COFFEE, other_carriers, by_tree).em_hyp
    # As slots of a flat frame these are the same, as trees they are not.
    moved = (
        "GetDistance( Destination( GetRestaurantLocation( the shop )GetRestaurantLocation "
        ")Destination TypeFood( coffee )TypeFood )GetDistance"
    )
    assert judge(COFFEE, moved, by_frame).em_hyp
    outcome = judge(COFFEE, moved, by_tree)
    assert not outcome.em_hyp and "TypeFood 'coffee' is too much" in outcome.reason
    assert judge(COFFEE, COFFEE[:-1], by_tree).reason.startswith("malformed: ")


def test_an_inserted_word_moves_the_brackets_after_it():
    outcome = judge("go( to place( rome )place )go", "go( to to place( rome )place )go")
    assert outcome.em_hyp and outcome.brackets == Overlap(0, 2, 2)


def test_flat_references_have_no_tree_f1_and_slotless_ones_no_slot_f1():
    scores = metrics.semantic_scores([judge("stop( now )stop", "stop( now )stop")])
    assert set(scores) == {"em_hyp", "em_full", "intent_accuracy", "semer", "tree_valid"}
    scores = metrics.semantic_scores([judge("play( a( x )a )play", "")])
    assert "slot_f1" in scores and "tree_f1" not in scores


@given(st.lists(st.tuples(FRAMES, FRAMES), min_size=1, max_size=6))
@settings(max_examples=40)
def test_slot_f1_is_the_harmonic_mean_of_precision_and_recall_of_matched_pairs(pairs):
    outcomes = [judge(target_sequence.build(a), target_sequence.build(b)) for a, b in pairs]
    matched = num_reference = num_hypothesis = 0
    for reference, hypothesis in pairs:
        left = list(hypothesis.slots)
        num_reference += len(reference.slots)
        num_hypothesis += len(left)
        for slot in reference.slots:
            if slot in left:
                left.remove(slot)
                matched += 1
    scores = metrics.semantic_scores(outcomes)
    assert ("slot_f1" in scores) == (num_reference > 0)
    if num_reference:
        precision = matched / num_hypothesis if num_hypothesis else 0.0
        recall = matched / num_reference
        f1 = 2 * precision * recall / (precision + recall) if matched else 0.0
        assert scores["slot_f1"]["value"] == pytest.approx(f1)
        assert scores["slot_f1"]["precision"] == pytest.approx(precision)
        assert scores["slot_f1"]["recall"] == pytest.approx(recall)


SENTENCE = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=6).map(" ".join)


@given(st.lists(st.tuples(SENTENCE, SENTENCE | st.just("")), min_size=1, max_size=5))
@settings(max_examples=40)
def test_word_error_rate_is_jiwers_over_the_whole_corpus(pairs):
    references, hypotheses = (list(side) for side in zip(*pairs, strict=True))
    score = metrics.word_error_rate(references, hypotheses)
    assert score["value"] == pytest.approx(jiwer.wer(references, hypotheses))
    assert score["n"] == len(pairs) and score["low"] <= score["value"] <= score["high"]


def test_wilson_interval_is_the_textbook_formula_and_the_documented_example():
    z, k, n = 1.959963984540054, 3778, 3793  # docs/paper.md: 99.6 % of 3,793 is 99.34-99.76
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    score = metrics.proportion(k, n)
    assert (score["low"], score["high"]) == pytest.approx((middle - half, middle + half))
    assert (round(score["low"], 4), round(score["high"], 4)) == (0.9935, 0.9976)


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        words = rng.integers(3, 9, size=150)
        score = metrics.ratio(rng.binomial(words, 0.1).astype(float), words.astype(float))
        covered += score["low"] <= 0.1 <= score["high"]
    assert 0.90 <= covered / 200 <= 0.99


def test_speakers_are_resampled_as_wholes_where_enough_are_known():
    # 20 speakers of 10 utterances each; a speaker is all right or all wrong.
    errors, words = np.repeat([0.0, 1.0] * 10, 10), np.ones(200)
    speakers = np.repeat(np.arange(20), 10)
    by_utterance, by_speaker = metrics.ratio(errors, words), metrics.ratio(errors, words, speakers)
    width = [score["high"] - score["low"] for score in (by_utterance, by_speaker)]
    # The design effect of fully dependent clusters of 10 is 10: sqrt(10) times as wide.
    assert width[1] / width[0] == pytest.approx(np.sqrt(10), rel=0.15)
    few = metrics.ratio(errors, words, speakers % 3)
    assert few == by_utterance


def test_a_perfect_sample_does_not_claim_certainty():
    perfect = metrics.ratio(np.zeros(20), np.ones(20))
    assert perfect["value"] == perfect["low"] == 0.0
    assert perfect["high"] == pytest.approx(binomtest(0, 20).proportion_ci(method="wilson").high)
    f1 = metrics.f1([Overlap(2, 2, 2)] * 20)
    assert f1["high"] == f1["value"] == 1.0 and 0.8 < f1["low"] < 0.9
    assert metrics.f1([Overlap(1, 1, 1)])["low"] < 0.5  # one utterance alone is possible too


def test_resamples_without_an_item_do_not_become_nan():
    score = metrics.ratio(np.array([1.0, 0, 0, 0]), np.array([2.0, 0, 0, 0]))
    assert score["value"] == 0.5 and np.isfinite([score["low"], score["high"]]).all()
    score = metrics.ratio(np.array([1.0, 0, 0, 0]), np.array([2.0, 1, 0, 0]))
    assert np.isfinite([score["low"], score["high"]]).all()


def test_the_same_input_gives_the_same_interval():
    errors, words = np.arange(30.0) % 3, np.full(30, 5.0)
    assert metrics.ratio(errors, words) == metrics.ratio(errors, words)


def test_nothing_to_count_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        metrics.proportion(0, 0)
    with pytest.raises(ValueError, match="single item"):
        metrics.ratio(np.zeros(3), np.zeros(3))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_mcnemar_is_the_sign_test_on_discordant_pairs(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    wins, losses = pairs.count((True, False)), pairs.count((False, True))
    n = wins + losses
    # The exact two-sided binomial at 1/2, from Pascal's triangle.
    row = np.array([1.0])
    for _ in range(n):
        row = np.convolve(row, [0.5, 0.5])
    expected = min(1.0, 2 * row[: min(wins, losses) + 1].sum()) if n else 1.0
    assert metrics.mcnemar(first, second) == pytest.approx(expected)


def test_difference_of_two_systems_has_the_paired_interval():
    rng = np.random.default_rng(3)
    second = rng.random(400) < 0.7
    first = second.copy()
    first[np.flatnonzero(~second)[:30]] = True  # right wherever the second is, and 30 times more
    ones = np.ones(400)
    result = metrics.difference((first.astype(float), ones), (second.astype(float), ones))
    spread = 1.96 * np.sqrt((30 / 400 - (30 / 400) ** 2) / 400)  # of the paired difference
    assert result["value"] == pytest.approx(30 / 400)
    assert result["low"] == pytest.approx(30 / 400 - spread, abs=0.005)
    assert result["high"] == pytest.approx(30 / 400 + spread, abs=0.005)
    assert result["p"] < 0.01
    assert metrics.mcnemar(first, second) < 0.01


def test_difference_is_antisymmetric_and_equal_systems_do_not_differ():
    errors, other, words = np.arange(60.0) % 4, np.arange(60.0) % 3, np.full(60, 5.0)
    there = metrics.difference((errors, words), (other, words))
    back = metrics.difference((other, words), (errors, words))
    assert there["value"] == -back["value"] and there["low"] == pytest.approx(-back["high"])
    assert there["p"] == back["p"]
    same = metrics.difference((errors, words), (errors, words))
    assert same["value"] == 0.0 and same["p"] == 1.0 and same["low"] < 0 < same["high"]


def test_chance_differences_are_called_real_about_as_often_as_p_says():
    rng = np.random.default_rng(11)
    words = np.full(120, 4.0)
    below = 0
    for _ in range(150):
        shared = rng.binomial(4, 0.1, 120)
        one, two = (shared + rng.binomial(4, 0.05, 120) for _ in range(2))
        below += (
            metrics.difference((one.astype(float), words), (two.astype(float), words))["p"] < 0.05
        )
    assert below / 150 <= 0.11


def test_p_of_a_difference_is_two_sided():
    rng = np.random.default_rng(2)
    errors, words = rng.binomial(5, 0.2, 400).astype(float), np.full(400, 5.0)
    other = errors + rng.choice([-0.5, 0.0, 0.6], 400)
    gap = (errors - other) / 5
    z = abs(gap.mean()) / (gap.std() / np.sqrt(400))
    expected = 2 * norm.sf(z)
    assert 0.05 < expected < 0.5
    result = metrics.difference((errors, words), (other, words))
    assert result["p"] == pytest.approx(expected, rel=0.2)


def test_one_utterance_is_never_significant():
    one = np.ones(1)
    assert metrics.difference((one, one), (np.zeros(1), one))["p"] == 1.0


def test_difference_of_unequal_numbers_of_utterances_is_an_error():
    with pytest.raises(ValueError, match="3 and 2"):
        metrics.difference((np.ones(3), np.ones(3)), (np.ones(2), np.ones(2)))
