"""The command line: a line of JSON each, errors in one line, exit codes."""

import io
import json
import subprocess
import sys
import types

import numpy as np
import pytest

from atat import cli, parse
from atat.grammar import Grammar


def run(monkeypatch, capfd, *arguments, stdin=None):
    """(exit code, objects on stdout, lines on stderr) of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["atat.parse", *map(str, arguments)])
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stdin))
    code = 0
    try:
        cli.run(parse.main)
    except SystemExit as e:
        code = e.code
    out, err = capfd.readouterr()
    return code, [json.loads(text) for text in out.splitlines()], err.splitlines()


def test_a_line_of_json_for_each_input_in_order(monkeypatch, capfd, toy_experiment, toy_wavs):
    paths = [toy_wavs["anna-2"], toy_wavs["anna-1"]]
    sentences = ["Turn on the kitchen light", "set the volume to ten percent"]
    texts = [a for text in sentences for a in ("--text", text)]
    code, lines, err = run(monkeypatch, capfd, "--exp", toy_experiment, *paths, *texts)
    assert (code, err) == (0, [])
    assert [line.get("file", line.get("text")) for line in lines] == [*map(str, paths), *sentences]
    first = lines[0]
    assert list(first) == [
        *("file", "intent", "slots", "semantics", "score", "duration_s", "seconds")
    ]
    assert (first["intent"], first["slots"], first["duration_s"]) == (
        "setVolume",
        {"level": "ten"},
        2.4,
    )
    assert lines[2]["slots"] == {"room": "kitchen"}


def test_nbest_task_beam_and_constraint_reach_the_search(
    monkeypatch, capfd, toy_experiment, toy_wavs
):
    options = ["--nbest", 3, "--beam", 5, "--constraint", "grammar", "--ctc_weight", 0.3]
    arguments = ["--exp", toy_experiment, toy_wavs["anna-0"], *options]
    _, (line,), _ = run(monkeypatch, capfd, *arguments)
    grammar = Grammar.load(toy_experiment / "grammar.yaml").automaton()
    assert len(line["nbest"]) == 3
    assert all(reading["semantics"].split() in grammar for reading in line["nbest"])
    _, (line,), _ = run(monkeypatch, capfd, *arguments, "--task", "asr")
    assert line["words"] == "turn on the kitchen light"
    for reading in (line, *line["nbest"]):
        assert reading.keys() & {"words", "intent", "slots", "semantics"} == {"words"}


def test_ctc_is_for_audio_and_leaves_text_alone(monkeypatch, capfd, toy_experiment, toy_wavs):
    arguments = [toy_wavs["anna-0"], "--text", "set the volume to ten percent"]
    code, lines, err = run(
        monkeypatch, capfd, "--exp", toy_experiment, *arguments, "--ctc_weight", 0.3
    )
    assert (code, err) == (0, [])
    assert [line["slots"] for line in lines] == [{"room": "kitchen"}, {"level": "ten"}]


def test_a_bad_file_is_one_line_and_the_others_go_on(
    monkeypatch, capfd, toy_experiment, toy_wavs, tmp_path
):
    good, empty, noise = toy_wavs["anna-0"], tmp_path / "empty.wav", tmp_path / "noise.wav"
    cut, missing = tmp_path / "cut.wav", tmp_path / "missing.wav"
    empty.touch()
    noise.write_bytes(bytes(range(256)) * 10)
    cut.write_bytes(good.read_bytes()[:1000])
    bad = [empty, noise, cut, missing, tmp_path]
    code, lines, err = run(
        monkeypatch, capfd, "--exp", toy_experiment, bad[0], good, *bad[1:], good
    )
    assert code == 2
    assert [line["file"] for line in lines] == [str(good)] * 2
    assert len(err) == len(bad)
    for text, path in zip(err, bad, strict=True):
        assert text.startswith("atat.parse: error: ") and str(path) in text


def test_a_file_on_standard_input(monkeypatch, capfd, toy_experiment, toy_wavs):
    with toy_wavs["anna-1"].open("rb") as file:
        code, (line,), _ = run(monkeypatch, capfd, "--exp", toy_experiment, "-", stdin=file)
    assert (code, line["file"], line["slots"]) == (0, "-", {"room": "living room"})


def test_a_pipe_that_cannot_seek(toy_experiment, toy_wavs):
    command = [sys.executable, "-m", "atat.parse", "--exp", str(toy_experiment), "-"]
    sound = toy_wavs["anna-0"].read_bytes()
    done = subprocess.run(command, input=sound, capture_output=True)
    assert done.returncode == 0 and json.loads(done.stdout)["slots"] == {"room": "kitchen"}


def test_nothing_on_standard_input_is_one_line(monkeypatch, capfd, toy_experiment):
    code, lines, err = run(monkeypatch, capfd, "--exp", toy_experiment, "-", stdin=io.BytesIO(b""))
    assert (code, lines, len(err)) == (2, [], 1) and "empty (0 bytes)" in err[0]


def test_longer_audio_than_allowed_is_refused(monkeypatch, capfd, toy_experiment, toy_wavs):
    code, lines, err = run(
        monkeypatch,
        capfd,
        *("--exp", toy_experiment, toy_wavs["anna-1"], toy_wavs["anna-0"]),
        *("--max_duration_s", 2.5),
    )
    assert code == 2 and len(lines) == 1
    assert "3.0 s long, the limit is 2.5 s" in err[0]


def test_unknown_words_are_reported(monkeypatch, capfd, toy_experiment):
    _, (line,), _ = run(monkeypatch, capfd, "--exp", toy_experiment, "--text", "turn on the küche")
    assert line["unknown"] == ["küche"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "got nothing to understand"),
        (["-", "-"], "got - twice"),
        (["--text", "-"], "text '-': has no words"),
        (["--text", "turn on", "--threshold", "0.5"], "got --threshold for text alone"),
        (["a.wav", "--nbest", "0"], "whole number of 1 or more"),
        (["a.wav", "--beam", "x"], "whole number of 1 or more"),
        (["a.wav", "--task", "sing"], "invalid choice: 'sing'"),
        (["a.wav", "--constraint", "some"], "invalid choice: 'some'"),
        (["a.wav", "--max_duration_s", "-3"], "expected seconds above 0"),
        (["a.wav", "--mic", "nan"], "expected seconds above 0"),
        (["a.wav", "--ctc_weight", "7"], "ctc_weight: got 7.0, expected 0 to 1"),
        (["a.wav", "--bean", "3"], "unrecognized arguments: --bean"),
    ],
)
def test_wrong_arguments_are_one_line(monkeypatch, capfd, toy_experiment, arguments, message):
    code, lines, err = run(monkeypatch, capfd, "--exp", toy_experiment, *arguments)
    assert code == 2 and lines == [] and len(err) == 1
    assert message in err[0]


def test_an_experiment_without_model_is_one_line(monkeypatch, capfd, tmp_path):
    code, lines, err = run(monkeypatch, capfd, "--exp", tmp_path, "a.wav")
    assert (code, lines, len(err)) == (2, [], 1)
    assert "nothing is trained here" in err[0]


def test_the_microphone_is_recorded(monkeypatch, capfd, toy_experiment):
    class FakeSounddevice(types.ModuleType):
        PortAudioError = OSError

        def rec(self, num_samples, rate, channels, dtype):
            return np.random.default_rng(0).normal(0, 0.1, (num_samples, channels)).astype(dtype)

        def wait(self):
            pass

    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice("sounddevice"))
    code, (line,), _ = run(
        monkeypatch, capfd, "--exp", toy_experiment, "--mic", 1.5, "--constraint", "grammar"
    )
    assert (code, line["file"], line["duration_s"]) == (0, "microphone", 1.5)


def test_no_sounddevice_is_one_line(monkeypatch, capfd, toy_experiment):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, _, err = run(monkeypatch, capfd, "--exp", toy_experiment, "--mic", 1)
    assert code == 2 and len(err) == 1 and "pip install sounddevice" in err[0]


@pytest.mark.parametrize("module", ["atat.parse", "atat.decode"])
def test_help_needs_no_torch(module):
    check = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--exp DIR" in done.stdout
