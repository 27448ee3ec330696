"""Hypotheses that several jobs decode, each a share of a run's batches (see common/array_job.py).

EXP/.shares/RUN.NUMBER-of-COUNT has a line of JSON on what was decoded and how, and one an
utterance as in `hyp.jsonl`.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common.array_job import DIRECTORY, Share
from atat.common.files import atomic_write, sha256
from atat.inference.hypotheses import Line
from atat.models import checkpoint

if TYPE_CHECKING:
    from atat.inference.search_options import SearchOptions


class DecodedShares:
    """What is there of a run.

    Args:
        exp: directory of the experiment.
        name: of the run.
        inputs: as `inputs_digest` gives it; shares of other inputs do not count.

    Attributes:
        lines: id -> line.
        seconds: that they took, and of CPU time, added up.
    """

    def __init__(self, exp: Path, name: str, inputs: str) -> None:
        self.lines: dict[str, Line] = {}
        self.seconds = [0.0, 0.0]
        for path in sorted((exp / DIRECTORY).glob(f"{name}.*-of-*")):
            try:
                head, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
                if head["inputs"] == inputs and head["num_lines"] == len(lines):
                    self.lines |= {line["id"]: line for line in lines}
                    self.seconds = [
                        a + b for a, b in zip(self.seconds, head["seconds"], strict=True)
                    ]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # damaged: decoded again


def write_share(
    exp: Path, name: str, share: Share, inputs: str, lines: list[Line], seconds: list[float]
) -> None:
    """Write a share; arguments as of `DecodedShares`."""
    head = {"inputs": inputs, "num_lines": len(lines), "seconds": seconds}
    with atomic_write(exp / DIRECTORY / f"{name}.{share}") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *lines])


def remove(exp: Path) -> None:
    """Remove all shares of an experiment: what was made of them is there."""
    shutil.rmtree(exp / DIRECTORY, ignore_errors=True)


def inputs_digest(
    exp: Path, options: "SearchOptions", settings: Any, sizes: Mapping[str, int], judged: bool
) -> str:
    """Digest of what hypotheses depend on: the model's file, the search, and the utterances."""
    status = checkpoint.last_written(exp).stat()
    search = [dataclasses.asdict(options), dataclasses.asdict(settings), judged]
    return sha256(
        f"{status.st_size} {status.st_mtime_ns}",
        json.dumps(search, sort_keys=True, default=str),
        json.dumps(sorted(sizes.items())),
    )
