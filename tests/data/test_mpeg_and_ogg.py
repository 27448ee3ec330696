"""MPEG audio without a length, and Ogg pages; libsndfile's reading of whole files is the oracle."""

import io
import time

import numpy as np
import pytest
import soundfile

from atat.data.audio import read
from tests.data.sounds import CASES, RATE, file_bytes, mp3_without_info, tone, varied

ID3 = b"ID3\x03\x00\x00" + bytes([0, 0, 0x7F, 0x7F]) + bytes(0x3FFF)
MAX_DELAY = 2304  # a coder's, in samples


def shifted_difference(samples, expected):
    """The least difference over shifts of up to a coder's delay."""
    shifts = range(min(MAX_DELAY, len(samples) - len(expected) + MAX_DELAY))
    return min(
        np.abs(samples[s : s + len(expected)] - expected[: len(samples) - s]).max() for s in shifts
    )


@pytest.mark.supports(
    "Audio files", "mp3 without a Xing or Info header", "read to its end, whatever its bit rates"
)
def test_mp3_without_a_length_is_read_to_its_end():
    whole = soundfile.read(io.BytesIO(file_bytes(varied(), "MP3")), dtype="float32")[0]
    content = mp3_without_info()
    estimated = soundfile.SoundFile(io.BytesIO(content)).frames
    assert abs(estimated - len(whole)) > RATE / 2  # the library is wrong, or this tests nothing
    samples = read(io.BytesIO(content))
    assert 0 <= len(samples) - len(whole) < MAX_DELAY
    assert shifted_difference(samples, whole) < 1e-6


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            ID3,
            b"",
            marks=pytest.mark.supports("Audio files", "mp3 with ID3 tags", "the tags are skipped"),
        ),
        (ID3 + ID3, b"TAG" + bytes(125)),
        (b"", b"APETAGEX" + bytes(range(100, 200)) * 30),
        (b"", bytes(5000)),
        (b"", bytes(range(256)) * 20),
    ],
)
def test_what_stands_before_and_after_mp3_frames_is_no_audio(before, after):
    content = mp3_without_info()
    samples = read(io.BytesIO(before + content + after))
    assert np.array_equal(samples, read(io.BytesIO(content)))
    with_info = file_bytes(varied(), "MP3")
    assert len(read(io.BytesIO(before + with_info + after))) == len(varied())


@pytest.mark.supports("Audio files", "mp3 with more frames than its header counts", "refused")
def test_frames_that_a_header_does_not_count_are_not_left_out_silently():
    content = file_bytes(varied(), "MP3")
    for rest in (content, ID3 + content, mp3_without_info()):
        with pytest.raises(ValueError, match=r"^audio: its header counts \d+ frames, more follow"):
            read(io.BytesIO(content + rest))


ID3_V1 = b"TAG" + bytes(125)


@pytest.mark.supports("Audio files", "mp3 files one after the other", "refused")
@pytest.mark.parametrize("between", [b"", ID3, ID3_V1, b"APETAGEX" + bytes(3000), bytes(2000)])
@pytest.mark.parametrize("second", ["the same", "without a length", "rate", "channels"])
def test_a_second_mp3_stream_is_not_left_out_silently(between, second):
    others = {
        "the same": file_bytes(varied(), "MP3"),
        "without a length": mp3_without_info(),
        "rate": file_bytes(varied(), "MP3", rate=22050),
        "channels": file_bytes(np.stack([varied()] * 2, axis=1), "MP3"),
    }
    for first in (others["the same"], mp3_without_info()):
        file = io.BytesIO(first + between + others[second])
        goes_on = second in ("the same", "without a length") and between in (b"", ID3)
        if goes_on and first != others["the same"]:  # nothing says where it ends
            assert len(read(file)) == pytest.approx(2 * len(varied()), abs=2 * MAX_DELAY)
            continue
        with pytest.raises(ValueError, match=r"^audio: .* would not be read; convert it \(ffmpeg"):
            read(file)


def test_mp3_goes_on_after_a_few_broken_bytes(capfd):
    content = mp3_without_info()
    samples = read(io.BytesIO(content[:2000] + bytes(500) + content[2000:]))
    assert abs(len(samples) - len(varied())) < MAX_DELAY


def test_mp3_is_refused_by_its_length_before_it_is_decoded(monkeypatch):
    content = mp3_without_info()
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    with pytest.raises(ValueError, match=r"^audio: \d\.\d s long, the limit is 2"):
        read(io.BytesIO(content), max_duration_s=2)


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("cut1.mp3", 52188 / RATE),  # as with the header that was taken from it
        ("cut1_with_xing.mp3", 52188 / RATE),
        ("plain.mp3", 39744 / RATE),
        ("id3v2.mp3", 39744 / RATE),
        ("refused1.mp3", 37440 / RATE),
    ],
)
def test_the_mp3_files_that_were_cut_or_refused_are_read(name, seconds, capfd):
    samples = read(CASES / "mp3" / name)
    assert len(samples) / RATE == pytest.approx(seconds, abs=MAX_DELAY / RATE)
    if name == "cut1.mp3":
        expected = soundfile.read(CASES / "mp3" / "cut1_with_xing.mp3", dtype="float32")[0]
        assert shifted_difference(samples, expected) < 1e-6


@pytest.mark.parametrize(
    "subtype",
    [
        pytest.param(
            subtype,
            marks=pytest.mark.supports(
                "Audio files", f"ogg ({subtype.lower()})", "read; a page that is cut is refused"
            ),
        )
        for subtype in ("VORBIS", "OPUS")
    ],
)
def test_an_ogg_file_is_whole_or_refused(subtype, tmp_path):
    content = file_bytes(np.tile(tone(), 8), "OGG", subtype)
    path = tmp_path / "a.ogg"
    path.write_bytes(content)
    assert len(read(path)) == 8 * RATE
    for share in (0.3, 0.7, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"a\.ogg: truncated: a page ends at byte"):
            read(path)
    path.write_bytes(content + content)
    with pytest.raises(ValueError, match=r"a\.ogg: several Ogg streams"):
        read(path)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xfb\x90\x64"], ids=["ones", "headers"])
def test_filler_behind_an_mp3_costs_little(filler):
    content = file_bytes(tone(), "MP3") + filler * ((4 << 20) // len(filler))
    begin = time.process_time()
    try:
        read(io.BytesIO(content))
    except ValueError as e:
        assert "truncated" in str(e) or "MPEG" in str(e) or "MP3" in str(e)
    assert time.process_time() - begin < 1.5
