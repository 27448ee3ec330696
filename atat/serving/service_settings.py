"""What a service may be asked for, and by whom."""

import ipaddress
import math
import re
from dataclasses import dataclass

MIN_TOKEN = 16  # characters: 2 ** 96 guesses, where they are random
MOST = 100_000  # streams, requests, threads: beyond it, a slip of the keyboard
TOKEN_ENV = "ATAT_TOKEN"


@dataclass(frozen=True)
class ServiceSettings:
    """Limits and access rules of a service.

    Attributes:
        host: name or address that is listened to. Another than this machine's own (loopback)
            needs a token.
        token: what clients must know, `Authorization: Bearer TOKEN`; None: nothing.
        allowed_hosts: further names by which clients may call the service, behind a proxy.
        max_sessions: streams at once.
        max_waiting: requests at once that are read, queued or understood; more are refused (503).
        max_mb: of a request's body, in MiB.
        max_duration_s: of an utterance; None: the model's limit.
        num_threads: in which the model runs.
        body_timeout_s: in which a request's body must have come (408).
        idle_timeout_s: after which a stream without audio is closed.
        log_text: say in the log what was understood.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_sessions: int = 16
    max_waiting: int = 32
    max_mb: float = 10.0
    max_duration_s: float | None = None
    num_threads: int = 1
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 30.0
    log_text: bool = False

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_waiting", "num_threads"):
            if not 1 <= getattr(self, name) <= MOST:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 1 to {MOST}")
        for name in ("max_mb", "body_timeout_s", "idle_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected more than 0")
        if self.max_bytes < 1:
            raise ValueError(f"max_mb: got {self.max_mb}, which is less than a byte")
        for host in self.allowed_hosts:
            if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:]+", host):
                raise ValueError(
                    f"allowed_hosts: got '{host}', expected a name or an address alone, in lower "
                    "case: example.org (--allow_host)"
                )
        if self.max_duration_s is not None and not 0 < self.max_duration_s < math.inf:
            raise ValueError(f"max_duration_s: got {self.max_duration_s}, expected seconds above 0")
        if self.token is not None and not re.fullmatch(rf"[!-~]{{{MIN_TOKEN},}}", self.token):
            raise ValueError(
                f"token: got {len(self.token)} characters, expected {MIN_TOKEN} or more, printable "
                "ASCII without spaces (python -c 'import secrets; print(secrets.token_urlsafe())')"
            )
        if self.token is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host}: expected a token, since others can reach it: --token, or "
                f"{TOKEN_ENV} in the environment; 127.0.0.1 needs none"
            )

    @property
    def max_bytes(self) -> int:
        """Of a request's body."""
        return int(self.max_mb * 2**20)


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, which no other can reach.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
