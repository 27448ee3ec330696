"""What a service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ServiceMetrics:
    """Counters of one service, in a registry of its own.

    Attributes:
        requests: by route (as it is declared, not as it was asked for) and HTTP status; of a
            stream, the status that it began with.
        seconds: from a request's head to the end of its answer; streams are left out.
        results: understood or not.
        audio_seconds: understood, of files and streams.
        sessions: streams that are open.
    """

    def __init__(self):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU time, open files
        about = {"registry": self.registry}
        self.requests = Counter("atat_requests", "Requests answered.", ["route", "status"], **about)
        self.seconds = Histogram(
            "atat_request_seconds", "Time to the answer.", ["route"], buckets=SECONDS, **about
        )
        self.results = Counter("atat_results", "Results given.", ["understood"], **about)
        self.audio_seconds = Counter("atat_audio_seconds", "Audio taken.", **about)
        self.sessions = Gauge("atat_sessions_open", "Streams that are open.", **about)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
