"""Voice activity against silero's own wrapper and against where speech is known to stand."""

import subprocess
import sys

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from atat.serving import voice_activity
from atat.serving.voice_activity import FRAME_S, HOP, RATE_HZ, Endpointer, VoiceActivity
from atat.synthesis import engines, noise


def probabilities(samples_N):
    activity = VoiceActivity()
    starts = range(0, len(samples_N) - HOP + 1, HOP)
    return np.array([activity(samples_N[i : i + HOP].astype(np.float32)) for i in starts])


def with_silence(speech_N):
    """A second of near silence before and after."""
    padded_N = np.pad(speech_N, RATE_HZ)
    return padded_N + np.random.default_rng(0).normal(0, 5e-4, len(padded_N))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:silero_vad")
def test_probabilities_are_those_of_silero_itself(samples):
    silero = pytest.importorskip("silero_vad").load_silero_vad(onnx=True)
    torch = pytest.importorskip("torch")
    signal_N = with_silence(samples[0]).astype(np.float32)
    starts = range(0, len(signal_N) - HOP + 1, HOP)
    # The package's wrapper takes another of its files, for 8 kHz as well.
    theirs = [float(silero(torch.from_numpy(signal_N[i : i + HOP]), RATE_HZ)) for i in starts]
    assert np.abs(probabilities(signal_N) - theirs).max() < 1e-3


@pytest.mark.parametrize("name", ["espeak", "nanotts", "hibari"])
def test_speech_is_found_where_it_stands(name):
    engine = engines.load(name)
    said, rate = engine.speak("turn on the lights in the kitchen", engine.voices()[0])
    signal_N = with_silence(soxr.resample(said, rate, RATE_HZ))
    loud = np.flatnonzero(np.abs(signal_N) > 0.1 * np.abs(signal_N).max())
    endpointer, noticed = Endpointer(pause_s=0.6), []
    for probability in probabilities(signal_N):
        noticed.append(endpointer.accept(probability))
    assert [what for what in noticed if what] == ["begin", "end"]
    assert abs(endpointer.begin * HOP - loud[0]) < 0.2 * RATE_HZ
    assert abs(endpointer.end * HOP - loud[-1]) < 0.2 * RATE_HZ


def sounds():
    draw, num = np.random.default_rng(1), 4 * RATE_HZ
    time_N = np.arange(num) / RATE_HZ
    chord_N = sum(np.sin(2 * np.pi * hz * time_N) for hz in (262, 330, 392))
    return {
        "silence": np.zeros(num),
        "offset": np.full(num, 0.3),
        "hiss": draw.normal(0, 0.1, num),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_N),
        "chords": 0.1 * chord_N * (time_N % 0.5 < 0.4),
        "fan": 0.1 * noise.fan(draw, num),
        "street": 0.1 * noise.street(draw, num),
        "clicks": (np.arange(num) % 8000 < 20).astype(float),
    }


@pytest.mark.parametrize("kind", sounds())
def test_what_is_not_speech_does_not_begin_it(kind):
    endpointer = Endpointer(pause_s=0.6)
    assert not any(endpointer.accept(p) for p in probabilities(sounds()[kind]))


@pytest.mark.parametrize(
    ("levels", "noticed", "begin", "end"),
    [
        ("009900000", "", 0, 0),  # two frames are a click
        ("0999000", "b e", 1, 4),
        ("09990990900", "b e", 1, 9),  # pauses of one frame do not end it
        ("09994400", "b e", 1, 6),  # what goes on may be weaker than what begins
        ("0999040", "b e", 1, 4),  # but not after a pause
        ("044444000", "", 0, 0),
        ("099900999", "b e b", 6, 9),
    ],
)
def test_speech_begins_and_ends(levels, noticed, begin, end):
    endpointer = Endpointer(pause_s=2 * FRAME_S)
    found = [endpointer.accept(int(level) / 10) for level in levels]
    assert " ".join(what[0] for what in found if what) == noticed
    assert (endpointer.begin, endpointer.end) == (begin, end)


@given(st.lists(st.floats(0, 1), max_size=200), st.floats(0.01, 1.0))
def test_speech_that_begins_ends_before_it_begins_again(levels, pause_s):
    endpointer, last_end = Endpointer(pause_s), 0
    expected = "begin"
    for number, level in enumerate(levels, 1):
        noticed = endpointer.accept(level)
        assert noticed in (None, expected)
        if noticed == "begin":
            assert last_end <= endpointer.begin < endpointer.end == number
            expected = "end"
        elif noticed == "end":
            assert number - endpointer.end == max(round(pause_s / FRAME_S), 1)
            last_end, expected = endpointer.end, "begin"


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(voice_activity.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"none is here: pip install 'silero-vad>=6'"):
        VoiceActivity()


def test_a_file_that_is_not_the_network_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx: no such file"):
        VoiceActivity(tmp_path / "nowhere.onnx")
    (tmp_path / "vad.onnx").write_bytes(b"not a network")
    with pytest.raises(ValueError, match=r"vad.onnx: not a network that onnxruntime reads"):
        VoiceActivity(tmp_path / "vad.onnx")
    other = voice_activity.packaged().with_name("silero_vad_16k_sequence.onnx")
    if other.is_file():
        with pytest.raises(ValueError, match=r"expected silero-vad's network"):
            VoiceActivity(other)


def test_neither_torch_nor_the_package_is_imported():
    script = (
        "import sys; from atat.serving import session, voice_activity; import numpy as np\n"
        "voice_activity.VoiceActivity()(np.zeros(512, np.float32))\n"
        "print(sorted({'torch', 'silero_vad', 'espnet', 'fastapi'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
