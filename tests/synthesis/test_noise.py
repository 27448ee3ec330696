"""Noise over speech, and the curve of exact match against its ratio."""

import numpy as np
import pytest
import soundfile

from atat.synthesis import noise

RATE = noise.RATE_HZ
FRAME = 2048  # of the benchmark


def draw(seed=0):
    return np.random.default_rng(seed)


def speech(seconds=2.0):
    """One loud frame in the middle of something quiet."""
    samples = 0.002 * draw(5).standard_normal(round(seconds * RATE))
    samples[5 * FRAME : 6 * FRAME] *= 20
    return samples.astype(np.float32)


def loudest(samples):
    """Power of the loudest frame, a frame at a time."""
    starts = range(0, len(samples) - FRAME + 1, FRAME)
    return max(np.mean(np.float64(samples[at : at + FRAME]) ** 2) for at in starts)


@pytest.mark.parametrize("kind", ["fan", "street", "babble"])
@pytest.mark.parametrize("snr_db", [24.0, 6.0, -3.0])
def test_the_ratio_is_that_of_the_loudest_frames(files, kind, snr_db):
    said = speech()
    make = noise.source(kind, sorted(files.glob("*.wav")))
    added = noise.mix(said, make(draw(), len(said)), snr_db) - said
    ratio = loudest(said) / loudest(added)
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.05)


def test_pauses_of_the_noise_do_not_make_it_louder():
    said, made = speech(), noise.fan(draw(), 2 * RATE)
    made[: FRAME * 3] *= 10  # its loudest frame is one of these
    paused = np.where(np.arange(len(made)) < FRAME * 3, made, 0.0)
    with_pause, without = (noise.mix(said, n, 6.0)[: FRAME * 3] for n in (paused, made))
    np.testing.assert_allclose(with_pause, without, atol=1e-6)


def test_nothing_is_clipped():
    mixed = noise.mix(np.full(RATE, 0.9, np.float32), draw().standard_normal(RATE), -10.0)
    assert np.abs(mixed).max() == pytest.approx(1.0)
    assert (np.abs(mixed) > 0.999).sum() < 3  # made quieter, not cut off


def test_silence_stays_silence():
    assert not noise.mix(np.zeros(RATE, np.float32), noise.street(draw(), RATE), 6.0).any()


def test_noise_without_power_and_of_another_length_is_refused():
    with pytest.raises(ValueError, match="noise without power"):
        noise.mix(speech(), np.zeros(2 * RATE), 6.0)
    with pytest.raises(ValueError, match="got 5 samples of noise for 32000 of speech"):
        noise.mix(speech(), np.ones(5), 6.0)


def test_a_short_sound_is_its_own_loudest_frame():
    assert noise.loudest_power(np.full(10, 0.5)) == pytest.approx(0.25)


@pytest.fixture
def files(tmp_path):
    for number in range(3):
        samples = 0.1 * draw(number).standard_normal(RATE // 2)
        soundfile.write(tmp_path / f"{number}.wav", samples, RATE)
    return tmp_path


@pytest.mark.parametrize("kind", ["fan", "street", "babble", "murmur", "recorded"])
def test_a_seed_gives_the_same_noise_and_another_seed_another(files, kind):
    name = {"recorded": str(files), "murmur": "babble"}.get(kind, kind)
    make = noise.source(name, [] if kind == "murmur" else sorted(files.glob("*.wav")))
    first = make(draw(1), 3 * RATE)
    assert first.shape == (3 * RATE,)
    assert np.isfinite(first).all() and np.square(first).mean() > 0
    assert np.array_equal(first, make(draw(1), 3 * RATE))
    assert not np.array_equal(first, make(draw(2), 3 * RATE))


def test_fan_noise_is_steady_and_a_street_is_not():
    def swell(samples):
        power = np.square(samples).reshape(-1, RATE // 2).mean(axis=1)
        return power.max() / power.min()

    fans, streets = (
        [swell(make(draw(seed), 10 * RATE)) for seed in range(5)]
        for make in (noise.fan, noise.street)
    )
    assert max(fans) < 3 < np.median(streets)


def test_babble_without_speech_swells_as_syllables_do():
    def slow_share(samples):
        """Of the loudness's changes, those of 2 to 8 a second."""
        loudness = np.abs(samples).reshape(-1, RATE // 100).mean(axis=1)
        power = np.abs(np.fft.rfft(loudness - loudness.mean())) ** 2
        hz = np.fft.rfftfreq(len(loudness), 0.01)
        return power[(hz >= 2) & (hz <= 8)].sum() / power.sum()

    makers = noise.babble, noise.fan
    murmurs, fans = ([slow_share(make(draw(i), 10 * RATE)) for i in range(5)] for make in makers)
    assert min(murmurs) > 1.5 * max(fans)


@pytest.mark.parametrize("num", [1, 160, 2 * RATE + 1])
@pytest.mark.parametrize("kind", ["fan", "street", "babble"])
def test_noise_is_as_long_as_asked(kind, num):
    made = noise.source(kind, [])(draw(), num)
    assert made.shape == (num,) and np.isfinite(made).all()


def test_a_kind_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="got 'rain', expected babble, fan, street or a directory"):
        noise.source("rain", [])


def test_an_excerpt_of_silence_is_drawn_again(tmp_path):
    samples = np.zeros(60 * RATE)
    samples[: 20 * RATE] = 0.1 * draw().standard_normal(20 * RATE)
    soundfile.write(tmp_path / "pauses.wav", samples, RATE)
    make = noise.source(str(tmp_path), [])
    assert all(make(draw(seed), RATE).any() for seed in range(10))
    soundfile.write(tmp_path / "pauses.wav", np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match=r"pauses\.wav: silent in 50 draws, expected noise"):
        make(draw(), RATE)


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.aiff", "a.ogg"])
def test_a_directory_may_hold_any_audio(tmp_path, name):
    soundfile.write(tmp_path / name, 0.1 * draw().standard_normal(RATE), RATE)
    assert noise.source(str(tmp_path), [])(draw(), RATE).any()


def test_a_directory_without_audio_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no audio files here"):
        noise.source(str(tmp_path), [])
