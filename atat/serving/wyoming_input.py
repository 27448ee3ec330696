"""What clients of the Wyoming protocol send, with limits: events and raw audio."""

# N samples, C channels

import asyncio
import json
from typing import Any

import numpy as np
from wyoming.audio import AudioChunk
from wyoming.event import Event

MAX_LINE_BYTES = 1 << 16  # of an event's first line
MAX_PART_BYTES = 1 << 20  # of an event's data, and of its payload: 30 s of 16 kHz
MAX_RATE_HZ, MAX_CHANNELS = 192_000, 8
MAX_MIB = 8  # of an utterance's audio: 87 s of 48 kHz; as floats, it takes several times as much


class ProtocolError(ValueError):
    """A client sent what is no event, or one that is too large."""


class Audio:
    """Raw audio of one utterance, in the format that it came in.

    The package has a converter, which adds the channels up (and clips) and resamples by linear
    interpolation; the model's own reading of samples does both better.
    """

    def __init__(self, rate: int, width: int, channels: int) -> None:
        got = (rate, width, channels)
        if not all(isinstance(number, int) for number in got) or not (
            1 <= rate <= MAX_RATE_HZ and 1 <= width <= 4 and 1 <= channels <= MAX_CHANNELS
        ):
            raise ProtocolError(
                f"audio of rate {rate}, width {width}, channels {channels}; expected 1 to "
                f"{MAX_RATE_HZ} Hz, 1 to 4 bytes, 1 to {MAX_CHANNELS} channels"
            )
        self.rate, self.width, self.channels = got
        self.num_bytes, self.kept = 0, bytearray()

    @property
    def seconds(self) -> float:
        """Duration of all that came."""
        return self.num_bytes / (self.width * self.channels * self.rate)

    def refusal(self, max_duration_s: float) -> str | None:
        """What is said of audio that is not understood because of its size; None: it may be."""
        if self.seconds > max_duration_s:
            return f"the audio is longer than {max_duration_s:g} s, which is the limit"
        if self.num_bytes > MAX_MIB << 20:
            return (
                f"the audio has more than {MAX_MIB} MiB, which is the limit; send fewer samples a "
                "second, or channels"
            )
        return None

    def add(self, chunk: AudioChunk, max_duration_s: float) -> None:
        """Add a chunk; where there is too much, it is counted and none is kept."""
        if (chunk.rate, chunk.width, chunk.channels) != (self.rate, self.width, self.channels):
            raise ProtocolError("an audio-chunk of another format than the audio-start")
        self.num_bytes += len(chunk.audio)
        if self.refusal(max_duration_s) is None:
            self.kept += chunk.audio
        else:
            self.kept.clear()

    def samples(self) -> np.ndarray:
        """As float32 (N, C) within [-1, 1]; (N,) where there is one channel."""
        size = self.width * self.channels
        data = np.frombuffer(bytes(self.kept[: len(self.kept) // size * size]), np.uint8)
        if self.width == 1:  # unsigned, as in WAV files
            samples_N = (data.astype(np.float32) - 128.0) / 128.0
        else:  # as the upper bytes of 32 bits
            wide = np.zeros((len(data) // self.width, 4), np.uint8)
            wide[:, 4 - self.width :] = data.reshape(-1, self.width)
            samples_N = wide.view("<i4")[:, 0].astype(np.float32) / 2.0**31
        return samples_N.reshape(-1, self.channels) if self.channels > 1 else samples_N


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """One event; None at the end of the stream.

    The package's reader takes any length that a client claims into memory, and fails on JSON that
    is no object.

    Raises:
        ProtocolError: it is none, or too large. IncompleteReadError: the stream ends within it.
    """
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise ProtocolError(f"a line of more than {MAX_LINE_BYTES} bytes") from error
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    head = _object(line)
    kind, data = head.get("type"), head.get("data") or {}
    sizes = [head.get("data_length") or 0, head.get("payload_length") or 0]
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise ProtocolError("an event without type, or with data that is no object")
    for size in sizes:
        if type(size) is not int or not 0 <= size <= MAX_PART_BYTES:
            raise ProtocolError(f"a part of {str(size)[:40]} bytes, at most {MAX_PART_BYTES}")
    if sizes[0]:
        data = data | _object(await reader.readexactly(sizes[0]))
    payload = await reader.readexactly(sizes[1]) if sizes[1] else None
    return Event(kind, data, payload)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not an event: its line is not JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError("not an event: its JSON is no object")
    return value
