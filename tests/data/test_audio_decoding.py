"""Codecs, limits and hostile files; what is read is held against what was written."""

import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from atat.data.audio import read
from tests.data.sounds import CASES, RATE, file_bytes, replaced, tone, varied

KNOWN = [
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAV", "GSM610"),
    ("WAV", "G721_32"),
    ("WAV", "NMS_ADPCM_16"),
    ("WAV", "NMS_ADPCM_24"),
    ("WAV", "NMS_ADPCM_32"),
    ("AU", "G721_32"),
    ("AU", "G723_24"),
    ("AU", "G723_40"),
    ("AIFF", "GSM610"),
    ("AIFF", "DWVW_16"),
    ("AIFF", "IMA_ADPCM"),
    ("W64", "GSM610"),
    ("CAF", "ALAC_16"),
    ("VOC", "ULAW"),
    ("NIST", "ULAW"),
]


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        pytest.param(
            *known, marks=pytest.mark.supports("Audio files", f"{known[0]}, {known[1]}", "read")
        )
        for known in KNOWN
    ],
)
def test_every_codec_gives_the_sound_that_was_coded(form, subtype, tmp_path):
    path = tmp_path / "voicemail.wav"
    path.write_bytes(file_bytes(tone(), form, subtype))
    samples = read(path)
    assert 0 <= len(samples) - RATE < 700  # the last block is filled up
    expected = tone()[1000:-1000]
    likeness = np.correlate(samples[: RATE - 1000 + 400], expected, "valid").max()
    assert likeness > 0.97 * np.linalg.norm(expected) ** 2


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
def test_the_gsm_voicemail_is_read():
    samples = read(CASES / "gsm_wav" / "voicemail.wav")
    assert len(samples) == 2 * RATE and np.abs(samples).max() > 0.01


@pytest.mark.supports("Audio files", "a file whose name has another format's ending", "read")
@pytest.mark.parametrize("name", ["x.raw", "x.mp3", "x", "x.wav.part", "x.txt"])
def test_a_format_is_told_by_its_content_and_not_by_its_name(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(file_bytes())
    assert len(read(path)) == RATE
    with path.open("rb") as file:
        assert len(read(file)) == RATE


def test_every_error_of_the_library_names_the_file(tmp_path):
    """A header that promises what the codec does not have, at each of its bytes."""
    path = tmp_path / "a.wav"
    for subtype in ("GSM610", "IMA_ADPCM", "MS_ADPCM", "PCM_24"):
        content = file_bytes(tone(0.1), subtype=subtype)
        for at in range(4, content.index(b"data")):
            for byte in (0, 0x7F, 0xFF):
                path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
                try:
                    samples = read(path)
                except ValueError as e:
                    assert str(e).startswith(f"{path}: ") and "\n" not in str(e)
                else:
                    assert np.isfinite(samples).all()


def float_wav(value, channels=2):
    samples = np.stack([tone()] * channels, axis=1)
    samples[500] = value
    return file_bytes(samples, subtype="FLOAT")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (float_wav(3.4e38), r"samples of up to 3\.4e\+38, expected -1 to 1"),
        (float_wav(np.nan), "NaN or infinite samples"),
        (float_wav(-3e9, 1), r"samples of up to 3\.0e\+09"),
        (replaced(file_bytes(), 24, 2), "a sample rate of 2 Hz, expected 4000 to 192000 Hz"),
        (replaced(file_bytes(), 24, 10**6), "a sample rate of 1000000 Hz"),
        (file_bytes(np.zeros((RATE, 33), "f4")), "33 channels, expected at most 32"),
    ],
)
def test_what_is_beyond_any_recording_is_refused_by_name(content, said, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}: {said}"):
        read(path)


def test_integers_at_full_scale_in_a_float_file_are_scaled():
    samples = read(io.BytesIO(file_bytes(32768 * tone(), subtype="FLOAT")))
    assert np.allclose(samples, tone() / np.abs(tone()).max(), atol=1e-6)


MEASURE = """
import sys
from pathlib import Path
from atat.data.audio import read
def peak_mb():  # of this program: what getrusage says may be of the one that started it
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
read(sys.argv[1])
base = peak_mb()
for path in sys.argv[2:]:
    try:
        read(path)
    except ValueError:
        pass
    print(peak_mb() - base)
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Files that are small on the disk and large when they are decoded."""
    directory = tmp_path_factory.mktemp("hostile")
    silence = np.zeros((4800, 255), np.int16)
    soundfile.write(directory / "channels.ogg", silence[:, :128], 48000, subtype="VORBIS")
    with soundfile.SoundFile(directory / "rate.flac", "w", 655350, 8, "PCM_16") as file:
        for _ in range(10):
            file.write(np.zeros((655350, 8), np.int16))
    with soundfile.SoundFile(directory / "hours.flac", "w", RATE, 1, "PCM_16") as file:
        for _ in range(20):
            file.write(np.zeros(60 * RATE, np.int16))
    content = bytearray((directory / "hours.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (directory / "unknown_hours.flac").write_bytes(content)
    with soundfile.SoundFile(directory / "many.flac", "w", 192000, 8, "PCM_16") as file:
        for _ in range(29):  # as much as is allowed
            file.write(np.zeros((192000, 8), np.int16))
    wav = file_bytes()
    (directory / "chunks.wav").write_bytes(wav[:36] + b"note\0\0\0\0" * 2_000_000 + wav[36:])
    return sorted(directory.iterdir())


def test_a_hostile_file_costs_less_than_100_mb(hostile, tmp_path):
    plain = tmp_path / "plain.wav"
    plain.write_bytes(file_bytes(varied()))
    assert all(path.stat().st_size < 2**24 for path in hostile)
    command = [sys.executable, "-c", MEASURE, plain, *hostile]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peaks = dict(zip((path.name for path in hostile), map(float, done.stdout.split()), strict=True))
    assert max(peaks.values()) < 100, peaks
