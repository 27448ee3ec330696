"""A model on a user's own recordings: the toy experiment on the sounds that it knows."""

import json

import numpy as np
import pytest
import soundfile

from atat import evaluate
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.semantics import target_sequence
from tests.conftest import SEQUENCES


@pytest.fixture
def mine(toy_wavs, tmp_path):
    """The sounds with intents and slots alone, as somebody would write them down."""
    bare = [target_sequence.build(target_sequence.frame(sequence)) for sequence in SEQUENCES]
    wavs = {i: str(path) for i, path in toy_wavs.items()}
    data = DataDir(wav_scp=wavs, semantics=dict(zip(wavs, bare, strict=True)))
    kaldi_dir.write(tmp_path / "mine", data)
    return tmp_path / "mine", data


@pytest.fixture
def scored(command, toy_experiment, mine):
    def run(*arguments):
        where = ["--exp", toy_experiment, "--recordings", mine[0]]
        return command(evaluate.main, *where, *arguments)

    return run


def rows(out):
    """Name -> its cells, of the table."""
    return {line[:21].strip(): line[21:].split() for line in out.splitlines() if "  " in line}


def test_recordings_are_scored_without_words(scored, toy_experiment):
    before = sorted(toy_experiment.rglob("*"))
    code, out, err = scored()
    assert (code, err) == (0, "")
    assert rows(out)["EM Hyp"] == ["100.0", "(51.0-100.0)"]  # Wilson, 4 of 4
    assert rows(out)["understood"][0] == "100.0" and "WER" not in out and "n = 4" in out
    assert sorted(toy_experiment.rglob("*")) == before


def test_where_the_words_are_known_there_is_a_wer(scored, mine):
    path, data = mine
    data.semantics = dict(zip(data.ids, SEQUENCES, strict=True))
    data.text = {i: target_sequence.words(s) for i, s in data.semantics.items()}
    kaldi_dir.write(path, data)
    code, out, _ = scored()
    assert code == 0 and rows(out)["WER"][0] == "0.0" and rows(out)["EM Full"][0] == "100.0"


def test_what_is_wrong_is_named_and_kept(scored, mine, tmp_path):
    path, data = mine
    data.semantics["anna-0"] = "turnOn( room( cellar )room )turnOn"
    tone_N = np.sin(np.arange(16000))
    cancelling_NC = np.stack([tone_N, -tone_N], axis=1)
    soundfile.write(tmp_path / "nobody.wav", cancelling_NC, 16000)
    data.wav_scp["anna-1"] = str(tmp_path / "nobody.wav")
    data.wav_scp["anna-2"] = str(tmp_path / "nowhere.wav")
    kaldi_dir.write(path, data)
    code, out, err = scored("--out", tmp_path / "scores")
    assert code == 0
    assert "left out: anna-2: " in err and "1 of 4 recordings are left out" in err
    assert "never right: anna-0: " in err and "1 of 3 labels" in err
    assert "\nwrong: anna-0: room '" in out and "expected 'cellar'\n" in out
    assert "\nwrong: anna-1: " in out and "anna-3" not in out
    about = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert (about["n"], about["num_left_out"]) == (3, 1) and about["commit"] and about["model"]
    assert (about["scores"]["em_hyp"]["k"], about["scores"]["understood"]["k"]) == (1, 2)
    assert about["scores"]["understood_wrong"]["k"] == 1
    lines = [json.loads(line) for line in (tmp_path / "scores" / "hyp.jsonl").open()]
    assert [line["id"] for line in lines] == ["anna-0", "anna-1", "anna-3"]
    assert [line["understood"] for line in lines] == [True, False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recordings", "/nowhere"], "--recordings: /nowhere: no such directory, expected one"),
        (["--exp", "/nowhere"], "/nowhere: no such experiment directory"),
    ],
)
def test_mistakes_are_one_line(scored, arguments, message):
    code, out, err = scored(*arguments)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_recordings_of_which_none_can_be_read_are_refused(scored, mine):
    path, data = mine
    data.wav_scp = dict.fromkeys(data.ids, "/nowhere.wav")
    kaldi_dir.write(path, data)
    code, _, err = scored()
    assert code == 2 and "not one of 4 recordings can be read; the first: /nowhere.wav" in err
