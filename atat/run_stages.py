"""Run those stages of a recipe that are due: what utils/recipe.sh lists in FILE.

atat/common/stages.py decides, stage_runner.py runs; stage_processes.py has the form of the list.

Exit codes: 0 all well, 1 a stage failed, 2 a mistake in what was given, 3 an earlier stage is
missing; of a signal, 128 and its number.
"""

import sys

from atat.common import cli
from atat.common.stage_processes import Attendant, read_steps
from atat.common.stage_runner import Runner
from atat.common.stages import NUM_STAGES, Order, Stop


def main() -> None:
    """Run the command of this module's docstring."""
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
