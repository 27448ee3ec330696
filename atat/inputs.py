"""What the stages of a recipe depend on, so that the driver knows which to run again.

Prints lines `STAGE EXPERIMENT key=value`, with - for the experiment in stages 1 to 3, which all
share. The experiments, one a seed, come in an order in which they can be trained. A line `4
EXPERIMENT init_from=...` comes first of an experiment that starts from another: its name, or a
directory (an absolute path). A line `align EXPERIMENT OTHER SPLIT` is a split whose words OTHER has
to find before EXPERIMENT is trained. A line `decode EXPERIMENT key=value` is a setting of decoding
that is another now than when the experiment was trained. A line `train EXPERIMENT DIRECTORY` is an
experiment that the run is about; it starts from what is in the directory, if there is one.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atat import cli, config, tables
from atat.files import sha256
from atat.model_file import check_experiment

# Settings that a stage reads itself; what earlier stages read reaches it through their outputs.
DATA_STAGES = {1: ("seed", "data"), 2: ("features",), 3: ("tokenizer",)}
EXPERIMENT_STAGES = {4: ("seed", "model", "augment", "train"), 5: ("decode",)}


def of_data(settings: config.Config, corpus_dir: str | None, grammar: str | None) -> Iterator[str]:
    """Lines of stages 1 to 3.

    Args:
        settings: the recipe's.
        corpus_dir: its path counts, not what is in it.
        grammar: a file, whose content counts; None for the one that the settings name.

    Raises:
        FileNotFoundError: there is no such grammar.
    """
    if corpus_dir is not None:
        yield _line(1, "-", "corpus_dir", str(Path(corpus_dir).resolve()))
    if grammar is None and settings.data.grammar is not None:
        grammar = config.BASE.parent.parent / settings.data.grammar
    if grammar is not None:
        if not Path(grammar).is_file():
            raise FileNotFoundError(f"{grammar}: no such grammar")
        yield _line(1, "-", "grammar", sha256(Path(grammar).read_bytes())[:16])
    yield from _lines(settings, DATA_STAGES, "-")


def of_experiment(
    name: str, settings: config.Config, table: tables.Tables, init_from: str | None = None
) -> Iterator[str]:
    """Lines of stages 4 to 6 of an experiment (of one seed), whose own settings these are.

    Args:
        init_from: the directory that an experiment starts from whose table names nothing else.
    """
    training = table.training(name)
    start = start_of(training, table, init_from)
    if start is not None:
        yield f"4 {name} init_from={start}"
    masked = dict.fromkeys(s.split for s in settings.train.sources if "mlm" in s.tasks)
    if training.align and settings.train.ctm is not None:
        masked = {}  # where their words are is known
    for split in masked if training.align else ():
        yield f"align {name} {training.align} {split}"
    yield _line(4, name, "features.kind", settings.features.kind)
    yield from _lines(settings, EXPERIMENT_STAGES, name)
    for subset, what in table.subsets.items():
        given = {key: value for key, value in dataclasses.asdict(what).items() if value}
        yield _line(6, name, f"subsets.{subset}", given)


def start_of(training: tables.Training, table: tables.Tables, init_from: str | None) -> str | None:
    """What an experiment starts from: another's name, or an absolute path; None for nothing.

    Args:
        init_from: a directory, for one whose table names nothing.
    """
    start = training.init_from
    if start is None and init_from and not table.experiments[training.experiment].from_scratch:
        start = str(Path(init_from).resolve())
    return start


def check_start(name: str, settings: config.Config, lines: list[str]) -> None:
    """Raises ValueError for an experiment that takes parts of another where no other is given.

    Args:
        lines: `of_experiment` of it.
    """
    given = any(line.startswith(f"4 {name} init_from=") for line in lines)
    if settings.train.init_parts != ["all"] and settings.train.init_from is None and not given:
        raise ValueError(
            f"experiment '{name}' takes {', '.join(settings.train.init_parts)} of a trained one, "
            "expected --init_from DIR (egs/README.md has what the paper starts from)"
        )


def check_aligner(training: tables.Training, settings: config.Config, lines: list[str]) -> None:
    """Raises ValueError where words are to be found by an experiment without CTC.

    Args:
        settings: those of `training.align`. lines: `of_experiment` of the training.
    """
    wanted = any(line.startswith(f"align {training.name} ") for line in lines)
    if wanted and settings.model.ctc_weight == 0:
        raise ValueError(
            f"experiment '{training.name}' masks words that '{training.align}' is to find, which "
            "has no CTC (its model.ctc_weight is 0); expected train.ctm=DIR with SPLIT.ctm, word "
            "alignments in Kaldi's format"
        )


def changed_decoding(name: str, settings: config.Config, exp: Path) -> Iterator[str]:
    """Lines with the settings of decoding that differ from those saved in the experiment `exp`."""
    try:
        saved = config.load_resolved(exp / "config.yaml")
    except (FileNotFoundError, ValueError):
        return  # not trained yet, or by another version: stage 4 is due
    before = dataclasses.asdict(saved.decode)
    for key, value in dataclasses.asdict(settings.decode).items():
        if value != before[key]:
            yield _line("decode", name, f"decode.{key}", value)


def check_seed(training: tables.Training, overrides: list[str]) -> None:
    """Raises ValueError for a seed on the command line of an experiment that has its own."""
    if training.seed is not None and any(o.startswith("seed=") for o in overrides):
        raise ValueError(
            f"--seed: experiment '{training.experiment}' has seeds of its own in tables.yaml; "
            "expected none here (it is trained once with each of those)"
        )


def _lines(settings: config.Config, stages: dict[int, tuple[str, ...]], name: str) -> Iterator[str]:
    values = dataclasses.asdict(settings)
    for stage, sections in stages.items():
        for section in sections:
            if isinstance(values[section], dict):
                for key, value in values[section].items():
                    yield _line(stage, name, f"{section}.{key}", value)
            else:
                yield _line(stage, name, section, values[section])


def _line(stage: int | str, name: str, key: str, value: Any) -> str:
    return f"{stage} {name} {key}={json.dumps(value, ensure_ascii=False)}"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--config", action="append", required=True, help="settings, in order")
    parser.add_argument("--tables", required=True, help="the recipe's tables.yaml")
    parser.add_argument("--expdir", required=True, help="directory of experiments")
    parser.add_argument("--experiment", help="only this and those that it starts from")
    parser.add_argument(
        "--alone", type=cli.boolean, default=False, help="train that, not what it starts from"
    )
    parser.add_argument("--init_from", help="directory that the others start from")
    parser.add_argument("--corpus_dir", help="directory of the corpus")
    parser.add_argument("--grammar", help="file instead of the one that the settings name")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()
    table = tables.load(args.tables)
    settings = config.load(args.config, args.overrides)
    if args.init_from is not None:
        check_experiment(Path(args.init_from))
    lines = list(of_data(settings, args.corpus_dir, args.grammar))
    for training in table.order(args.experiment):
        check_seed(training, args.overrides)
        own = config.load(args.config, args.overrides, [training.config])
        about = list(of_experiment(training.name, own, table, args.init_from))
        check_start(training.name, own, about)
        if training.align:
            aligner = table.training(training.align).config
            check_aligner(training, config.load(args.config, args.overrides, [aligner]), about)
        lines.extend(about)
        lines.extend(changed_decoding(training.name, own, Path(args.expdir, training.name)))
        if not args.alone or args.experiment in (training.name, training.experiment):
            start = start_of(training, table, args.init_from)
            # As the user named it: paths that are printed stay short.
            where = os.path.join(args.expdir, start) if start is not None else ""
            lines.append(f"train {training.name} {where}")
    print("\n".join(lines))


if __name__ == "__main__":
    cli.run(main)
