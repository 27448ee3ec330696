"""The rows of a recipe's result table as named experiments: `egs/<recipe>/tables.yaml`.

An experiment is a delta over the recipe's settings; the data, feature and tokenizer stages are
shared by all of them, so a delta may change `model`, `augment`, `train` and `decode` only, and
`features.kind` (features of another kind are made when first needed).

An experiment with `seeds: [1, 2, 3]` is trained once a seed, as NAME.seed1, NAME.seed2, ...; what
is trained (a directory below exp/) is a run of training, `Training`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atat.common.nearest_name import nearest
from atat.semantics import heldout_pairs, target_sequence

SETTINGS = ("seed", "features", "model", "augment", "train", "decode")
NO_CONVERGENCE = "no convergence"  # what the paper has in place of a number
# What a table may ask for beside the metrics of every recipe (atat/evaluation/entity_metrics.py).
METRICS = (
    *("scenario_accuracy", "action_accuracy"),
    *("word_distance_f1", "char_distance_f1", "slu_f1"),
)
MAX_CHAIN = 100  # of experiments that need one another
RESERVED = ("data", "dump")  # with --expdir these stand beside the experiments


@dataclass(frozen=True)
class Experiment:
    """What is trained: `config` is merged over the recipe's settings."""

    about: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None  # the experiment that it starts from, trained before it
    align: str | None = None  # for mlm: the experiment whose CTC says where the words are
    from_scratch: bool = False  # even where --init_from gives the others something to start from
    seeds: tuple[int, ...] = ()  # trained once with each; empty: once, with the settings' seed


@dataclass(frozen=True)
class Training:
    """An experiment, or its training with one of its seeds: what stands in a directory of exp/."""

    name: str  # of the directory
    experiment: str
    config: dict[str, Any]  # the experiment's, with the seed
    init_from: str | None  # name of the training that it starts from
    align: str | None = None  # name of the training that aligns its words
    seed: int | None = None  # None: that of the settings


@dataclass(frozen=True)
class Subset:
    """A part of a test split, scored on its own: of one of these kinds."""

    intents: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # ids; the table names a file with one a line
    pairs: float = 0.0  # those with slot values that `exclude_pairs` of a source leaves out

    def has(self, key: str, sequence: str | None) -> bool:
        """Whether an utterance is in it.

        Args:
            key: its id.
            sequence: its semantics; of what has none (or a transcript) only the id counts.
        """
        if not self.intents and not self.pairs:
            return key not in self.without
        try:
            frame = target_sequence.frame(sequence or "")
        except ValueError:
            return False
        return frame.intent in self.intents or heldout_pairs.has_held_out(frame, self.pairs)


@dataclass(frozen=True)
class Row:
    """One row of the table: the scores of a decoding run of an experiment."""

    row: str  # its title
    experiment: str | None = None  # None: others' numbers alone, in `paper`
    run: str | None = None  # a key of `decode.runs`
    subset: str | None = None
    parts: str | None = None  # of a corpus in parts: close is close_1, close_2, ...; None is all
    against: str | None = None  # the experiment it is compared with, on the same run and subset
    # metric: published value, in %, or NO_CONVERGENCE
    paper: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tables:
    """A recipe's experiments, subsets and rows, as `tables.yaml` has them."""

    experiments: dict[str, Experiment]  # in the file's order
    subsets: dict[str, Subset]
    table: tuple[Row, ...]
    metrics: tuple[str, ...] = ()  # of METRICS

    def trainings(self, experiment: str) -> list[Training]:
        """The trainings of an experiment: one a seed, in the file's order.

        Raises:
            ValueError: there is no such experiment.
        """
        _known("experiment", experiment, self.experiments)
        what = self.experiments[experiment]
        # The alignment is part of the data, so all seeds have the same one.
        align = what.align and self.trainings(what.align)[0].name
        if not what.seeds:
            return [Training(experiment, experiment, what.config, what.init_from, align)]
        return [
            Training(
                _seeded(experiment, seed),
                experiment,
                {**what.config, "seed": seed},
                _start_of(what, seed, self.experiments),
                align,
                seed,
            )
            for seed in what.seeds
        ]

    def training(self, name: str) -> Training:
        """The training of that name.

        Raises:
            ValueError: there is none, or the name is of an experiment with several seeds.
        """
        named = self._named(name)
        if len(named) > 1:
            names = ", ".join(training.name for training in named)
            raise ValueError(f"experiment '{name}' has several seeds, expected one of {names}")
        return named[0]

    def order(self, name: str | None = None) -> list[Training]:
        """Trainings so that each comes after those it needs.

        Args:
            name: give only this experiment or training and what it needs; None gives all.

        Raises:
            ValueError: there is none of that name.
        """
        order: dict[str, Training] = {}

        def add(training: Training) -> None:
            for needed in (training.init_from, training.align):
                if needed is not None and needed not in order:
                    add(self.training(needed))
            order.setdefault(training.name, training)

        for one in [name] if name is not None else self.experiments:
            for training in self._named(one):
                add(training)
        return list(order.values())

    def _named(self, name: str) -> list[Training]:
        """The trainings of an experiment, or the one of that name."""
        for experiment, what in self.experiments.items():
            if name in (_seeded(experiment, seed) for seed in what.seeds):
                return [t for t in self.trainings(experiment) if t.name == name]
        return self.trainings(name)


