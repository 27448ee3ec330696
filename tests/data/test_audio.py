"""Files are written by soundfile or by hand, damaged on purpose, and read back."""

import io
import os
import struct
import threading
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from atat.data.audio import NoSpeechError, active_range, at_level, levels_db, read, to_mono_16k
from atat.data.audio_headers import AudioWarning

RATE = 16000


def tone(seconds=1.0, rate=RATE, hz=440.0, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.supports(
    "Audio files",
    "wav (8, 16, 24, 32 bit, float, double), flac, ogg",
    "read; all give the same samples",
)
@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-23),
        ("a.wav", "PCM_U8", 2**-7),
        ("a.wav", "FLOAT", 0.0),
        ("a.wav", "DOUBLE", 0.0),
        ("a.flac", "PCM_16", 2**-15),
        ("a.flac", "PCM_24", 2**-23),
        ("a.ogg", "VORBIS", 0.05),
    ],
)
def test_formats_give_the_same_samples(name, subtype, tolerance, tmp_path):
    samples = read(write(tmp_path / name, tone(), subtype=subtype))
    assert samples.dtype == np.float32 and samples.shape == (RATE,)
    assert np.abs(samples - tone()).max() <= tolerance


@pytest.mark.supports("Audio files", "8 to 48 kHz", "resampled to 16 kHz without aliasing")
@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_any_rate_becomes_16_khz(rate, tmp_path):
    samples = read(write(tmp_path / "a.wav", tone(rate=rate), rate, subtype="FLOAT"))
    assert len(samples) == pytest.approx(RATE, abs=1)
    inner = slice(800, RATE - 800)  # the resampler's edges differ
    assert np.abs(samples[inner] - tone()[inner]).max() < 2e-3


def test_resampling_removes_what_would_alias(tmp_path):
    samples = read(write(tmp_path / "a.wav", tone(rate=48000, hz=11000), 48000))
    assert np.abs(samples[800:-800]).max() < 1e-3


@pytest.mark.supports("Audio files", "two channels", "their mean")
def test_stereo_is_mixed_down(tmp_path):
    stereo = np.stack([tone(), np.zeros(RATE, "f4")], axis=1)
    samples = read(write(tmp_path / "a.wav", stereo, subtype="FLOAT"))
    assert np.allclose(samples, tone() / 2, atol=1e-7)


def test_silence_is_allowed(tmp_path):
    assert not read(write(tmp_path / "a.wav", np.zeros(RATE))).any()


@pytest.mark.supports("Audio files", "floats beyond full scale", "scaled, not clipped")
def test_float_beyond_full_scale_is_scaled_not_clipped(tmp_path):
    samples = read(write(tmp_path / "a.wav", 4 * tone(), subtype="FLOAT"))
    assert np.allclose(samples, tone() / np.abs(tone()).max(), atol=1e-6)


def wav_bytes(samples=None, form="WAV", **options):
    file = io.BytesIO()
    soundfile.write(file, tone() if samples is None else samples, RATE, format=form, **options)
    return file.getvalue()


@pytest.mark.supports("Audio files", "a pipe", "read to its end")
def test_a_file_object_that_cannot_seek_is_read():
    reader, writer = os.pipe()
    data = wav_bytes()

    def feed():
        with open(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reader, "rb") as file:
        samples = read(file)
    thread.join()
    assert np.abs(samples - tone()).max() <= 2**-15


def test_a_file_object_may_stand_in_the_middle():
    file = io.BytesIO(b"before" + wav_bytes())
    file.seek(6)
    assert len(read(file)) == RATE


@pytest.mark.supports(
    "Audio files",
    "wav of unknown size in its header, as recorders write to a pipe",
    "read to its end",
)
@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
def test_a_piped_wav_of_unknown_size_is_read_to_its_end(size, tmp_path):
    data = wav_bytes()
    at = data.index(b"data") + 4
    path = tmp_path / "a.wav"
    path.write_bytes(data[:at] + struct.pack("<I", size) + data[at + 4 :])
    with pytest.warns(AudioWarning, match="promises an unknown number of bytes"):
        assert np.abs(read(path) - tone()).max() <= 2**-15


@pytest.mark.supports(
    "Audio files",
    "wav with other chunks before the samples",
    "they are stepped over",
)
def test_chunks_before_the_samples_are_stepped_over(tmp_path):
    data = wav_bytes()
    odd = b"LIST" + struct.pack("<I", 5) + b"INFO.\0"  # odd sizes are padded
    for chunk, ok in ((odd, True), (odd[:-1], False)):
        path = tmp_path / "a.wav"
        path.write_bytes(data[:36] + chunk + data[36:])
        if ok:
            assert np.abs(read(path) - tone()).max() <= 2**-15
        else:
            with pytest.raises(ValueError, match=r"truncated|not audio|no samples"):
                read(path)


