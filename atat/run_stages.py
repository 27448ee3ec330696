"""Run those stages of a recipe that are due: what utils/recipe.sh lists. See atat.stages.

FILE holds the list, in the order in which it can be run: records of words, each word with a zero
byte after it, the number of words of a record before them.

  part DATA DUMP EXPDIR INPUTS                  what follows is of these directories, and what
                                                `atat.inputs` said of them
  stage N EXPERIMENT NAME TITLE COMMAND...
  examine N EXPERIMENT NAME TITLE COMMAND...    beside stage N, once for a trained model
  align 4 EXPERIMENT "OTHER SPLIT" TITLE COMMAND...    where OTHER has not found SPLIT's words
  end                                           without it the list is not whole

Exit codes: 0 all well, 1 a stage failed, 2 a mistake in what was given, 3 an earlier stage is
missing; of a signal, 128 and its number.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from atat import cli
from atat.stages import FAILED, NUM_STAGES, Order, Part, Runner, Step, Stop


class Attendant:
    """Runs commands, one at a time. A signal ends the command, and then this process."""

    def __init__(self):
        self._parent, self._signal, self._process = os.getppid(), None, None
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, number: int, _) -> None:
        self._signal = signal.Signals(number)
        if self._process is not None and number != signal.SIGINT:  # Ctrl-C has reached it already
            self._process.terminate()

    def __call__(self, command: Sequence[str]) -> int:
        self._leave()
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
        self._leave()
        return code if code >= 0 else 128 - code

    def _leave(self) -> None:
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
    steps, part = [], None
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


def main() -> None:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument("--stage", type=int, help="the first that is run, done or not")
    parser.add_argument("--stop_stage", type=int, default=NUM_STAGES, help="the last one")
    parser.add_argument("--overwrite", type=cli.boolean, default=False, help="train anew")
    parser.add_argument("--resume", type=cli.boolean, default=True, help="go on with a training")
    parser.add_argument("--command", default="./run.sh", help="the driver's, to be pasted")
    parser.add_argument("--program", default="run.sh", help="whose errors these are")
    parser.add_argument("steps", metavar="FILE", help="what there is to run")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="surrogateescape", line_buffering=True)
    order = Order(args.stage, args.stop_stage, args.overwrite, args.resume, args.command)
    attendant = Attendant()
    with open(args.steps, "rb") as file:
        steps = read_steps(file.read())
    try:
        Runner(order, attendant).run(steps)
    except Stop as stop:
        if str(stop):
            print(f"{args.program}: error: {stop}", file=sys.stderr)
        sys.exit(stop.code)


if __name__ == "__main__":
    cli.run(main)
