"""A part of a recording has the samples that the whole recording has there."""

import io

import numpy as np
import pytest
import soundfile

from atat.data import audio
from tests.data.sounds import RATE, file_bytes, mp3_without_info, replaced, varied

FORMS = [
    *(("WAV", "PCM_16"), ("WAV", "ULAW"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM")),
    *(("WAV", "GSM610"), ("WAV", "G721_32"), ("FLAC", "PCM_16"), ("AIFF", "PCM_24")),
    *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AU", "PCM_16")),
]
PARTS = [(0, 0.5), (0.7, 1.3), (2.9, 4)]


def assert_parts_are_of_the_whole(path):
    whole = audio.read(path)
    for start, end in PARTS:
        part = audio.read(f"{path}#t={start},{end}")
        expected = whole[round(start * RATE) : round(end * RATE)]
        assert part == pytest.approx(expected, abs=1e-6), (start, end)


@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_a_part_is_what_the_whole_has_there(tmp_path, form, subtype):
    rate = 8000 if "G721" in subtype else RATE
    path = tmp_path / f"call.{form.lower()}"
    path.write_bytes(file_bytes(varied()[:: RATE // rate], form, subtype, rate))
    if rate == RATE:
        assert_parts_are_of_the_whole(path)
    else:
        assert len(audio.read(f"{path}#t=0.7,1.3")) == round(0.6 * RATE)


def test_a_part_of_an_mp3_without_a_length(tmp_path):
    (tmp_path / "call.mp3").write_bytes(mp3_without_info())
    assert_parts_are_of_the_whole(tmp_path / "call.mp3")


@pytest.mark.filterwarnings("ignore")
def test_a_part_of_a_wav_whose_size_was_never_written(tmp_path):
    content = file_bytes(varied(), "WAV", "PCM_16")
    (tmp_path / "call.wav").write_bytes(replaced(replaced(content, 40, 0), 4, 0))
    assert len(audio.read(f"{tmp_path / 'call.wav'}#t=3,4")) == RATE


def test_a_part_is_refused_for_its_own_length_and_a_long_recording_is_not(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(60 * 8000), 8000)
    assert len(audio.read(f"{tmp_path / 'long.flac'}#t=55,57")) == 2 * RATE
    with pytest.raises(ValueError, match=r"60.0 s long, the limit is 30.0 s"):
        audio.read(f"{tmp_path / 'long.flac'}#t=0,60")


@pytest.mark.parametrize("form", ["WAV", "AIFF"])
def test_a_part_of_a_recording_that_is_cut_off_is_truncated(tmp_path, form):
    content = file_bytes(varied(), form, "PCM_16")
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated"):
        audio.read(f"{tmp_path / 'cut'}#t=3,4")


def test_a_file_called_raw_is_read_or_one_line(tmp_path):
    path = tmp_path / "call.raw"
    path.write_bytes(file_bytes(varied()))
    assert len(audio.read(f"{path}#t=1,2")) == len(
        audio.read(io.BytesIO(path.read_bytes()))[RATE : 2 * RATE]
    )