def load(path: str | Path) -> Tables:
    """Read and check a `tables.yaml`.

    Raises:
        ValueError: a key that does not exist, a value of another type, or a name that nothing
            defines. FileNotFoundError: no such file.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file (it names the recipe's experiments)")
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if isinstance(content, dict):
            # The same reader as for settings: plain PyYAML takes 1e-3 for a string.
            content = OmegaConf.to_container(OmegaConf.load(path))
        return _tables(content, Path(path).parent)
    except (ValueError, yaml.YAMLError, OmegaConfBaseException) as e:
        raise ValueError(f"{path}: {e}") from e
    except RecursionError as e:
        raise ValueError(f"{path}: is nested too deeply, expected a table of experiments") from e


def _tables(content: Any, directory: Path) -> Tables:
    keys = {"experiments": dict, "subsets": dict, "table": list, "metrics": list}
    _check("tables", content, keys)
    experiments = _experiments(content.get("experiments", {}))
    subsets = {
        str(name): _subset(f"subset '{name}'", value, directory)
        for name, value in content.get("subsets", {}).items()
    }
    rows = [
        _row(f"table row {number}", value, experiments, subsets)
        for number, value in enumerate(content.get("table", []), 1)
    ]
    for name in content.get("metrics", ()):
        _known("metrics:", name, dict.fromkeys(METRICS))
    return Tables(experiments, subsets, tuple(rows), tuple(content.get("metrics", ())))


def _experiments(content: dict[Any, Any]) -> dict[str, Experiment]:
    """The experiments, each checked, and with those that it needs."""
    experiments = {}
    for name, value in content.items():
        where = f"experiment '{name}'"
        # A name is a directory below exp/ and an argument of commands.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(name)) or name in RESERVED:
            raise ValueError(f"{where}: expected letters, digits, '_', '-', '.', and not 'data'")
        types = {"about": str, "config": dict, "init_from": str, "align": str}
        _check(where, value, types | {"from_scratch": bool, "seeds": list})
        _check(f"{where}: config", value.get("config", {}), dict.fromkeys(SETTINGS, object))
        features = value.get("config", {}).get("features", {})
        _check(f"{where}: config: features", features, {"kind": str})
        _check_seeds(where, value)
        seeds = tuple(value.get("seeds", ()))
        experiments[str(name)] = Experiment(**{**value, "seeds": seeds})
    if not experiments:
        raise ValueError("got no experiments, expected at least one")
    for name, experiment in experiments.items():
        _check_chain(name, experiments)
        for seed in experiment.seeds:
            if _seeded(name, seed) in experiments:
                raise ValueError(f"experiment '{name}': seed {seed} is '{_seeded(name, seed)}' too")
    return experiments


def _subset(where: str, value: Any, directory: Path) -> Subset:
    """A subset, checked; the file that it may name is in `directory`."""
    _check(where, value, {"intents": list, "without": str, "pairs": float})
    if len(value) != 1:
        raise ValueError(f"{where}: got {len(value)} keys, expected intents, without or pairs")
    share = value.get("pairs", 0.5)
    if not 0.0 < share < 1.0:
        raise ValueError(f"{where}: pairs: got {share}, expected a share below 1")
    for intent in value.get("intents", ()):
        if not isinstance(intent, str):  # YAML reads on, yes, 3 as other things than words
            raise ValueError(f"{where}: got {intent!r}, expected an intent in quotes")
    without: tuple[str, ...] = ()
    if "without" in value:
        try:
            without = tuple((directory / value["without"]).read_text("utf-8").split())
        except OSError as e:
            raise ValueError(f"{where}: without: {e}") from e
    return Subset(tuple(value.get("intents", ())), without, value.get("pairs", 0.0))


def _row(
    where: str, value: Any, experiments: dict[str, Experiment], subsets: dict[str, Subset]
) -> Row:
    """A row of the table, checked."""
    types: dict[str, Any] = {"row": str, "experiment": str, "run": str, "subset": str}
    types |= {"parts": str, "against": str, "paper": dict}
    if isinstance(value, dict) and "paper" in value and "experiment" not in value:
        _check(where, value, {"row": str, "paper": dict}, required=("row",))
    else:
        _check(where, value, types, required=("row", "experiment", "run"))
        _known(f"{where}: experiment", value["experiment"], experiments)
    if "against" in value:
        _known(f"{where}: against", value["against"], experiments)
    if "subset" in value:
        _known(f"{where}: subset", value["subset"], subsets)
    for metric, figure in value.get("paper", {}).items():
        if figure != NO_CONVERGENCE and type(figure) not in (int, float):
            raise ValueError(
                f"{where}: {metric}: got {figure!r}, expected a number (in %) or '{NO_CONVERGENCE}'"
            )
    return Row(**value)


def _check(where: str, value: Any, types: dict[str, Any], required: tuple[str, ...] = ()) -> None:
    """Raise unless `value` is a mapping that has the required keys and no others than `types`."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {value!r}, expected a mapping with {', '.join(types)}")
    for key, item in value.items():
        _known(f"{where}: key", key, types)
        if not isinstance(item, types[key]):
            raise ValueError(f"{where}: {key}: got {item!r}, expected {types[key].__name__}")
    for key in required:
        if key not in value:
            raise ValueError(f"{where}: '{key}' is missing")


