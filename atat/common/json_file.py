"""JSON files that the project wrote itself, read with errors that name them."""

import json
from pathlib import Path
from typing import Any

# What JSON of a stranger raises: when it is read, and when something else is in it than expected.
WRONG_JSON = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(OverflowError, RecursionError),  # of 1e999 as a whole number, of ten thousand brackets
)


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file. Raises ValueError or FileNotFoundError that names it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; rerun the stage that writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{path}: not valid JSON: {e}; rerun the stage that writes it") from e
    if not isinstance(content, dict):
        raise ValueError(f"{path}: got {type(content).__name__}, expected an object")
    return content
