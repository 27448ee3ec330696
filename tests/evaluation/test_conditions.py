"""A model in the conditions of a user's recordings, on a toy experiment and by itself."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from atat import conditions as verb
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation.conditions import chosen
from atat.synthesis.recording_conditions import conditions

RATE_HZ = 16000


@pytest.fixture
def measured(command, toy_experiment, toy_data, tmp_path):
    exp = shutil.copytree(toy_experiment, tmp_path / "exp")

    def run(*arguments, data=toy_data[0]):
        return exp, *command(verb.main, "--exp", exp, "--data", data, *arguments)

    return run


def about(exp):
    return json.loads((exp / "conditions" / "scores.json").read_text())


def test_a_model_is_scored_in_every_condition(measured):
    exp, code, out, err = measured()
    assert code == 0, err
    record = about(exp)
    assert [line["condition"] for line in record["scores"]] == list(conditions())
    as_it_is = record["scores"][0]
    assert as_it_is["em_hyp"]["k"] == as_it_is["em_hyp"]["n"] == 4  # as decoding the split gives
    assert record["n"] == 4 and record["commit"] and record["model"]
    assert not record["is_calibrated"] and "is not calibrated" in out
    kinds = [line["condition"] for line in record["nothing_said"]]
    assert kinds == ["digital silence", "white noise", "hum", "two channels that cancel"]
    assert all(line["refused"]["n"] == 20 for line in record["nothing_said"])
    rows = out.splitlines()
    assert rows[0].split() == ["condition", "EM", "Hyp", "understood", "and", "wrong"]
    assert rows[2].startswith("as it is") and "100.0" in rows[2]


def test_the_same_command_gives_the_same_scores_and_a_limit_holds(measured):
    exp, code, *_ = measured("--limit", "3", "--run", "test_grammar")
    first = (exp / "conditions" / "scores.json").read_bytes()
    assert measured("--limit", "3", "--run", "test_grammar")[1] == code == 0
    assert (exp / "conditions" / "scores.json").read_bytes() == first
    assert about(exp)["n"] == 3 and about(exp)["run"] == "test_grammar"


def test_what_cannot_be_read_is_said_and_left_out(measured, toy_data, tmp_path):
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    held = kaldi_dir.read(data / "test")
    (tmp_path / "damaged.wav").write_bytes(b"not audio")
    held.wav_scp[held.ids[0]] = str(tmp_path / "damaged.wav")
    kaldi_dir.write(data / "test", held)
    exp, code, out, err = measured(data=data)
    assert code == 0, err
    assert f"left out: {held.ids[0]}: {tmp_path / 'damaged.wav'}: " in err
    assert "1 of 4 recordings are left out" in err and "n = 3 and 20" in out
    line = about(exp)["scores"][0]
    assert (line["em_hyp"]["k"], line["em_hyp"]["n"], line["understood"]["k"]) == (3, 3, 3)
    assert (about(exp)["n"], about(exp)["num_left_out"]) == (3, 1)
    held.wav_scp = dict.fromkeys(held.ids, str(tmp_path / "damaged.wav"))
    kaldi_dir.write(data / "test", held)
    _, code, _, err = measured(data=data)
    assert code == 2 and "not one of 4 recordings can be read; the first: " in err


def test_where_nobody_speaks_that_is_wrong_and_not_left_out(measured, toy_data, tmp_path):
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    held = kaldi_dir.read(data / "test")
    tone_N = 0.5 * np.sin(np.arange(RATE_HZ))
    soundfile.write(tmp_path / "nobody.wav", np.stack([tone_N, -tone_N], axis=1), RATE_HZ)
    held.wav_scp[held.ids[0]] = str(tmp_path / "nobody.wav")
    kaldi_dir.write(data / "test", held)
    exp, code, _, err = measured(data=data)
    assert (code, err) == (0, "")
    line = about(exp)["scores"][0]
    assert (line["em_hyp"]["k"], line["em_hyp"]["n"]) == (3, 4)


def test_results_of_other_data_do_not_replace_the_experiments_own(measured, toy_data, tmp_path):
    assert measured()[1] == 0
    data = shutil.copytree(toy_data[0], tmp_path / "mine")
    shutil.rmtree(data / "tokenizer")
    exp, code, _, err = measured(data=data)
    assert code == 2 and "expected --out DIR" in err and err.count("\n") == 1
    own = (exp / "conditions" / "scores.json").read_bytes()
    code, out, err = measured("--limit", "2", "--out", tmp_path / "scores", data=data)[1:]
    assert (code, err) == (0, "") and f"{tmp_path / 'scores'}/conditions/scores.json" in out
    assert about(tmp_path / "scores")["n"] == 2
    assert (exp / "conditions" / "scores.json").read_bytes() == own
    shutil.copytree(toy_data[0], tmp_path / "moved")  # with the tokenizer: they are its own
    assert measured(data=tmp_path / "moved")[1] == 0
    shutil.copytree(data / "test", tmp_path / "moved" / "mine")
    code, _, err = measured("--split", "mine", data=tmp_path / "moved")[1:]
    assert code == 2 and "--split: got 'mine'" in err and "--out DIR" in err


def test_a_label_that_the_model_cannot_give_is_said(measured, toy_data, tmp_path):
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    held = kaldi_dir.read(data / "test")
    held.text = None
    held.semantics["anna-0"] = "turnOnn( room( kitchen )room )turnOnn"
    held.semantics["anna-1"] = "turnOn( rom( kitchen )rom )turnOn"
    held.semantics["anna-2"] = "turnOn( room( cellar )room )turnOn"
    kaldi_dir.write(data / "test", held)
    exp, code, _, err = measured(data=data)
    assert code == 0 and about(exp)["n"] == 4
    assert "never right: anna-0: the model has no turnOnn(" in err
    assert "never right: anna-1: the model has no rom(" in err
    assert "anna-2: " in err and "has no sentence that means turnOn( room( cellar )room" in err
    assert "3 of 4 labels are none that the model can give" in err and "anna-3" not in err


def test_what_is_refused_is_not_understood(measured, monkeypatch):
    """By whatever refuses: of what is believed, the share that is wrong is told too."""
    from atat.inference.predictor import SpeechToSemantics
    from atat.inference.result import Result

    predict = SpeechToSemantics.predict

    def doubtful(self, recordings, **options):
        results = predict(self, recordings, **options)
        return [Result(None, {}, "", None, "no", nbest=r.nbest) for r in results]

    monkeypatch.setattr(SpeechToSemantics, "predict", doubtful)
    exp, code, _, err = measured()
    assert code == 0, err
    line = about(exp)["scores"][0]
    assert (line["em_hyp"]["k"], line["understood"]["k"]) == (4, 0)
    assert line["understood_wrong"]["k"] == 0
    assert all(line["refused"]["value"] == 1.0 for line in about(exp)["nothing_said"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--run", "test_asr"], "--run: got test_asr, expected runs"),
        (["--split", "none"], "none"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_mistakes_are_one_line(measured, arguments, message):
    exp, code, _, err = measured(*arguments)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not (exp / "conditions").exists()


def test_all_intents_are_chosen_alike_and_the_seed_decides():
    semantics = {f"a{i:02d}": "often( )often" for i in range(50)}
    semantics |= {f"b{i:02d}": "seldom( )seldom" for i in range(3)} | {"c": "once( )once"}
    split = DataDir(semantics=semantics, text=dict.fromkeys(semantics, "x"))
    ids = chosen(split, 10, np.random.default_rng(1))
    assert [i for i in ids if i[0] != "a"] == ["b00", "b01", "b02", "c"]
    assert len(ids) == 10 and ids == chosen(split, 10, np.random.default_rng(1))
    assert ids != chosen(split, 10, np.random.default_rng(2))
    assert chosen(split, 100, np.random.default_rng(1)) == sorted(semantics)
