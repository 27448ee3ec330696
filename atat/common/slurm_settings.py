"""What a job asks Slurm for: conf/slurm.yaml, and the options of sbatch that say so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

# Whose work an array of jobs can share, and who can be several processes that talk to each other.
SHARED = ("prepare", "features", "decode")
TOGETHER = ("train",)
NAMES = (*SHARED, *TOGETHER, "tokenizer", "align", "calibrate", "score", "conditions")


@dataclass(frozen=True)
class Resources:
    """The settings of a job; conf/slurm.yaml says what each is."""

    partition: str = ""
    account: str = ""
    time: str = "4:00:00"
    warn_s: int = 60
    requeues: int = 20
    nodes: int = 1
    tasks: int = 1
    cpus: int = 1
    memory: str = "4G"
    gpus: int = 0
    jobs: int = 1
    options: tuple[str, ...] = ()

    def sbatch(self) -> list[str]:
        """As options of sbatch, but for what makes jobs an array.

        >>> Resources(partition="gpu", gpus=2, memory="").sbatch()[:4]
        ['--partition=gpu', '--time=4:00:00', '--nodes=1', '--ntasks=1']
        >>> Resources(partition="gpu", gpus=2, memory="").sbatch()[4:]
        ['--cpus-per-task=1', '--gpus-per-node=2', '--signal=B:USR1@60']
        """
        given = {
            "partition": self.partition,
            "account": self.account,
            "time": self.time,
            "nodes": self.nodes,
            "ntasks": self.tasks,
            "cpus-per-task": self.cpus,
            "mem": self.memory,
            "gpus-per-node": self.gpus,
        }
        asked = [f"--{name}={value}" for name, value in given.items() if value]
        return [*asked, f"--signal=B:USR1@{self.warn_s}", *self.options]


def load(paths: Sequence[str]) -> dict[str, Resources]:
    """Read settings files; a later one says what differs.

    Args:
        paths: of YAML files.

    Returns:
        What jobs of each of NAMES ask for.

    Raises:
        ValueError: a name or a setting that there is none of, or not a value for it.
        FileNotFoundError: there is no such file.
    """
    found = dict.fromkeys(("all", *NAMES), Resources())
    given: dict[str, dict[str, Any]] = {name: {} for name in found}
    for path in paths:
        for name, settings in _read(path).items():
            given[name] |= settings
    for name in NAMES:
        found[name] = replace(found[name], **given["all"] | given[name])
    for name, one in found.items():
        for setting, able in (("jobs", SHARED), ("tasks", TOGETHER)):
            if getattr(one, setting) > 1 and name not in able and setting in given[name]:
                raise ValueError(
                    f"{paths[-1]}: {name}: {setting}: got {getattr(one, setting)}, expected 1 "
                    f"(above that in {', '.join(able)} alone)"
                )
    return {
        name: replace(
            one,
            jobs=one.jobs if name in SHARED else 1,
            tasks=one.tasks if name in TOGETHER else 1,
            nodes=one.nodes if name in TOGETHER else 1,
        )
        for name, one in found.items()
        if name != "all"
    }


def _read(path: str) -> dict[str, dict[str, Any]]:
    import yaml

    with open(path, encoding="utf-8") as file:
        try:
            # All values as they are written: to YAML, 4:00:00 is the number 14400.
            content = yaml.load(file, yaml.BaseLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as e:
            raise ValueError(f"{path}: is not YAML ({' '.join(str(e).split())})") from e
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: got no names, expected all: and {', '.join(NAMES)}:")
    found = {}
    for name, settings in content.items():
        if name != "all" and name not in NAMES:
            raise ValueError(f"{path}: got '{name}', expected all or one of {', '.join(NAMES)}")
        if not isinstance(settings, Mapping):
            raise ValueError(f"{path}: {name}: got '{settings}', expected setting: value")
        found[name] = {key: _value(path, name, key, value) for key, value in settings.items()}
    return found


def _value(path: str, name: str, key: str, value: object) -> object:
    """A setting in the type of its field."""
    known = {field.name: field.default for field in fields(Resources)}
    if key not in known:
        raise ValueError(f"{path}: {name}: got '{key}', expected one of {', '.join(known)}")
    default, lowest = known[key], 0 if key in ("gpus", "requeues") else 1
    where = f"{path}: {name}: {key}: got '{value}', expected"
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(
            isinstance(one, str) and one.startswith("-") for one in value
        ):
            raise ValueError(f"{where} a list of options, as ['--qos=low']")
        return tuple(value)
    if not isinstance(value, str):
        raise ValueError(f"{where} one value")
    if isinstance(default, int):
        if not (value.isascii() and value.isdigit() and lowest <= int(value) <= 1_000_000):
            raise ValueError(f"{where} a whole number of {lowest} or more")
        return int(value)
    return value
