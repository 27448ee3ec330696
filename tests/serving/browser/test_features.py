"""Features, the range of speech and other rates in JavaScript, against Python's and the formula."""

from dataclasses import asdict

import numpy as np
import pytest

from atat.config.schema import FeaturesConfig
from atat.data import active_speech, audio, filter_bank

EXACT = 1e-3  # of log mel, which Python has in float32


def spoken(rng, seconds=2.0):
    """Noise, quiet, and amid it louder bursts on a constant offset."""
    samples = rng.normal(0, 0.003, int(16000 * seconds)) + 0.01
    for _ in range(3):
        start, length = rng.integers(0, len(samples)), int(rng.integers(300, 9000))
        samples[start : start + length] += rng.normal(0, 0.2, len(samples[start : start + length]))
    return samples.astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": "whisper"},
        {"num_mel_bins": 40, "frame_length_ms": 20.0, "frame_shift_ms": 7.5},
        {"trim_db": 35.0, "level_db": -20.0},
        {"kind": "whisper", "trim_db": 35.0, "level_db": -20.0},
    ],
)
def test_features_are_pythons(run, changes):
    settings, rng = FeaturesConfig(**changes), np.random.default_rng(1)
    recordings = [spoken(rng), rng.uniform(-1, 1, 5003).astype(np.float32)]
    found = run(
        """const { extract } = await import("./features.js");
        return data.recordings.map((x) => extract(floats(x), data.settings));""",
        {"recordings": [x.tolist() for x in recordings], "settings": asdict(settings)},
    )
    for samples, got in zip(recordings, found, strict=True):
        expected_TF = filter_bank.extract(samples, settings)
        assert got["numFrames"] == len(expected_TF)
        got_TF = np.array(got["values"]).reshape(expected_TF.shape)
        np.testing.assert_allclose(got_TF, expected_TF, rtol=0, atol=EXACT)


def test_speech_is_found_where_python_finds_it(run):
    rng = np.random.default_rng(2)
    recordings = [spoken(rng, seconds) for seconds in (0.05, 0.4, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    recordings.append(np.zeros(8000, np.float32))
    # Bursts that are just short enough for clicks, or near enough to belong together.
    for burst, pause in [(n, 100) for n in range(5, 12)] + [(6, n) for n in range(62, 78)]:
        frames = np.concatenate([np.zeros(60), np.ones(40), np.zeros(pause), np.ones(burst)])
        envelope = np.concatenate([frames, np.zeros(80)]).repeat(160) * 0.2 + 0.002
        recordings.append((envelope * rng.normal(0, 1, len(envelope))).astype(np.float32))
    found = run(
        """const { activeRange } = await import("./active-range.js");
        return data.map((x) => activeRange(floats(x), 16000, 35));""",
        [x.tolist() for x in recordings],
    )
    expected = [list(active_speech.active_range(x, 16000, 35.0)) for x in recordings]
    assert found == expected and any(start > 0 for start, _ in expected)


def test_silence_and_what_is_too_short_have_no_features(run):
    said = run(
        """const { extract } = await import("./features.js");
        const { NoSpeech } = await import("./active-range.js");
        return [16000, 1000].map((num) => {
          try { extract(new Float32Array(num), data); }
          catch (error) { return [error instanceof NoSpeech, error.message]; }
        });""",
        asdict(FeaturesConfig(level_db=-20.0)),
    )
    with pytest.raises(audio.NoSpeechError) as silent:
        filter_bank.extract(np.zeros(16000, np.float32), FeaturesConfig(level_db=-20.0))
    assert said[0] == [True, str(silent.value)]
    assert said[1][0] is False and "0.063 s long, expected 0.1 s" in said[1][1]


@pytest.mark.parametrize("rate", [44100, 48000, 8000])
def test_a_stream_is_resampled_whatever_its_pieces(run, rate):
    time = np.arange(rate // 2) / rate
    tones = sum(np.sin(2 * np.pi * hz * time + hz) for hz in (100, 1000, 3000)) * 0.2
    got = run(
        """const { Resampler, joined } = await import("./resampler.js");
        const resampler = new Resampler(data.rate, 16000);
        const pieces = [];
        for (let start = 0; start < data.x.length; start += 701) {
          pieces.push(resampler.accept(floats(data.x.slice(start, start + 701))));
        }
        return joined([...pieces, resampler.finish()]);""",
        {"rate": rate, "x": tones.tolist()},
    )
    time = np.arange(8000) / 16000
    expected = sum(np.sin(2 * np.pi * hz * time + hz) for hz in (100, 1000, 3000)) * 0.2
    assert len(got) == 8000
    np.testing.assert_allclose(got[500:-500], expected[500:-500], atol=2e-3)
