"""A call of a loaded model: one input or several, and what is shown and kept of it."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import soundfile
import torch

import atat
from atat import SpeechToSemantics
from atat.inference import devices


@pytest.fixture(scope="module")
def model(toy_experiment):
    return SpeechToSemantics.load(toy_experiment)


def same(a, b):
    return (a.semantics, a.intent, a.slots) == (b.semantics, b.intent, b.slots) and a.score == (
        pytest.approx(b.score, abs=1e-4)
    )


@pytest.mark.supports(
    "Python inputs", "a list with an input that cannot be used", "a result with `error`"
)
def test_one_bad_input_of_a_list_leaves_the_others_their_results(model, toy_wavs, tmp_path):
    (tmp_path / "empty.wav").touch()
    good, bad = toy_wavs["anna-0"], [tmp_path / "empty.wav", tmp_path, "missing.wav", 3.5]
    results = model([bad[0], good, *bad[1:], (16000, soundfile.read(good)[0])])
    names = [str(bad[0]), None, str(tmp_path), "missing.wav", "samples", None]
    for result, name in zip(results, names, strict=True):
        if name is None:
            assert same(result, model(good)) and result.error is None
        else:
            assert result.error.startswith(f"{name}: ") and result.reason == result.error
            assert not result.is_understood and result.to_dict()["error"] == result.error
    for source in bad:
        with pytest.raises((ValueError, OSError)):
            model(source)
    with pytest.raises(ValueError, match="beam: got 0"):
        model([bad[0]], beam=0)
    with pytest.raises(ValueError, match="got a list of numbers, expected samples as an array"):
        model([0.0, 0.1])


def test_one_bad_sentence_of_a_list_leaves_the_others_their_results(model):
    good = "turn on the kitchen light"
    first, empty, nothing, last = model(text=[good, "", None, good])
    assert same(first, model(text=good)) and same(last, first) and first.error is None
    assert "has no words" in empty.error and not empty.is_understood
    assert nothing.reason == nothing.error is not None
    with pytest.raises(ValueError, match="has no words"):
        model(text=[""])
    with pytest.raises(ValueError, match="beam: got 0"):
        model(text=[good, ""], beam=0)


def test_samples_with_their_rate_are_one_input(model, toy_wavs):
    samples, rate = soundfile.read(toy_wavs["anna-0"], dtype="int16")
    expected = model(toy_wavs["anna-0"])
    for source in ((rate, samples), (samples, rate), {"array": samples, "sampling_rate": rate}):
        assert same(model(source), expected)
    assert all(same(r, expected) for r in model([(rate, samples), toy_wavs["anna-0"]]))


def test_models_and_results_are_pickled_and_copied(model, toy_wavs):
    source = toy_wavs["anna-1"]
    result = model(source, nbest=2, constraint="grammar")
    model(text="turn on the lights")  # what is made when first needed is there
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert same(again(source, nbest=2, constraint="grammar"), result)
        assert same(again(text="turn on the light"), model(text="turn on the light"))
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert again == result


def test_models_and_results_show_what_they_are(model, toy_wavs, toy_experiment):
    assert f"<SpeechToSemantics {toy_experiment}: " in repr(model) and "on cpu" in repr(model)
    result = model(toy_wavs["anna-0"])
    assert repr(result) == "Result(intent='turnOn', slots={'room': 'kitchen'})"
    assert repr(result.nbest[0]).startswith("Reading(intent='turnOn'")
    silent = replace(result, intent=None, slots={}, reason="no speech", confidence=0.5)
    assert repr(silent).endswith(", reason='no speech', confidence=0.5)")


def test_a_notebook_shows_what_a_call_takes():
    for word in ("sample_rate", "sampling_rate", "allow_url", "error", "threshold", "options"):
        assert word in SpeechToSemantics.__call__.__doc__
    assert "model = SpeechToSemantics.load(" in SpeechToSemantics.__doc__


def test_the_device_may_be_chosen_by_itself(toy_experiment, toy_wavs, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = SpeechToSemantics.load(toy_experiment, device="auto")
    assert "on cpu" in repr(model) and model(toy_wavs["anna-0"]).intent == "turnOn"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.resolved("auto") == "cuda" and devices.resolved("cpu") == "cpu"


def test_the_package_names_what_it_has_without_torch():
    script = (
        "import sys, atat; names = [n for n in dir(atat) if not n.startswith('_')]; "
        "assert names == sorted(atat.__all__), names; atat.Result; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert all(hasattr(atat, name) for name in atat.__all__)
