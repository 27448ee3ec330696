"""Recordings for `report.html`: part of the page, so that it can be sent to anybody."""

import base64
import io
import os
from pathlib import Path
from urllib.parse import quote

from atat.data import audio, audio_segment

MAX_BYTES = 20_000_000  # of all recordings in one page, as text
MAX_DURATION_S = 30.0
# MPEG-2 layer III at 16 kHz, about 3 kB a second: every browser plays it, and unlike Ogg, of which
# each file has a number drawn, the same samples give the same bytes.
QUALITY = 0.5


class Recordings:
    """Addresses of recordings: the sound itself, or a link for what is too much or is not there.

    Args:
        out: the directory of the page, which links are relative to.
        max_bytes: of all sounds together.
    """

    def __init__(self, out: Path, max_bytes: int = MAX_BYTES):
        self._out, self._left = out, max_bytes
        self._encoded: dict[str, str | None] = {}
        self.num_linked = 0  # for want of room

    def address(self, path: str) -> str:
        """A `data:` URI, or a relative link, quoted so that no path is taken for a URI."""
        if path not in self._encoded:
            self._encoded[path] = _encoded(path)
        sound = self._encoded[path]
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
    return "data:audio/mpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
