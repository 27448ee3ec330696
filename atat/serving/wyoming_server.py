"""A server of the Wyoming protocol: speech to words, and words to an intent, by one model.

Home Assistant opens a connection for each of three things (homeassistant/components/wyoming):
`describe`; speech, as `transcribe`, `audio-start`, `audio-chunk`s and `audio-stop`, upon which it
waits for `transcript`; and words, of a transcript or typed, as a `transcript` event, upon which it
waits for `intent` or `not-recognized`. Others send `recognize` for words. With `run-pipeline` from
`asr` to `intent`, the intent follows the transcript, from the speech itself.

The transcript is the words of what the model understood of the speech, and empty where it did not
understand: text has no confidence, so that the intent step would act on words of a television too.
Home Assistant ends at an empty transcript. docs/home_assistant.md has what was measured of this.

The protocol has no authentication. Source: github.com/OHF-Voice/wyoming.
"""

# N samples, C channels

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import (
    AsrModel,
    AsrProgram,
    Attribution,
    Describe,
    Info,
    IntentModel,
    IntentProgram,
)
from wyoming.intent import Entity, Intent, NotRecognized, Recognize
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline

from atat.inference.result import Result
from atat.semantics import target_sequence
from atat.serving import wyoming_input
from atat.serving.wyoming_input import Audio, ProtocolError, read_event

MAX_TEXT_LENGTH = 1000  # characters of a sentence
MAX_DISCARDED = 10  # times the longest speech, before a client that goes on is cut off
TRANSCRIPTS = ("semantics", "asr")

_log = logging.getLogger("atat.wyoming")
T = TypeVar("T")


class Model(Protocol):
    """What of `atat.SpeechToSemantics` is used."""

    def extract_features(
        self, source: Any, sample_rate: float, max_duration_s: float | None
    ) -> Any:
        """Features of samples."""

    def predict(
        self, recordings: Sequence[Any], threshold: float | None, **options: Any
    ) -> list[Result]:
        """Results of them."""

    def predict_texts(self, texts: Sequence[str], **options: Any) -> list[Result]:
        """Results of sentences."""


@dataclass(frozen=True)
class Service:
    """What is served, and its limits.

    Attributes:
        model: may be used from several threads.
        name, version: of the model and of the program, as they are shown.
        max_duration_s: longest speech.
        threshold: least confidence of speech that is accepted, 0 to 1; None: the calibrated one.
        transcripts: semantics: words of what was understood, none where nothing was; asr: words by
            the task asr, whatever they are.
        max_sessions: connections at once; more are refused.
        idle_s: a connection that sends no whole event for so long is closed.
        grace_s: what is being understood may take so long when the server ends.
        options: of the search, as `SpeechToSemantics` takes them.
        log_text: say in the log why something was not understood, which quotes words.
    """

    model: Model
    name: str = "atat"
    version: str | None = None
    max_duration_s: float = 20.0
    threshold: float | None = None
    transcripts: str = "semantics"
    max_sessions: int = 16
    idle_s: float = 30.0
    grace_s: float = 5.0
    options: dict[str, Any] = field(default_factory=dict)
    log_text: bool = False

    def info(self) -> Info:
        """What a client is told of it."""
        about: dict[str, Any] = {
            "attribution": Attribution("AT-AT recipes", "https://arxiv.org/abs/2012.08549"),
            "installed": True,
            "version": self.version,
        }
        speech = {**about, "description": f"Spoken commands of {self.name}"}
        text = {**about, "description": f"Intents and slots of {self.name}"}
        asr = AsrModel(name=self.name, languages=["en"], **speech)
        intent = IntentModel(name=self.name, languages=["en"], **text)
        return Info(
            asr=[AsrProgram(name="atat", models=[asr], **speech)],
            intent=[IntentProgram(name="atat", models=[intent], **text)],
        )

    def of_speech(self, samples_NC: np.ndarray, rate: int) -> tuple[str, Result]:
        """Words and result of speech; float32 (N, C) within [-1, 1] at `rate` Hz."""
        recording = self.model.extract_features(samples_NC, rate, self.max_duration_s)
        (result,) = self.model.predict([recording], self.threshold, **self.options)
        if self.transcripts == "asr":
            # Free of the grammar, to which calibrated options hold them: other speech stays itself.
            (heard,) = self.model.predict([recording], None, task="asr", constraint="none")
            return heard.semantics, result
        return target_sequence.words(result.semantics) if result.is_understood else "", result

    def warm_up(self) -> None:
        """Read and compile what the first request would wait for."""
        noise_N = np.random.default_rng(0).normal(0.0, 0.1, 16000).astype(np.float32)
        self.of_speech(noise_N, 16000)
        self.of_text("warm up")

    def of_text(self, text: str) -> Result:
        """The result of a sentence."""
        (result,) = self.model.predict_texts([text])
        return result


