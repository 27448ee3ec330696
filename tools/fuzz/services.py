"""What clients send: HTTP requests, WebSocket messages, events of the Wyoming protocol."""

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.fuzz.mutations import json_mutated
from tools.fuzz.parsers import Prepared, parser, text

MAX_WAIT_S = 4.0  # of the loop; the service has work of microseconds


class Refused(ValueError):
    """A service said no."""


class Model:
    """Understands anything."""

    name, grammar = "exp/fuzz", None

    def extract_features(self, source: Any, *_: Any) -> Any:
        """What was given, read as far as the limits of a service see it."""
        return source

    def predict(self, recordings: Sequence[Any], *_: Any, **options: Any) -> list[Any]:
        """A result each."""
        from atat.inference.result import Result

        return [Result("turnOn", {"room": "hall"}, "turnOn( )turnOn", -1.0) for _ in recordings]

    def predict_texts(self, texts: Sequence[str], **options: Any) -> list[Any]:
        """A result each."""
        return self.predict(texts)


class Session:
    """Hears nothing."""

    def __init__(self, *_: Any, **options: Any) -> None:
        pass

    def accept(self, samples: Any) -> list[Any]:
        """No events."""
        return []

    def finish(self) -> list[Any]:
        """No events."""
        return []


def _app() -> Any:
    import logging

    from atat.serving.http_server import create_app
    from atat.serving.service_settings import ServiceSettings

    logging.disable(logging.CRITICAL)
    return create_app(Model(), ServiceSettings(max_mb=0.5, idle_timeout_s=1.0), Session)


def _scope(
    kind: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8000"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "state": {},
    }


async def _answered(app: Any, scope: dict[str, Any], messages: list[dict[str, Any]]) -> list[Any]:
    """What an application sends for what it gets."""
    sent: list[Any] = []
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        message = next(left, None)
        if message is None:
            kind = "http.disconnect" if scope["type"] == "http" else "websocket.disconnect"
            return {"type": kind, "code": 1005}
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(MAX_WAIT_S):
        await app(scope, receive, send)
    return sent