def _known(what: str, name: str, names: dict[str, Any]) -> None:
    if name not in names:
        near = nearest(str(name), names)
        hint = f"did you mean '{near}'?" if near else f"known: {', '.join(names) or 'none'}"
        raise ValueError(f"{what} '{name}' is unknown; {hint}")


def _seeded(experiment: str, seed: int) -> str:
    return f"{experiment}.seed{seed}"


def _start_of(what: Experiment, seed: int, experiments: dict[str, Experiment]) -> str | None:
    """The training that one with a seed starts from: of the same seed, if there are several."""
    if what.init_from is not None and experiments[what.init_from].seeds:
        return _seeded(what.init_from, seed)
    return what.init_from


def _check_seeds(where: str, value: dict[str, Any]) -> None:
    seeds = value.get("seeds", [1])
    whole = all(type(seed) is int and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise ValueError(f"{where}: seeds: got {seeds}, expected different whole numbers")
    if "seeds" in value and "seed" in value.get("config", {}):
        raise ValueError(f"{where}: got both 'seeds' and a seed in 'config', expected one of them")
    if value.get("from_scratch") and "init_from" in value:
        raise ValueError(f"{where}: got both 'from_scratch' and 'init_from', expected one of them")


def _check_chain(
    name: str, experiments: dict[str, Experiment], chain: tuple[str, ...] = ()
) -> None:
    """Raise unless what the experiment needs is there and can be trained before it."""
    if name in chain:
        raise ValueError(f"experiments need each other: {' needs '.join([*chain, name])}")
    if len(chain) > MAX_CHAIN:
        raise ValueError(
            f"experiment '{chain[0]}' needs more than {MAX_CHAIN} others, one after another"
        )
    what = experiments[name]
    for key, needed in (("init_from", what.init_from), ("align", what.align)):
        if needed is not None:
            _known(f"experiment '{name}': {key}", needed, experiments)
            _check_chain(needed, experiments, (*chain, name))
    seeds = experiments[what.init_from].seeds if what.init_from else ()
    if seeds and not set(what.seeds or [None]) <= set(seeds):
        raise ValueError(
            f"experiment '{name}': init_from: '{what.init_from}' has the seeds {list(seeds)}, "
            "expected the same here: each starts from the one of its seed"
        )
