"""Filter banks against a second implementation."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from atat.config.schema import FeaturesConfig
from atat.data import filter_bank
from atat.data.audio import read
from atat.data.filter_bank import extract, fbank

SETTINGS = FeaturesConfig()
RATE = 16000


def reference_fbank(samples, num_bins=80, rate=RATE):
    """Kaldi's definition (feature-window.cc, mel-computations.cc) in float64 numpy."""
    samples = np.asarray(samples, np.float64) * 32768
    length, shift, size = 400, 160, 512
    num_frames = 1 + (len(samples) - length) // shift  # snip edges
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))) ** 0.85  # povey

    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    edges = np.linspace(mel(20), mel(rate / 2), num_bins + 2)
    at = mel(np.arange(size // 2) * rate / size)
    left, centre, right = (edges[i : i + num_bins, None] for i in range(3))
    rising, falling = (at - left) / (centre - left), (right - at) / (right - centre)
    weights = np.maximum(0, np.minimum(rising, falling))
    rows = []
    for t in range(num_frames):
        frame = samples[t * shift : t * shift + length]
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * window, size)[: size // 2]) ** 2
        rows.append(np.log(np.maximum(weights @ power, np.finfo(np.float32).eps)))
    return np.array(rows)


def test_fbank_agrees_with_a_second_implementation(speech_16k):
    rng = np.random.default_rng(0)
    noisy = speech_16k + 0.01 * rng.normal(size=len(speech_16k)).astype("f4")
    feats = fbank(noisy, SETTINGS)
    assert feats.dtype == np.float32 and feats.shape == (1 + (len(noisy) - 400) // 160, 80)
    assert np.abs(feats - reference_fbank(noisy)).max() < 2e-3
    loud = reference_fbank(speech_16k) > 0  # below that float32 FFTs differ by rounding
    assert np.abs(fbank(speech_16k, SETTINGS) - reference_fbank(speech_16k))[loud].max() < 2e-2


def test_other_sizes_follow_the_settings(speech_16k):
    few = fbank(speech_16k, replace(SETTINGS, num_mel_bins=40))
    assert np.abs(few - reference_fbank(speech_16k, 40))[few > 0].max() < 2e-2
    sparse = fbank(speech_16k, replace(SETTINGS, frame_shift_ms=20.0))
    assert np.array_equal(sparse, fbank(speech_16k, SETTINGS)[::2])


def test_digital_silence_gives_finite_features():
    assert np.isfinite(fbank(np.zeros(RATE, "f4"), SETTINGS)).all()


def test_one_frame_is_the_least(speech_16k):
    assert fbank(speech_16k[:400], SETTINGS).shape == (1, 80)
    with pytest.raises(ValueError, match=r"0\.025 s of audio, expected a frame of 0\.025 s"):
        fbank(speech_16k[:399], SETTINGS)
    with pytest.raises(ValueError, match=r"0\.050 s long, expected 0\.1 s or more"):
        extract(speech_16k[:800], SETTINGS)


def test_int16_and_float_wavs_are_equal(speech_16k, tmp_path):
    integers = np.round(speech_16k * 32767).astype(np.int16)
    soundfile.write(tmp_path / "i.wav", integers, RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "f.wav", integers / np.float32(32768), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "i.flac", integers, RATE)
    a, b, c = (fbank(read(tmp_path / name), SETTINGS) for name in ("i.wav", "f.wav", "i.flac"))
    assert np.array_equal(a, b) and np.array_equal(a, c)


def test_48_khz_stereo_is_close_to_16_khz_mono(speech, speech_16k, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([speech, speech], 1), 48000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", speech_16k, RATE, subtype="FLOAT")
    a, b = (fbank(read(tmp_path / name), SETTINGS) for name in ("a.wav", "b.wav"))
    # A resampler of its own instead of soxr's would differ in the last bins only.
    assert a.shape == b.shape and np.abs(a - b).max() < 1e-2


def test_trimming_finds_the_speech(speech_16k):
    rng = np.random.default_rng(0)
    noise = (1e-4 * rng.normal(size=8 * RATE)).astype("f4")
    noise[3 * RATE : 3 * RATE + len(speech_16k)] += speech_16k
    whole = extract(noise, SETTINGS)
    trimmed = extract(noise, replace(SETTINGS, trim_db=35.0))
    assert len(whole) == 798
    assert len(speech_16k) / 160 - 40 < len(trimmed) < len(speech_16k) / 160 + 45


def test_a_kind_that_there_is_not_is_refused(speech_16k):
    with pytest.raises(ValueError, match=r"features\.kind: got 'mfcc', expected kaldi or whisper"):
        filter_bank.extract(speech_16k, replace(SETTINGS, kind="mfcc"))


def test_a_limit_beyond_whispers_is_warned_of():
    settings = FeaturesConfig(kind="whisper", max_duration_s=40.0)
    assert filter_bank.longest_s(settings) == 30.0  # of a saved experiment: nobody asks for it now
    assert filter_bank.longest_s(settings, 7.0) == 7.0
    with pytest.warns(filter_bank.LimitWarning, match=r"max_duration_s: got 60, .* stays 30 s"):
        assert filter_bank.longest_s(settings, 60.0) == 30.0
    assert filter_bank.longest_s(FeaturesConfig(), 60.0) == 60.0


def test_features_are_the_librarys_to_the_last_bit(speech_16k):
    import kaldi_native_fbank

    bank = kaldi_native_fbank.OnlineFbank(filter_bank._options(RATE, 80, 25.0, 10.0))
    bank.accept_waveform(RATE, (speech_16k * np.float32(32768)).tolist())
    bank.input_finished()
    expected = np.stack([bank.get_frame(t) for t in range(bank.num_frames_ready)])
    for samples in (speech_16k, speech_16k.astype(np.float64), speech_16k.repeat(2)[::2]):
        found = fbank(samples, SETTINGS)
        assert found.dtype == np.float32 and np.array_equal(found, expected)
