"""`atat.parse --stream` and `--mic`: a line of JSON for each utterance, until it ends."""

import io
import json
import os
import signal
import subprocess
import sys
import types

import numpy as np
import pytest

from atat import parse
from atat.common import cli
from atat.data import microphone
from atat.serving import listening
from tests.conftest import SEQUENCES

RATE_HZ = 16000


@pytest.fixture(scope="module")
def pcm(samples):
    """int16 (N,): two of the sentences, a second of silence after each."""
    silence_N = np.random.default_rng(0).normal(0, 5e-4, RATE_HZ)
    signal_N = np.concatenate([samples[0], silence_N, samples[3], silence_N])
    return np.round(signal_N * 32767).astype("<i2")


@pytest.fixture
def run(monkeypatch, capfd, spoken_model):
    """(exit code, objects on stdout, lines on stderr) of the command, with the toy model."""
    monkeypatch.setattr(parse, "load", lambda *_: spoken_model)

    def run(*arguments, stdin=b""):
        file = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
        given = None if stdin is None else types.SimpleNamespace(buffer=file)
        monkeypatch.setattr(sys, "stdin", given)
        monkeypatch.setattr(sys, "argv", ["atat.parse", "--exp", "exp", *map(str, arguments)])
        code = 0
        try:
            cli.run(parse.main)
        except SystemExit as e:
            code = e.code
        out, err = capfd.readouterr()
        return code, [json.loads(text) for text in out.splitlines()], err.splitlines()

    return run


def test_a_line_of_json_for_each_utterance(run, pcm):
    code, lines, err = run("--stream", stdin=pcm.tobytes())
    assert (code, err) == (0, [])
    assert [line["semantics"] for line in lines] == [SEQUENCES[0], SEQUENCES[3]]
    assert list(lines[0])[:5] == ["file", "start_s", "end_s", "is_understood", "intent"]
    assert lines[0]["file"] == "-" and 0.1 < lines[0]["start_s"] < lines[0]["end_s"] < 2.0
    assert lines[1]["start_s"] > lines[0]["end_s"] + 1.0
    code, lines, _ = run("--stream", "--task", "asr", "--nbest", 2, stdin=pcm.tobytes())
    assert lines[0]["words"] == "turn on the kitchen light" and "intent" not in lines[0]
    assert len(lines[0]["nbest"]) == 2 and code == 0


def test_the_rate_is_an_option(run, pcm):
    code, lines, _ = run("--stream", "--rate", 8000, stdin=pcm[::2].tobytes())
    assert code == 0 and len(lines) == 2 and lines[1]["end_s"] < 6.0
    code, _, err = run("--stream", "--rate", 100, stdin=pcm.tobytes())
    assert code == 2 and "a sample rate of 100 Hz, expected 4000 to 192000" in err[-1]


def test_the_pause_is_an_option(run, pcm):
    code, lines, _ = run("--stream", "--pause_s", 2.5, stdin=pcm.tobytes())
    assert code == 0 and len(lines) == 1 and lines[0]["end_s"] > 4.0


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "--stream: standard input is empty (0 bytes), expected raw samples"),
        (b"abc", "--stream: got 3 bytes, expected an even number: 16-bit samples"),
        (b"RIFF....WAVE", "--stream: got a wav file, expected raw 16-bit samples"),
        (None, "standard input is closed"),
    ],
)
def test_what_is_no_stream_is_one_line(run, stdin, message):
    code, lines, err = run("--stream", stdin=stdin)
    assert (code, lines, len(err)) == (2, [], 1) and message in err[0]


def test_a_terminal_is_no_stream(run):
    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    code, _, err = run("--stream", stdin=Terminal())
    assert code == 2 and len(err) == 1 and "standard input is a terminal, expected raw" in err[0]


def test_half_a_sample_at_the_end_loses_nothing_before_it(run, pcm):
    code, lines, err = run("--stream", stdin=pcm[: len(pcm) - RATE_HZ].tobytes() + b"x")
    assert (code, len(err)) == (2, 1)
    assert [line["semantics"] for line in lines] == [SEQUENCES[0], SEQUENCES[3]]


def test_samples_may_be_cut_anywhere(pcm):
    class Pipe(io.BytesIO):
        def read1(self, size):
            return super().read1(min(size, 7))

    pieces = list(listening.raw_samples(Pipe(pcm[:1000].tobytes()), RATE_HZ))
    assert np.array_equal(np.concatenate(pieces), pcm[:1000])


class Interrupted(io.BytesIO):
    """Ctrl-C where it ends."""

    def read1(self, size):
        if data := super().read1(size):
            return data
        raise KeyboardInterrupt


def test_ctrl_c_understands_what_is_open_and_ends_well(run, pcm):
    cut = pcm[: len(pcm) - RATE_HZ]
    code, lines, _ = run("--stream", stdin=Interrupted(cut.tobytes()))
    assert code == 0 and [line["semantics"] for line in lines] == [SEQUENCES[0], SEQUENCES[3]]


