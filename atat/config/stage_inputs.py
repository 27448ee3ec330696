"""What the stages of a recipe depend on, a line each (`python -m atat.inputs` prints them)."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atat.common.files import sha256
from atat.config import config_file, experiment_tables, schema

# Settings that a stage reads itself; what earlier stages read reaches it through their outputs.
DATA_STAGES = {1: ("seed", "data"), 2: ("features",), 3: ("tokenizer",)}
EXPERIMENT_STAGES = {4: ("seed", "model", "augment", "train"), 5: ("decode",)}

# Settings of `train` that leave what is learned as it is: a training may go on with others. They
# name no directory either (utils/places.sh).
OF_THE_MACHINE = ("num_processes", "num_gpus", "num_nodes", "num_threads", "num_workers")


def learned(settings: schema.Config) -> schema.Config:
    """The settings with the defaults of those of the machine, where these change nothing."""
    if settings.train.sync == "parameters":  # each process is a training of its own
        return settings
    default = schema.TrainConfig()
    machine = {name: getattr(default, name) for name in OF_THE_MACHINE}
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, **machine))


def of_data(
    settings: schema.Config,
    corpus_dir: str | None,
    grammar: str | None,
    init_from: str | None = None,
    lists_beside: Callable[[Path], list[Path]] | None = None,
) -> Iterator[str]:
    """Lines of stages 1 to 3.

    Args:
        settings: the recipe's.
        corpus_dir: its path counts, not what is in it.
        grammar: a file, whose content counts; None for the one that the settings name.
        init_from: the directory of a start, whose pieces of words the tokenizer takes.
        lists_beside: gives the files that a grammar has beside it, whose content counts too.

    Raises:
        FileNotFoundError: there is no such grammar.
    """
    if corpus_dir is not None:
        yield _line(1, "-", "corpus_dir", str(Path(corpus_dir).resolve()))
    if grammar is None and settings.data.grammar is not None:
        grammar = str(config_file.ROOT / settings.data.grammar)
    if grammar is not None:
        if not Path(grammar).is_file():
            raise FileNotFoundError(f"{grammar}: no such grammar")
        files = [Path(grammar), *(lists_beside(Path(grammar)) if lists_beside else ())]
        yield _line(1, "-", "grammar", sha256(*(one.read_bytes() for one in files))[:16])
    if init_from is not None and settings.tokenizer.pieces_of_start:
        yield _line(3, "-", "init_from", str(Path(init_from).resolve()))
    yield from _lines(settings, DATA_STAGES, "-")


def of_experiment(
    name: str,
    settings: schema.Config,
    table: experiment_tables.Tables,
    init_from: str | None = None,
) -> Iterator[str]:
    """Lines of stages 4 to 6 of an experiment (of one seed), whose own settings these are.

    Args:
        name: of the training, e.g. `atat.seed1`.
        settings: the experiment's own.
        table: all experiments of the recipe.
        init_from: the directory that an experiment is warm-started from whose table names none.
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
    yield from _lines(learned(settings), EXPERIMENT_STAGES, name)
    for subset, what in table.subsets.items():
        given = {key: value for key, value in dataclasses.asdict(what).items() if value}
        yield _line(6, name, f"subsets.{subset}", given)
    if table.metrics:
        yield _line(6, name, "metrics", table.metrics)


def start_of(
    training: experiment_tables.Training, table: experiment_tables.Tables, init_from: str | None
) -> str | None:
    """What an experiment starts from: another's name, or an absolute path; None for nothing.

    Args:
        training: of a row of the table.
        table: the recipe's tables.yaml.
        init_from: a directory, for one whose table names nothing.
    """
    start = training.init_from
    if start is None and init_from and not table.experiments[training.experiment].from_scratch:
        start = str(Path(init_from).resolve())
    return start


def lacks_start(name: str, settings: schema.Config, lines: list[str]) -> str:
    """Why an experiment that takes parts of another cannot be trained, no other being given; ""
    where it can.

    Args:
        name: of the training, e.g. `atat.seed1`.
        settings: the experiment's own.
        lines: `of_experiment` of it.
    """
    given = any(line.startswith(f"4 {name} init_from=") for line in lines)
    if settings.train.init_parts == ["all"] or settings.train.init_from is not None or given:
        return ""
    return (
        f"experiment '{name}' takes {', '.join(settings.train.init_parts)} of a trained one, "
        "expected --init_from DIR (egs/README.md has what the paper starts from)"
    )


def lacks_aligner(
    training: experiment_tables.Training, settings: schema.Config, lines: list[str]
) -> str:
    """Why an experiment cannot be trained whose words another without CTC is to find; "" where it
    can.

    Args:
        training: one that names an aligner.
        settings: those of `training.align`.
        lines: `of_experiment` of the training.
    """
    wanted = any(line.startswith(f"align {training.name} ") for line in lines)
    if not wanted or settings.model.ctc_weight > 0:
        return ""
    return (
        f"experiment '{training.name}' masks words that '{training.align}' is to find, which has "
        "no CTC (its model.ctc_weight is 0); expected train.ctm=DIR with SPLIT.ctm, word "
        "alignments in Kaldi's format"
    )


def changed_decoding(name: str, settings: schema.Config, exp: Path) -> Iterator[str]:
    """Lines with the settings of decoding that differ from those saved in the experiment `exp`."""
    try:
        saved = config_file.load_resolved(exp / "config.yaml")
    except (FileNotFoundError, ValueError):
        return  # not trained yet, or by another version: stage 4 is due
    before = dataclasses.asdict(saved.decode)
    for key, value in dataclasses.asdict(settings.decode).items():
        if value != before[key]:
            yield _line("decode", name, f"decode.{key}", value)


def check_seed(training: experiment_tables.Training, overrides: list[str]) -> None:
    """Raises ValueError for a seed on the command line of an experiment that has its own."""
    if training.seed is not None and any(o.startswith("seed=") for o in overrides):
        raise ValueError(
            f"--seed: experiment '{training.experiment}' has seeds of its own in tables.yaml; "
            "expected none here (it is trained once with each of those)"
        )


def _lines(settings: schema.Config, stages: dict[int, tuple[str, ...]], name: str) -> Iterator[str]:
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
