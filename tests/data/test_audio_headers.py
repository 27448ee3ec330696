"""Headers that promise too much, too little or nothing."""

import io
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

from atat.data.audio import read
from atat.data.audio_headers import AudioWarning
from tests.data.sounds import CASES, RATE, file_bytes, replaced, tone

STEREO = np.stack([tone(), tone(hz=300)], axis=1)


def data_at(content):
    return content.index(b"data") + 4


def header_supports(what, how):
    return pytest.mark.supports("Audio files", what, how)


WARNED = "read to its end, with a warning"


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, marks=header_supports("wav whose header promises 0 bytes", WARNED)),
        pytest.param(
            64000, marks=header_supports("wav whose header promises twice as much", WARNED)
        ),
        pytest.param(
            0xFFFFFFFF, marks=header_supports("wav from a pipe (size 2 or 4 GiB)", WARNED)
        ),
        0x7FFFF000,
        0x80000000,
    ],
)
def test_wav_whose_size_was_never_written_is_read_with_a_warning(size, tmp_path):
    path, content = tmp_path / "a.wav", file_bytes()
    path.write_bytes(
        replaced(replaced(content, data_at(content), size), 4, min(size and size + 36, 2**32 - 1))
    )
    with pytest.warns(AudioWarning, match=rf"^{path}: its header promises .* 32000 are there"):
        samples = read(path)
    assert np.abs(samples - tone()).max() <= 2**-15


def test_the_warning_comes_once_a_file_and_is_one_line_of_a_command(tmp_path):
    content = file_bytes()
    paths = [tmp_path / f"{name}.wav" for name in "ab"]
    for path in paths:
        path.write_bytes(replaced(content, data_at(content), 0))
    script = (
        "import sys; from atat.common import cli; from atat.data.audio import read; "
        "cli.run(lambda: [read(path) for path in sys.argv[1:] * 3] and None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, check=True
    )
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for line, path in zip(lines, paths, strict=True):
        assert f": warning: {path}: its header" in line


def chunk(name, content, order="<"):
    return name + struct.pack(order + "I", len(content)) + content + bytes(len(content) % 2)


