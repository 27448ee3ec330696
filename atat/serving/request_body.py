"""The body of a request, no larger and no later than it may be, and the audio in it."""

import asyncio
import io
import json
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message

AUDIO_TYPES = ("application/octet-stream", "application/ogg")  # and audio/*, video/* (webm, mp4)
# More is no request of 64 texts, and the event loop waits while it is parsed.
MAX_JSON_BYTES = 2**20
EXPECTED = (
    "expected multipart/form-data with a file, audio/..., application/octet-stream (any audio "
    "file) or audio/L16;rate=16000 (PCM)"
)
# An open file, or samples (N,) or (N, C) with their rate in Hz.
Audio = tuple[io.BytesIO | np.ndarray, int | None]


def content_type(request: Request) -> tuple[str, dict[str, str]]:
    """The type of a body in lower case, and its parameters."""
    kind, *rest = request.headers.get("content-type", "").split(";")
    pairs = (part.partition("=") for part in rest)
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    return kind.strip().lower(), parameters


async def read_audio(request: Request, max_bytes: int, timeout_s: float) -> Audio:
    """The audio of a request: a file, or raw PCM.

    Args:
        request: its body is a file, raw PCM or a form with a file.
        max_bytes: of the body.
        timeout_s: in which all of it must have come.

    Raises:
        HTTPException: 408 too late, 413 too large, 415 of another type, 422 not what its type says.
    """
    kind, parameters = content_type(request)
    _check_encoding(request)
    if kind == "multipart/form-data":
        return io.BytesIO(await _file_of_form(request, max_bytes, timeout_s)), None
    is_audio = kind.startswith(("audio/", "video/")) or kind in AUDIO_TYPES
    if not is_audio:
        raise HTTPException(415, f"got content type '{kind[:100]}', {EXPECTED}")
    if kind == "audio/l16":
        rate, num_channels, order = _pcm_format(parameters)
        body = await _read(request, max_bytes, timeout_s)
        return _pcm(body, num_channels, order), rate
    return io.BytesIO(await _read(request, max_bytes, timeout_s)), None


async def read_json(request: Request, max_bytes: int, timeout_s: float) -> Any:
    """The value that a request's body, of at most MAX_JSON_BYTES, holds as JSON.

    Raises:
        HTTPException: as `read_audio`.
    """
    kind, _ = content_type(request)
    _check_encoding(request)
    if kind != "application/json":
        raise HTTPException(415, f"got content type '{kind[:100]}', expected application/json")
    if max_bytes > MAX_JSON_BYTES:
        body = await _read(request, MAX_JSON_BYTES, timeout_s, "of JSON")
    else:
        body = await _read(request, max_bytes, timeout_s)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as e:
        raise HTTPException(422, f"not JSON: {' '.join(str(e).split())[:200]}") from e


def _check_encoding(request: Request) -> None:
    if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
        raise HTTPException(415, f"got content encoding '{encoding[:100]}', expected none")


async def _read(
    request: Request, max_bytes: int, timeout_s: float, of: str = "(--max_mb)"
) -> bytes:
    return await _in_time(_limited(request, max_bytes, of).body(), timeout_s)


async def _file_of_form(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """The content of the one file of a form."""
    limited = _limited(request, max_bytes)
    form = await _in_time(limited.form(max_files=1, max_fields=8), timeout_s)
    try:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            raise HTTPException(422, "got a form without a file, expected one: -F file=@NAME")
        return await files[0].read()
    finally:
        await form.close()


def _limited(request: Request, max_bytes: int, of: str = "(--max_mb)") -> Request:
    """The request, whose body is refused as soon as it is too large.

    Of one that is not much too large the rest is read and dropped, as much again at most: a client
    that is still sending when the connection is closed sees no answer, only that it was closed.
    """
    length = request.headers.get("content-length", "0")
    promised = int(length[:20]) if length.isascii() and length.isdigit() else 0
    num_bytes = 0

    async def next_message() -> Message:
        nonlocal num_bytes
        message = await request.receive()
        num_bytes += len(message.get("body", b""))
        return message

    async def receive() -> Message:
        if promised <= 2 * max_bytes:
            message = await next_message()
            if max(promised, num_bytes) <= max_bytes:
                return message
            while message.get("more_body") and num_bytes <= 2 * max_bytes:
                message = await next_message()
        raise HTTPException(
            413,
            f"got more than {max_bytes / 2**20:g} MiB, the limit {of}",
            {"Connection": "close"},
        )

    return Request(request.scope, receive)


async def _in_time(reading: Any, timeout_s: float) -> Any:
    try:
        async with asyncio.timeout(timeout_s):
            return await reading
    except TimeoutError as e:
        raise HTTPException(
            408, f"the request did not come within {timeout_s:g} s", {"Connection": "close"}
        ) from e
    except ClientDisconnect as e:
        raise HTTPException(400, "the connection was cut") from e


def _pcm_format(parameters: dict[str, str]) -> tuple[int, int, str]:
    """Rate in Hz, channels and byte order of audio/L16."""
    order = parameters.get("endianness", "little-endian")
    rate, channels = parameters.get("rate", ""), parameters.get("channels", "1")
    for name, value in (("rate", rate), ("channels", channels)):
        if not (value.isascii() and value.isdigit() and int(value[:9]) > 0):
            raise HTTPException(
                422, f"audio/L16: got {name} '{value[:20]}', expected a number: rate=16000"
            )
    if order not in ("little-endian", "big-endian"):
        raise HTTPException(
            422, f"audio/L16: got endianness '{order[:20]}', expected little-endian or big-endian"
        )
    return int(rate[:9]), int(channels[:9]), order


def _pcm(body: bytes, num_channels: int, order: str) -> np.ndarray:
    """int16 (N,), or (N, C) of several channels."""
    if len(body) == 0 or len(body) % (2 * num_channels):
        raise HTTPException(
            422,
            f"audio/L16: got {len(body)} bytes, expected some, 2 for each sample of "
            f"{num_channels} channels",
        )
    samples = np.frombuffer(body, "<i2" if order == "little-endian" else ">i2").astype(np.int16)
    return samples if num_channels == 1 else samples.reshape(-1, num_channels)
