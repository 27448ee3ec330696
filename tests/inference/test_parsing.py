"""The command line: a line of JSON each, errors in one line, exit codes."""

import io
import json
import os
import random
import subprocess
import sys
import types

import numpy as np
import pytest

from atat import parse
from atat.common import cli
from atat.data import microphone
from atat.grammar.grammar import Grammar


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
        *("file", "is_understood", "intent", "slots", "semantics", "score"),
        *("duration_s", "seconds"),
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
        tagged = {"is_understood", "intent", "slots", "semantics", "spoken_slots"}
        assert reading.keys() & {"words", *tagged} == {"words"}


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


@pytest.mark.supports("Audio files", "a name that is not Unicode", "read; escaped in the output")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_the_output_cannot_encode_does_not_end_the_batch(
    monkeypatch, capfd, toy_experiment, toy_wavs, tmp_path, encoding
):
    names = [os.fsdecode(b"caf\xe9.wav"), "k\u00fcche.wav", os.fsdecode(b"none\xe9.wav")]
    for name in names[:2]:
        (tmp_path / name).write_bytes(toy_wavs["anna-0"].read_bytes())
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding, write_through=True))
    code, _, err = run(
        monkeypatch, capfd, "--exp", toy_experiment, *(tmp_path / name for name in names)
    )
    lines = [json.loads(line) for line in output.getvalue().decode(encoding).splitlines()]
    assert [line["file"] for line in lines] == [str(tmp_path / name) for name in names[:2]]
    assert code == 2 and len(err) == 1 and "no such file" in err[0]


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
        (
            ["--text", "turn on", "--threshold", "0.5"],
            "got --threshold for text alone",
        ),
        (["a.wav", "--nbest", "0"], "whole number of 1 or more"),
        (["a.wav", "--beam", "x"], "whole number of 1 or more"),
        (["a.wav", "--task", "sing"], "invalid choice: 'sing'"),
        (["a.wav", "--constraint", "some"], "invalid choice: 'some'"),
        (["a.wav", "--max_duration_s", "-3"], "expected seconds above 0"),
        (["a.wav", "--mic", "nan"], "expected seconds above 0"),
        (["a.wav", "--ctc_weight", "7"], "ctc_weight: got 7.0, expected 0 to 1"),
        (["a.wav", "--bean", "3"], "unrecognized arguments: --bean"),
        (
            ["turn", "on", "the", "lights"],
            'turn: no such file; a sentence? --text "turn on the lights"',
        ),
        (["what's on"], """what's on: no such file; a sentence? --text "what's on\""""),
    ],
)
def test_wrong_arguments_are_one_line(monkeypatch, capfd, toy_experiment, arguments, message):
    code, lines, err = run(monkeypatch, capfd, "--exp", toy_experiment, *arguments)
    assert code == 2 and lines == [] and len(err) == 1
    assert message in err[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "got neither --exp nor --grammar, expected a trained experiment or a grammar"),
        (["--exp", "EXP", "--grammar", "GRAMMAR"], "got both --exp and --grammar"),
        (["--exp", "EXP", "--whisper", "x"], "got --whisper without --grammar"),
        (["--grammar", "nowhere.yaml"], "nowhere.yaml: no such grammar file"),
        (["--grammar", "GRAMMAR", "--beam", "5000"], "beam: got 5000, expected a whole number"),
        (["--grammar", "GRAMMAR", "--task", "asr"], "task: got 'asr', expected slu: Whisper is"),
        (["--grammar", "GRAMMAR", "--constraint", "none"], "constraint: got 'none', expected gram"),
        (["--grammar", "GRAMMAR", "--ctc_weight", "0.3"], "ctc_weight: got '0.3', expected 0"),
        (["--grammar", "GRAMMAR", "--threshold", "1.5"], "threshold: got 1.5, expected 0 to 1"),
        (["--grammar", "GRAMMAR", "--whisper", "x"], "weights of Whisper: got 'x', expected a dir"),
        (["--grammar", "GRAMMAR", "--whisper", "a/b/c"], "weights of Whisper: got 'a/b/c'"),
    ],
)
def test_an_experiment_or_a_grammar_is_needed(
    monkeypatch, capfd, toy_experiment, arguments, message
):
    known = {"EXP": toy_experiment, "GRAMMAR": toy_experiment / "grammar.yaml"}
    arguments = [known.get(a, a) for a in arguments]
    code, lines, err = run(monkeypatch, capfd, "a.wav", *arguments)
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


def fake(directory, name, script):
    """A program of that name on the PATH."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!{sys.executable}\n{script}")
    (directory / name).chmod(0o755)


NOISE = """
import sys, random
raw = ("raw" in sys.argv or "--raw" in sys.argv) and "16000" in sys.argv
while raw:
    sys.stdout.buffer.write(random.Random(1).randbytes(3200))