def _request(app: Any, loop: Any, path: str, query: bytes, kind: bytes, body: bytes) -> None:
    """Send a request; what is answered has a status that HTTP has for it, and one line."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    half = len(body) // 2
    messages = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    sent = loop.run_until_complete(_answered(app, _scope("http", path, query, headers), messages))
    status = sent[0]["status"]
    content = json.loads(b"".join(message.get("body", b"") for message in sent[1:]))
    assert status < 500, f"{status}: {content}"
    if status != 200:
        assert content.keys() == {"error"} and len(content["error"].splitlines()) == 1, content
        raise Refused(content["error"])


@parser(draw=json_mutated, errors=(Refused,))
def http_text(directory: Path) -> Prepared:
    """The body of /v1/text."""
    app, loop = _app(), asyncio.new_event_loop()
    seeds = [b'{"text": "turn on the lights"}', b'{"text": ["turn on", "caf\\u00e9"]}']
    return Prepared(
        seeds, lambda data: _request(app, loop, "/v1/text", b"", b"application/json", data)
    )


@parser(
    words="nbest= beam= constraint= grammar none task= slu asr threshold= ctc_weight= & %00 + nan",
    errors=(Refused,),
)
def http_query(directory: Path) -> Prepared:
    """The options of a request."""
    app, loop = _app(), asyncio.new_event_loop()

    def parse(data: bytes) -> None:
        body = b'{"text": "turn on"}'
        _request(app, loop, "/v1/text", data[:4000], b"application/json", body)

    return Prepared([b"nbest=2&beam=4&constraint=grammar&task=nlu", b"nbest=3"], parse)


HEADER_END = b"\n\n"


@parser(
    words="audio/L16;rate=16000;channels=2 multipart/form-data;boundary=x --x Content-Disposition: "
    'form-data; name="file"; filename="a.wav" audio/wav Content-Type: application/json charset=',
    errors=(Refused,),
)
def http_audio(directory: Path) -> Prepared:
    """Content type and body of /v1/understand, with an empty line between."""
    app, loop = _app(), asyncio.new_event_loop()
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\nRIFF\r\n--x--\r\n"
    )
    seeds = [
        b"audio/wav" + HEADER_END + b"RIFF",
        b'audio/L16;rate=16000;channels=2;endianness="big-endian"' + HEADER_END + bytes(64),
        b"multipart/form-data; boundary=x" + HEADER_END + form,
    ]

    def parse(data: bytes) -> None:
        kind, _, body = data.partition(HEADER_END)
        _request(app, loop, "/v1/understand", b"nbest=2", kind[:4000], body)

    return Prepared(seeds, parse)


def _messages(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    return (json_mutated if draw.random() < 0.6 else text)(draw, seeds, words)


@parser(draw=_messages, errors=(Refused,))
def websocket(directory: Path) -> Prepared:
    """A stream: a line of options, then messages; an object is text, all else bytes of samples."""
    app, loop = _app(), asyncio.new_event_loop()

    def parse(data: bytes) -> None:
        query, _, rest = data.partition(b"\n")
        messages: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        for line in rest.split(b"\n")[:50]:
            message: dict[str, Any] = {"type": "websocket.receive", "text": None, "bytes": None}
            if line.startswith(b"{"):
                message["text"] = line.decode("utf-8", "replace")
            else:
                message["bytes"] = line
            messages.append(message)
        scope = _scope("websocket", "/v1/stream", query.strip(b'"')[:4000], [])
        sent = loop.run_until_complete(_answered(app, scope, messages))
        codes = [message["code"] for message in sent if message["type"] == "websocket.close"]
        assert not {1011, 1006} & set(codes), sent
        if any(code != 1000 for code in codes):
            raise Refused(str(sent[-1]))

    seeds = [
        b'"rate=8000&nbest=2"\n"abcdef"\n{"end": true}',
        b'"partial_words=false"\n"ab"\n{"end": true}',
    ]
    return Prepared(seeds, parse)


class _Writer:
    """Takes what is written."""

    def writelines(self, data: Any) -> None:
        """Forget it."""

    def write(self, data: bytes) -> None:
        """Forget it."""

    async def drain(self) -> None:
        """At once."""


@parser(
    draw=_messages,
    words="describe ping transcribe audio-start audio-chunk audio-stop recognize run-pipeline "
    '"data_length": "payload_length": "type": "rate": "width": "channels": "start_stage":',
)
def wyoming(directory: Path) -> Prepared:
    """Events of the Wyoming protocol."""
    from concurrent.futures import ThreadPoolExecutor

    from atat.serving import wyoming_input
    from atat.serving.wyoming_server import Service, _Session

    pool = ThreadPoolExecutor(1)
    service = Service(Model(), idle_s=2.0)
    loop = asyncio.new_event_loop()

    def event(kind: str, payload: bytes = b"", **data: Any) -> bytes:
        head: dict[str, Any] = {"type": kind, "data": data}
        if payload:
            head["payload_length"] = len(payload)
        return json.dumps(head).encode() + b"\n" + payload

    form = {"rate": 16000, "width": 2, "channels": 1}
    seeds = [
        event("describe") + event("ping", text="x"),
        event("run-pipeline", start_stage="asr", end_stage="intent")
        + event("audio-start", **form)
        + event("audio-chunk", b"abcdefg\n" * 4, **form)
        + event("audio-stop"),
        event("recognize", text="turn on", context={"a": 1}) + event("transcript", text="stop"),
    ]

    async def serve(data: bytes) -> None:
        reader = asyncio.StreamReader(limit=wyoming_input.MAX_LINE_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        session = _Session(service, pool, reader, _Writer())  # type: ignore[arg-type]
        async with asyncio.timeout(MAX_WAIT_S):
            try:
                await session.run()
            except asyncio.IncompleteReadError as error:
                raise wyoming_input.ProtocolError("cut off") from error

    return Prepared(seeds, lambda data: loop.run_until_complete(serve(data)))
