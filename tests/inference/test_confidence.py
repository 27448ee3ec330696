"""Confidence: the measures against what they stand for, the file, what results say."""

import json
import shutil

import numpy as np
import pytest

from atat import SpeechToSemantics
from atat.inference import confidence
from atat.inference.confidence import Measures
from atat.inference.ctc_prefix_score import CtcPrefixScorer
from atat.models import checkpoint, experiment_files
from tests.toy import log_softmax
from tests.toy_calibration import GRAMMAR_OPTIONS, toy_confidence


@pytest.fixture(scope="module")
def model(toy_experiment):
    return SpeechToSemantics.load(toy_experiment)


@pytest.fixture
def exp(toy_experiment, tmp_path):
    return shutil.copytree(toy_experiment, tmp_path / "exp")


def test_ctc_cost_is_what_the_prefix_scorer_says():
    ctc_BTV = log_softmax(3 * np.random.default_rng(1).normal(size=(2, 6, 5)))
    mask_BT = np.array([[True] * 6, [True] * 4 + [False] * 2])
    labels_B = [[1, 3], []]
    costs = confidence.ctc_costs(ctc_BTV, mask_BT, labels_B, blank=0)
    scorer = CtcPrefixScorer(ctc_BTV, mask_BT, blank=0, eos=4)
    state = scorer.start(1)
    zero_BK = np.zeros((2, 1), np.int64)
    empty = scorer.score(state)[1, 0, 4]
    for token in labels_B[0]:
        state = scorer.advance(state, zero_BK, np.full((2, 1), token))
    full = scorer.score(state)[0, 0, 4]
    best = [ctc_BTV[0].max(-1).sum(), ctc_BTV[1, :4].max(-1).sum()]
    assert costs == pytest.approx([float(best[0] - full) / 3, float(best[1] - empty)], abs=1e-4)


def test_more_labels_than_frames_are_unlikely_not_infinite():
    ctc_BTV = log_softmax(np.zeros((1, 2, 4)))
    (cost,) = confidence.ctc_costs(ctc_BTV, np.ones((1, 2), bool), [[1, 1, 1, 2]], 0)
    assert 100 < cost < 1000


def test_measures_tell_a_sound_that_was_learned_from_noise(model, toy_wavs):
    options = model.options(**GRAMMAR_OPTIONS)
    noise = np.random.default_rng(3).normal(0, 0.2, 32000)
    feats = [
        model.extract_features(toy_wavs["anna-0"]).feats_TF,
        model.extract_features(noise, 16000).feats_TF,
    ]
    known, strange = (e.measures for e in confidence.examine(model, feats, options))
    assert known.cost < strange.cost and known.margin > strange.margin
    assert known.constraint_cost == pytest.approx(confidence.log_cost(0.0), abs=0.05)
    assert all(np.isfinite([*known, *strange]))


def test_examining_finds_what_searching_finds(model, toy_wavs):
    feats = [model.extract_features(path).feats_TF for path in toy_wavs.values()]
    for given in (GRAMMAR_OPTIONS, {"constraint": "none"}):
        options = model.options(**given)
        found = [e.hypotheses[0].tokens for e in confidence.examine(model, feats, options)]
        assert found == [h[0].tokens for h in model.search_features(feats, options)]


def test_a_slot_is_as_sure_as_its_own_rival_is_far(model):
    sure = toy_confidence(model)
    examined = confidence.Examined([], Measures(0, 1.0, 0, 0), {"room": 9.0, "level": 1.0})
    slots = sure.slot_probabilities(examined)
    whole = sure.probability([examined.measures])[0]
    assert slots["level"] == pytest.approx(whole) == pytest.approx(0.5)
    assert slots["room"] > 0.99
    assert sure.probability([None, examined.measures]).tolist() == [0.0, pytest.approx(0.5)]


