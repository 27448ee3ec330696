"""The hypotheses of a decoded run: a line of JSON an utterance, in `hyp.jsonl`."""

import json
from pathlib import Path
from typing import Any


def read_hypotheses(path: Path) -> list[dict[str, Any]]:
    """The lines of a `hyp.jsonl`: objects with at least `id` and `hypothesis`, both strings.

    Raises:
        ValueError: a line is something else, or an id comes twice; names file and line.
    """
    lines: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, start=1):
            try:
                line = json.loads(text)
            except ValueError as e:
                raise ValueError(f"{path}:{number}: not valid JSON: {e}; rerun stage 5") from e
            if not isinstance(line, dict) or not all(
                isinstance(line.get(key), str) for key in ("id", "hypothesis")
            ):
                raise ValueError(
                    f"{path}:{number}: got {text.strip()[:80]}, expected an object with the "
                    "strings 'id' and 'hypothesis'; rerun stage 5"
                )
            if line["id"] in lines:
                raise ValueError(
                    f"{path}:{number}: id '{line['id']}' is there twice; rerun stage 5"
                )
            lines[line["id"]] = line
    if not lines:
        raise ValueError(f"{path}: is empty; rerun stage 5")
    return list(lines.values())