def damaged(name, tmp_path):
    path, whole = tmp_path / "a.wav", wav_bytes()
    if name == "empty":
        path.write_bytes(b"")
    elif name == "truncated":
        path.write_bytes(whole[:20000])
    elif name == "header only":
        path.write_bytes(whole[:44])
    elif name == "half a header":
        path.write_bytes(whole[:30])
    elif name == "text":
        path.write_text("this is not audio\n" * 100)
    elif name == "no samples":
        path.write_bytes(wav_bytes(np.zeros(0)))
    elif name == "9 ms":
        path.write_bytes(wav_bytes(tone(0.009)))
    elif name == "31 s":
        path.write_bytes(wav_bytes(tone(31)))
    elif name == "NaN":
        samples = tone()
        samples[500] = np.nan
        path.write_bytes(wav_bytes(samples, subtype="FLOAT"))
    elif name == "infinite":
        samples = np.stack([tone(), tone()], axis=1)
        samples[500] = [np.inf, -np.inf]
        path.write_bytes(wav_bytes(samples, subtype="FLOAT"))
    elif name == "flac truncated":
        path.write_bytes(wav_bytes(np.random.default_rng(0).normal(size=RATE) / 10, "FLAC")[:10000])
    elif name == "mp3 truncated":
        path.write_bytes(wav_bytes(np.random.default_rng(0).normal(size=RATE) / 10, "MP3")[:3000])
    return path


@pytest.mark.supports(
    "Audio files",
    "empty, truncated, damaged, too short, too long, or no audio",
    "refused in one line that names the file",
)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", r"empty \(0 bytes\)"),
        ("truncated", "truncated: 32000 bytes of samples promised, 19956 there"),
        ("header only", "truncated: 32000 bytes"),
        ("half a header", "truncated: no samples"),
        ("text", "not audio"),
        ("no samples", "no samples in it"),
        ("9 ms", "0.0090 s long, expected 0.01 s or more"),
        ("31 s", r"31.0 s long, the limit is 30.0 s \(features.max_duration_s\)"),
        ("NaN", "NaN or infinite"),
        ("infinite", "NaN or infinite"),
        ("flac truncated", "damaged or truncated: "),
        ("mp3 truncated", "truncated: 16000 samples promised"),
    ],
)
def test_damage_is_one_line_that_names_the_file(name, said, tmp_path):
    path = damaged(name, tmp_path)
    with pytest.raises(ValueError, match=said) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_the_usual_file_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.wav")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_an_hour_is_refused_without_decoding_it(tmp_path):
    path = tmp_path / "hour.wav"
    header = wav_bytes()[:44]
    size = 3600 * RATE * 2
    with path.open("wb") as file:  # a hole: takes no space on the disk
        file.write(header[:4] + struct.pack("<I", size + 36) + header[8:40])
        file.write(struct.pack("<I", size))
        file.truncate(44 + size)
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"3600\.0 s long"):
        read(path)
    assert time.process_time() - begin < 0.1
    assert len(read(path, max_duration_s=4000)) == 3600 * RATE


@pytest.mark.filterwarnings("ignore::atat.data.audio_headers.AudioWarning")
@settings(max_examples=200)
@given(st.data())
def test_no_damage_to_a_wav_gives_anything_but_samples_or_one_line(data):
    raw = bytearray(wav_bytes(tone(0.05)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 60))
        raw[at] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        samples = read(io.BytesIO(bytes(raw)))
    except ValueError as e:
        assert "\n" not in str(e)
    else:
        assert samples.dtype == np.float32 and np.isfinite(samples).all()
        assert np.abs(samples).max() <= 1.0


@pytest.mark.supports(
    "Python inputs",
    "NumPy arrays (n,) or (n, channels): floats, int16, int32; lists of floats",
    "scaled to -1..1, mixed down",
)
@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([0, 16384, -32768], np.int16), [0.0, 0.5, -1.0]),
        (np.array([0, 2**30, -(2**31)], np.int32), [0.0, 0.5, -1.0]),
        (np.array([[0.5, 0.25], [0.0, -1.0]]), [0.375, -0.5]),
        ([0.0, 0.5], [0.0, 0.5]),
    ],
)
def test_arrays_are_converted(samples, expected):
    assert to_mono_16k(samples, RATE).tolist() == expected
    assert to_mono_16k(samples, RATE).dtype == np.float32


def test_an_array_equals_the_file_of_it(tmp_path):
    stereo = np.stack([tone(rate=44100), tone(rate=44100, hz=300)], axis=1)
    path = write(tmp_path / "a.wav", stereo, 44100, subtype="FLOAT")
    assert np.array_equal(to_mono_16k(stereo, 44100), read(path))


@pytest.mark.supports(
    "Python inputs",
    "arrays of another shape, type or rate, NaN",
    "ValueError that says what was got and expected",
)
@pytest.mark.parametrize(
    ("samples", "rate", "said"),
    [
        (np.zeros((2, 2, 2)), RATE, "shape"),
        (np.zeros(0), RATE, "shape"),
        (np.zeros(9, bool), RATE, "bool"),
        (np.zeros(9, np.uint8), RATE, "uint8"),
        (np.zeros(9, np.int64), RATE, "int64, expected floats or int8, 16, 32"),
        (np.zeros((3, 16000)), RATE, "transpose"),
        (np.zeros(9), "16k", "sample rate of '16k'"),
        (np.array([np.nan]), RATE, "NaN"),
        (np.zeros(9), 0, "sample rate of 0"),
        (np.zeros(9), float("nan"), "sample rate of nan"),
    ],
)
def test_arrays_without_sense_are_refused(samples, rate, said):
    with pytest.raises(ValueError, match=said):
        to_mono_16k(samples, rate)


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


def test_channels_that_cancel_are_no_speech():
    left = np.sin(np.arange(RATE) / 5)
    with pytest.raises(NoSpeechError, match="cancel each other out"):
        to_mono_16k(np.stack([left, -left], axis=1), RATE)
    assert len(to_mono_16k(np.stack([left, 0.9 * left], axis=1), RATE)) == RATE
    assert len(to_mono_16k(np.zeros((RATE, 2)), RATE)) == RATE
