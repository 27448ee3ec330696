"""Files from the web, within limits of size and time; only where a caller asked for it."""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

MAX_BYTES = 64 * 2**20
TIMEOUT_S = 30.0  # in all
CHUNK_BYTES = 2**16


def is_url(source: object) -> bool:
    """Whether a source is an address of the web and no file's path.

    >>> is_url("https://example.org/a.wav"), is_url("a.wav")
    (True, False)
    """
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def fetch(url: str, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S) -> bytes:
    """The content of an address.

    Args:
        url: http or https; it may redirect to another of these, and to nothing else.
        max_bytes: more is refused.
        timeout_s: for all of it.

    Raises:
        ValueError: it cannot be had within the limits.
    """
    # A server that sends a byte now and then keeps each operation of a socket short, and urllib has
    # no deadline over all of them: a thread works, and its sockets are shut when it is late.
    answers: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    sockets: list[socket.socket] = []
    is_late = threading.Event()

    def note(connected: socket.socket) -> None:
        sockets.append(connected)
        if is_late.is_set():  # of a redirect
            _shut(connected)

    def work() -> None:
        try:
            answers.put(_fetch(url, max_bytes, timeout_s, note))
        except Exception as e:
            answers.put(e)

    threading.Thread(target=work, name="atat.download", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise ValueError(f"{url}: not there within {timeout_s:g} s") from None
    finally:
        is_late.set()
        for one in list(sockets):
            _shut(one)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _fetch(
    url: str, max_bytes: int, timeout_s: float, note: Callable[[socket.socket], None]
) -> bytes:
    """As `fetch`, but with the limit of time on each operation of a socket."""
    import urllib.error  # a tenth of a small model's start
    from http.client import HTTPException

    content = bytearray()
    try:
        with _opener(note).open(url, timeout=timeout_s) as response:
            while chunk := response.read1(CHUNK_BYTES):
                content += chunk
                if len(content) > max_bytes:
                    raise ValueError(f"{url}: larger than {max_bytes >> 20} MiB")
    except (OSError, HTTPException) as e:
        reason = f"HTTP {e.code} {e.reason}" if isinstance(e, urllib.error.HTTPError) else e
        raise ValueError(f"{url}: cannot be had: {reason}") from e
    return bytes(content)


def _opener(note: Callable[[socket.socket], None]) -> "OpenerDirector":
    """Opens http and https alone; `note` gets each socket, once it is connected."""
    import urllib.request
    from http.client import HTTPConnection, HTTPSConnection

    class Http(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            note(self.sock)

    class Https(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            note(self.sock)

    class HttpHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Http, req)

    class HttpsHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Https, req)

    # No handlers of file: and ftp:, to which a redirect might lead.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        HttpHandler(),
        HttpsHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _shut(connected: socket.socket) -> None:
    """End what waits for a socket, in whichever thread."""
    with contextlib.suppress(OSError):  # it is closed already
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
