"""Run a command as a job of Slurm; `./run.sh --cmd slurm` submits this, nobody types it."""

import os
import sys

from atat.common import cli, slurm_job


def main() -> None:
    """Run the command of this module's docstring."""
    parser = cli.parser(__doc__)
    parser.add_argument("--name", default="job", help="path of the log without .log")
    parser.add_argument("--tasks", type=cli.positive_int, default=1, help="processes")
    parser.add_argument("--cpus", type=cli.positive_int, default=1, help="of each")
    parser.add_argument("--jobs", type=cli.positive_int, default=1, help="that share the work")
    parser.add_argument("--requeues", type=int, default=0, help="how often it may be requeued")
    parser.add_argument("--rank", type=cli.boolean, default=False, help="is one of the processes")
    parser.add_argument("command", nargs="+", help="after --")
    args = parser.parse_args()
    if args.rank:
        os.environ.update(slurm_job.rank_environment(os.environ))
        os.execvp(args.command[0], args.command)
    options = (args.tasks, args.cpus, args.jobs, args.requeues)
    sys.exit(slurm_job.run(slurm_job.Job(args.name, args.command, *options)))


if __name__ == "__main__":
    cli.run(main)
