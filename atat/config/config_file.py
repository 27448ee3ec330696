"""Settings in YAML: merged over the defaults, checked, and saved resolved in the experiment."""

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

from atat.common.files import atomic_write
from atat.common.nearest_name import nearest
from atat.config.schema import Config
from atat.config.validation import check

_PACKAGE = Path(__file__).resolve().parents[1]
# Paths in settings start from here: the repository, or where one stands with an installed wheel.
ROOT = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else Path()
# The repository's conf/, by a link within the package, so that the wheel carries it.
BASE = (_PACKAGE / "conf").resolve() / "base.yaml"

_FILE_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
Settings = dict[Any, Any]  # key -> value or Settings, as YAML has them


def load(
    paths: Iterable[str | Path], overrides: Iterable[str] = (), deltas: Iterable[Settings] = ()
) -> Config:
    """Merge the files, the deltas (an experiment's) and `key=value` overrides over the defaults.

    A file may start with `include: NAME.yaml` (or a list), files of `conf/` to merge before it.
    A setting's earlier name is read too, with a line on standard error that says the new one.

    Raises:
        ValueError: a key that does not exist (with the nearest that does) or a value of the wrong
            type or out of its range. FileNotFoundError: a file that is not there.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    merged = OmegaConf.structured(Config)
    parts: list[tuple[str, Any]] = []
    for path in map(Path, paths):
        parts.extend(_read(path))
    try:
        parts.extend(("experiment", OmegaConf.create(delta)) for delta in deltas)
    except OmegaConfBaseException as e:
        raise ValueError(f"experiment: {str(e).splitlines()[0]}") from e
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"got '{override}', expected key=value (keys: conf/base.yaml)")
        try:
            parts.append((override, OmegaConf.from_dotlist([override])))
        except (YAMLError, OmegaConfBaseException, IndexError, ValueError, OverflowError) as e:
            raise ValueError(f"{override}: expected key=value, the value in YAML: {e}") from e
    renamed: dict[str, str] = {}
    for where, part in parts:
        try:
            merged.merge_with(_as_now(where, part, renamed))  # in place: nothing is copied
        # TypeError: a list where a mapping belongs.
        except (OmegaConfBaseException, TypeError, OverflowError) as e:
            # Its first line says what is wrong; the others name OmegaConf's own objects.
            raise ValueError(f"{where}: {str(e).splitlines()[0]}") from e
    for old, new in renamed.items():
        print(f"settings: WARNING: '{old}' is called '{new}' now", file=sys.stderr)
    settings = _to_object(merged)
    check(settings)
    return settings


def named(paths: Iterable[str | Path], overrides: Iterable[str] = ()) -> set[str]:
    """The settings that a user names, as `train.num_steps`, by the names that they have now.

    Args:
        paths: of files as `load` has read them; what stands in the project's own does not count.
        overrides: of the command line.

    >>> sorted(named([BASE], ["train.num_steps=9", "augment={sway: 0.5, noise: 1.0}"]))
    ['augment.noise', 'augment.time_warp', 'train.num_steps']
    """
    from omegaconf import OmegaConf

    ours = (BASE.parent, (ROOT / "egs").resolve())
    parts = [part for path in paths for part in _read(Path(path))]
    parts = [
        (where, part)
        for where, part in parts
        if not any(Path(where).resolve().is_relative_to(place) for place in ours)
    ]
    parts += [(override, OmegaConf.from_dotlist([override])) for override in overrides]
    found: set[str] = set()
    for where, part in parts:
        values = OmegaConf.to_container(part)
        assert isinstance(values, dict)  # as `load` has seen
        for section, inner in _renamed(where, values, Config, "", {}).items():
            found |= {f"{section}.{k}" for k in inner} if isinstance(inner, dict) else {section}
    return found


def overruled(
    paths: Iterable[str | Path], delta: Settings, overrides: Iterable[str] = ()
) -> list[str]:
    """What files say of settings that an experiment has otherwise, and nothing on the command line.

    Args:
        paths: of files as `load` has read them; what they include does not count.
        delta: the experiment's.
        overrides: of the command line.

    Returns:
        A line each: `train.num_steps: 3000 of the experiment, not 800 of mine.yaml`.
    """
    from omegaconf import OmegaConf

    row = _leaves("experiment", OmegaConf.create(delta))
    given = {key for text in overrides for key in _leaves(text, OmegaConf.from_dotlist([text]))}
    lines = []
    for path in map(Path, paths):
        for key, value in _leaves(*_read(path)[-1]).items():
            if key in row and row[key] != value and key not in given:
                has, said = shorten(str(row[key]), 60), shorten(str(value), 60)
                lines.append(f"{key}: {has} of the experiment, not {said} of {path}")
    return lines


def _leaves(where: str, part: Any) -> dict[str, Any]:
    """Values of a part by their whole names, as `train.num_steps` or `decode.runs.test.beam`."""
    from omegaconf import OmegaConf

    def flat(values: Settings, prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    values = OmegaConf.to_container(part)
    assert isinstance(values, dict)  # as `load` has seen
    return dict(flat(_renamed(where, values, Config, "", {}), ""))


def load_resolved(path: str | Path) -> Config:
    """Read a configuration that `save` wrote; nothing else is merged in.

    Raises:
        FileNotFoundError: it is not there. ValueError: it is not whole, has a setting that cannot
            be used, or a reference (`${...}`): what another computer's model says is never looked
            up in the environment of this one.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    path = Path(path)
    ((where, part),) = _read(path, may_include=False)
    values = OmegaConf.to_container(part)
    reference = _reference(values)
    if reference is not None:
        raise ValueError(f"{path}: got the reference '{reference[:80]}', expected values only")
    try:
        now = _as_now(where, part, {})
        # It is written in order, so that one which ends early lacks the last of them.
        if "runs" not in (now.get("decode") or {}):
            raise ValueError(f"{path}: ends early: 'decode.runs', the last setting, is missing")
        settings = _to_object(OmegaConf.merge(OmegaConf.structured(Config), now))
    except (OmegaConfBaseException, TypeError, OverflowError) as e:
        raise ValueError(f"{path}: {str(e).splitlines()[0]}") from e
    try:
        check(settings)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from e
    return settings


