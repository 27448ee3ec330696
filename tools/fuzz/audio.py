"""Audio files of all kinds, through the one function that reads them."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tools.fuzz.parsers import Prepared, binary, parser

if TYPE_CHECKING:
    import numpy as np

RATE_HZ = 16000
MAX_DURATION_S = 30.0


def _samples(num_channels: int = 1) -> "np.ndarray":
    import numpy as np

    time = np.arange(RATE_HZ // 16) / RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)
    return np.stack([tone * (1 - 0.1 * i) for i in range(num_channels)], axis=1)


def _written(kind: str, subtypes: tuple[str, ...]) -> list[bytes]:
    import soundfile

    seeds = []
    for subtype in subtypes:
        for num_channels in (1, 2):
            file = io.BytesIO()
            soundfile.write(file, _samples(num_channels), RATE_HZ, subtype, format=kind)
            seeds.append(file.getvalue())
    return seeds


def _prepared(seeds: list[bytes]) -> Prepared:
    from atat.data import audio

    def parse(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            audio.read(io.BytesIO(data), RATE_HZ, MAX_DURATION_S, "given.wav")

    return Prepared(seeds, parse, ("given.wav",))


@parser(binary, words="RIFF WAVE fmt data LIST fact RF64 ds64 RIFX bext id3")
def audio_wav(directory: Path) -> Prepared:
    """RIFF, and its relatives."""
    seeds = _written("WAV", ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "PCM_U8"))
    return _prepared([*seeds, *_written("RF64", ("PCM_16",)), *_written("W64", ("PCM_16",))])


@parser(binary, words="fLaC OggS ID3 seektable")
def audio_flac(directory: Path) -> Prepared:
    """FLAC."""
    return _prepared(_written("FLAC", ("PCM_16", "PCM_24")))


@parser(binary, words="ID3 TAG Xing Info LAME APETAGEX VBRI LYRICSBEGIN")
def audio_mp3(directory: Path) -> Prepared:
    """MPEG audio."""
    seeds = _written("MP3", ("MPEG_LAYER_III",))
    return _prepared([*seeds, b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + seeds[0]])


@parser(binary, words="OggS vorbis OpusHead OpusTags \x01vorbis")
def audio_ogg(directory: Path) -> Prepared:
    """Vorbis and Opus."""
    return _prepared([*_written("OGG", ("VORBIS", "OPUS"))])


@parser(binary, words="FORM AIFF AIFC COMM SSND .snd NIST_1A caff desc data chan sample_count -i")
def audio_others(directory: Path) -> Prepared:
    """AIFF, AU, CAF, NIST SPHERE, VOC, SVX."""
    seeds = []
    for kind in ("AIFF", "AU", "CAF", "NIST", "VOC"):
        seeds += _written(kind, ("PCM_16",))
    return _prepared(seeds)


@parser(binary, words="ftyp moov mdat moof ADTS webm \x1aE\xdf\xa3 trak stts stsz")
def audio_containers(directory: Path) -> Prepared:
    """What FFmpeg's libraries read: WebM, MP4."""
    import av
    import numpy as np

    seeds = []
    for kind, codec in (("webm", "libopus"), ("mp4", "aac"), ("adts", "aac")):
        file = io.BytesIO()
        with av.open(file, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=48000)
            stream.layout = "mono"
            samples = (np.tile(_samples()[:, 0], 5) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = 48000
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
        seeds.append(file.getvalue())
    return _prepared(seeds)


@parser(binary)
def audio_samples(directory: Path) -> Prepared:
    """Samples as an array: the first bytes say of which type, shape and rate."""
    import numpy as np

    from atat.data import audio

    kinds = ("<f4", "<f8", "<i2", "<i4", "i1", "<u2", "<i8", "?", "<f2", ">f4", "<c8")

    def parse(data: bytes) -> None:
        head, body = data[:8].ljust(8, b"\0"), data[8:]
        kind = np.dtype(kinds[head[0] % len(kinds)])
        samples = np.frombuffer(body[: len(body) // kind.itemsize * kind.itemsize], kind)
        if head[1] % 3:
            columns = max(head[2] % 40, 1)
            samples = samples[: len(samples) // columns * columns].reshape(-1, columns)
        if head[1] % 3 == 2:
            samples = samples.T
        rate = np.frombuffer(head[4:], "<f4" if head[3] % 2 else "<i4")[0]
        with np.errstate(all="ignore"):
            audio.to_mono_16k(samples, float(rate), MAX_DURATION_S)

    rate = np.array(RATE_HZ, "<i4").tobytes()
    floats = _samples().astype("<f4").tobytes()
    return Prepared([b"\0\0\0\0" + rate + floats, b"\2\1\2\0" + rate + floats[:800]], parse)


@parser(binary, words="RIFF data fmt")
def audio_segment(directory: Path) -> Prepared:
    """A part of a recording, as `segments` means it."""
    from atat.data import audio

    path = directory / "call.wav"

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            audio.read(f"{path}#t=0.01,0.05", RATE_HZ, MAX_DURATION_S)

    return Prepared(_written("WAV", ("PCM_16", "FLOAT")), parse, ("call.wav",))
