"""A model's card: what is on record is in it, and nothing else."""

import json
import os
import shutil

import pytest
import yaml

from atat.inference import model_card
from atat.models import checkpoint

SCORE = {"value": 0.9, "k": 45, "n": 50, "low": 0.7861, "high": 0.9565}


def add_run(exp, name, scores, **about):
    directory = exp / f"decode_{name}"
    directory.mkdir()
    run = {"run": name, "split": "test", "task": "slu", "constraint": "well_formed"} | about
    (directory / "run.json").write_text(json.dumps(run))
    (directory / "scores.json").write_text(json.dumps(scores))


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


@pytest.fixture
def exp(toy_experiment, tmp_path):
    return shutil.copytree(toy_experiment, tmp_path / "kitchen")


def test_of_a_model_that_nobody_measured_it_says_so_and_gives_no_number(exp):
    text = model_card.card(exp)
    about = header(text)
    assert about["library_name"] == "atat" and about["language"] == "en"
    assert not about.keys() & {"license", "model-index", "metrics", "datasets", "base_model"}
    assert "# kitchen\n" in text and "Nothing was measured" in text and "%" not in text
    assert "Intents (2): `turnOn`, `setVolume`." in text
    assert "Slots (2): `room`, `level`." in text


def test_scores_stand_in_the_text_with_their_intervals_and_in_the_header_for_the_hub(exp):
    add_run(exp, "test", {"em_hyp": SCORE, "wer": SCORE | {"value": 0.04}})
    add_run(exp, "test_asr", {"wer": SCORE | {"value": 0.04}, "well": SCORE}, task="asr")
    text = model_card.card(exp, license="cc-by-4.0", name="my kitchen")
    about = header(text)
    assert about["license"] == "cc-by-4.0" and about["metrics"] == ["exact_match", "wer"]
    (index,) = about["model-index"]
    assert index["name"] == "my kitchen"
    slu, asr = index["results"]
    assert slu["task"]["type"] == "spoken-language-understanding"
    assert [(m["type"], m["value"]) for m in slu["metrics"]] == [
        ("exact_match", 0.9),
        ("wer", 0.04),
    ]
    assert asr["task"]["type"] == "automatic-speech-recognition"
    assert "| test | test | slu | well_formed | 90.0 % (78.6\u201395.7) | 4.0 %" in text
    assert "Nothing was measured" not in text


def test_numbers_of_a_model_before_its_export_are_not_said_to_be_the_exports(exp):
    assert "as trained" not in model_card.card(exp, precision="int8")  # nothing was measured
    add_run(exp, "test", {"em_hyp": SCORE})
    text = model_card.card(exp, precision="int8")
    (result,) = header(text)["model-index"][0]["results"]
    assert result["task"]["name"] == "test, before its export"
    assert "Measured of the model as trained; this is its export, with int8 weights." in text


def test_the_hub_would_take_the_header(exp):
    cards = pytest.importorskip("huggingface_hub")
    add_run(exp, "test", {"em_hyp": SCORE})
    data = cards.ModelCard(model_card.card(exp)).data
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("exact_match", 0.9)
    assert (result.dataset_type, result.dataset_split) == ("local", "test")


def test_scores_of_an_earlier_model_are_left_out_and_counted(exp):
    add_run(exp, "test", {"em_hyp": SCORE})
    trained = (exp / checkpoint.FILE).stat().st_mtime
    record = exp / "decode_test" / "run.json"
    os.utime(record, (trained - 1, trained - 1))  # of before it named its model
    text = model_card.card(exp)
    assert "Left out: 1 scored runs" in text and "90.0 %" not in text
    assert "model-index" not in header(text)
    about = json.loads(record.read_text())
    for model, is_shown in ((checkpoint.digest(exp), True), ("another", False)):
        record.write_text(json.dumps(about | {"model": model}))
        os.utime(record, (trained - is_shown, trained - is_shown))
        assert ("90.0 %" in model_card.card(exp)) == is_shown


def test_a_calibration_says_what_it_could_measure(exp):
    half = {"threshold": 0.31, "accepted": SCORE}
    for measured, said in (
        (half, "0.31, 90.0 % (78.6\u201395.7) of 50 utterances of validation speech are accepted."),
        ({"threshold": 0.31}, "Nothing was measured of this model."),
    ):
        about = {"measured_on_the_other_half": measured}
        record = {"model": checkpoint.digest(exp), "about": about}
        (exp / "confidence.json").write_text(json.dumps(record))
        assert said in model_card.card(exp)


@pytest.mark.parametrize("own", [True, False])
def test_a_calibration_counts_where_it_is_of_this_model(exp, own):
    false = {"value": 0.9, "k": 1, "hours": 1.1, "low": 0.02, "high": 5.1}
    half = {"threshold": 0.31, "accepted": SCORE, "false_accepts": false}
    digest = checkpoint.digest(exp) if own else "of another"
    record = {"model": digest, "about": {"measured_on_the_other_half": half}}
    (exp / "confidence.json").write_text(json.dumps(record))
    text = model_card.card(exp)
    assert ("at the threshold 0.31, 90.0 % (78.6\u201395.7) of 50 utterances" in text) == own
    assert (
        "1 of other audio" in text and "in 1.10 hours: 0.9 an hour (0.0\u20135.1)" in text
    ) == own


def test_where_it_was_trained_is_in_it_and_paths_and_the_command_are_not(exp):
    env = {"seed": 7, "commit": "abc123", "num_parameters": 12345, "command": "/srv/train.py"}
    (exp / "env.json").write_text(json.dumps(env))
    epochs = [
        {"minutes": 1.2, "cpu_minutes": 2.0, "audio_s": 1800.0},
        {"minutes": 41.3, "cpu_minutes": 77.8, "audio_s": 3600.0},
    ]
    (exp / "train.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    text = model_card.card(exp)
    assert "| training | 41 min (78 CPU-min) |" in text
    assert "| speech heard, repetitions among it | 1.5 h |" in text
    for damaged in ("", "{", "[]", '{"minutes": "x", "cpu_minutes": 1}'):
        (exp / "train.jsonl").write_text(damaged)
        assert "| training |" not in model_card.card(exp)
    assert "| parameters | 12345 |" in text and "| commit of atat | abc123 |" in text
    assert "train.py" not in text


def test_a_run_without_its_description_is_named(exp):
    add_run(exp, "test", {"em_hyp": SCORE}, split=None)
    with pytest.raises(ValueError, match=r"run\.json: 'split' is missing"):
        model_card.card(exp)
