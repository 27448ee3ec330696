"""A service that runs in a thread of the test, on loopback, and a model that needs no training."""

import asyncio
import contextlib
import threading
import time

import numpy as np

from atat.inference.result import Reading, Result
from atat.serving import service_process
from atat.serving.session import Event

TREE = "turnOn( turn on the room( {} )room light )turnOn"


class FakeModel:
    """Understands anything as the kitchen's light; what it got is kept."""

    name, grammar = "exp/fake", None

    def __init__(self):
        self.heard, self.options = [], []
        self.gate = threading.Event()
        self.gate.set()  # cleared: an utterance waits until it is set

    def extract_features(self, source, sample_rate=None, max_duration_s=None):
        if not isinstance(source, np.ndarray):
            source = source.read()
            if not source.startswith(b"good"):
                raise ValueError(f"audio: not audio that can be read:\n{source[:4]}")
        self.heard.append((source, sample_rate, max_duration_s))
        return source

    def predict(self, recordings, threshold=None, **options):
        assert self.gate.wait(20)
        self.options.append((threshold, options))
        reading = Reading("turnOn", {"room": "hall"}, TREE.format("hall"), float("-inf"))
        result = Result("turnOn", {"room": "kitchen"}, TREE.format("kitchen"), -0.5, duration_s=1.5)
        return [Result(**vars(result) | {"nbest": (result, reading)}) for _ in recordings]

    def predict_texts(self, texts, **options):
        self.options.append((None, options))
        if "boom" in texts[0]:
            raise RuntimeError(f"cannot understand {texts}")
        return [Result("turnOn", {}, f"turnOn( {text} )turnOn", -1.0) for text in texts]


class FakeSession:
    """Speech begins with the first piece, each piece is a word, the end gives the result."""

    made = ()

    def __init__(self, model, **options):
        if options["sample_rate"] == 4001:
            raise ValueError("sample_rate: not\nthis one")
        self.model, self.samples, self.num_pieces = model, [], 0
        FakeSession.made = (self, options)

    def accept(self, samples):
        assert samples.dtype == np.int16
        self.samples += samples.tolist()
        self.num_pieces += 1
        begin = [Event("speech", 0.0)] if self.num_pieces == 1 else []
        return [*begin, Event("words", self.num_pieces / 10, words="turn on")]

    def finish(self):
        return [Event("result", 1.0, result=self.model.predict(["it"])[0])]


@contextlib.contextmanager
def running(app):
    """(host, port) of a server that serves an application until the block ends."""
    listening = service_process.listen("127.0.0.1", 0)
    address = listening.getsockname()
    server = service_process.server(app)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield address
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wait_until(is_so, seconds=20):
    """Wait for something to become true, not longer than that."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
