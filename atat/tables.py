"""The rows of a recipe's result table as named experiments: `egs/<recipe>/tables.yaml`.

An experiment is a delta over the recipe's settings; the data, feature and tokenizer stages are
shared by all of them, so a delta may change `model`, `augment`, `train` and `decode` only.
"""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETTINGS = ("seed", "model", "augment", "train", "decode")
RESERVED = ("data", "dump")  # with --expdir these stand beside the experiments


@dataclass(frozen=True)
class Experiment:
    """What is trained: `config` is merged over the recipe's settings."""

    about: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    after: str | None = None  # an experiment to train before this one


@dataclass(frozen=True)
class Subset:
    """A part of a test split that is scored on its own."""

    intents: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One row of the table: the scores of a decoding run of an experiment."""

    row: str  # its title
    experiment: str
    run: str  # a key of `decode.runs`
    subset: str | None = None
    against: str | None = None  # the experiment it is compared with, on the same run and subset
    paper: dict[str, float] = field(default_factory=dict)  # metric: published value, in %


@dataclass(frozen=True)
class Tables:
    experiments: dict[str, Experiment]  # in the file's order
    subsets: dict[str, Subset]
    table: tuple[Row, ...]

    def order(self, experiment: str | None = None) -> list[str]:
        """Names so that each comes after the one it needs.

        Args:
            experiment: give only this one and what it needs; None gives all.

        Raises:
            ValueError: there is no such experiment.
        """
        wanted = [experiment] if experiment is not None else list(self.experiments)
        order: list[str] = []
        for name in wanted:
            _known("experiment", name, self.experiments)
            chain: list[str] = []
            while name is not None and name not in order:
                chain.append(name)
                name = self.experiments[name].after
            order.extend(reversed(chain))
        return order


def load(path: str | Path) -> Tables:
    """Read and check a `tables.yaml`.

    Raises:
        ValueError: a key that does not exist, a value of another type, or a name that nothing
            defines. FileNotFoundError: no such file.
    """
    import yaml
    from omegaconf import OmegaConf

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file (it names the recipe's experiments)")
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if isinstance(content, dict):
            # The same reader as for settings: plain PyYAML takes 1e-3 for a string.
            content = OmegaConf.to_container(OmegaConf.load(path))
        return _tables(content)
    except (ValueError, yaml.YAMLError) as e:
        raise ValueError(f"{path}: {e}") from e


def _tables(content: Any) -> Tables:
    _check("tables", content, {"experiments": dict, "subsets": dict, "table": list})
    experiments = {}
    for name, value in content.get("experiments", {}).items():
        where = f"experiment '{name}'"
        # A name is a directory below exp/ and an argument of commands.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(name)) or name in RESERVED:
            raise ValueError(f"{where}: expected letters, digits, '_', '-', '.', and not 'data'")
        _check(where, value, {"about": str, "config": dict, "after": str})
        _check(f"{where}: config", value.get("config", {}), dict.fromkeys(SETTINGS, object))
        experiments[str(name)] = Experiment(**value)
    if not experiments:
        raise ValueError("got no experiments, expected at least one")
    for name, experiment in experiments.items():
        _check_chain(name, experiment.after, experiments)

    subsets = {}
    for name, value in content.get("subsets", {}).items():
        _check(f"subset '{name}'", value, {"intents": list}, required=("intents",))
        for intent in value["intents"]:
            if not isinstance(intent, str):  # YAML reads on, yes, 3 as other things than words
                raise ValueError(f"subset '{name}': got {intent!r}, expected an intent in quotes")
        subsets[str(name)] = Subset(tuple(value["intents"]))

    rows = []
    for number, value in enumerate(content.get("table", []), 1):
        where = f"table row {number}"
        types = {"row": str, "experiment": str, "run": str, "subset": str, "against": str}
        _check(where, value, types | {"paper": dict}, required=("row", "experiment", "run"))
        _known(f"{where}: experiment", value["experiment"], experiments)
        if "against" in value:
            _known(f"{where}: against", value["against"], experiments)
        if "subset" in value:
            _known(f"{where}: subset", value["subset"], subsets)
        for metric, figure in value.get("paper", {}).items():
            _check(where, {metric: figure}, {metric: (int, float)})
        rows.append(Row(**value))
    return Tables(experiments, subsets, tuple(rows))


def _check(where: str, value: Any, types: dict[str, Any], required: tuple[str, ...] = ()) -> None:
    """Raise unless `value` is a mapping that has the required keys and no others than `types`."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {value!r}, expected a mapping with {', '.join(types)}")
    for key, item in value.items():
        _known(f"{where}: key", key, types)
        if not isinstance(item, types[key]):
            kinds = types[key] if isinstance(types[key], tuple) else (types[key],)
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{where}: {key}: got {item!r}, expected {expected}")
    for key in required:
        if key not in value:
            raise ValueError(f"{where}: '{key}' is missing")


def _known(what: str, name: str, names: dict) -> None:
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names) or 'none'}"
        raise ValueError(f"{what} '{name}' is unknown; {hint}")


def _check_chain(name: str, after: str | None, experiments: dict[str, Experiment]) -> None:
    seen = [name]
    while after is not None:
        _known(f"experiment '{seen[-1]}': after", after, experiments)
        if after in seen:
            raise ValueError(f"experiments wait for each other: {' after '.join([*seen, after])}")
        seen.append(after)
        after = experiments[after].after