@header_supports("wav from a pipe with chunks behind its samples", "these are no samples")
@pytest.mark.parametrize("form", ["WAV", "RF64", "AIFF"])
@pytest.mark.parametrize(
    "rest",
    [
        [(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf60.16"))],
        [(b"LIST", b"INFO" + b"x" * 5000), (b"id3 ", b"ID3" + bytes(51))],
        [(b"bext", bytes(602)), (b"JUNK", bytes(7)), (b"LIST", b"INFO")],
    ],
)
def test_chunks_behind_samples_of_unknown_number_are_no_samples(form, rest, tmp_path):
    order = ">" if form == "AIFF" else "<"
    place = {"WAV": ("data_at", 4, "<"), "RF64": (28, 8, "<"), "AIFF": (42, 4, ">")}[form]
    content = file_bytes(form=form, subtype="PCM_16")
    at = data_at(content) if place[0] == "data_at" else place[0]
    unknown = (0, 2 ** (8 * place[1]) - 1) if form != "AIFF" else (8, 2**32 - 1)
    behind = b"".join(chunk(*one, order=order) for one in rest)
    for size in unknown:
        path = tmp_path / "a"
        path.write_bytes(replaced(content, at, size, *place[1:]) + behind)
        with pytest.warns(AudioWarning, match="bytes of samples, 32000 are there"):
            samples = read(path)
        assert len(samples) == RATE and np.abs(samples - tone()).max() <= 2**-15, size


def test_samples_that_only_look_like_a_chunk_are_read(tmp_path):
    """Its size does not fit to the end of the file, or it says nothing but a name."""
    for tail in (b"LIST" + struct.pack("<I", 20) + bytes(30), b"ABCD" + bytes(4)):
        content = file_bytes() + tail
        path = tmp_path / "a.wav"
        path.write_bytes(replaced(content, data_at(content), 0))
        with pytest.warns(AudioWarning, match=f"{32000 + len(tail)} are there"):
            assert len(read(path)) == RATE + len(tail) // 2


def test_of_a_pipe_nobody_expects_a_size():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    content = file_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(Pipe(replaced(content, data_at(content), 0xFFFFFFFF)))) == RATE


@pytest.mark.parametrize("size", [0, 128000])
def test_stereo_keeps_its_channels_when_its_header_is_mended(size):
    content = file_bytes(STEREO)
    with pytest.warns(AudioWarning):
        samples = read(io.BytesIO(replaced(content, data_at(content), size)))
    assert np.abs(samples - STEREO.mean(axis=1)).max() <= 2**-15


@pytest.mark.parametrize(
    ("form", "cut", "said"),
    [
        pytest.param(
            form,
            0.6,
            r"truncated: \d+ bytes of samples promised, \d+ there",
            marks=pytest.mark.supports(
                "Audio files", form, "read; refused if cut, by the size in its header"
            ),
        )
        for form in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU")
    ]
    + [
        pytest.param(
            "FLAC",
            0.6,
            "damaged or truncated",
            marks=pytest.mark.supports("Audio files", "FLAC", "read; refused if cut"),
        ),
        pytest.param(
            "CAF",
            0.6,
            "damaged or truncated",
            marks=pytest.mark.supports("Audio files", "CAF", "read"),
        ),
    ],
)
def test_a_format_is_read_whole_and_refused_when_cut(form, cut, said, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype("f4")
    path, content = tmp_path / "a.x", file_bytes(noise, form)
    path.write_bytes(content)
    assert np.abs(read(path) - noise).max() <= 2**-15
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(ValueError, match=rf"a\.x: {said}"):
        read(path)


@pytest.mark.parametrize(
    ("form", "at", "width", "order", "sizes"),
    [
        ("RF64", 28, 8, "<", (0, 64000)),
        ("W64", 96, 8, "<", (24, 64024)),
        ("AIFF", 42, 4, ">", (8, 64008)),
        ("AU", 8, 4, ">", (0, 64000)),
    ],
)
def test_other_formats_have_their_sizes_mended_too(form, at, width, order, sizes):
    content = file_bytes(form=form)
    declared = int.from_bytes(content[at : at + width], "little" if order == "<" else "big")
    assert declared in (32000, 32008, 32024)
    for size in sizes:
        with pytest.warns(AudioWarning, match="32000 are there"):
            samples = read(io.BytesIO(replaced(content, at, size, width, order)))
        assert np.abs(samples - tone()).max() <= 2**-15, size


def test_au_of_unknown_length_is_as_its_format_allows():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(io.BytesIO(replaced(file_bytes(form="AU"), 8, 0xFFFFFFFF)))) == RATE


def test_flac_of_unknown_length_is_read_to_its_end():
    """As the encoder leaves it in a pipe: no samples in all, in 36 bits."""
    content = bytearray(file_bytes(form="FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert np.abs(read(io.BytesIO(bytes(content))) - tone()).max() <= 2**-15
    with pytest.raises(ValueError, match=r"longer than the limit, 0\.5 s"):
        read(io.BytesIO(bytes(content)), max_duration_s=0.5)


def test_chunks_after_an_empty_sound_are_not_its_samples():
    notes = b"LIST" + struct.pack("<I", 6) + b"INFO\0\0"
    with pytest.raises(ValueError, match="no samples in it"):
        read(io.BytesIO(file_bytes(np.zeros(0)) + notes))


def test_a_recording_has_no_thousand_chunks():
    content = file_bytes()
    content = content[:36] + b"note\0\0\0\0" * 1000 + content[36:]
    with pytest.raises(ValueError, match="more than 1000 chunks before its samples"):
        read(io.BytesIO(content))


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
def test_the_wav_whose_header_says_nothing_is_read():
    with pytest.warns(AudioWarning, match="promises 0 bytes of samples, 32000 are there"):
        assert len(read(CASES / "wav_headers" / "stream_zero.wav")) == RATE


@header_supports("wav whose header promises too little", "read that far, with a warning")
def test_a_header_of_when_the_recording_began_is_warned_of(tmp_path):
    path, content = tmp_path / "a.wav", file_bytes()
    path.write_bytes(replaced(content, data_at(content), 16000))
    with pytest.warns(AudioWarning, match="promises 16000 .* 32000 are there: the rest was not"):
        assert len(read(path)) == 8000


@header_supports("wav or aiff files one after the other", "refused")
@pytest.mark.parametrize("form", ["WAV", "AIFF"])
@pytest.mark.parametrize("num", [RATE, 1001])
def test_a_second_file_behind_the_first_is_no_chunk_of_it(form, num):
    one = file_bytes(tone()[:num], form, "PCM_16")
    both = one + b"LIST" + struct.pack("<I" if form == "WAV" else ">I", 4) + b"INFO" + one
    for content in (one + one, both):
        with pytest.raises(
            ValueError, match=r"^audio: several files one after the other, of which"
        ):
            read(io.BytesIO(content))


@pytest.mark.parametrize(
    "rest", [b"LIST" + struct.pack("<I", 9000) + bytes(9000), b"TAG" + bytes(125)]
)
def test_chunks_and_tags_after_the_samples_are_not_warned_of(rest, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(file_bytes() + rest)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(path)) == RATE


def test_empty_chunks_after_no_samples_are_not_followed_to_the_end(tmp_path):
    class Counting(io.BytesIO):
        num_seeks = 0

        def seek(self, *at):
            self.num_seeks += 1
            return super().seek(*at)

    header = file_bytes()[: data_at(file_bytes())] + bytes(4)
    file = Counting(header + (b"JUNK" + bytes(4)) * 100_000)
    with pytest.raises(ValueError, match="no samples in it"):
        read(file)
    assert file.num_seeks < 5000


@header_supports("NIST SPHERE (sph)", "read; refused where it is cut")
def test_a_sphere_file_is_read_and_refused_where_it_is_cut(tmp_path):
    path = tmp_path / "a.sph"
    content = file_bytes(form="NIST")
    path.write_bytes(content)
    assert np.abs(read(path) - tone()).max() <= 2**-15
    path.write_bytes(content[:20000])
    with pytest.raises(ValueError, match=f"^{path}: truncated: 32000 bytes .* 18976 there"):
        read(path)
