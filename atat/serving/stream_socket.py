"""A stream of PCM over a WebSocket: audio in, the events of its session out."""

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from atat.serving.http_guard import SUBPROTOCOL
from atat.serving.workers import Workers

# Close codes: those of RFC 6455 where one fits, else 4000 and the HTTP status.
DONE, UNSUPPORTED, INCONSISTENT, STOPPING, BUSY = 1000, 1003, 1007, 1012, 1013
TOO_LATE, UNUSABLE, FAILED = 4408, 4422, 1011
SEND_TIMEOUT_S = 10.0  # a client that does not read what it gets
MAX_WAITING_S = 10.0  # of audio; beyond it nothing is read, and the client must wait
MAX_REASON_BYTES = 123  # RFC 6455, section 5.5


class AnySession(Protocol):
    """What a stream needs of `atat.serving.session.Session`."""

    def accept(self, samples: np.ndarray) -> list[Any]:
        """Events that the next piece gives."""

    def finish(self) -> list[Any]:
        """Events of the end."""


class Closed(Exception):
    """A stream that must end, with the code and reason that the client is told."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class StreamSocket:
    """One stream: its audio is read while what came before is understood."""

    def __init__(
        self,
        websocket: WebSocket,
        workers: Workers,
        stopping: asyncio.Event,
        sample_rate: int,
        idle_timeout_s: float,
        told: Callable[[Any], None],
    ) -> None:
        """
        Args:
            websocket: accepted already.
            workers: in which the session runs.
            stopping: set when the service ends.
            sample_rate: of the audio, in Hz.
            idle_timeout_s: after which a client that sends no audio is left.
            told: called with each event.
        """
        self._websocket, self._workers, self._stopping = websocket, workers, stopping
        self._max_waiting_bytes = int(MAX_WAITING_S * sample_rate) * 2
        self._idle_timeout_s, self._told = idle_timeout_s, told
        self._audio, self._has_ended = bytearray(), False
        self._changed = asyncio.Condition()

    async def run(self, make_session: Callable[[], AnySession]) -> None:
        """Serve the stream to its end, whatever that is, and close it.

        Args:
            make_session: may raise ValueError, which the client is told.
        """
        tasks = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._understand(make_session)),
            asyncio.create_task(self._until_stopping()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
            closed = Closed(DONE, "")
        except Closed as e:
            closed = e
        except WebSocketDisconnect:
            return
        except ValueError as e:
            closed = Closed(UNUSABLE, " ".join(str(e).split()))
        except Exception:
            await self._close(Closed(FAILED, "internal error; the service's log says where"))
            raise
        finally:
            await _end(tasks)
        await self._close(closed)

    async def _read(self) -> None:
        """Take in messages until the client goes, or does what it may not."""
        loop = asyncio.get_running_loop()
        idle_at_s = loop.time() + self._idle_timeout_s
        while True:
            try:
                async with asyncio.timeout_at(None if self._has_ended else idle_at_s):
                    message = await self._websocket.receive()
            except TimeoutError as e:
                raise Closed(TOO_LATE, f"no audio for {self._idle_timeout_s:g} s") from e
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            async with self._changed:
                if (data := message.get("bytes")) is not None:
                    if len(data) % 2:
                        raise Closed(INCONSISTENT, f"got {len(data)} bytes, expected int16 samples")
                    self._audio += b"" if self._has_ended else data
                elif _is_end(message["text"]):
                    self._has_ended = True
                else:
                    raise Closed(UNSUPPORTED, 'got text, expected int16 PCM or {"end": true}')
                self._changed.notify_all()
                await self._changed.wait_for(lambda: len(self._audio) <= self._max_waiting_bytes)
            if data:  # what is empty is no audio; nor is it the client's fault if we did not read
                idle_at_s = loop.time() + self._idle_timeout_s

    async def _understand(self, make_session: Callable[[], AnySession]) -> None:
        """Give all that has come to the session, and its events to the client."""
        session = await self._workers.run(make_session)
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._audio or self._has_ended)
                samples = np.frombuffer(bytes(self._audio), "<i2").astype(np.int16)
                self._audio.clear()
                is_last = self._has_ended
                self._changed.notify_all()
            if len(samples):
                await self._send(await self._workers.run(lambda: session.accept(samples)))  # noqa: B023
            if is_last:
                await self._send(await self._workers.run(session.finish))
                return

    async def _until_stopping(self) -> None:
        await self._stopping.wait()
        raise Closed(STOPPING, "the service is stopping")

    async def _send(self, events: list[Any]) -> None:
        for event in events:
            self._told(event)
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._websocket.send_text(event_json(event))
            except TimeoutError as e:
                raise Closed(TOO_LATE, "answers were not read") from e

    async def _close(self, closed: Closed) -> None:
        try:
            async with asyncio.timeout(1.0):
                await close(self._websocket, closed.code, closed.reason)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            pass  # it is gone already


async def accept(websocket: WebSocket) -> None:
    """Accept a stream, with the protocol that it names."""
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close a stream; of a long reason the beginning is told."""
    short = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    await websocket.close(code, short)


def event_json(event: Any) -> str:
    """An event (`atat.serving.session.Event`) as a client gets it: what is of its kind.

    Returns:
        kind and time_s; words of "words", result (`Result.to_dict()`) of "result".
    """
    about = {"kind": event.kind, "time_s": round(event.time_s, 3)}
    if event.kind == "words":
        about["words"] = event.words
    if event.result is not None:
        about["result"] = event.result.to_dict()
    return json.dumps(finite(about), ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """Plain values as JSON can have them: NaN and infinity are null.

    >>> finite({"score": float("-inf"), "nbest": (1.5,)})
    {'score': None, 'nbest': [1.5]}
    """
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen; the first one counts


def _is_end(text: str | None) -> bool:
    try:
        told = json.loads(text or "")
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and len(told) == 1 and told.get("end") is True
