"""A service as a process: its socket, its signals, its end."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

FINISH_S = 30  # for requests that are running when the service is told to end
MAX_CONNECTIONS = 512  # beside the streams
MAX_MESSAGE_BYTES = 2**20  # of a stream's message: 30 s at 16 kHz


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: name or address of this machine; 0.0.0.0 or :: for all of its addresses.
        port: 0 takes a free one.

    Raises:
        OSError: the name, address or port cannot be had; the message names it.
    """
    try:
        # With its protocol (socket.create_server leaves it 0): asyncio turns Nagle's algorithm off
        # for what it knows to be TCP, and answers would wait 40 ms for the client's ACK.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(MAX_CONNECTIONS)
        except OSError:
            listening.close()
            raise
        return listening
    except OSError as e:
        raise OSError(f"{host}:{port}: cannot listen there: {e.strerror or e}") from e


def address_of(listening: socket.socket) -> str:
    """The address of a socket, as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: Any, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT: running requests are finished, streams are told.

    A second SIGINT does not wait for requests.

    Args:
        app: of `http_server.create_app`.
        listening: of `listen`; closed in the end.
    """
    asyncio.run(server(app).serve([listening]))


def server(app: Any) -> uvicorn.Server:
    """The server of an application; `should_exit` ends it, from any thread."""
    config = uvicorn.Config(
        app,
        access_log=False,  # the guard's has no query, and no text
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS + app.state.service.settings.max_sessions,
        timeout_graceful_shutdown=FINISH_S,
        ws_max_size=MAX_MESSAGE_BYTES,
        # A pong waits behind audio that is not read yet; who is gone, idle_timeout_s finds.
        ws_ping_interval=None,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn, which tells streams why they end, and ends with exit code 0 when it is told to."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals; uvicorn's own would raise them again in the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handled = (signal.SIGINT, signal.SIGTERM)
        for number in handled:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the streams, then all else."""
        await self.config.app.state.service.stop()  # type: ignore[union-attr]
        await super().shutdown(sockets)
