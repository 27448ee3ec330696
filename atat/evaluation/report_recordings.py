"""Recordings and their spectrograms for `report.html`, part of the page, so that it can be sent."""

# N samples, T frames, F mel bins

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from atat.config.schema import FeaturesConfig
from atat.data import audio, audio_segment, ctm, filter_bank

MAX_BYTES = 20_000_000  # of all recordings in one page, as text
MAX_DURATION_S = 30.0
# MPEG-2 layer III at 16 kHz, about 3 kB a second: every browser plays it, and unlike Ogg, of which
# each file has a number drawn, the same samples give the same bytes.
QUALITY = 0.5
MAX_SPECTROGRAMS = 60  # in one page, 10 to 20 kB each
MAX_SPECTROGRAM_S = 12.0
RANGE_NATS = 12.0  # of log power, 52 dB below the loudest
NUM_SHADES = 32


@dataclass(frozen=True)
class Player:
    """A recording in the page.

    Attributes:
        number: of the recording; the same where it stands in the page again.
        source: a `data:` URI or a relative link; None where it has one in the page already.
    """

    number: int
    source: str | None


@dataclass(frozen=True)
class Spectrogram:
    """A picture of an utterance, over its words where it is known when they were said.

    Attributes:
        png: log mel, low frequencies below, as base64.
        seconds: its width.
        words: (word, start, width), the two in percent of the picture's width.
    """

    png: str
    seconds: float
    words: list[tuple[str, float, float]]


class Recordings:
    """Recordings of a page: the sound itself, or a link for what is too much or is not there.

    Args:
        out: the directory of the page, which links are relative to.
        max_bytes: of all sounds together.
    """

    def __init__(self, out: Path, max_bytes: int = MAX_BYTES) -> None:
        self._out, self._left = out, max_bytes
        self._numbers: dict[str, int] = {}
        self.num_linked = 0  # for want of room
        self.num_spectrograms = 0

    def player(self, path: str) -> Player:
        """A recording; its sound is in the page once, however often it is asked for."""
        if path in self._numbers:
            return Player(self._numbers[path], None)
        number = self._numbers[path] = len(self._numbers)
        return Player(number, self._address(path))

    def spectrogram(self, path: str, words: list[ctm.Word]) -> Spectrogram | None:
        """A picture of a recording; None for one that is long, or is not there."""
        try:
            samples_N = audio.read(path, audio.SAMPLE_RATE_HZ, MAX_SPECTROGRAM_S)
            feats_TF = filter_bank.fbank(samples_N, FeaturesConfig())
        except (ValueError, OSError):
            return None
        self.num_spectrograms += 1
        seconds = len(samples_N) / audio.SAMPLE_RATE_HZ
        spans = [
            (word.word, 100 * word.start_s / seconds, 100 * word.duration_s / seconds)
            for word in words
            if word.start_s < seconds
        ]
        return Spectrogram(_base64(_picture(feats_TF)), seconds, spans)

    def _address(self, path: str) -> str:
        """A `data:` URI, or a relative link, quoted so that no path is taken for a URI."""
        sound = _encoded(path)
        if sound is not None and len(sound) <= self._left:
            self._left -= len(sound)
            return sound
        self.num_linked += sound is not None
        file = audio_segment.file_of(path)
        return quote(os.path.relpath(file, self._out)) + path.removeprefix(file)


def _encoded(path: str) -> str | None:
    """None for a file that is not there, cannot be read or is long."""
    import soundfile

    try:
        samples_N = audio.read(path, audio.SAMPLE_RATE_HZ, MAX_DURATION_S)
        file = io.BytesIO()
        soundfile.write(
            file, samples_N, audio.SAMPLE_RATE_HZ, format="MP3", compression_level=QUALITY
        )
    except (ValueError, OSError, soundfile.LibsndfileError):
        return None
    return "data:audio/mpeg;base64," + _base64(file.getvalue())


def _picture(feats_TF: np.ndarray) -> bytes:
    """PNG of log mel features, a pixel a frame and a bin; few shades, which compress well."""
    from matplotlib.image import imsave

    loudest = feats_TF.max()
    shade_FT = np.clip((feats_TF.T - loudest) / RANGE_NATS + 1, 0, 1)
    shade_FT = np.round(shade_FT * (NUM_SHADES - 1)) / (NUM_SHADES - 1)
    file = io.BytesIO()
    imsave(file, shade_FT, vmin=0, vmax=1, cmap="magma", origin="lower", format="png")
    return file.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
