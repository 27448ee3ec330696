"""A model as a service: files, PCM, text and streams in, results as JSON out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException as AnyHTTPException  # and that of no route

from atat.common import cli
from atat.config.tasks import Constraint, Task
from atat.inference.search_options import RIVALS, did_you_mean
from atat.serving import api_description, request_body, service_metrics, stream_socket, web_page
from atat.serving.api_description import MAX_CHARACTERS, MAX_TEXTS
from atat.serving.example_sentences import ExampleSentences
from atat.serving.http_guard import Guard
from atat.serving.service_metrics import ServiceMetrics
from atat.serving.service_settings import ServiceSettings
from atat.serving.workers import Busy, Workers

LOG = logging.getLogger("atat.serving")
MAX_BEAM = 32  # what a request may cost
MAX_NBEST = MAX_BEAM // RIVALS  # for each, the search keeps so many
# Of several texts together: texts times what is asked for each.
MAX_TOGETHER = {"nbest": MAX_TEXTS, "beam": MAX_TEXTS * MAX_BEAM // 2}
STOPPING_S = 2.0  # for streams to be told that the service ends


class TextOptions(BaseModel):
    """Options of a request; what is left out is as the model's settings say."""

    model_config = ConfigDict(extra="forbid")
    nbest: Annotated[int, Query(ge=1, le=MAX_NBEST, description="meanings to give")] = 1
    beam: Annotated[int | None, Query(ge=1, le=MAX_BEAM)] = None
    constraint: Annotated[Constraint | None, Query(description="of decoding")] = None
    task: Annotated[Task | None, Query(description="slu or nlu: meaning; asr: words")] = None


class AudioOptions(TextOptions):
    """Options of a request with audio."""

    threshold: Annotated[float | None, Query(ge=0, le=1, description="least confidence")] = None
    ctc_weight: Annotated[float | None, Query(ge=0, le=1)] = None


class StreamOptions(AudioOptions):
    """Options of a stream."""

    rate: Annotated[int, Query(ge=4000, le=192000, description="samples a second")] = 16000
    partial_words: bool = True


class Service:
    """A model with what serves it: threads, counters, open streams."""

    def __init__(
        self, model: Any, settings: ServiceSettings, make_session: Callable[..., Any]
    ) -> None:
        self.model, self.settings, self._make_session = model, settings, make_session
        self.workers = Workers(settings.num_threads, settings.max_waiting)
        self.metrics = ServiceMetrics()
        self.examples = ExampleSentences(getattr(model, "grammar", None))
        self.num_sessions = 0
        self.stopping = asyncio.Event()
        self._all_closed = asyncio.Event()

    async def predict(self, audio: request_body.Audio, options: AudioOptions) -> Any:
        """The result of one recording."""
        given = options.model_dump(exclude_none=True)
        threshold = given.pop("threshold", None)

        def work() -> list[Any]:
            heard = self.model.extract_features(*audio, self.settings.max_duration_s)
            return self.model.predict([heard], threshold, **given)

        (result,) = await self._refusing(work)
        self.count(result)
        return stream_socket.finite(result.to_dict())

    async def predict_texts(self, texts: list[str], options: TextOptions) -> list[Any]:
        """The results of sentences."""
        given = options.model_dump(exclude_none=True)
        results = await self._refusing(lambda: self.model.predict_texts(texts, **given))
        for result in results:
            self.count(result)
        return [stream_socket.finite(result.to_dict()) for result in results]

    async def stream(self, websocket: WebSocket, options: StreamOptions) -> None:
        """Serve one stream."""
        if self.num_sessions >= self.settings.max_sessions:
            reason = f"{self.num_sessions} streams are open, the limit; try again later"
            await stream_socket.close(websocket, stream_socket.BUSY, reason)
            return
        given = options.model_dump(exclude_none=True)
        rate = given.pop("rate")
        about = {"sample_rate": rate, "max_duration_s": self.settings.max_duration_s}
        socket = stream_socket.StreamSocket(
            websocket,
            self.workers,
            self.stopping,
            rate,
            self.settings.idle_timeout_s,
            lambda event: self.count(event.result) if event.result is not None else None,
        )
        self.num_sessions += 1
        self.metrics.sessions.set(self.num_sessions)
        try:
            await socket.run(lambda: self._make_session(self.model, **about, **given))
        finally:
            self.num_sessions -= 1
            self.metrics.sessions.set(self.num_sessions)
            if self.num_sessions == 0:
                self._all_closed.set()

    async def stop(self) -> None:
        """Tell all streams that the service ends; new ones are told at once."""
        self.stopping.set()
        self._all_closed.clear()
        if self.num_sessions:
            try:
                async with asyncio.timeout(STOPPING_S):
                    await self._all_closed.wait()
            except TimeoutError:
                LOG.warning("%d streams did not end in time", self.num_sessions)

    def count(self, result: Any) -> None:
        """Count a result; what was said is logged where it may be."""
        self.metrics.results.labels(str(result.is_understood).lower()).inc()
        self.metrics.audio_seconds.inc(result.duration_s or 0.0)
        if self.settings.log_text:
            LOG.info("%s", result.semantics)

    async def _refusing(self, work: Callable[[], list[Any]]) -> list[Any]:
        """What the model gives; what it cannot use is the client's mistake."""
        try:
            return await self.workers.run(work)
        except (ValueError, OSError) as e:
            raise HTTPException(422, cli.one_line(e)) from e


