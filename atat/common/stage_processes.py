"""The list of stages that utils/recipe.sh writes, and the processes that run them.

The list has the order in which the steps can be run: records of words, each word with a zero byte
after it, the number of words of a record before them.

  part DATA DUMP EXPDIR INPUTS                  what follows is of these directories, and what
                                                `atat.inputs` said of them
  stage N EXPERIMENT NAME TITLE COMMAND...
  examine N EXPERIMENT NAME TITLE COMMAND...    beside stage N, once for a trained model
  align 4 EXPERIMENT "OTHER SPLIT" TITLE COMMAND...    where OTHER has not found SPLIT's words
  end                                           without it the list is not whole
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from atat.common.stages import FAILED, Part, Step, Stop


class Attendant:
    """Runs commands, one at a time. A signal ends the command, and then this process."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._signal: signal.Signals | None = None
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, number: int, _: object) -> None:
        self._signal = signal.Signals(number)
        if self._process is not None and number != signal.SIGINT:  # Ctrl-C has reached it already
            self._process.terminate()

    def __call__(self, command: Sequence[str]) -> int:
        """Run a command to its end; its exit code.

        Raises:
            Stop: a signal has come, or the process that we belong to is gone.
        """
        self.leave_if_told()
        try:
            # What the shell has opened stays open: its lock ends with the last process of the run.
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
        except OSError as error:
            print(error, file=sys.stderr)
            return 127
        if self._signal is not None:
            self._process.terminate()
        code = self._process.wait()
        self._process = None
        self.leave_if_told()
        return code if code >= 0 else 128 - code

    def leave_if_told(self) -> None:
        """Raise Stop if a signal has come, or the process that we belong to is gone."""
        if self._signal is not None:
            raise Stop(128 + self._signal)  # the shell says why
        if os.getppid() != self._parent:
            raise Stop(FAILED, "the run has ended that this belongs to")


def read_steps(content: bytes) -> list[Step]:
    """The steps of a list.

    Raises:
        ValueError: the list is not whole.
    """
    words = iter([os.fsdecode(word) for word in content.split(b"\0")])
    steps: list[Step] = []
    part = Part("", "", "")  # the first record says which
    for count in words:
        if not count:
            break
        kind, *rest = (next(words, "") for _ in range(int(count)))
        if kind == "end":
            return steps
        if kind == "part":
            data, dump, expdir, inputs = rest
            part = Part(data, dump, expdir, tuple(inputs.split("\n")))
        else:
            number, experiment, subject, title, *command = rest
            steps.append(Step(kind, int(number), experiment, subject, title, tuple(command), part))
    raise ValueError("the list of stages is not whole")