"""


@pytest.fixture
def no_sounddevice(monkeypatch, tmp_path):
    """The PATH, without any recorder."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_without_any_recorder_one_line_says_what_to_install(
    monkeypatch, capfd, toy_experiment, no_sounddevice
):
    code, _, err = run(monkeypatch, capfd, "--exp", toy_experiment, "--mic", 1)
    assert code == 2 and len(err) == 1
    for hint in ("pip install sounddevice", "alsa-utils (arecord)", "pulseaudio-utils (parec)"):
        assert hint in err[0]


@pytest.mark.parametrize("program", ["arecord", "parec"])
def test_a_program_records_where_there_is_no_sounddevice(
    monkeypatch, capfd, toy_experiment, no_sounddevice, program
):
    fake(no_sounddevice, program, NOISE)
    code, (line,), err = run(
        monkeypatch, capfd, "--exp", toy_experiment, "--mic", 1.25, "--constraint", "grammar"
    )
    assert (code, line["file"], line["duration_s"]) == (0, "microphone", 1.25)
    assert err == [f"listening for 1.25 s ({program}) ..."]
    samples = microphone.record_by_program(0.1)
    assert samples.dtype == np.int16 and samples.shape == (1600,)
    assert samples.tobytes() == random.Random(1).randbytes(3200)


def test_where_one_program_fails_the_other_records(no_sounddevice):
    fake(no_sounddevice, "arecord", "import sys; sys.exit('no card')")
    fake(no_sounddevice, "parec", NOISE)
    assert microphone.record_by_program(0.5).shape == (8000,)


def test_programs_that_cannot_record_are_one_line(
    monkeypatch, capfd, toy_experiment, no_sounddevice
):
    cut = "import sys; sys.stdout.buffer.write(bytes(16000)); sys.exit('no\\ncard')"
    fake(no_sounddevice, "arecord", cut)
    monkeypatch.setattr(microphone, "PATIENCE_S", 1.0)
    fake(no_sounddevice, "parec", "import time; time.sleep(60)")
    code, _, err = run(monkeypatch, capfd, "--exp", toy_experiment, "--mic", 1)
    assert code == 2 and "arecord: got 0.5 s of 1 s: no card" in err[-1]
    assert "parec: got 0.0 s of 1 s: no reason given" in err[-1]


def test_what_is_not_understood_has_a_reason_and_an_exit_code_on_request(
    monkeypatch, capfd, toy_experiment
):
    texts = ["--text", "turn on the kitchen light", "--text", "do not turn on the kitchen light"]
    arguments = ["--exp", toy_experiment, *texts]
    code, (good, refused), err = run(monkeypatch, capfd, *arguments)
    assert (code, err, good["is_understood"], "reason" in good) == (0, [], True, False)
    assert (refused["is_understood"], refused["intent"], refused["slots"]) == (False, None, {})
    assert refused["reason"] == "the grammar has no words 'do', 'not'" and "nbest" not in refused
    code, (_, refused), _ = run(monkeypatch, capfd, *arguments, "--exit_code", "true", "--nbest", 2)
    assert code == parse.NOT_UNDERSTOOD == 3 and refused["nbest"][0]["intent"]
    assert run(monkeypatch, capfd, *arguments[:4], "--exit_code", "true")[0] == 0
    assert run(monkeypatch, capfd, *arguments, "a.wav", "--exit_code", "true")[0] == 2
    asked = [*arguments, "--exit_code", "true", "--task", "asr"]
    assert run(monkeypatch, capfd, *asked)[0] == 0


def test_a_grammar_alone_reads_text_without_torch(toy_experiment):
    command = [sys.executable, "-X", "importtime", "-m", "atat.parse", "--grammar"]
    command += [str(toy_experiment / "grammar.yaml"), "--text", "Turn on the living-room lights"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-300:]
    assert json.loads(done.stdout)["slots"] == {"room": "living room"}
    assert " torch" not in done.stderr


@pytest.mark.parametrize("module", ["atat.parse", "atat.decode"])
def test_help_needs_no_torch(module):
    check = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--exp DIR" in done.stdout


def test_values_come_as_the_grammar_writes_them_or_as_they_are_said(command, tmp_path):
    path = tmp_path / "timer.yaml"
    path.write_text(
        "context:\n  expressions:\n    setTimer:\n"
        '      - "set a $room:room timer for $pv.TwoDigitInteger:minutes minutes"\n'
        "  slots:\n    room: [Living Room, kitchen]\n"
    )
    arguments = ["--grammar", path, "--text", "set a living room timer for 25 minutes"]
    code, out, err = command(parse.main, *arguments)
    line = json.loads(out)
    assert code == 0, err
    assert line["slots"] == {"room": "Living Room", "minutes": "25"}
    assert line["spoken_slots"] == {"room": "living room", "minutes": "twenty five"}
    code, out, err = command(parse.main, *arguments, "--spoken_values", "true")
    assert json.loads(out)["slots"] == {"room": "living room", "minutes": "twenty five"}
    assert "spoken_slots" not in json.loads(out)