def save(config: Config, path: str | Path) -> None:
    """Write every key with its resolved value."""
    from omegaconf import OmegaConf

    with atomic_write(path) as file:
        file.write(OmegaConf.to_yaml(OmegaConf.structured(config)))


def _to_object(merged: Any) -> Config:
    """The dataclasses, with references between settings resolved and nothing missing."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as e:
        raise ValueError(f"settings: {e}") from e
    assert isinstance(settings, Config)  # as `merged` began
    return settings


def _read(
    path: Path, within: tuple[Path, ...] = (), may_include: bool = True
) -> list[tuple[str, Any]]:
    """The file's own part, after the parts of the files it includes."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not path.is_file():
        by = f" ({within[-1]} includes it)" if within else ""
        raise FileNotFoundError(f"{path}: no such configuration file{by}")
    if path.resolve() in within:
        raise ValueError(f"{path}: includes itself (by {' includes '.join(map(str, within))})")
    try:
        part = OmegaConf.load(path)
    except (YAMLError, ValueError, OverflowError) as e:  # the last two of numbers
        raise ValueError(f"{path}: not valid YAML: {e}") from e
    except RecursionError as e:
        raise ValueError(f"{path}: is nested too deeply, expected settings") from e
    except OmegaConfBaseException as e:
        raise ValueError(f"{path}: {str(e).splitlines()[0]}") from e
    except OSError as e:
        if e.errno is None:  # OmegaConf's way to say that there is a single value in the file
            raise ValueError(f"{path}: expected a mapping of settings: {e}") from e
        raise
    if not isinstance(part, DictConfig):
        raise ValueError(f"{path}: got a {type(part).__name__}, expected a mapping of settings")
    if not may_include or "include" not in part:
        return [(str(path), part)]
    includes = OmegaConf.to_container(part)["include"]  # type: ignore[call-overload,index]
    del part["include"]
    names = includes if isinstance(includes, list) else [includes]
    if not all(isinstance(name, str) and _FILE_NAME.fullmatch(name) for name in names):
        raise ValueError(f"{path}: include: got {includes}, expected files of conf/ by name")
    inside = (*within, path.resolve())
    found = [p for name in names for p in _read(BASE.parent / name, inside)]
    return [*found, (str(path), part)]


def _reference(values: Any) -> str | None:
    """The first text with OmegaConf's `${...}`, as key or value."""
    if isinstance(values, dict):
        values = [*values, *values.values()]
    if isinstance(values, list):
        return next((found for value in values if (found := _reference(value))), None)
    return values if isinstance(values, str) and "${" in values else None


def _as_now(where: str, part: Any, renamed: dict[str, str]) -> Any:
    """A part with the names that settings have now; `renamed` gets those that were changed.

    Raises:
        ValueError: a name that no setting has or had.
    """
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(part)
    assert isinstance(values, dict)  # what is read or given is a mapping
    return OmegaConf.create(_renamed(where, values, Config, "", renamed))


def _renamed(
    where: str, values: Settings, schema: type, prefix: str, renamed: dict[str, str]
) -> Settings:
    fields = {field.name: field for field in dataclasses.fields(schema)}
    was = {name: field.metadata.get("was") for name, field in fields.items()}
    earlier = {old: name for name, old in was.items() if old}
    result = {}
    for key, value in values.items():
        name = earlier.get(key, key)
        if name not in fields:
            near = nearest(str(key), fields, cutoff=0.5)
            hint = f"did you mean '{prefix}{near}'?" if near else f"known: {', '.join(fields)}"
            raise ValueError(f"{where}: unknown setting '{prefix}{key}'; {hint}")
        if name != key:
            renamed[f"{prefix}{key}"] = f"{prefix}{name}"
        part = fields[name].type
        if isinstance(part, type) and dataclasses.is_dataclass(part) and isinstance(value, dict):
            value = _renamed(where, value, part, f"{prefix}{name}.", renamed)
        if part == list[list[float]] and isinstance(value, list):
            value = [_floats(row) if isinstance(row, list) else row for row in value]
        result[name] = value
    return result


def _floats(row: list[Any]) -> list[Any]:
    """Whole numbers as floats: OmegaConf 2.3 takes no 500 within a list of lists of floats."""
    return [float(value) if type(value) is int else value for value in row]
