"""Parts of recordings as sources of audio: `call.wav#t=12.5,14.2`, from second 12.5 to 14.2.

The form is that of W3C media fragments, which browsers play too. `audio.read` takes it for a path.
"""

import os
import re
from pathlib import Path

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
