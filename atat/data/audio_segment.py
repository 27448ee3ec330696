"""Parts of recordings as sources of audio: `call.wav#t=12.5,14.2`, from second 12.5 to 14.2.

The form is that of W3C media fragments, which browsers play too. `audio.read` takes it for a path.
"""

import io
import os
import re
from pathlib import Path

MAX_OVERSHOOT_S = 0.5  # that a segment may end after its recording: times are rounded (Kaldi's too)

_FRAGMENT = re.compile(r"(.+)#t=([0-9]+(?:\.[0-9]+)?),([0-9]+(?:\.[0-9]+)?)", re.DOTALL)


def join(path: str, start_s: str, end_s: str) -> str:
    """The source of a part of a recording; seconds as they are written in a file.

    >>> join("call.wav", "12.5", "14.2")
    'call.wav#t=12.5,14.2'
    """
    return f"{path}#t={start_s},{end_s}"


def split(source: str | Path) -> tuple[str, float, float] | None:
    """Path, start and end in seconds of a part; None for a whole file.

    >>> split("call.wav#t=12.5,14.2"), split("call.wav")
    (('call.wav', 12.5, 14.2), None)
    """
    match = _FRAGMENT.fullmatch(str(source))
    if match is None or os.path.exists(source):  # a file may be called so
        return None
    return match[1], float(match[2]), float(match[3])


def file_of(source: str | Path) -> str:
    """The path of the file that a source is, or is a part of.

    >>> file_of("call.wav#t=12.5,14.2"), file_of("call.wav")
    ('call.wav', 'call.wav')
    """
    part = split(source)
    return str(source) if part is None else part[0]


def cut(path: str, start_s: float, end_s: float) -> io.BytesIO:
    """A part of a recording as a wav file in memory; the rest is not decoded.

    Args:
        path: of the recording, which may be long.
        start_s, end_s: seconds; the end may be up to `MAX_OVERSHOOT_S` after the recording's.

    Raises:
        ValueError: not audio, or nothing or too little of it in that time.
        FileNotFoundError, PermissionError: as for any file.
    """
    import soundfile

    with open(path, "rb") as file:
        try:
            with soundfile.SoundFile(file) as recording:
                rate, num = recording.samplerate, recording.frames
                start, end = round(start_s * rate), round(end_s * rate)
                if start >= min(num, end) or end > num + MAX_OVERSHOOT_S * rate:
                    raise ValueError(
                        f"{path}: got a segment from {start_s:g} to {end_s:g} s, expected it "
                        f"inside of the recording, which has {num / rate:.2f} s (correct segments)"
                    )
                recording.seek(start)
                samples_NC = recording.read(min(end, num) - start, "float32", always_2d=True)
        except soundfile.SoundFileError as e:
            raise ValueError(f"{path}: not audio that can be read ({e})") from e
    wav = io.BytesIO()
    soundfile.write(wav, samples_NC, rate, format="WAV", subtype="FLOAT")
    wav.seek(0)
    return wav
