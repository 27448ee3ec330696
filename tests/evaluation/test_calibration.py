"""The command on a toy experiment: what it fits on, what it writes and prints, what it refuses."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from atat import calibrate, parse
from atat.config import config_file
from atat.data import feature_store, kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import calibration, calibration_data
from atat.evaluation.calibration import Example, chosen_run, is_for_fitting
from atat.inference import confidence
from atat.inference.predictor import SpeechToSemantics
from atat.semantics import target_sequence
from atat.synthesis import negatives
from tests.conftest import SEQUENCES

NUM_NEGATIVES = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, toy_experiment, toy_wavs):
    """(data, dump) with a split valid: each sound eight times, in a little noise; and noise."""
    root = tmp_path_factory.mktemp("calibrate")
    rng = np.random.default_rng(0)
    wav_scp, sequences = {}, {}
    (root / "wavs").mkdir()
    for number in range(32):
        samples, rate = soundfile.read(list(toy_wavs.values())[number % 4])
        id_ = f"anna-{number:02d}"
        wav_scp[id_] = str(root / "wavs" / f"{id_}.wav")
        sequences[id_] = SEQUENCES[number % 4]
        soundfile.write(wav_scp[id_], samples + rng.normal(0, 0.005, len(samples)), rate)
    text = {i: target_sequence.words(s) for i, s in sequences.items()}
    split = DataDir(wav_scp, text, sequences, dict.fromkeys(wav_scp, "anna"))
    kaldi_dir.write(root / "data" / "valid", split)
    settings = config_file.load_resolved(toy_experiment / "config.yaml").features
    settings.cmvn_splits = ["valid"]
    feature_store.write_all(root / "data", root / "dump", settings, 1)
    (root / "noise").mkdir()
    for number in range(NUM_NEGATIVES):
        noise = rng.normal(0, 10 ** rng.uniform(-3, -0.7), int(16000 * rng.uniform(1, 3)))
        soundfile.write(root / "noise" / f"{number}.wav", noise.clip(-1, 1), 16000)
    return root


@pytest.fixture
def exp(toy_experiment, tmp_path):
    exp = shutil.copytree(toy_experiment, tmp_path / "exp")
    settings = config_file.load_resolved(exp / "config.yaml")
    settings.train.valid_splits = ["valid"]
    config_file.save(settings, exp / "config.yaml")
    return exp


def calibrated(command, exp, corpus, *more):
    data = ["--data", corpus / "data", "--dump", corpus / "dump"]
    return command(calibrate.main, "--exp", exp, *data, *more)


def test_it_fits_writes_and_prints(command, exp, corpus, toy_wavs):
    code, out, err = calibrated(command, exp, corpus, "--negatives", corpus / "noise")
    assert code == 0, err
    content = json.loads((exp / "confidence.json").read_text())
    assert content["options"]["constraint"] == "grammar"
    assert content["options"]["ctc_weight"] == 0.3
    about = content["about"]
    measured = about["measured_on_the_other_half"]
    assert about["num_in_domain"] + measured["accepted"]["n"] == 32
    fitted = sum(
        is_for_fitting(Example(f"noise-{n}.wav#0", "noise", 0, None)) for n in range(NUM_NEGATIVES)
    )
    assert 0 < fitted < NUM_NEGATIVES and about["num_negatives"] == fitted
    assert measured["false_accepts"]["hours"] > 0
    assert about["commit"]
    assert (exp / "coverage.png").read_bytes()[:4] == b"\x89PNG"
    for shown in ("in domain, accepted", "false accepts an hour, noise", "calibration error"):
        assert shown in out

    # What the fit has learned is of use: learned sounds are accepted, and parse says so, with the
    # options that it was calibrated for unless others are asked for.
    assert measured["accepted"]["value"] >= 0.9
    assert measured["false_accepts"]["k"] <= 3
    code, out, err = command(parse.main, "--exp", exp, toy_wavs["anna-0"], "--beam", 3)
    assert code == 0 and "confidence" not in json.loads(out)
    code, out, err = command(parse.main, "--exp", exp, toy_wavs["anna-0"])
    line = json.loads(out)
    assert code == 0 and line["accepted"] is True and line["confidence"] > 0.5
    assert line["slot_confidence"].keys() == {"room"}
    arguments = [toy_wavs["anna-0"], "--text", "turn on the kitchen light"]
    code, out, err = command(parse.main, "--exp", exp, *arguments, "--threshold", 1)
    spoken, written = map(json.loads, out.splitlines())
    assert code == 0 and spoken["accepted"] is (spoken["confidence"] == 1)
    assert written["confidence"] == 1.0  # a sentence of the grammar, whatever is asked of speech

    # The same audio again gives the stored figures' like, by another way.
    evaluate = ["--evaluate_in", corpus / "data" / "valid", "--evaluate_out", corpus / "noise"]
    code, out, err = command(calibrate.main, "--exp", exp, *evaluate)
    assert code == 0 and out.splitlines()[3].split()[-1] == "32", err


def test_a_model_is_calibrated_again_only_where_something_else_is_wanted(command, exp, corpus):
    code, _, err = calibrated(command, exp, corpus, "--negatives", corpus / "noise")
    assert code == 0, err
    wanted = {"split": "valid", "hours": 2.0, "false_accepts_per_hour": 2.0, "accept": 0.95}
    assert not calibration.is_calibrated(exp, wanted)  # by negatives of somebody's
    stored = confidence.load(exp)
    made = replace(stored, about=stored.about | {"negatives": "made from the seed"})
    confidence.save(made, exp)
    assert calibration.is_calibrated(exp, wanted)
    assert not calibration.is_calibrated(exp, wanted | {"hours": 1.0})
    code, out, _ = calibrated(command, exp, corpus, "--if_needed", "true")
    assert code == 0 and out.startswith("calibrated already")
    (exp / "confidence.json").write_text("{")
    assert not calibration.is_calibrated(exp, wanted)


def test_a_run_goes_on_where_a_model_that_is_always_wrong_cannot_be_calibrated(
    command, exp, corpus, monkeypatch
):
    right = calibration_data.in_domain
    monkeypatch.setattr(
        calibration_data, "in_domain", lambda *a: [replace(e, right=False) for e in right(*a)]
    )
    arguments = ["--negatives", corpus / "noise"]
    code, _, err = calibrated(command, exp, corpus, *arguments)
    assert code == 2 and "all wrong, expected some of both" in err
    code, _, err = calibrated(command, exp, corpus, *arguments, "--if_needed", "true")
    assert code == 0 and "WARNING: not calibrated, nothing is refused" in err
    assert not (exp / "confidence.json").exists()


def test_calibrating_again_replaces_what_is_damaged(command, exp, corpus):
    (exp / "confidence.json").write_text("{")
    code, _, err = command(parse.main, "--exp", exp, "--text", "turn on the light")
    assert code == 2 and len(err.splitlines()) == 1 and "rerun atat.calibrate" in err
    code, *_ = calibrated(command, exp, corpus, "--negatives", corpus / "noise", "--run", "test")
    assert code == 0
    assert json.loads((exp / "confidence.json").read_text())["options"]["constraint"] == "none"


def test_what_cannot_be_had_is_said_in_a_line(command, exp, corpus):
    same = ["--negatives", corpus / "wavs", "--false_accepts_per_hour", 0]
    code, _, err = calibrated(command, exp, corpus, *same)
    assert code == 0 and len(err.splitlines()) == 1
    assert "the threshold is a compromise" in err and "wanted at most 0" in err


def test_one_long_file_of_negatives_is_fitted_and_measured_on(command, exp, corpus, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "long").mkdir()
    soundfile.write(tmp_path / "long" / "street.wav", rng.normal(0, 0.1, 16000 * 60), 16000)
    code, _, err = calibrated(command, exp, corpus, "--negatives", tmp_path / "long")
    assert code == 0, err
    about = json.loads((exp / "confidence.json").read_text())["about"]
    assert about["num_negatives"] == 4  # of 8 parts
    assert about["measured_on_the_other_half"]["false_accepts"]["hours"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "--split: got 'test', expected one of train.valid_splits (valid)"),
        (["--run", "test_asr"], "--run: got 'test_asr', expected a run of decode.runs"),
        (["--negatives", "nowhere"], "nowhere: no audio files here"),
        (["--accept", "2"], "expected a share above 0"),
        (["--hours", "0"], "expected a number above 0"),
        (["--false_accepts_per_hour", "-1"], "expected a number of 0 or more"),
        (["--evaluate_out", "."], "the experiment is not calibrated"),
    ],
)
def test_mistakes_are_one_line(command, exp, corpus, arguments, message):
    code, _, err = calibrated(command, exp, corpus, *arguments)
    assert code == 2 and len(err.splitlines()) == 1 and message in err
    assert not (exp / "confidence.json").exists()


def test_meanings_are_needed_to_fit(command, exp, corpus):
    (corpus / "data" / "valid" / "semantics").unlink()
    code, _, err = calibrated(command, exp, corpus)
    assert code == 2 and len(err.splitlines()) == 1 and "has no semantics" in err


def test_data_are_needed_to_fit(command, exp):
    code, _, err = command(calibrate.main, "--exp", exp)
    assert code == 2 and "got no --data or no --dump" in err


def test_the_run_of_the_grammar_goes_first(toy_experiment):
    settings = config_file.load_resolved(toy_experiment / "config.yaml")
    assert chosen_run(settings, None).constraint == "grammar"
    assert chosen_run(settings, "test").constraint == "none"
    del settings.decode.runs["test_grammar"]
    assert chosen_run(settings, None) is settings.decode.runs["test"]


def test_parts_of_a_file_are_in_one_half():
    halves = [
        {is_for_fitting(Example(f"street-{file}#{part}", "street", 8.0, None)) for part in range(9)}
        for file in range(20)
    ]
    assert all(len(half) == 1 for half in halves)
    assert {True} in halves and {False} in halves


def test_a_half_that_would_have_none_takes_turns(capsys):
    def examples(*ids: str) -> list[Example]:
        kinds = {"anna": calibration.IN_DOMAIN, "near": negatives.NEAR}
        return [Example(i, kinds.get(i.split("-")[0], "street"), 8.0, None) for i in ids]

    one = examples(*(f"anna-{n}" for n in range(40)), *(f"street-1#{n}" for n in range(9)))
    fitted_on, rest = calibration.halves(one)
    assert sorted(e.id for e in fitted_on + rest) == sorted(e.id for e in one)
    speech = [e for e in one if e.id.startswith("anna")]
    assert [e for e in fitted_on if e in speech] == [e for e in speech if is_for_fitting(e)]
    parts = ([int(e.id[9:]) for e in half if e not in speech] for half in (fitted_on, rest))
    assert list(parts) == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
    assert "street-1: parts of it are fitted on and others measured on" in capsys.readouterr().err
    many = examples(*(f"street-{n}#0" for n in range(20)), *(f"near-{n}#0" for n in range(20)))
    fitted_on, _ = calibration.halves(many)
    assert fitted_on == [e for e in many if is_for_fitting(e)] and not capsys.readouterr().err


def test_a_measure_that_never_varies_in_the_domain_still_tells_what_is_foreign(toy_experiment):
    options = SpeechToSemantics.load(toy_experiment).options("slu")

    def example(kind: str, ctc_cost: float, cost: float) -> Example:
        measures = confidence.Measures(cost, 5.0, -4.6, ctc_cost)
        found = confidence.Examined([], measures, {})
        return Example(kind, kind, 8.0, found, right=kind == calibration.IN_DOMAIN)

    draw = np.random.default_rng(0)
    examples = [example(calibration.IN_DOMAIN, -4.6, cost) for cost in draw.normal(0, 1, 50)]
    examples += [example("speech", -2.0, cost) for cost in draw.normal(0, 1, 50)]
    fitted, problem = calibration.fit(examples, options, 2.0, 0.95, {})
    assert problem is None
    accepted = fitted.probability([e.measures for e in examples]) >= fitted.threshold
    assert accepted[:50].all() and not accepted[50:].any()
    # A little more than ever in validation is not foreign yet.
    assert fitted.probability([confidence.Measures(0.0, 5.0, -4.6, -4.4)])[0] >= fitted.threshold


def test_near_misses_raise_the_threshold_as_far_as_they_need_and_not_beyond_a_quarter(
    toy_experiment,
):
    options = SpeechToSemantics.load(toy_experiment).options("slu")

    def threshold(near: float) -> tuple[float, float]:
        """The threshold, and the probability of the near misses, with such a cost."""
        draw = np.random.default_rng(0)
        costs = {calibration.IN_DOMAIN: 0.0, "speech": 8.0, negatives.NEAR: near}
        examples = [
            Example(
                kind,
                kind,
                8.0,
                confidence.Examined([], confidence.Measures(cost, 5.0, -4.6, -4.6), {}),
                right=kind == calibration.IN_DOMAIN,
            )
            for kind, centre in costs.items()
            for cost in centre + draw.normal(0, 1, 200)
        ]
        fitted, problem = calibration.fit(examples, options, 2.0, 0.9, {})
        assert problem is None
        inside, outside = (
            fitted.probability([e.measures for e in examples if e.kind == kind])
            for kind in (calibration.IN_DOMAIN, negatives.NEAR)
        )
        return (inside >= fitted.threshold).mean(), (outside < fitted.threshold).mean()

    accepted, refused = threshold(near=6.0)  # far away: nothing is given up
    assert accepted >= 0.995 and refused >= 0.95
    accepted, refused = threshold(near=2.5)  # some are like what is meant
    assert 0.97 <= accepted < 0.99 and refused < 0.95


def test_hours_that_were_changed_after_training_are_those_that_are_wanted(
    command, exp, corpus, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        calibration, "is_calibrated", lambda _, wanted: asked.append(wanted) or True
    )
    settings = config_file.load_resolved(exp / "config.yaml")
    for given, hours in ([], settings.decode.negative_hours), (["decode.negative_hours=0.5"], 0.5):
        code, _, err = calibrated(command, exp, corpus, *given, "--if_needed", "true")
        assert code == 0, err
        assert asked[-1]["hours"] == hours
    code, _, err = calibrated(command, exp, corpus, "train.num_steps=9000", "--if_needed", "true")
    assert code == 2 and "expected decode.NAME=value only" in err
