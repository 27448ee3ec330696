"""Template languages that are not read, recognised so that the mistake can be named."""

import re
from collections.abc import Collection
from pathlib import Path

_INI = re.compile(r"(?:\s*(?:[#;].*)?\n)*\s*\[[\w.:/-]+\][ \t]*\n")
_HASSIL = "Home Assistant's sentence templates (hassil)"
# By a key at the top.
_BY_KEY = {
    "intents": _HASSIL,
    "expansion_rules": _HASSIL,
    "sentences": "speech-to-phrase's sentences",
}


def check_text(path: Path, text: str) -> None:
    """Raise ValueError for a file of Rhasspy's, by how it begins."""
    if _INI.match(text):
        raise _not_read(path, "Rhasspy's sentences.ini")


def check_keys(path: Path, keys: Collection[str]) -> None:
    """Raise ValueError for a file whose keys at the top are those of another language."""
    for key, form in _BY_KEY.items():
        if key in keys:
            raise _not_read(path, form)


def _not_read(path: Path, form: str) -> ValueError:
    return ValueError(
        f"{path}: this is a file of {form}, a form that is not read; expected Rhino's YAML, as in "
        "egs/commands/grammar.yaml"
    )