def create_app(
    model: Any, settings: ServiceSettings, make_session: Callable[..., Any] | None = None
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        model: a `SpeechToSemantics`, or what has `extract_features`, `predict`, `predict_texts`.
        settings: limits and access rules.
        make_session: makes the session of a stream; by default `atat.serving.session.Session`.

    Returns:
        The application; `app.state.service` is the `Service`.
    """
    if make_session is None:
        from atat.serving.session import Session

        make_session = Session
    service = Service(model, settings, make_session)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.stop()
        service.workers.close()

    app = FastAPI(
        title="AT-AT",
        summary="Speech or text in, intent and slots out.",
        version="1",  # of the API, as its paths have it
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(Guard, settings=settings, metrics=service.metrics)
    app.add_exception_handler(AnyHTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(Busy, _of_busy)
    _add_understanding(app, service)
    _add_stream(app, service)
    _add_about(app, service)
    web_page.add_page(app)
    return app


def _add_understanding(app: FastAPI, service: Service) -> None:
    settings = service.settings

    @app.post(
        "/v1/understand",
        tags=["understand"],
        summary="Understand a recording",
        responses=api_description.answers(408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": api_description.AUDIO_BODIES}},
    )
    async def predict(request: Request, options: Annotated[AudioOptions, Query()]) -> Response:
        """An audio file (wav, flac, ogg, mp3, ...) as the body or in a form, or raw PCM:
        `audio/L16;rate=16000`, little-endian but for `;endianness=big-endian`, `;channels=2`."""
        with service.workers.place():
            audio = await request_body.read_audio(
                request, settings.max_bytes, settings.body_timeout_s
            )
            return JSONResponse(await service.predict(audio, options))

    @app.post(
        "/v1/text",
        tags=["understand"],
        summary="Understand a sentence, or several",
        responses=api_description.answers(408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": api_description.TEXT_BODY}},
    )
    async def text(request: Request, options: Annotated[TextOptions, Query()]) -> Response:
        """`{"text": "turn on the lights"}` gives a result, `{"text": ["...", "..."]}` a list."""
        with service.workers.place():
            body = await request_body.read_json(
                request, settings.max_bytes, settings.body_timeout_s
            )
            texts = _texts(body)
            _check_cost(len(texts), options)
            results = await service.predict_texts(texts, options)
            return JSONResponse(results[0] if isinstance(body["text"], str) else results)


def _texts(body: Any) -> list[str]:
    """The sentences of a request."""
    given = body.get("text") if isinstance(body, dict) and body.keys() == {"text"} else None
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise HTTPException(422, 'expected {"text": "a sentence"} or {"text": ["a sentence", ...]}')
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise HTTPException(422, f"got {len(texts)} texts, expected 1 to {MAX_TEXTS}")
    if (longest := max(map(len, texts))) > MAX_CHARACTERS:
        raise HTTPException(
            422, f"got a text of {longest} characters, expected at most {MAX_CHARACTERS}"
        )
    return texts


def _check_cost(num_texts: int, options: TextOptions) -> None:
    for name, most in MAX_TOGETHER.items():
        if num_texts * (getattr(options, name) or 1) > most:
            raise HTTPException(
                422,
                f"got {num_texts} texts with {name} {getattr(options, name)}, expected at most "
                f"{most} of both multiplied; ask for fewer texts at once",
            )


def _add_stream(app: FastAPI, service: Service) -> None:
    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket) -> None:
        await stream_socket.accept(websocket)
        try:
            options = StreamOptions.model_validate(dict(websocket.query_params))
        except ValidationError as e:
            await stream_socket.close(websocket, stream_socket.UNUSABLE, _one_line(e.errors()[0]))
            return
        await service.stream(websocket, options)


def _add_about(app: FastAPI, service: Service) -> None:
    @app.get("/v1/examples", tags=["about"], summary="Sentences drawn from the model's grammar")
    async def examples(num: Annotated[int, Query(ge=1, le=50)] = 6) -> dict[str, Any]:
        """Another draw at each call; none where the model has no grammar."""
        with service.workers.place():
            return {"examples": await service.workers.run(lambda: service.examples.draw(num))}

    @app.get("/health", tags=["about"], summary="Whether the service runs, and what it allows")
    async def health() -> dict[str, Any]:
        """Needs no token."""
        settings = service.settings
        name = str(getattr(service.model, "name", None) or "").rstrip("/").rpartition("/")[2]
        return {
            "status": "stopping" if service.stopping.is_set() else "ok",
            "model": name,
            "needs_token": settings.token is not None,
            "sessions": service.num_sessions,
            "max_sessions": settings.max_sessions,
            "max_mb": settings.max_mb,
        }

    @app.get("/metrics", tags=["about"], summary="Counters, for Prometheus")
    async def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(
            service.metrics.text(), headers={"Content-Type": service_metrics.CONTENT_TYPE}
        )


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)
    reason = " ".join(str(error.detail).split())  # which may repeat what the client sent
    return JSONResponse({"error": reason}, error.status_code, error.headers)


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": _one_line(error.errors()[0])}, 422)


async def _of_busy(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1", "Connection": "close"})


def _one_line(error: Any) -> str:
    """What pydantic found, as what was got and what was expected."""
    name = ".".join(str(part) for part in error["loc"] if part != "query")[:60]
    wrong = f"{error['msg'][:1].lower()}{error['msg'][1:]}"
    if error["type"] == "extra_forbidden":
        others = StreamOptions.model_fields.keys() - {name}  # it may be one of another route
        wrong = f"no such option here{did_you_mean(name, sorted(others))}"
    said = f"{name}: got '{str(error['input'])[:60]}': {wrong}"
    return " ".join(said.split())  # the name is the client's, too
