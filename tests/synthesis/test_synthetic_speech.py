"""Plans are checked for what they promise; audio is rendered by the real engines."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from atat.common import array_job
from atat.synthesis import engines, synthetic_speech
from atat.synthesis.synthetic_speech import Request, plan, render, speak

TEXTS = [f"turn on light {n} in the kitchen" for n in range(400)]
SHARES = {"hibari": 1, "nanotts": 1, "espeak": 2}


def test_plan_follows_from_the_seed():
    options = dict(num_pseudo_speakers=5, rate_range=(0.8, 1.3), pitch_range=(0.7, 1.4))
    first = plan(TEXTS, SHARES, 1, **options)
    assert [request.text for request in first] == TEXTS
    assert plan(TEXTS, SHARES, 1, **options) == first
    assert plan(TEXTS, SHARES, 2, **options) != first


def test_plan_keeps_to_shares_ranges_and_factors():
    requests = plan(TEXTS * 3, SHARES, 1, 5, (0.8, 1.3), (0.7, 1.4))
    count = Counter(request.engine for request in requests)
    for name, share in SHARES.items():
        assert count[name] / len(requests) == pytest.approx(share / 4, abs=0.05)  # 4 sigma
    assert {request.speaker_factor for request in requests} == {0.8, 0.9, 1.0, 1.1, 1.2}
    for values, low, high in (
        ([r.rate for r in requests], 0.8, 1.3),
        ([r.pitch for r in requests], 0.7, 1.4),
    ):
        assert low <= min(values) < low * 1.02 and high * 0.98 < max(values) <= high
    heard = {r.voice for r in requests if r.engine == "espeak"}
    assert len(heard) > 0.9 * len(engines.load("espeak").voices())
    assert {r.voice for r in requests if r.engine == "nanotts"} == {"en-US", "en-GB"}


def test_plan_of_a_text_does_not_depend_on_the_others():
    whole = plan(TEXTS, SHARES, 1, 5)
    assert plan(TEXTS[:7], SHARES, 1, 5) == whole[:7]
    assert plan(TEXTS[::-1], SHARES, 1, 5) == whole[::-1]


def test_a_repeated_text_is_said_in_different_ways():
    assert len(set(plan(["yes"] * 20, {"espeak": 1}, 1, 5))) == 20


def test_ranges_do_not_change_who_speaks():
    plain, varied = plan(TEXTS, SHARES, 1), plan(TEXTS, SHARES, 1, rate_range=(0.8, 1.3))
    assert [r.speaker for r in plain] == [r.speaker for r in varied]
    assert [r.pitch for r in plain] == [r.pitch for r in varied] == [1.0] * len(TEXTS)


def test_a_share_may_name_one_voice():
    shares = {"nanotts/en-GB": 1, "espeak/en-us": 1}
    voices = {(r.engine, r.voice) for r in plan(TEXTS, shares, 1)}
    assert voices == {("nanotts", "en-GB"), ("espeak", "en-us")}


@pytest.mark.parametrize(
    ("shares", "options", "said"),
    [
        ({}, {}, "expected engine: share"),
        ({"espeak": 0}, {}, "one at least above 0"),
        ({"espeak": -1, "hibari": 2}, {}, "0 or more"),
        ({"espeak": float("nan")}, {}, "0 or more"),
        ({"loudspeak": 1}, {}, "no synthesiser is called 'loudspeak'"),
        ({"espeak/nobody": 1}, {}, "has no voice 'nobody'"),
        ({"espeak": 1}, {"rate_range": (1.2, 0.8)}, "rate_range"),
        ({"espeak": 1}, {"pitch_range": (0, 1)}, "pitch_range"),
        ({"espeak": 1}, {"num_pseudo_speakers": 0}, "num_pseudo_speakers 0"),
    ],
)
def test_plan_refuses_settings_without_sense(shares, options, said):
    with pytest.raises(ValueError, match=said):
        plan(TEXTS, shares, 1, **options)


@given(st.text(max_size=20), st.sampled_from([0.8, 1.0, 1.2]))
def test_speakers_are_safe_ids_and_never_a_prefix_of_another(voice, factor):
    speaker = Request("espeak", voice, "x", factor).speaker
    assert re.fullmatch(r"[a-z0-9-]+", speaker)
    other = Request("espeak", voice + "+f2", "x", factor).speaker
    assert speaker == other or not other.startswith(speaker)


def test_speakers_of_all_voices_differ():
    requests = plan(TEXTS * 20, SHARES, 1, 5)
    assert len({r.speaker for r in requests}) == len(
        {(r.engine, r.voice, r.speaker_factor) for r in requests}
    )


@pytest.mark.parametrize("name", ["hibari", "nanotts", "espeak"])
def test_speech_is_normalised_and_trimmed(name):
    voice = engines.load(name).voices()[0]
    samples = speak(Request(name, voice, "turn on the lights in the kitchen"))
    assert samples.dtype == np.float32
    assert np.abs(samples).max() == pytest.approx(0.7, abs=1e-3)
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    assert loud[0] < 0.25 * 16000 and len(samples) - loud[-1] < 0.25 * 16000


def test_speaker_factor_scales_the_spectrum_and_not_the_tempo():
    def centre_hz(samples):
        power = np.abs(np.fft.rfft(samples)) ** 2
        return np.sum(power * np.fft.rfftfreq(len(samples), 1 / 16000)) / np.sum(power)

    low, high = (
        speak(Request("hibari", "heart", "turn on the lights in the kitchen", factor))
        for factor in (0.8, 1.2)
    )
    assert centre_hz(high) / centre_hz(low) == pytest.approx(1.5, rel=0.15)
    # Engines keep to a rate within some 20 %; without compensation it would be 50 %.
    assert len(high) == pytest.approx(len(low), rel=0.2)


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_render_makes_each_file_once(num_jobs, tmp_path, monkeypatch):
    requests = plan(TEXTS[:24], {"espeak": 2, "nanotts": 1, "hibari": 1}, 1, 3)
    requests.append(requests[0])
    paths = render(requests, tmp_path, num_jobs)
    assert paths[0] == paths[-1] and len(set(paths)) == 24
    for path in paths:
        assert path.parent.parent == tmp_path and path.name.startswith(path.parent.name)
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 0.5 < info.duration < 8
    before = {path: path.stat().st_mtime_ns for path in paths}
    monkeypatch.setattr(synthetic_speech, "speak", None)  # whoever renders again fails
    assert render(requests, tmp_path, 1) == paths
    assert {path: path.stat().st_mtime_ns for path in paths} == before
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(paths)


def test_rendering_in_processes_or_order_changes_no_bit(tmp_path):
    requests = plan(TEXTS[:16], {"espeak": 1, "hibari": 1}, 1, 3, (0.8, 1.2), (0.8, 1.2))
    one = render(requests, tmp_path / "one", 1)
    two = render(requests[::-1], tmp_path / "two", 2)[::-1]
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_everything_in_a_request_is_in_the_cache_key(tmp_path, monkeypatch):
    plain = Request("espeak", "en-us", "hello")
    others = [
        Request("nanotts", "en-us", "hello"),
        Request("espeak", "en-gb", "hello"),
        Request("espeak", "en-us", "hallo"),
        Request("espeak", "en-us", "hello", 1.1),
        Request("espeak", "en-us", "hello", rate=1.1),
        Request("espeak", "en-us", "hello", pitch=1.1),
        Request("espeak", "en-us", "hello", seed=1),
    ]
    keys = {synthetic_speech._cached(request, "1.0", tmp_path) for request in [plain, *others]}
    assert len(keys | {synthetic_speech._cached(plain, "1.1", tmp_path)}) == len(others) + 2


def break_engine(monkeypatch, *bad_texts):
    engine = engines.load("espeak")
    real = type(engine).speak

    def speak(self, text, voice, **settings):
        if text in bad_texts:
            raise RuntimeError("it broke")
        return real(self, text, voice, **settings)

    monkeypatch.setattr(type(engine), "speak", speak)


def test_a_text_that_cannot_be_spoken_is_reported_once(tmp_path, monkeypatch, capsys):
    break_engine(monkeypatch, TEXTS[3])
    requests = [Request("espeak", "en-us", text) for text in TEXTS[:100]]
    paths = render(requests, tmp_path, 1)
    assert paths[3] is None and all(path.exists() for path in paths if path)
    (line,) = capsys.readouterr().err.splitlines()
    assert "1 of 100 texts" in line and TEXTS[3] in line and "it broke" in line


def test_more_than_one_in_a_hundred_is_an_error(tmp_path, monkeypatch):
    break_engine(monkeypatch, TEXTS[3], TEXTS[4])
    requests = [Request("espeak", "en-us", text) for text in TEXTS[:100]]
    with pytest.raises(ValueError, match=r"2 of 100 texts .*limit 1%.*it broke"):
        render(requests, tmp_path, 1)


@pytest.mark.parametrize(
    ("engine", "voice"), [("hibari", "heart"), ("nanotts", "en-US"), ("espeak", "en-us")]
)
def test_silence_is_a_failure(engine, voice, tmp_path):
    with pytest.raises(ValueError, match="no sound"):
        render([Request(engine, voice, " ")], tmp_path, 1)


def test_a_full_disk_is_not_the_texts_fault_and_leaves_nothing(tmp_path, monkeypatch):
    def write(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", write)
    with pytest.raises(OSError, match="No space left"):
        render([Request("espeak", "en-us", "hello")], tmp_path, 1)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("size", [0, 5, 44, -1])
def test_a_cached_file_that_is_cut_is_made_again(tmp_path, size):
    request = Request("espeak", "en-us", "hello")
    (path,) = render([request], tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    assert render([request], tmp_path, 1) == [path] and path.read_bytes() == whole


def test_a_missing_engine_stops_before_anything_is_rendered(tmp_path, monkeypatch):
    engines.load.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="'flite' is not installed"):
        render([Request("espeak", "en-us", "x"), Request("flite", "slt", "x")], tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def command(*args):
    done = subprocess.run(
        [sys.executable, "-m", "atat.synth", *args], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_lists_and_speaks(tmp_path):
    code, out, _ = command("--list")
    assert code == 0 and re.search(r"^espeak \S+: \d+ voices: en-us ", out, re.M)
    wav = tmp_path / "a.wav"
    code, _, err = command("--say", "turn on the lights", "--rate", "1.2", "--out", str(wav))
    assert (code, err) == (0, "")
    assert soundfile.info(wav).samplerate == 16000


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "expected --list or --say"),
        (["--say", "hi"], "without --out"),
        (["--say", "hi", "--engine", "x", "--out", "a.wav"], "'x'"),
        (["--say", " ", "--out", "a.wav"], "no sound"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(args, said, tmp_path, monkeypatch):
    code, _, err = command(*args)
    assert code == 2 and len(err.splitlines()) == 1 and said in err


def test_a_share_of_several_jobs_is_spoken_and_the_rest_is_not(tmp_path, monkeypatch):
    requests = plan([f"light {n}" for n in range(5)], {"espeak": 1}, 1)
    for text, count in (("1/2", 3), ("2/2", 5), ("2/2", 5)):
        monkeypatch.setenv("ATAT_SHARE", text)
        with pytest.raises(array_job.Done, match=f"share {text.replace('/', '-of-')}: "):
            render(requests, tmp_path, 1)
        assert len(list(tmp_path.rglob("*.wav"))) == count
    monkeypatch.delenv("ATAT_SHARE")
    monkeypatch.setattr(synthetic_speech, "speak", None)  # whoever speaks again fails
    assert all(render(requests, tmp_path, 1))
