"""Small sounds in files of all kinds, made here, with headers to break."""

import io
import struct
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
CASES = Path(__file__).parents[3] / "shared" / "cases"  # inputs that once failed


def tone(seconds=1.0, rate=RATE, hz=440.0, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def varied():
    """4 s of a tone, noise, silence and another tone: a coder's bit rate goes up and down."""
    noise = np.random.default_rng(0).normal(0, 0.2, RATE).astype("f4")
    return np.concatenate([tone(), noise, np.zeros(RATE, "f4"), tone(hz=900, level=0.2)])


def file_bytes(samples=None, form="WAV", subtype=None, rate=RATE):
    file = io.BytesIO()
    samples = tone() if samples is None else samples
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def replaced(content, at, number, width=4, order="<"):
    """The content with another number at a position."""
    return (
        content[:at] + struct.pack(order + {4: "I", 8: "Q"}[width], number) + content[at + width :]
    )


def mp3_without_info(samples=None):
    """MPEG audio of variable bit rate without the frame that says how long it is."""
    content = file_bytes(varied() if samples is None else samples, "MP3")
    assert b"Info" in content[:64] or b"Xing" in content[:64]
    return content[content.index(content[:2], 4) :]
