"""Run those stages of a recipe that are due: what utils/recipe.sh lists in FILE.

atat/common/stages.py decides, stage_runner.py runs; stage_processes.py has the form of the list.

Exit codes: 0 all well, 1 a stage failed, 2 a mistake in what was given, 3 an earlier stage is
missing, 75 a stage was told to stop and goes on when it is run again; of a signal, 128 and its
number.
"""

import io
import os
import re
import sys
from collections.abc import Callable, Sequence

from atat.common import advice, cli
from atat.common.stage_processes import Attendant, read_steps
from atat.common.stage_runner import Runner
from atat.common.stages import FAILED, NUM_STAGES, UNDER_WAY, Order, Step, Stop


def without_stop(command: str) -> str:
    """The command as it is to be pasted with another `--stage`, which may be a later one.

    >>> without_stop("./run.sh --recipe commands --stop_stage 3 --nj 2")
    './run.sh --recipe commands --nj 2'
    """
    return re.sub(r" --stop_stage \d+(?= |$)", "", command)


def main() -> None:
    """Run the command of this module's docstring."""
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument("--stage", type=int, help="the first that is run, done or not")
    parser.add_argument("--stop_stage", type=int, default=NUM_STAGES, help="the last one")
    parser.add_argument("--overwrite", type=cli.boolean, default=False, help="train anew")
    parser.add_argument("--resume", type=cli.boolean, default=True, help="go on with a training")
    parser.add_argument("--command", default="./run.sh", help="the driver's, to be pasted")
    parser.add_argument("--program", default="run.sh", help="whose errors these are")
    parser.add_argument("--cmd", choices=("local", "slurm"), default="local", help="where")
    parser.add_argument(
        "--cmd_config", action="append", default=[], help="what jobs ask for (conf/slurm.yaml)"
    )
    parser.add_argument("steps", metavar="FILE", help="what there is to run")
    args = parser.parse_args()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="surrogateescape", line_buffering=True)
    order = Order(args.stage, args.stop_stage, args.overwrite, args.resume, args.command)
    os.environ[advice.COMMAND] = without_stop(args.command)  # for what the stages say to do
    attendant = Attendant()
    with open(args.steps, "rb") as file:
        steps = read_steps(file.read())
    try:
        submit = None
        if args.cmd == "slurm":
            submit = slurm(args.cmd_config, attendant)
        else:
            refuse_beside_jobs(steps)
        Runner(order, attendant, submit).run(steps)
    except Stop as stop:
        if str(stop):
            print(f"{args.program}: error: {stop}", file=sys.stderr)
        sys.exit(stop.code)


def slurm(paths: Sequence[str], attendant: Attendant) -> Callable[[Step], int]:
    """What runs the commands of steps as jobs, which settings files are about."""
    from atat.common.slurm import Slurm
    from atat.common.slurm_settings import load

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return Slurm(load(paths), attendant, root)


def refuse_beside_jobs(steps: Sequence[Step]) -> None:
    """Stop where a job of another run, --cmd slurm, may be under way."""
    for expdir in dict.fromkeys(step.part.expdir for step in steps):
        if os.path.exists(path := os.path.join(expdir, *UNDER_WAY)):
            raise Stop(
                FAILED,
                f"a job of --cmd slurm may be under way in {expdir}; run the same command with "
                f"--cmd slurm, which waits for it, or remove {path} if it has ended",
            )


if __name__ == "__main__":
    cli.run(main)
