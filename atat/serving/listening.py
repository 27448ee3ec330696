"""Listening without end, from the command line: a line of JSON for every utterance."""

# N samples

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from atat.common import cli
from atat.data import microphone
from atat.inference.parsing import line, show

if TYPE_CHECKING:
    import io

    import numpy as np

    from atat.serving.session import Event, Session

RATE_HZ = 16000  # of raw samples, where none is given
BYTES = 2  # of a sample
PIECE_S = 0.1  # at most, of a pipe that has more
# What files begin with that somebody may pipe in place of samples.
FILES = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"FORM": "aiff"}


def listen(model: Any, args: argparse.Namespace, options: dict[str, Any], has_tags: bool) -> bool:
    """Understand the stream that a command line names, until it ends or by Ctrl-C.

    Args:
        model: of a session.
        args: of `atat.parse`: stream, rate, pause_s, threshold, max_duration_s, nbest.
        options: of the search, by name.
        has_tags: as of `atat.inference.parsing.line`.

    Returns:
        Whether all that was spoken was understood.

    Raises:
        ValueError: as `Session`, `raw_samples` and `microphone.stream`.
    """
    from atat.serving.session import PAUSE_S, Session  # with NumPy

    rate = (args.rate or RATE_HZ) if args.stream else microphone.MIC_RATE_HZ
    session = Session(
        model,
        sample_rate=rate,
        threshold=args.threshold,
        max_duration_s=args.max_duration_s,
        partial_words=sys.stderr.isatty(),
        pause_s=args.pause_s or PAUSE_S,
        **options,
    )
    if args.stream:
        name, pieces = "-", raw_samples(cli.standard_input(), rate)
    else:
        name, pieces = "microphone", microphone.stream()
    return show_all(session, pieces, name, args.nbest > 1, has_tags)


def show_all(
    session: "Session",
    pieces: "Iterable[np.ndarray]",
    name: str,
    with_nbest: bool = False,
    has_tags: bool = True,
) -> bool:
    """Print what is understood of a stream, and on a terminal the words while they are spoken.

    Args:
        session: of the stream, which ends with it.
        pieces: of the stream, as the session takes them.
        name: of the stream, for the lines.
        with_nbest: the lines have the n best.
        has_tags: false where words are asked for, which have no intent and slots.

    Returns:
        Whether all that was spoken was understood.

    Raises:
        ValueError, OSError: the stream broke; what was spoken before is printed.
    """
    on_terminal = sys.stderr.isatty()
    start_s, all_understood = 0.0, True
    for event in _events(session, pieces):
        if event.kind == "speech":
            start_s = event.time_s
        if on_terminal:  # one line, written over
            print(f"\r\x1b[K{event.words}", end="", file=sys.stderr, flush=True)
        if event.kind == "too_long":
            all_understood = False
            about = f"speech from {start_s:.1f} s on: longer than {session.max_duration_s:g} s"
            print(f"{about} without a pause, not understood", file=sys.stderr)
        elif event.result is not None:
            all_understood &= event.result.is_understood or not has_tags
            about = json.loads(line(name, "file", event.result, with_nbest, has_tags))
            place = {"file": about.pop("file"), "start_s": round(start_s, 2)}
            place["end_s"] = round(event.time_s, 2)
            show(json.dumps(place | about, ensure_ascii=False))
    return all_understood


def _events(session: "Session", pieces: "Iterable[np.ndarray]") -> "Iterator[Event]":
    """Of the whole stream; where it ends, breaks or is interrupted, what is open is understood."""
    broken = None
    try:
        for piece in pieces:
            yield from session.accept(piece)
    except KeyboardInterrupt:
        print(file=sys.stderr)  # after ^C
    except (ValueError, OSError) as e:
        broken = e
    yield from session.finish()
    if broken is not None:
        raise broken


def raw_samples(file: "io.BufferedReader", sample_rate: int) -> "Iterator[np.ndarray]":
    """Raw PCM (16-bit, little-endian, mono) of a pipe, as it comes.

    Args:
        file: open for binary reading (`sys.stdin.buffer`).
        sample_rate: of the samples, in Hz.

    Yields:
        int16 (N,), at most a tenth of a second.

    Raises:
        ValueError: there is nothing, a file's header in place of samples, or half a sample at the
            end.
    """
    import numpy as np

    if file.isatty():
        raise ValueError(
            "--stream: standard input is a terminal, expected raw samples (arecord -q -t raw -f "
            f"S16_LE -c 1 -r {sample_rate} | python -m atat.parse --stream ...)"
        )
    left, num_bytes, limit = b"", 0, max(round(PIECE_S * sample_rate), 1) * BYTES
    while data := file.read1(limit):
        if num_bytes == 0:
            for mark, kind in FILES.items():
                if data.startswith(mark):
                    raise ValueError(
                        f"--stream: got a {kind} file, expected raw 16-bit samples (give a file "
                        "by its name, or as -)"
                    )
        num_bytes += len(data)
        data = left + data
        whole = len(data) // BYTES * BYTES
        left = data[whole:]
        yield np.frombuffer(data[:whole], "<i2")
    if num_bytes == 0:
        raise ValueError("--stream: standard input is empty (0 bytes), expected raw samples")
    if left:
        raise ValueError(
            f"--stream: got {num_bytes} bytes, expected an even number: 16-bit samples"
        )
