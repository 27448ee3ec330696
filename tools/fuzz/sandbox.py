"""One input in a process that may not do more than read: its time, memory and deeds are bounded."""

import os
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atat.common import cli
from tools.fuzz.parsers import ROOT, Parser, Prepared

MAX_CPU_S = float(os.environ.get("ATAT_FUZZ_CPU_S", "5"))  # of an input
MAX_MEMORY_BYTES = 1 << 30  # that an input may take beyond what the process has
# What no reader does, by the names of Python's audit events.
FORBIDDEN = (
    *(
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
    ),
    *("subprocess.Popen", "pty.spawn", "pickle.find_class", "socket.connect", "socket.bind"),
    *("socket.getaddrinfo", "socket.sendto", "urllib.Request", "ctypes.dlopen", "os.kill"),
    *("os.setxattr", "os.chown", "os.link", "ftplib.connect", "smtplib.connect", "webbrowser.open"),
)
WRITING = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)


class TimeIsUp(BaseException):
    """An input took longer than it may."""


class Forbidden(BaseException):
    """A reader did what it may not."""


@dataclass
class Outcome:
    """What came of one input: accepted, refused or crash, and of a crash what and where."""

    kind: str
    error: str = ""
    place: str = ""
    cpu_s: float = 0.0


@dataclass
class Tally:
    """What came of many."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    peak_mib: float = 0.0
    crashes: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.inputs += 1
        self.accepted += outcome.kind == "accepted"
        self.refused += outcome.kind == "refused"
        self.slowest_s = max(self.slowest_s, outcome.cpu_s)
        self.peak_mib = max(self.peak_mib, peak_mib())
        if outcome.kind == "crash":
            self.crashes[f"{outcome.error} at {outcome.place}"] += 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"crashes": dict(self.crashes)}


def peak_mib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Sandbox:
    """Runs a parser's inputs in this process, which is good for nothing else afterwards."""

    def __init__(self, directory: Path) -> None:
        """
        Args:
            directory: the only one that may be written to.
        """
        self._directory = os.path.realpath(directory)
        self._may_read = tuple(
            {
                *map(os.path.realpath, (sys.prefix, sys.base_prefix, ROOT, directory)),
                *("/usr", "/lib", "/proc/", "/sys/", "/dev/null", "/dev/urandom"),
                *(os.path.realpath(path) for path in sys.path if path),
                *(os.path.abspath(path) for path in (sys.prefix, ROOT)),
            }
        )
        self._is_watching = False
        self._deed: str | None = None
        sys.addaudithook(self._watch)
        signal.signal(signal.SIGPROF, self._time_is_up)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def bound_memory(self) -> None:
        """From now on only so much more; called when all is imported."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MAX_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def run(self, parser: Parser, prepared: Prepared, data: bytes) -> Outcome:
        """Parse one input, and say what came of it."""
        self._deed = None
        start = time.process_time()
        with self._watched():
            try:
                prepared.parse(data)
                outcome = Outcome("accepted")
            except parser.errors as error:
                outcome = _judged(error, prepared.names)
            except (Exception, TimeIsUp, Forbidden, SystemExit, KeyboardInterrupt) as error:
                outcome = Outcome("crash", _named(error), _place(error))
        outcome.cpu_s = time.process_time() - start
        if self._deed is not None:  # also where the reader caught what told it so
            outcome = Outcome("crash", self._deed, "audit", outcome.cpu_s)
        if outcome.kind != "crash" and outcome.cpu_s > MAX_CPU_S:
            outcome = Outcome("crash", "TimeIsUp", "", outcome.cpu_s)
        return outcome

    @contextmanager
    def _watched(self) -> Iterator[None]:
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _time_is_up(self, *_: Any) -> None:
        if self._is_watching:
            raise TimeIsUp(f"more than {MAX_CPU_S:g} s")

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_watching:
            return
        if event in FORBIDDEN:
            self._refuse(f"{event} {str(arguments)[:100]}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or "\0" in os.fsdecode(path):
                return
            writes, real = flags & (os.O_WRONLY | os.O_RDWR), os.path.realpath(os.fsdecode(path))
            if writes and not real.startswith((self._directory, "/dev/null")):
                self._refuse(f"writes {real[:100]}")
            # That there is no such file it may find out.
            elif not real.startswith(self._may_read) and os.path.exists(real):
                self._refuse(f"reads {real[:100]}")
        elif event in WRITING:
            path = os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else ""
            if path and not os.path.realpath(path).startswith(self._directory):
                self._refuse(f"{event} {path[:100]}")

    def _refuse(self, deed: str) -> None:
        self._deed = self._deed or f"forbidden: {deed}"
        raise Forbidden(deed)


def _judged(error: BaseException, names: tuple[str, ...]) -> Outcome:
    """Whether an error of a documented kind is one line that a user can do something with."""
    message = cli.one_line(error)
    if isinstance(error, RecursionError):
        return Outcome("crash", _named(error), _place(error))
    if names and not any(name in message for name in names):
        return Outcome("crash", f"{type(error).__name__} that names no file", _place(error))
    if "bad_alloc" in message or "llocat" in message:  # not as it would be without a limit
        return Outcome("crash", f"{type(error).__name__} of memory", _place(error))
    return Outcome("refused")


def _named(error: BaseException) -> str:
    return type(error).__name__


def _place(error: BaseException) -> str:
    """Where an error was raised: the last line of ours, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{os.sep}atat{os.sep}" in f.filename]
    # Where it recurs, the place is chance.
    if isinstance(error, RecursionError | TimeIsUp | MemoryError) and ours:
        return f"{_short(ours[0].filename)}:{ours[0].name}"
    shown = ([ours[-1]] if ours else []) + [frames[-1]] if frames else []
    return " ".join(dict.fromkeys(f"{_short(f.filename)}:{f.lineno}" for f in shown))


def _short(filename: str) -> str:
    return os.sep.join(filename.split(os.sep)[-2:])


def drawn(parser: Parser, prepared: Prepared, seed: int, index: int) -> bytes:
    """The input of a number: the same on every machine that has the same seeds."""
    return parser.draw(random.Random(f"{seed} {parser.name} {index}"), prepared.seeds, parser.words)


def shrunk(data: bytes, still: Callable[[bytes], bool], max_tries: int = 2000) -> bytes:
    """A shorter input that does the same: parts are left out as long as it does."""
    tries, size = 0, max(len(data) // 2, 1)
    while tries < max_tries:
        at = 0
        before = len(data)
        while at < len(data) and tries < max_tries:
            shorter = data[:at] + data[at + size :]
            tries += 1
            if still(shorter):
                data = shorter
            else:
                at += size
        if size == 1 and len(data) == before:
            break
        size = max(size // 2, 1)
    return data
