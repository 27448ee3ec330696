"""Speech that synthesisers say, and a toy model that understands it."""

import numpy as np
import pytest
import soundfile
import soxr

from atat.config import config_file
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint
from atat.semantics import target_sequence
from tests.conftest import SEQUENCES, overfit, toy_settings

RATE_HZ = 16000


@pytest.fixture(scope="session")
def say():
    """float32 (N,) at 16 kHz of a text, said by eSpeak, without silence around."""
    from atat.synthesis import engines

    espeak = engines.load("espeak")

    def say(text, voice="en-us"):
        samples, rate = espeak.speak(text, voice)
        return soxr.resample(samples, rate, RATE_HZ).astype(np.float32)

    return say


@pytest.fixture(scope="session")
def recordings(say, tmp_path_factory):
    """Wav files of the four sentences of the toy experiment, with a little silence and noise."""
    directory = tmp_path_factory.mktemp("said")
    paths = []
    for number, sequence in enumerate(SEQUENCES):
        paths.append(directory / f"{number}.wav")
        speech_N = np.pad(say(target_sequence.words(sequence)), (4000, 6000))
        # Whole feature frames, so that one after another has the frames that the model knows.
        speech_N = speech_N[: len(speech_N) // 160 * 160]
        noise_N = np.random.default_rng(number).normal(0, 5e-4, len(speech_N))
        soundfile.write(paths[-1], speech_N + noise_N, RATE_HZ)
    return paths


@pytest.fixture(scope="session")
def spoken_experiment(recordings, tmp_path_factory):
    """Directory of an experiment that knows the four recordings by heart, wherever they are cut."""
    exp = tmp_path_factory.mktemp("spoken") / "exp"
    settings, tokenizer = toy_settings(), Tokenizer.train(SEQUENCES, vocab_size=60)
    settings.features.trim_db, settings.features.level_db = 35.0, -20.0
    config_file.save(settings, exp / "config.yaml")
    tokenizer.save(exp / "tokenizer")
    model = overfit(settings, tokenizer, recordings)
    checkpoint.write(model.state_dict(), settings.model, tokenizer, exp)
    return exp


@pytest.fixture(scope="session")
def spoken_model(spoken_experiment):
    """A `SpeechToSemantics` of it."""
    from atat.inference.predictor import SpeechToSemantics

    return SpeechToSemantics.load(spoken_experiment)


@pytest.fixture(scope="session")
def samples(recordings):
    """float32 (N,) of each of the recordings."""
    return [soundfile.read(path, dtype="float32")[0] for path in recordings]
