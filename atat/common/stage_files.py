"""The files of a recipe's stages: markers, and lists of what each has left, which show damage.

Beside the marker `.done.N` of a stage stands `.files.N`: size, time of change and CRC-32 of every
file that it has left, and what the marker says. Sizes and times are looked at in every run, the
content of a file once after its time of change has become another. Without such a list (of before
0.3, or damaged itself) nothing is known of a stage's files, and nothing is said of them.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MODELS = ("model.safetensors", "model.pth")  # of an experiment, now and before 0.2
# What a training leaves, but for its checkpoints.
TRAINED = (
    *(MODELS[0], "config.yaml", "env.json", "about.json", "train.jsonl"),
    *("grammar.yaml", "nesting.json", "tokenizer", "text_encoder"),
)
ALIGNED = ("ctm", "ctm.by")  # what atat.align adds to a split
TOKENIZER = "tokenizer"  # of stage 3, in the directory of stage 1
TIMED = "stage.json"  # says how long it took: never the same twice


@dataclass(frozen=True)
class Damage:
    """A file that is not as its stage has left it."""

    path: str
    how: str

    @property
    def is_lost(self) -> bool:
        """Whether nothing of the file is there, so that nobody can have changed it by hand."""
        return not os.path.exists(self.path) or os.path.getsize(self.path) == 0

    def __str__(self) -> str:
        return f"{self.path} {self.how}"


def outputs(number: int, data: str, dump: str, exp: str) -> list[str]:
    """The files that are a stage's, of 1 to 6."""
    if number == 1:
        return [
            path
            for path in _within(data, 2)
            if os.path.basename(path) not in ALIGNED
            and os.path.relpath(path, data).split(os.sep)[0] != TOKENIZER
        ]
    if number == 2:  # below are those of another kind, and cached states, of stage 4
        ours = _within(dump, 2)
        return [p for p in ours if not os.path.relpath(p, dump).startswith(("kind_", "base_"))]
    if number == 3:
        return _within(os.path.join(data, TOKENIZER), 1)
    if number == 4:
        paths = [os.path.join(exp, name) for name in TRAINED]
        return [f for p in paths for f in ([p] if os.path.isfile(p) else _within(p, 1))]
    decoded = [path for path in _within(exp, 2) if is_decoded(os.path.relpath(path, exp))]
    scores = [path for path in decoded if os.path.basename(path).startswith("scores")]
    return [path for path in decoded if path not in scores] if number == 5 else decoded


def is_decoded(name: str) -> bool:
    """Whether a file, named from its experiment on, is one of stages 5 and 6."""
    return name.startswith("decode_") and os.sep in name


def keep_list(path: str, paths: Iterable[str], marker: Sequence[str]) -> None:
    """Write the list of what a stage has left.

    Args:
        path: of the list.
        paths: the files, none of which changes from now on.
        marker: the lines of the stage's marker.
    """
    here = os.path.dirname(path)
    files = {}
    for one in sorted(set(paths)):
        status = os.stat(one)
        files[os.path.relpath(one, here)] = [status.st_size, status.st_mtime_ns, _crc32(one)]
    _write_list(path, {"marker": list(marker), "files": files})


def damage(path: str, without: Iterable[str] = ()) -> list[Damage]:
    """The files that are not as the stage has left them.

    Args:
        path: of the list.
        without: names of files that are not looked at.
    """
    kept, here, found, touched = _read_list(path), os.path.dirname(path), [], False
    for name, was in kept.get("files", {}).items():
        one, (size, when, checksum) = os.path.normpath(os.path.join(here, name)), was
        if os.path.basename(name) in without:
            continue
        try:
            status = os.stat(one)
        except OSError as error:
            found.append(Damage(one, f"cannot be read ({error.strerror})"))
            continue
        if status.st_size != size:
            found.append(Damage(one, f"has {status.st_size} bytes, had {size} when written"))
        elif status.st_mtime_ns != when:
            if _crc32(one) != checksum:
                found.append(Damage(one, "has other content than when written"))
                continue
            was[1], touched = status.st_mtime_ns, True
    if touched:
        _write_list(path, kept)
    return found


