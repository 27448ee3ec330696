"""The curve of exact match in noise, on a toy experiment."""

import json
import shutil

import numpy as np
import pytest

from atat import noise_curve
from atat.config.schema import FeaturesConfig
from atat.data import kaldi_dir
from atat.evaluation.noise_curve import heard


@pytest.fixture
def curve(command, toy_experiment, toy_data, tmp_path):
    exp = shutil.copytree(toy_experiment, tmp_path / "exp")

    def run(*arguments):
        return exp, *command(noise_curve.main, "--exp", exp, "--data", toy_data[0], *arguments)

    return run


def test_a_model_is_scored_clean_and_in_noise(curve):
    exp, code, out, err = curve("--noise", "fan", "--snr", "40", "--snr", "-60")
    assert code == 0, err
    about = json.loads((exp / "noise" / "scores.json").read_text())
    values = {
        (line["noise"], line["snr_db"]): line["runs"]["test"]["value"] for line in about["scores"]
    }
    assert values["clean", None] == 1.0  # as decoding the toy split gives
    assert values["fan", -60.0] < 1.0  # nothing of the speech is left
    assert all(line["runs"]["test"]["n"] == 4 for line in about["scores"])
    assert (exp / "noise" / "noise.png").stat().st_size > 1000
    assert about["commit"] and "n = 4" in out
    rows = out.splitlines()
    assert rows[0].split() == ["noise", "SNR", "test", "test_grammar"]
    mean = 100 * (values["fan", 40.0] + values["fan", -60.0]) / 2
    (row,) = (row for row in rows if "mean" in row)
    assert float(row.split()[2]) == pytest.approx(mean, abs=0.06)


def test_babble_without_anybody_to_speak_is_made_of_noise_and_that_is_said(curve):
    exp, code, out, err = curve("--noise", "babble", "--snr", "40", "--run", "test")
    assert code == 0, err
    assert "babble is made of noise" in out.splitlines()[0]
    first = (exp / "noise" / "scores.json").read_bytes()
    assert curve("--noise", "babble", "--snr", "40", "--run", "test")[1] == 0
    assert (exp / "noise" / "scores.json").read_bytes() == first


def test_what_cannot_be_read_is_said_and_left_out(command, toy_experiment, toy_data, tmp_path):
    exp = shutil.copytree(toy_experiment, tmp_path / "exp")
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    held = kaldi_dir.read(data / "test")
    (tmp_path / "damaged.wav").write_bytes(b"not audio")
    held.wav_scp[held.ids[0]] = str(tmp_path / "damaged.wav")
    held.semantics[held.ids[1]] = "setVolume( level( eleven hundred )level )setVolume"
    held.text = None
    kaldi_dir.write(data / "test", held)
    arguments = ["--exp", exp, "--data", data, "--noise", "fan", "--snr", "40"]
    code, out, err = command(noise_curve.main, *arguments)
    assert code == 0, err
    assert f"left out: {held.ids[0]}: " in err and "damaged.wav" in err and "n = 3" in out
    assert f"never right: {held.ids[1]}: " in err and "1 of 3 labels" in err
    clean = json.loads((exp / "noise" / "scores.json").read_text())["scores"][0]
    assert (clean["runs"]["test"]["k"], clean["runs"]["test"]["n"]) == (2, 3)


def test_a_noise_file_that_cannot_be_used_is_no_mistake_of_the_model(toy_data):
    wavs = dict(kaldi_dir.read(toy_data[0] / "test").wav_scp)
    drawn = []

    def make(draw: np.random.Generator, num: int) -> np.ndarray:
        drawn.append(num)
        if len(drawn) == 2:  # others are good
            raise ValueError("rain/broken.wav: no audio")
        return 0.1 * draw.standard_normal(num)

    with pytest.raises(ValueError, match=r"^rain/broken\.wav"):
        heard(wavs, "rain", 40.0, FeaturesConfig(), make, 1)


def test_noise_that_cannot_be_used_is_one_line_and_nothing_is_written(curve, tmp_path):
    (tmp_path / "rain").mkdir()
    (tmp_path / "rain" / "broken.wav").write_bytes(b"not audio")
    exp, code, _, err = curve("--noise", tmp_path / "rain", "--snr", "40", "--run", "test")
    (line,) = err.splitlines()
    assert code == 2 and "rain/broken" in line and not (exp / "noise").exists()


def test_what_cannot_be_heard_in_noise_is_counted_aloud(toy_data, tmp_path, capsys):
    wavs = dict(kaldi_dir.read(toy_data[0] / "test").wav_scp)
    wavs["gone"] = str(tmp_path / "gone.wav")
    inputs = heard(wavs, None, 0.0, FeaturesConfig(), None, 1)
    assert list(inputs.dropped) == ["gone"]
    assert "clean: 1 of 5 utterances cannot be used and count as wrong; the first: " in (
        capsys.readouterr().err
    )


def test_results_of_other_data_go_elsewhere(command, toy_experiment, toy_data, tmp_path):
    exp = shutil.copytree(toy_experiment, tmp_path / "exp")
    shutil.copytree(toy_data[0] / "test", tmp_path / "mine" / "test")
    arguments = ["--exp", exp, "--data", tmp_path / "mine", "--noise", "fan", "--snr", "40"]
    code, _, err = command(noise_curve.main, *arguments)
    assert code == 2 and "expected --out DIR" in err and err.count("\n") == 1
    code, out, err = command(noise_curve.main, *arguments, "--out", tmp_path / "scores")
    assert code == 0, err
    assert (tmp_path / "scores" / "noise" / "noise.png").is_file() and "/scores/noise/" in out
    assert not (exp / "noise").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--run", "test_asr"], "--run: got test_asr, expected runs"),
        (["--snr", "loud"], "got 'loud', expected dB"),
        (["--snr", "nan"], "got 'nan', expected dB"),
        (["--noise", "rain"], "got 'rain', expected babble"),
        (["--split", "valid"], "--split: got 'valid', expected one whose speech"),
    ],
)
def test_mistakes_are_one_line(curve, arguments, message):
    exp, code, _, err = curve(*arguments)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not (exp / "noise").exists()
