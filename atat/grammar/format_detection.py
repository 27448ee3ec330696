"""Template languages of others: recognised, and translated into the form of rhino_file.py.

What an experiment keeps as its grammar.yaml is the translation, so that it needs neither the
other's parser nor other files.
"""

import re
from pathlib import Path

import yaml

from atat.grammar import hassil_file, rhino_text, sentences_ini, yaml_nodes
from atat.grammar.expressions import GrammarFile
from atat.grammar.yaml_nodes import YamlNode

# Lines that say nothing, then a section. White space without line ends, or blank lines are tried in
# all ways to share them out.
_INI = re.compile(r"(?:[^\S\n]*(?:[#;].*)?\n)*[^\S\n]*\[[\w.:/-]+\][ \t]*\r?\n")


def lists_beside(path: Path) -> list[Path]:
    """The files of lists that a grammar file names and has beside it; none of most forms."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return sentences_ini.lists(path, text) if _is_ini(path, text) else []


def own_form(path: Path, text: str) -> tuple[YamlNode, str, list[str]]:
    """A grammar file in the form of rhino_file.py.

    Args:
        path: of the file.
        text: what it has, in any form that is read.

    Returns:
        Root node and text of that form, and notes on what was left out, one line each.

    Raises:
        ValueError: what is wrong with it, as one line that starts with file and line.
    """
    root, content = None, None
    try:
        if _is_ini(path, text):
            content = sentences_ini.read(path, text)
        else:
            root = yaml_nodes.root(path, text)
            content = _templates(path, root)
        if content is not None:
            text = rhino_text.write(path, content)
            root = yaml_nodes.root(path, text)
    except RecursionError as error:
        raise ValueError(f"{path}: rules and brackets are nested too deeply") from error
    assert root is not None
    return root, text, [] if content is None else content.notes


def _is_ini(path: Path, text: str) -> bool:
    return path.suffix == ".ini" or _INI.match(text) is not None


def _templates(path: Path, root: YamlNode) -> GrammarFile | None:
    """The grammar of hassil's templates; None where it is another YAML file."""
    keys = {key.value for key, _ in root.value} if isinstance(root, yaml.MappingNode) else set()
    if "context" in keys or not keys & {*hassil_file.KEYS, "sentences"}:
        return None
    if "sentences" in keys:
        raise ValueError(
            f"{path}: this is a file of speech-to-phrase's sentences, a form that is not read; put "
            "them under 'intents: NAME: data: - sentences:', with 'language: en' at the top, which "
            "is Home Assistant's own form"
        )
    return hassil_file.read(path, root)
