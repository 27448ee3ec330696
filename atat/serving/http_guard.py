"""What stands before a service's routes: who may ask, what is counted, what an error tells."""

import base64
import binascii
import hmac
import json
import logging
import time
import traceback
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atat.serving.service_metrics import ServiceMetrics
from atat.serving.service_settings import ServiceSettings, is_loopback

LOG = logging.getLogger("atat.serving")
# A browser's WebSocket sends no header of ours, but names of protocols: this one, and one that
# holds the token.
SUBPROTOCOL, TOKEN_PROTOCOL = "atat", "token."
# Nothing from elsewhere, no inline script, and in no frame of another page.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware: checks Host, Origin and token, counts and logs, answers what went wrong.

    A page of another site, open in a user's browser, can send requests to this machine. Its Origin
    gives it away; one whose name was made to point here (DNS rebinding) has its own name as Host.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: ServiceMetrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"].endswith("response.start"):
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_encoded(SECURITY_HEADERS)]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            refused = self._refusal(scope)
            if refused is not None:
                await _answer(scope, sent, *refused)
            else:
                await self._app(scope, receive, sent)
        except Exception as error:
            LOG.error("%s", _where(error, with_message=self._settings.log_text))
            if status == 0:
                await _answer(scope, sent, 500, "internal error; the service's log says where")
        self._count(scope, status, time.perf_counter() - start)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # As declared: what is asked for is the client's, and without bound.
        path = getattr(scope.get("route"), "path", None)
        route = path or ("/page" if scope["path"].startswith("/page/") else "other")
        self._metrics.requests.labels(route, status).inc()
        if scope["type"] == "http":
            self._metrics.seconds.labels(route).observe(seconds)
        method = scope.get("method", "WebSocket")
        LOG.info("%s %s %d %.0f ms", method, route, status, 1000 * seconds)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, of a request that may not be answered."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host_name(host)):
            return 403, (
                f"got Host '{host[:100]}', expected a name of this machine (--allow_host adds one)"
            )
        if origin is not None and not self._is_same(origin, host):
            return 403, (
                f"got Origin '{origin[:100]}', expected this service's own page or a program "
                "(--allow_host adds a name)"
            )
        if self._settings.token is not None and _needs_token(scope["path"]):
            given = _token(headers)
            if given is None:
                return 401, "got no token, expected the header 'Authorization: Bearer TOKEN'"
            if not hmac.compare_digest(given, self._settings.token.encode()):
                return 401, "wrong token"
        return None

    def _is_ours(self, name: str) -> bool:
        """Whether a name by which we are called is one of ours; who knows a token may use any."""
        settings = self._settings
        if settings.token is not None and not settings.allowed_hosts:
            return True
        return is_loopback(name) or name in (settings.host.lower(), *settings.allowed_hosts)

    def _is_same(self, origin: str, host: str) -> bool:
        """Whether a request comes from a page of ours."""
        try:
            parts = urlsplit(origin)
            name, address = parts.hostname or "", parts.netloc
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        return address.lower() == host.lower() or name in self._settings.allowed_hosts


def host_name(host: str) -> str:
    """The name of a Host header, in lower case, without its port.

    >>> host_name("localhost:8000"), host_name("[::1]:8000"), host_name("Example.org")
    ('localhost', '::1', 'example.org')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _needs_token(path: str) -> bool:
    """The page, its files and the API's description say nothing that is not public."""
    return path.startswith("/v1/") or path == "/metrics"


def _token(headers: Headers) -> bytes | None:
    """The token that a client gave, in a header or as the name of a protocol."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(TOKEN_PROTOCOL):
            coded = protocol.strip().removeprefix(TOKEN_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
            except (binascii.Error, ValueError):
                return b""
    return None


async def _answer(scope: Scope, send: Send, status: int, reason: str) -> None:
    """An error as JSON; a stream is refused before it begins."""
    body = json.dumps({"error": reason}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    # What is left of the request is not read.
    headers["Connection"] = "close"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    kind = "http" if scope["type"] == "http" else "websocket.http"
    start: dict[str, Any] = {"type": f"{kind}.response.start", "status": status}
    await send(start | {"headers": _encoded(headers)})
    await send({"type": f"{kind}.response.body", "body": body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]


def _where(error: Exception, with_message: bool) -> str:
    """A traceback; without the error's message, which may hold what was said."""
    if with_message:
        return "".join(traceback.format_exception(error))
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{frames}{type(error).__name__} (its message is shown with --log_text true)"
