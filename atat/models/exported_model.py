"""The directory of an exported model: what it holds, and whether it is whole.

`model.json` has the format's number and size and SHA-256 of every other file, by name; a network in
ONNX stands beside settings, tokenizer, grammar, tag nesting and confidence in the form that an
experiment has them.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from atat.common.advice import EXPORT_AGAIN, EXPORTED_INDEX
from atat.common.files import atomic_write, is_file
from atat.common.json_file import WRONG_JSON

FILE, AGAIN = EXPORTED_INDEX, EXPORT_AGAIN
FORMAT = 1
MAX_INDEX_BYTES = 1_000_000  # of model.json: a model from somebody else shall not fill the memory


def is_exported(directory: Path) -> bool:
    """Whether this is an exported model, not an experiment."""
    return (directory / FILE).is_file()


def write_index(directory: Path, about: dict[str, Any]) -> None:
    """Write `model.json` over all files that the directory has.

    Args:
        directory: of the exported model.
        about: of the network, for who loads it.
    """
    names = sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path != directory / FILE
    )
    files = {
        name: {"bytes": (directory / name).stat().st_size, "sha256": _sha256(directory / name)}
        for name in names
    }
    with atomic_write(directory / FILE) as file:
        file.write(json.dumps({"format": FORMAT, **about, "files": files}, indent=1) + "\n")


def read_index(directory: Path) -> dict[str, Any]:
    """The content of `model.json`.

    Raises:
        ValueError: it is not what `write_index` wrote, or of another format, or names a file
            outside of the directory.
    """
    path = directory / FILE
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES} bytes")
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise ValueError(f"got format {index['format']}, expected {FORMAT}")
        files = {name: (int(e["bytes"]), str(e["sha256"])) for name, e in index["files"].items()}
    except WRONG_JSON as e:
        reason = f"no {e}" if isinstance(e, KeyError) else e
        raise ValueError(f"{path}: damaged, or not of an exported model ({reason}); {AGAIN}") from e
    outside = [name for name in files if not _is_inside(name)]
    if outside:
        raise ValueError(f"{path}: names '{outside[0]}', which is outside of the model; {AGAIN}")
    return index


def check(directory: Path) -> None:
    """Compare every file with `model.json`.

    Raises:
        ValueError: one is missing, has changed, or stands there unnamed where it would be used.
    """
    expected = read_index(directory)["files"]
    for name, entry in expected.items():
        path = directory / name
        size = path.stat().st_size if is_file(path) else None
        if size != entry["bytes"]:
            got = "nothing" if size is None else f"{size} bytes"
            raise ValueError(f"{path}: got {got}, expected {entry['bytes']} bytes; {AGAIN}")
        if _sha256(path) != entry["sha256"]:
            raise ValueError(f"{path}: is not as it was exported (its SHA-256 differs); {AGAIN}")
    for name in sorted(_present(directory) - expected.keys()):
        raise ValueError(f"{directory / name}: is not of this model; remove it, or {AGAIN}")


def digest(directory: Path) -> str:
    """Hexadecimal digest of the network: what was measured belongs to one."""
    networks = {k: v for k, v in read_index(directory)["files"].items() if k.endswith(".onnx")}
    return hashlib.sha256(json.dumps(networks, sort_keys=True).encode()).hexdigest()[:16]


def _present(directory: Path) -> set[str]:
    """Files that loading would read, if they are there."""
    names: Iterable[Path] = [*directory.glob("*.onnx"), *(directory / "tokenizer").glob("*")]
    names = [*names, *(directory / f for f in ("grammar.yaml", "nesting.json", "confidence.json"))]
    return {p.relative_to(directory).as_posix() for p in names if p.is_file()}


def _is_inside(name: str) -> bool:
    """Whether a name is of a file in or below the directory.

    >>> [_is_inside(n) for n in ("a.onnx", "tokenizer/words.model", "../a", "/a", "a/../../b", "")]
    [True, True, False, False, False, False]
    """
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