class WyomingServer:
    """Serves a model: `start`, then `stop`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        # Computing holds no thread of others up: `describe` is answered meanwhile.
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "atat.wyoming")
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions: dict[asyncio.Task[None], _Session] = {}
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which is one that is free where 0 was asked for.

        Raises:
            OSError: the address cannot be used.
        """
        self._server = await asyncio.start_server(
            self._serve, host, port, limit=wyoming_input.MAX_LINE_BYTES
        )
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more; what is being understood is answered still, for `grace_s` at most."""
        if self._server is not None:
            self._server.close()
        for task, session in self._sessions.items():
            session.is_last = True
            if not session.is_busy:
                task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.service.grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        session = _Session(self.service, self._pool, reader, writer)
        try:
            if len(self._sessions) >= self.service.max_sessions:
                text = f"{self.service.max_sessions} sessions are open already; try again later"
                await session.write(Error(text, "busy"))
                return
            self._sessions[task] = session
            await session.run()
        except (OSError, asyncio.IncompleteReadError):
            pass  # cut off, or idle for too long
        except asyncio.CancelledError:
            pass  # the server ends
        except ProtocolError as error:
            _log.info("refused: %s", error)
            with contextlib.suppress(OSError):
                await session.write(Error(str(error), "bad-event"))
        except Exception:
            _log.exception("a session failed")
            with contextlib.suppress(OSError):
                await session.write(Error("internal error", "failed"))
        finally:
            self._sessions.pop(task, None)
            self._tasks.discard(task)
            writer.close()


class _Session:
    """One connection."""

    def __init__(
        self,
        service: Service,
        pool: ThreadPoolExecutor,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.service, self.pool, self.reader, self.writer = service, pool, reader, writer
        self.is_busy = False  # understanding
        self.is_last = False  # the server ends
        self.with_intent = False  # after the transcript
        self.audio: Audio | None = None

    async def run(self) -> None:
        """Answer events until the client leaves."""
        while not self.is_last:
            event = await asyncio.wait_for(read_event(self.reader), self.service.idle_s)
            if event is None:
                return
            try:
                await self.answer(event)
            except (KeyError, TypeError, AttributeError) as error:
                raise ProtocolError(f"event '{event.type[:40]}': {error!r}") from error

    async def answer(self, event: Event) -> None:
        """Answer one event; those that are not known are left alone, as the protocol wants it."""
        kind = event.type
        if Describe.is_type(kind):
            await self.write(self.service.info())
        elif Ping.is_type(kind):
            await self.write(Pong(Ping.from_event(event).text))
        elif RunPipeline.is_type(kind):
            self.set_pipeline(event)
        elif Transcribe.is_type(kind):
            self.audio = None
        elif AudioStart.is_type(kind):
            start = AudioStart.from_event(event)
            self.audio = Audio(start.rate, start.width, start.channels)
        elif AudioChunk.is_type(kind):
            await self.add(AudioChunk.from_event(event))
        elif AudioStop.is_type(kind):
            await self.transcribe()
        elif Recognize.is_type(kind):
            request = Recognize.from_event(event)
            await self.recognize(request.text, request.context)
        elif Transcript.is_type(kind):  # of Home Assistant
            spoken = Transcript.from_event(event)
            await self.recognize(spoken.text, spoken.context)

    def set_pipeline(self, event: Event) -> None:
        """Note whether an intent is wanted after the transcript."""
        try:
            pipeline = RunPipeline.from_event(event)
        except ValueError as error:
            raise ProtocolError(f"run-pipeline: {error}") from error
        self.with_intent = pipeline.start_stage is PipelineStage.ASR and pipeline.end_stage in (
            PipelineStage.INTENT,
            PipelineStage.HANDLE,
        )

    async def add(self, chunk: AudioChunk) -> None:
        """Keep audio, as long as it is not too much."""
        if self.audio is None:
            self.audio = Audio(chunk.rate, chunk.width, chunk.channels)
        was_refused = self.audio.refusal(self.service.max_duration_s)
        self.audio.add(chunk, self.service.max_duration_s)
        if self.audio.seconds > self.service.max_duration_s * MAX_DISCARDED:
            raise ProtocolError(f"{self.audio.seconds:.0f} s of audio without an end")
        refused = self.audio.refusal(self.service.max_duration_s)
        if refused is not None and was_refused is None:
            await self.write(Error(refused, "too-long"))

    async def transcribe(self) -> None:
        """Answer speech that has ended."""
        audio, self.audio = self.audio, None
        words, result = "", Result(None, {}, "", None, "there is no audio")
        refused = audio and audio.refusal(self.service.max_duration_s)
        if refused:
            result = Result(None, {}, "", None, refused)
        elif audio is not None and audio.seconds:
            try:
                samples_NC = audio.samples()
                words, result = await self.compute(self.service.of_speech, samples_NC, audio.rate)
            except (ValueError, OSError) as error:
                result = Result(None, {}, "", None, str(error))
                await self.write(Error(str(error), "bad-audio"))
        _log.info("speech of %.1f s: %s", audio.seconds if audio else 0.0, self.shown(result))
        await self.write(Transcript(words, language="en"))
        if self.with_intent:
            await self.write(_answer(result, None))

    async def recognize(self, text: str, context: dict[str, Any] | None) -> None:
        """Answer a sentence."""
        if not isinstance(text, str):
            raise ProtocolError(f"text is a {type(text).__name__}, expected a string")
        try:
            if len(text) > MAX_TEXT_LENGTH:
                raise ValueError(f"{len(text)} characters, expected at most {MAX_TEXT_LENGTH}")
            result = await self.compute(self.service.of_text, text)
        except ValueError as error:
            result = Result(None, {}, "", None, str(error))
        _log.info("text of %d characters: %s", len(text), self.shown(result))
        await self.write(_answer(result, context))

    def shown(self, result: Result) -> str:
        """A result as the log has it."""
        if result.intent is None:
            return (
                f"not understood ({result.reason})" if self.service.log_text else "not understood"
            )
        return result.intent + ("" if result.confidence is None else f" ({result.confidence:.2f})")

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in another thread."""
        self.is_busy = True
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.pool, partial(function, *arguments))
        finally:
            self.is_busy = False

    async def write(self, what: Eventable) -> None:
        """Send an event; a client that does not read it is idle."""
        await asyncio.wait_for(
            async_write_event(what.event(), self.writer), timeout=self.service.idle_s
        )


def _answer(result: Result, context: dict[str, Any] | None) -> Eventable:
    if result.intent is None:
        return NotRecognized(result.reason or "nothing was understood", context)
    entities = [Entity(name, value) for name, value in result.slots.items()]
    return Intent(result.intent, entities, context=context)


def address(uri: str) -> tuple[str, int]:
    """Host and port of `tcp://HOST:PORT`.

    >>> address("tcp://127.0.0.1:10300")
    ('127.0.0.1', 10300)
    """
    parts = urlsplit(uri)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme != "tcp" or host is None or port is None or parts.path.strip("/"):
        raise ValueError(f"--uri: got '{uri}', expected tcp://HOST:PORT, as tcp://127.0.0.1:10300")
    return host, port


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve(service: Service, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        service: what is served.
        host: address or name to listen at.
        port: 0 is one that is free.
        ready: called with the port, once the server listens.

    Raises:
        OSError: the address cannot be used.
    """
    end, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    server = WyomingServer(service)
    try:
        ready(await server.start(host, port))
        await end.wait()
    finally:
        await server.stop()
