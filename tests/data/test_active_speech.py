"""Speech is found in recordings of every kind."""

import numpy as np
import pytest

from atat.data.active_speech import active_range, at_level, levels_db
from atat.data.audio_mixdown import NoSpeechError

RATE = 16000


def recording(*parts, noise_db=-70.0):
    """Noise, with stretches of it at other levels: (seconds, level in dB or None)."""
    rng = np.random.default_rng(0)
    stretches = [
        rng.normal(size=round(s * RATE)) * 10 ** ((noise_db if db is None else db) / 20)
        for s, db in parts
    ]
    return np.concatenate(stretches).astype(np.float32)


def seconds_of(samples, **options):
    start, end = active_range(samples, **options)
    return start / RATE, end / RATE


def test_speech_is_found_with_its_padding():
    samples = recording((3, None), (2, -20), (3, None))
    assert seconds_of(samples) == pytest.approx((2.8, 5.2), abs=0.03)
    assert seconds_of(samples, padding_s=0.0) == pytest.approx((3, 5), abs=0.03)


def test_a_pause_between_words_and_a_weak_last_word_stay():
    samples = recording((2, None), (1, -20), (0.6, None), (0.3, -50), (2, None))
    assert seconds_of(samples) == pytest.approx((1.8, 4.1), abs=0.03)


def test_clicks_are_not_speech():
    samples = recording(
        (1, None), (0.02, -10), (2, None), (1, -20), (2, None), (0.05, -25), (1, None)
    )
    assert seconds_of(samples) == pytest.approx((2.82, 4.22), abs=0.03)


def test_a_loud_click_does_not_hide_weak_speech():
    samples = recording((1, None), (0.02, -3), (2, None), (1, -48), (1, None))
    start, end = seconds_of(samples)
    assert 2.5 < start < 2.85 and 4.19 < end < 4.5


def test_a_short_sound_soon_after_speech_belongs_to_it():
    samples = recording((1, None), (1, -20), (0.5, None), (0.06, -30), (2, None))
    assert seconds_of(samples) == pytest.approx((0.8, 2.76), abs=0.03)


def test_a_second_phrase_after_a_long_pause_stays():
    samples = recording((1, None), (1, -20), (2, None), (1, -25), (1, None))
    assert seconds_of(samples) == pytest.approx((0.8, 5.2), abs=0.03)


def test_strong_noise_does_not_count_as_speech():
    samples = recording((2, None), (2, -15), (2, None), noise_db=-40)
    # 20 dB of speech may lie in the noise, 10 ms of padding for each
    assert seconds_of(samples) == pytest.approx((1.6, 4.4), abs=0.03)


def test_quiet_beginnings_and_ends_in_steady_noise_are_listened_to():
    samples = recording((2, None), (0.3, -33), (1, -15), (0.4, -33), (3, None), noise_db=-40)
    start, end = seconds_of(samples)
    assert 1.5 < start < 1.85 and 3.85 < end < 4.3


def test_noise_that_swells_is_not_taken_for_speech():
    swells = [(0.5, level) for level in (-46, -40, -43, -41, -45, -40, -44, -42)]
    samples = recording(*swells, (1.5, -15), *swells)
    assert seconds_of(samples) == pytest.approx((3.65, 5.85), abs=0.1)


@pytest.mark.parametrize(
    "samples", [np.zeros(RATE, "f4"), recording((2, None)), np.zeros(100, "f4"), np.zeros(0, "f4")]
)
def test_where_nothing_stands_out_all_is_kept(samples):
    assert active_range(samples) == (0, len(samples))


@pytest.mark.parametrize("offset", [0.05, -0.3])
def test_speech_is_found_whatever_the_offset(offset):
    samples = np.zeros(3 * RATE)
    samples[RATE : 2 * RATE] = 0.1 * np.sin(np.arange(RATE) / 5)
    samples += np.random.default_rng(0).normal(0, 1e-3, len(samples))
    assert active_range(samples + offset, trim_db=35) == active_range(samples, trim_db=35)


@pytest.mark.parametrize("level_db", [-50, -20, 0])
def test_any_level_becomes_the_same_one_without_its_offset(level_db):
    samples = 10 ** (level_db / 20) * np.sin(np.arange(RATE) / 5)
    found = at_level(samples + 0.05, -20.0, RATE)
    assert found == pytest.approx(at_level(np.sin(np.arange(RATE) / 5), -20.0, RATE), abs=1e-4)
    assert levels_db(found).max() == pytest.approx(-20.0, abs=0.01)
    assert abs(found.mean()) < 1e-6


def test_silence_has_no_level_to_bring_up():
    with pytest.raises(NoSpeechError, match=r"silent .its loudest 10 ms have -9\d dB"):
        at_level(np.random.default_rng(0).normal(0, 2e-5, RATE), -20.0, RATE)