def test_results_have_confidence_only_for_the_calibrated_options(exp, model, toy_wavs):
    path = toy_wavs["anna-0"]
    confidence.save(toy_confidence(model), exp)
    calibrated = SpeechToSemantics.load(exp)
    result = calibrated(path)  # which are the default of a calibrated experiment
    assert calibrated(path, **GRAMMAR_OPTIONS).confidence == pytest.approx(result.confidence)
    assert 0.5 < result.confidence <= 1.0 and result.accepted is True
    assert result.slot_confidence.keys() == {"room"}
    assert result.slot_confidence["room"] >= result.confidence
    assert len(result.nbest) == 1
    shown = calibrated(path, nbest=3, **GRAMMAR_OPTIONS)
    assert len(shown.nbest) == 3 and shown.confidence == result.confidence
    assert shown.score == result.score and shown.nbest[0] == result.nbest[0]
    strict = calibrated(path, threshold=1.0, **GRAMMAR_OPTIONS)
    assert strict.accepted is (strict.confidence >= 1.0)
    plain = model(path, **GRAMMAR_OPTIONS)
    assert (result.semantics, result.score) == (plain.semantics, pytest.approx(plain.score))
    others = [calibrated(path, constraint="none"), calibrated(path, ctc_weight=0.0)]
    for other in [*others, plain]:
        assert (other.confidence, other.accepted, other.slot_confidence) == (None, None, None)


def test_a_calibrated_model_acts_on_nothing_that_it_cannot_judge(exp, model, toy_wavs):
    confidence.save(toy_confidence(model), exp)
    calibrated, path = SpeechToSemantics.load(exp), toy_wavs["anna-0"]
    for other in ({"beam": 5}, {"constraint": "none"}, {"task": "nlu"}):
        result = calibrated(path, **other)
        assert (result.is_understood, result.intent, result.slots) == (False, None, {})
        assert result.reason.startswith(f"not judged: confidence is fitted for {next(iter(other))}")
        assert result.semantics  # is there for whoever wants to look
        assert calibrated(path, threshold=0, **other).is_understood
    assert calibrated(path, task="asr").semantics
    assert model(path, beam=5).is_understood


def test_without_a_file_nothing_more_is_searched(model, toy_wavs, monkeypatch):
    monkeypatch.setattr(confidence, "examine", None)
    assert model(toy_wavs["anna-0"], **GRAMMAR_OPTIONS).confidence is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"threshold": 0.5, "constraint": "none", "ctc_weight": 0.0},
            "calibrated for other options: constraint grammar, ctc_weight 0.3",
        ),
        ({"threshold": 1.5, **GRAMMAR_OPTIONS}, "threshold: got 1.5, expected 0 to 1"),
    ],
)
def test_a_threshold_that_cannot_be_used_is_refused(exp, model, toy_wavs, given, message):
    confidence.save(toy_confidence(model), exp)
    with pytest.raises(ValueError, match=message):
        SpeechToSemantics.load(exp)(toy_wavs["anna-0"], **given)
    with pytest.raises(ValueError, match=r"no confidence\.json|expected 0 to 1"):
        model(toy_wavs["anna-0"], **given)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: "{",
        lambda c: "[]",
        lambda c: json.dumps(c | {"format": 9}),
        lambda c: json.dumps({k: v for k, v in c.items() if k != "weights"}),
        lambda c: json.dumps(c | {"weights": [1.0, 2.0]}),
        lambda c: json.dumps(c | {"names": ["smell"]}),
        lambda c: json.dumps(c | {"bias": "high"}),
        lambda c: json.dumps(c | {"bias": float("nan")}),
        lambda c: json.dumps(c | {"scale": [0.0], "mean": [0.0]}),
        lambda c: json.dumps(c | {"threshold": 2.0}),
        lambda c: json.dumps(c | {"options": {}}),
        lambda c: json.dumps(c | {"mean": [10**400]}),
        lambda c: json.dumps(c | {"weights": ["1"]}),
        lambda c: "[" * 100_000,
    ],
)
def test_a_damaged_file_is_one_line(exp, model, change):
    confidence.save(toy_confidence(model), exp)
    path = exp / experiment_files.CONFIDENCE
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=r"confidence\.json: damaged .*; rerun atat\.calibrate"):
        SpeechToSemantics.load(exp)


def test_a_confidence_of_before_is_read_and_one_of_later_refused(exp, model):
    confidence.save(toy_confidence(model), exp)
    path = exp / experiment_files.CONFIDENCE
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": 2}))
    assert SpeechToSemantics.load(exp).confidence == toy_confidence(model)
    path.write_text(json.dumps(content | {"format": 4}))
    with pytest.raises(ValueError, match="expected format 3"):
        SpeechToSemantics.load(exp)


def test_confidence_of_other_weights_is_refused(exp, model):
    confidence.save(toy_confidence(model), exp)
    weights = checkpoint.read_weights(exp / checkpoint.FILE, model.tokenizer)
    next(iter(weights.values())).add_(1.0)
    checkpoint.write(weights, model.settings.model, model.tokenizer, exp)
    with pytest.raises(ValueError, match=r"was fitted for another model"):
        SpeechToSemantics.load(exp)