def test_a_signal_ends_the_process_well(spoken_experiment):
    command = [sys.executable, "-m", "atat.parse", "--exp", spoken_experiment, "--stream"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            # More than a pipe holds: when it has been written, somebody reads.
            process.stdin.write(bytes(2**21))
            process.stdin.flush()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
            assert (process.stdout.read(), process.stderr.read().strip()) == (b"", b"")
        finally:
            process.kill()


def test_a_terminal_shows_words_while_they_are_spoken(monkeypatch, run, pcm):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    code, lines, _ = run("--stream", stdin=pcm.tobytes())
    shown = [text for text in terminal.getvalue().split("\r\x1b[K") if text]
    assert code == 0 and len(lines) == 2
    assert shown and all("(" not in text for text in shown)


def test_too_long_speech_is_said(run, pcm):
    arguments = ["--stream", "--max_duration_s", 1.1, "--exit_code", "true"]
    code, lines, err = run(*arguments, stdin=pcm.tobytes())
    assert (code, lines) == (parse.NOT_UNDERSTOOD, [])
    assert "longer than 1.1 s without a pause, not understood" in err[0] and len(err) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stream", "a.wav"], "got other inputs beside an endless one"),
        (["--mic", "--text", "yes"], "got other inputs beside an endless one"),
        (["--mic", "--stream"], "got other inputs beside an endless one"),
        (["--mic", "2", "--stream"], "got other inputs beside an endless one"),
        (["--mic", "--rate", "8000"], "got --rate or --pause_s without --stream"),
        (["a.wav", "--pause_s", "1"], "got --rate or --pause_s without --stream"),
        (["--stream", "--pause_s", "0"], "expected seconds above 0"),
        (["--stream", "--rate", "0"], "expected a whole number of 1 or more"),
        (["--mic", "inf"], "expected seconds above 0"),
    ],
)
def test_wrong_arguments_are_one_line(run, arguments, message):
    code, lines, err = run(*arguments)
    assert (code, lines, len(err)) == (2, [], 1) and message in err[0]


class FakeSounddevice(types.ModuleType):
    """Gives samples, and then nothing or Ctrl-C."""

    PortAudioError = OSError

    def __init__(self, pcm):
        super().__init__("sounddevice")
        self.pcm = pcm

    def InputStream(self, samplerate, channels, dtype, blocksize, callback):
        assert (samplerate, channels, dtype) == (RATE_HZ, 1, "int16")
        if self.pcm is None:
            raise OSError("no device")
        for start in range(0, len(self.pcm), blocksize):
            callback(self.pcm[start : start + blocksize, None], blocksize, None, None)
        return open(os.devnull)  # a context, as the stream is


def test_the_microphone_is_listened_to_until_it_falls_silent(monkeypatch, run, pcm):
    monkeypatch.setattr(microphone, "PATIENCE_S", 0.1)
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice(pcm))
    code, lines, err = run("--mic")
    assert [line["semantics"] for line in lines] == [SEQUENCES[0], SEQUENCES[3]]
    assert lines[0]["file"] == "microphone"
    assert code == 2 and "the microphone gave nothing for 0.1 s" in err[-1]
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice(None))
    code, lines, err = run("--mic")
    assert (code, lines) == (2, []) and "the microphone cannot be opened: no device" in err[-1]


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Makes a program the only recorder on the PATH."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setenv("PATH", str(tmp_path))

    def program(name, script):
        (tmp_path / name).write_text(f"#!{sys.executable}\nimport sys\n{script}")
        (tmp_path / name).chmod(0o755)

    return program


def test_a_program_that_records_is_listened_to(run, program, pcm, tmp_path):
    (tmp_path / "pcm").write_bytes(pcm.tobytes())
    program("arecord", "sys.exit('no card')")
    program(
        "parec",
        f"sys.stdout.buffer.write(open({str(tmp_path / 'pcm')!r}, 'rb').read())\n"
        "sys.stderr.write('x' * 100_000)\n"
        "sys.exit('unplugged')",
    )
    code, lines, err = run("--mic")
    assert [line["semantics"] for line in lines] == [SEQUENCES[0], SEQUENCES[3]]
    assert code == 2 and err[0] == "listening (parec; Ctrl-C ends it) ..."
    assert "--mic: the microphone ended after" in err[-1] and err[-1].endswith("unplugged")


def test_programs_that_cannot_record_are_one_line(monkeypatch, run, program):
    monkeypatch.setattr(microphone, "PATIENCE_S", 1.0)
    program("arecord", "sys.exit('no\\ncard')")
    program("parec", "import time; time.sleep(60)")
    code, lines, err = run("--mic")
    assert (code, lines, len(err)) == (2, [], 1)
    assert "arecord: gave no samples: no card; parec: gave no samples: no reason" in err[0]
