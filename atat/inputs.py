"""What the stages of a recipe depend on, so that the driver knows which to run again.

Prints lines `STAGE EXPERIMENT key=value`, with - for the experiment in stages 1 to 3, which all
share. The experiments, one a seed, come in an order in which they can be trained. A line `4
EXPERIMENT init_from=...` comes first of an experiment that starts from another: its name, or a
directory (an absolute path). A line `align EXPERIMENT OTHER SPLIT` is a split whose words OTHER has
to find before EXPERIMENT is trained. A line `decode EXPERIMENT key=value` is a setting of decoding
that is another now than when the experiment was trained. A line `train EXPERIMENT DIRECTORY` is an
experiment that the run is about; it starts from what is in the directory, if there is one. Of a
whole table, experiments are left out, each with a line on standard error, that take parts of
--init_from where it is not given, or whose words an experiment without CTC is to find.

What trainings lack (GPUs, a pretrained text encoder, a start that fits) is a mistake here, before
hours of data stages, where --training says that there will be some.
"""

import os
import sys
from pathlib import Path

from atat.common import cli
from atat.config import config_file, experiment_tables
from atat.config.stage_inputs import (
    changed_decoding,
    check_seed,
    lacks_aligner,
    lacks_start,
    of_data,
    of_experiment,
    start_of,
)
from atat.models.checkpoint import is_trained
from atat.training import needs, start_check, start_parts


def main() -> None:
    """Print the inputs of the stages, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", action="append", required=True, help="settings, in order")
    parser.add_argument("--tables", required=True, help="the recipe's tables.yaml")
    parser.add_argument("--expdir", required=True, help="directory of experiments")
    parser.add_argument("--experiment", help="only this and those that it starts from")
    parser.add_argument(
        "--alone", type=cli.boolean, default=False, help="train that, not what it starts from"
    )
    parser.add_argument(
        "--training",
        choices=("no", "here", "elsewhere"),
        default="no",
        help="whether, and where, what is not trained yet will be: what it needs is looked for",
    )
    parser.add_argument("--anew", type=cli.boolean, default=False, help="train what is trained too")
    parser.add_argument("--init_from", help="directory that the others start from")
    parser.add_argument("--corpus_dir", help="directory of the corpus")
    parser.add_argument("--grammar", help="file instead of the one that the settings name")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()
    table = experiment_tables.load(args.tables)
    settings = config_file.load(args.config, args.overrides)
    if args.init_from is not None:
        start_parts.check_directory(Path(args.init_from))
    lines = list(of_data(settings, args.corpus_dir, args.grammar, args.init_from, _lists_beside))
    due = []
    for training in table.order(args.experiment):
        check_seed(training, args.overrides)
        own = config_file.load(args.config, args.overrides, [training.config])
        about = list(of_experiment(training.name, own, table, args.init_from))
        lacking = lacks_start(training.name, own, about)
        if not lacking and training.align:
            aligner = table.training(training.align).config
            of_aligner = config_file.load(args.config, args.overrides, [aligner])
            lacking = lacks_aligner(training, of_aligner, about)
        if lacking:
            if args.experiment is not None:
                raise ValueError(lacking)
            print(f"left out: {lacking}", file=sys.stderr)  # of a whole table
            continue
        lines.extend(about)
        lines.extend(changed_decoding(training.name, own, Path(args.expdir, training.name)))
        if not args.alone or args.experiment in (training.name, training.experiment):
            start = start_of(training, table, args.init_from)
            # As the user named it: paths that are printed stay short.
            where = os.path.join(args.expdir, start) if start is not None else ""
            lines.append(f"train {training.name} {where}")
            if os.path.isabs(start or ""):  # another experiment of the table may not be trained yet
                own.train.init_from = start
            is_due = args.anew or not is_trained(Path(args.expdir, training.name))
            if args.training != "no" and is_due and own.train.init_from is not None:
                start_check.check(own)
            if not is_trained(Path(args.expdir, training.name)):
                due.append(own)
    if args.training != "no":
        needs.check(due, here=args.training == "here")
    print("\n".join(lines))


def _lists_beside(grammar: Path) -> list[Path]:
    from atat.grammar.format_detection import lists_beside  # recipes without a grammar start sooner

    return lists_beside(grammar)


if __name__ == "__main__":
    cli.run(main)
