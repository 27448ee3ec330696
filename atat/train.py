"""Stage 4: train one experiment of a recipe."""

import sys
from pathlib import Path

from atat.common import cli
from atat.config import config_file, experiment_tables
from atat.data import split_overlap
from atat.training.launch import run


def main() -> None:
    """Stage 4: train an experiment, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", required=True, action="append", help="the recipe's YAML")
    parser.add_argument("--tables", help="the recipe's tables.yaml, with the experiment in it")
    parser.add_argument("--experiment", default="atat", help="its name")
    parser.add_argument("--data", required=True, type=Path, help="directory of stages 1 and 3")
    parser.add_argument("--dump", required=True, type=Path, help="directory of stage 2")
    parser.add_argument("--exp", required=True, type=Path, help="directory of the experiment")
    parser.add_argument(
        "--init_from", metavar="DIR", help="experiment to start from; sets train.init_from"
    )
    parser.add_argument(
        "--resume", type=cli.boolean, default=True, help="go on from an unfinished training"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()

    deltas = []
    if args.tables:
        deltas = [experiment_tables.load(args.tables).training(args.experiment).config]
    settings = config_file.load(args.config, args.overrides, deltas)
    for delta in deltas:
        for line in config_file.overruled(args.config[1:], delta, args.overrides):
            print(f"{line} (--set changes it)", file=sys.stderr)
    if args.init_from is not None:
        settings.train.init_from = args.init_from
    split_overlap.check_apart(settings, args.data)
    named = config_file.named(args.config[1:], args.overrides)  # the first is the recipe's
    run(settings, args.data, args.dump, args.exp, args.resume, named)


if __name__ == "__main__":
    cli.run(main)
