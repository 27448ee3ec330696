"""Addresses are fetched within one limit of time, whatever a server does to draw it out."""

import contextlib
import socket
import threading
import time

import pytest

from atat.data import download

TIMEOUT_S, PATIENCE_S = 0.3, 5.0
PAUSE_S = 0.02  # between two bytes
OK = b"HTTP/1.1 200 OK\r\n"


class SlowServer:
    """Answers with some bytes, and then with one again and again until nobody reads."""

    def __init__(self, begin, again):
        self.begin, self.again = begin, again
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/a.wav"
        self.num_left = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.listening.accept()
                with client, contextlib.suppress(OSError):
                    client.recv(2**16)
                    client.sendall(self.begin)
                    while self.again:
                        client.sendall(self.again)
                        time.sleep(PAUSE_S)
                    time.sleep(TIMEOUT_S / 2)
                self.num_left += 1


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"", b"H"),  # no line of the status ends
        (OK + b"A: ", b"b"),  # no header ends
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1", b" "),  # no length of a chunk ends
        (OK + b"\r\n", b"R"),
        (b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /b.wav?", b"b"),
    ],
)
def test_a_byte_now_and_then_does_not_hold_a_caller(monkeypatch, begin, again):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server, said = SlowServer(begin, again), []

    def fetch():
        with pytest.raises(ValueError, match="not there within") as late:
            download.fetch(server.url, timeout_s=TIMEOUT_S)
        said.append(str(late.value))

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    try:
        assert said == [f"{server.url}: not there within 0.3 s"]
        deadline = time.monotonic() + PATIENCE_S
        while not server.num_left:  # the connection is closed too
            assert time.monotonic() < deadline
            time.sleep(PAUSE_S)
    finally:
        server.listening.close()


def test_redirects_have_one_limit_together(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    head = b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: /"
    server = SlowServer(head + b"?\r\n\r\n", b"")
    start = time.monotonic()
    try:
        with pytest.raises(ValueError, match="not there within"):
            download.fetch(server.url, timeout_s=2 * TIMEOUT_S)
        assert time.monotonic() - start < 4 * TIMEOUT_S
    finally:
        server.listening.close()