def names_in(path: str) -> set[str]:
    """The files of a list, named from its directory on."""
    return set(_read_list(path).get("files", ()))


def mend_marker(done: str, path: str) -> bool:
    """Write a marker again that is there and does not say what its list says; whether it was so."""
    marker = _read_list(path).get("marker")
    if marker is None or read_lines(done) in (None, marker):
        return False
    write_lines(done, marker)
    return True


def _read_list(path: str) -> dict[str, Any]:
    """A list; empty where there is none, or a damaged one."""
    try:
        with open(path, "rb") as file:
            checksum, _, content = file.read().partition(b"\n")
        if int(checksum, 16) == zlib.crc32(content):
            return json.loads(content)
    except (OSError, ValueError):
        pass
    return {}


def _write_list(path: str, kept: dict[str, Any]) -> None:
    content = json.dumps(kept, indent=0).encode("ascii")
    with open(f"{path}.new", "wb") as file:
        file.write(b"%08x\n" % zlib.crc32(content) + content)
    os.replace(f"{path}.new", path)


def _crc32(path: str) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _within(directory: str, depth: int) -> list[str]:
    """Files of a directory and those below, so deep; hidden ones are not a stage's."""
    found = []
    for path, directories, names in os.walk(directory):
        here = os.path.relpath(path, directory)
        level = 1 if here == "." else 2 + here.count(os.sep)
        directories[:] = [n for n in directories if level < depth and not n.startswith(".")]
        found += [os.path.join(path, name) for name in names if not name.startswith(".")]
    return found


# Markers, and directories


def done(directory: str, number: int | str) -> str:
    """The marker of a stage that has succeeded."""
    return os.path.join(directory, f".done.{number}")


def begun(directory: str, number: int) -> str:
    """The marker of a stage that runs."""
    return os.path.join(directory, f".begun.{number}")


def listed(directory: str, number: int | str) -> str:
    """The list of what a stage has left."""
    return os.path.join(directory, f".files.{number}")


def read_lines(path: str) -> list[str] | None:
    """The lines of a marker but empty ones; None where there is none."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return [line for line in file.read().split("\n") if line]


def write_lines(path: str, lines: Sequence[str]) -> None:
    """Write a marker."""
    with open(f"{path}.new", "wb") as file:
        file.write(os.fsencode("".join(f"{line}\n" for line in lines)))
    os.replace(f"{path}.new", path)


def remove(path: str) -> None:
    """Remove a file that may be there."""
    if os.path.lexists(path):
        os.unlink(path)


def changes(*places: str) -> list[tuple[str, int]]:
    """All files below the directories, and when each was changed."""
    return sorted(file for place in places for file in _walk(place))


def _walk(directory: str) -> Iterator[tuple[str, int]]:
    if not os.path.isdir(directory):
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, entry.stat().st_mtime_ns


def has_model(exp: str) -> bool:
    """Whether an experiment is trained."""
    return any(os.path.isfile(os.path.join(exp, name)) for name in MODELS)


def has_split(data: str) -> bool:
    """Whether there is a split, which somebody may have written by hand."""
    return any(
        os.path.exists(os.path.join(split, name))
        for split in subdirectories(data)
        for name in ("wav.scp", "text")
    )


def subdirectories(directory: str) -> list[str]:
    """The directories in a directory."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    paths = [os.path.join(directory, name) for name in names if not name.startswith(".")]
    return [path for path in paths if os.path.isdir(path)]


def is_newer(path: str, other: str) -> bool:
    """Whether both files are there and the first was changed later."""
    if not (os.path.exists(path) and os.path.exists(other)):
        return False
    return os.stat(path).st_mtime_ns > os.stat(other).st_mtime_ns
