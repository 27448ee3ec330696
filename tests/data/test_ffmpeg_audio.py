"""Webm, m4a and the like: by PyAV where it is installed, else a line that says what to do."""

import importlib.util
import io

import numpy as np
import pytest

from atat.data import audio, ffmpeg_audio
from atat.data.audio import read
from tests.data.sounds import RATE, file_bytes, tone

needs_av = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="PyAV is not installed (pip install av)"
)
# A kind of file, its muxer, the codec in it.
KINDS = [
    ("webm", "webm", "libopus", 48000),
    ("mkv", "matroska", "ac3", 48000),
    ("m4a", "ipod", "aac", RATE),
    ("mp4", "mp4", "aac", 44100),
    ("3gp", "3gp", "aac", RATE),
    ("wma", "asf", "wmav2", RATE),
    ("aac", "adts", "aac", RATE),
    ("avi", "avi", "pcm_s16le", RATE),
    ("flv", "flv", "aac", 44100),
    ("wav with mp3 in it", "wav", "libmp3lame", RATE),
]
HEADS = {
    "webm or mkv": b"\x1aE\xdf\xa3",
    "m4a, mp4 or 3gp": b"\0\0\0\x20ftypM4A ",
    "wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "amr": b"#!AMR\n",
    "aac": b"\xff\xf1\x50\x80",
    "avi": b"RIFF\0\0\0\0AVI ",
}


def muxed(muxer, codec, rate, samples=None, channels=1, options=None, title="a sound"):
    """The bytes of a container with a sound in it, by FFmpeg."""
    import av

    mono = tone(2.0, rate) if samples is None else samples
    file, layout = io.BytesIO(), "mono" if channels == 1 else "stereo"
    with av.open(file, "w", format=muxer, options=options or {}) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate, layout=layout)
        planes = np.ascontiguousarray(np.tile(mono, (channels, 1)))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = rate
        stream.bit_rate = 64000
        resampler = av.AudioResampler(
            stream.codec_context.format, layout, rate, stream.codec_context.frame_size or None
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_a_directory_lists_what_telephones_record(tmp_path):
    names = [f"a{suffix}" for suffix in ffmpeg_audio.SUFFIXES] + ["B.M4A"]
    for name in [*names, "notes.txt"]:
        (tmp_path / name).touch()
    assert {path.name for path in audio.files(tmp_path)} == set(names)


@needs_av
@pytest.mark.parametrize(
    ("kind", "muxer", "codec", "rate"),
    [
        pytest.param(
            *kind,
            marks=pytest.mark.supports(
                "Audio files", kind[0], "read where PyAV is installed, else one line"
            ),
        )
        for kind in KINDS
    ],
)
def test_what_a_browser_or_telephone_records_is_read(kind, muxer, codec, rate, tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(muxed(muxer, codec, rate, channels=2 if kind == "webm" else 1))
    samples = read(path)
    assert len(samples) / RATE == pytest.approx(2.0, abs=0.15)
    expected = tone(1.0)
    likeness = np.correlate(samples, expected, "valid").max()
    assert likeness > 0.9 * np.linalg.norm(expected) ** 2


@needs_av
@pytest.mark.parametrize(("muxer", "codec"), [("webm", "libopus"), ("ipod", "aac")])
def test_damage_to_a_container_is_one_line_or_samples(muxer, codec):
    content = muxed(muxer, codec, 48000)
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9, 1.0):
        broken = bytearray(content[: int(share * len(content))])
        for at in rng.integers(16, len(broken), 20):
            broken[at] = rng.integers(256)
        try:
            samples = read(io.BytesIO(bytes(broken)))
        except ValueError as e:
            assert str(e).startswith("audio: ") and "\n" not in str(e)
        else:
            assert np.isfinite(samples).all()


@needs_av
def test_a_title_that_is_not_utf_8_does_not_matter():
    content = muxed("ipod", "aac", RATE, title="Kueche")
    assert content.count(b"Kueche") == 1
    samples = read(io.BytesIO(content.replace(b"Kueche", b"K\xfcche!")))
    assert len(samples) / RATE == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(
    ("version", "options"),
    [("18.1.0", {"metadata_errors": "ignore"}), ("19.0.2", {}), ("20.0.0rc1", {})],
)
def test_pyav_is_told_of_titles_as_its_version_knows(version, options):
    assert ffmpeg_audio._of_any_titles(version) == options


@needs_av
@pytest.mark.supports("Audio files", "webm or mkv that is cut", "refused if it says its length")
@pytest.mark.parametrize(("muxer", "codec"), [("webm", "libopus"), ("matroska", "ac3")])
def test_a_container_that_is_cut_is_refused_where_it_says_how_long_it_is(muxer, codec):
    content = muxed(muxer, codec, 48000, tone(4.0, 48000))
    assert len(read(io.BytesIO(content))) / RATE == pytest.approx(4.0, abs=0.15)
    with pytest.raises(ValueError, match=r"^audio: truncated: 4\.\d s of audio promised, "):
        read(io.BytesIO(content[: len(content) // 2]))


@needs_av
@pytest.mark.supports(
    "Audio files", "webm recorded live", "as far as it goes: its end is not known"
)
def test_a_container_without_a_length_is_read_as_far_as_it_goes():
    content = muxed("webm", "libopus", 48000, tone(4.0, 48000), options={"live": "1"})
    assert 1 < len(read(io.BytesIO(content[: len(content) // 2]))) / RATE < 3


@needs_av
def test_limits_hold_for_containers_too():
    with pytest.raises(ValueError, match=r"^audio: longer than the limit, 1 s"):
        read(io.BytesIO(muxed("webm", "libopus", 48000)), max_duration_s=1)


@needs_av
@pytest.mark.parametrize("text", [b"#EXTM3U\nfile:///etc/hostname\n", b"ffconcat version 1.0\n"])
def test_no_file_makes_ffmpeg_open_others(text):
    with pytest.raises(ValueError, match="not audio that can be read"):
        read(io.BytesIO(text * 10))


@pytest.mark.parametrize("kind", HEADS)
def test_without_pyav_one_line_says_what_to_do(kind, monkeypatch, tmp_path):
    monkeypatch.setattr(ffmpeg_audio.importlib.util, "find_spec", lambda name: None)
    path = tmp_path / "a.x"
    path.write_bytes(HEADS[kind] + bytes(1000))
    with pytest.raises(ValueError, match=r"pip install av, or convert it: ffmpeg -i") as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: {kind} that needs PyAV")
    assert "\n" not in str(raised.value)


def test_a_wav_that_is_none_says_what_libsndfile_says(monkeypatch):
    monkeypatch.setattr(ffmpeg_audio.importlib.util, "find_spec", lambda name: None)
    content = file_bytes()
    with pytest.raises(ValueError, match=r"^audio: wav that needs PyAV \(.+\): pip install av"):
        read(io.BytesIO(content[:20] + b"\x77\x77" + content[22:]))
