import numpy as np
import pytest

from atat.synthesis.recording_conditions import RATE_HZ, conditions, sounds


@pytest.fixture(scope="module")
def changed():
    """Condition -> samples in float64 and rate, of a tone at -10 dBFS of one second."""
    speech_N = 10**-0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    draw = np.random.default_rng(0)
    made = {name: change(draw, speech_N) for name, change in conditions().items()}
    assert all(samples.dtype == np.int16 for samples, _ in made.values())
    return {name: (samples / 32768, rate) for name, (samples, rate) in made.items()}


def db(value: float) -> float:
    return 20 * np.log10(value)


def test_conditions_are_what_they_are_called(changed):
    for peak_dbfs in (-50, -30, -20, 0):
        samples, rate = changed[f"peak at {peak_dbfs} dBFS"]
        assert db(np.abs(samples).max()) == pytest.approx(peak_dbfs, abs=0.1) and rate == RATE_HZ
    for pause_s in (0.5, 1, 2):
        samples, _ = changed[f"{pause_s} s of room around"]
        assert len(samples) == (1 + 2 * pause_s) * RATE_HZ
        for end in (samples[: RATE_HZ // 2], samples[-RATE_HZ // 2 :]):
            assert db(end.std()) == pytest.approx(-60, abs=2)
    assert changed["DC offset of 0.05"][0].mean() == pytest.approx(0.05, abs=1e-3)
    samples, rate = changed["8 kHz"]
    assert rate == 8000 and len(samples) == 8000
    samples, _ = changed["clipped by 12 dB"]
    share = 1 - 2 / np.pi * np.arcsin(10 ** (-12 / 20))
    assert np.mean(np.abs(samples) > 0.999) == pytest.approx(share, abs=0.02)
    assert np.abs(samples).max() <= 1.0


def test_sounds_in_which_nothing_is_said_are_what_they_are_called():
    speech = [np.random.default_rng(0).normal(0, 0.1, RATE_HZ)]
    made = sounds(np.random.default_rng(0), speech)
    assert all(len(kind) == 20 for kind in made.values())
    assert all(not samples.any() for samples, _ in made["digital silence"])
    for samples, rate in made["two channels that cancel"]:
        assert samples.shape == (RATE_HZ, 2) and rate == RATE_HZ
        assert samples.any() and not samples.sum(axis=1, dtype=int).any()
    levels = [db((samples / 32768).std()) for samples, _ in made["white noise"]]
    assert levels[0] == pytest.approx(-60, abs=1) and levels[-1] == pytest.approx(-20, abs=1)
    hum, _ = made["hum"][0]
    spectrum = np.abs(np.fft.rfft(hum))
    assert np.argmax(spectrum) * RATE_HZ / len(hum) == pytest.approx(50, abs=1)
