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

from atat.data.audio import NoSpeechError, read, to_mono_16k
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
        ("31 s", r"31.0 s long, the limit is 30.0 s \(max_duration_s\)"),
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


def test_channels_that_cancel_are_no_speech():
    left = np.sin(np.arange(RATE) / 5)
    with pytest.raises(NoSpeechError, match="cancel each other out"):
        to_mono_16k(np.stack([left, -left], axis=1), RATE)
    assert len(to_mono_16k(np.stack([left, 0.9 * left], axis=1), RATE)) == RATE
    assert len(to_mono_16k(np.zeros((RATE, 2)), RATE)) == RATE
