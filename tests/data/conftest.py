"""Rendered speech."""

import pytest
import soxr

from atat.synthesis import engines


@pytest.fixture(scope="module")
def speech():
    """Two seconds of rendered speech at 48 kHz, float32."""
    samples, rate = engines.load("espeak").speak("turn on the lights in the kitchen", "en-us")
    return soxr.resample(samples, rate, 48000)


@pytest.fixture(scope="module")
def speech_16k(speech):
    return soxr.resample(speech, 48000, 16000)
