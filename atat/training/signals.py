"""The signals that ask a training to stop, and to be started again later.

SIGTERM is what a cluster sends before it takes a node away; SIGUSR1 what Slurm sends so many
seconds before a job's time is up (`--signal=USR1@60`).
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator

from atat.common.stages import AGAIN

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopSignal:
    """Whether a signal has asked for the end of a training.

    Attributes:
        name: of the signal that came, None before.
        at_once: whether it ends the process then and there, with exit code `AGAIN`; while
            steps are made it is looked at between two of them (atat/training/preemption.py).
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.at_once = True

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Within it the signals come here; in the main thread alone, as Python has it."""
        with kept(SIGNALS):
            if threading.current_thread() is threading.main_thread():
                for number in SIGNALS:
                    signal.signal(number, self._note)
            yield

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within it a signal waits until it is looked at."""
        self.at_once = False
        try:
            yield
        finally:
            self.at_once = True

    def _note(self, number: int, _: object) -> None:
        self.name = signal.Signals(number).name
        if self.at_once:
            leave(f"{self.name}: stopped")


@contextlib.contextmanager
def kept(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Put back what handles some signals, whoever changes it within."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def leave(message: str) -> None:
    """Say why, and leave with the exit code that means: run the same command again."""
    print(f"{message}; run the same command to go on", file=sys.stderr)
    raise SystemExit(AGAIN)


def ignore(_worker: int) -> None:
    """For a process that makes batches: what ends its trainer may come to the whole group, and the
    trainer then needs its batches for one more step."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
