"""YAML as nodes that know their lines: a second for the largest grammar, and no stack runs over."""

import re
from pathlib import Path

import yaml

from atat.common.nearest_name import nearest

NAME = r"[A-Za-z][A-Za-z0-9_-]*"  # of an intent, a slot, a type
# What `yaml.compose` makes: yaml.Node has no `id` of its own.
YamlNode = yaml.ScalarNode | yaml.SequenceNode | yaml.MappingNode

MAX_DEPTH = 100  # lists and mappings in each other; a grammar has four


def compose(text: str) -> yaml.Node | None:
    """The root node of a YAML document, None where it is empty; no objects are constructed.

    Raises:
        yaml.YAMLError: it is not YAML. RecursionError: more than `MAX_DEPTH` in each other.
    """
    # libyaml is many times faster; its nodes are composed on the stack of C, which has no guard.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise RecursionError
    except yaml.YAMLError as error:
        if "nesting depth" in (getattr(error, "problem", None) or ""):  # PyYAML 6.0.4's own limit
            raise RecursionError from error
        raise
    return yaml.compose(text, Loader=loader)


def root(path: Path, text: str) -> YamlNode:
    """The root node of a grammar file's content.

    Raises:
        ValueError: it is empty, or not YAML; with file and line.
    """
    try:
        node = compose(text)
    except RecursionError as error:
        raise ValueError(f"{path}: lists or mappings are nested too deeply") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise ValueError(f"{where}: not valid YAML: {reason} ({_hint(text, error)})") from error
    if node is None:
        raise ValueError(f"{path}: the grammar is empty, expected 'context: expressions: ...'")
    assert isinstance(node, YamlNode)  # as it was composed
    return node


def _hint(text: str, error: yaml.YAMLError) -> str:
    """What is probably wrong."""
    mark = getattr(error, "problem_mark", None)
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent by spaces, not by tabs"
    if re.match(r"\s*-?\s*[\[@&`]", line):
        return "put expressions that start with [, @, & or ` in double quotes"
    for number, other in enumerate(lines[: mark.line if mark else None], start=1):
        if other.count('"') % 2:
            return f"is a quote of line {number} not closed?"
    return "each line starts as far in as its like, and names end in a colon"


_KINDS = {"scalar": "text", "sequence": "list", "mapping": "mapping"}


def _kind(node: YamlNode) -> str:
    """What a node is, for people."""
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return "empty"
    return f"a {_KINDS[node.id]}"


class NodeReader:
    """Reads the nodes of one file; what is wrong is named with file and line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def where(self, node: YamlNode) -> str:
        """File and line of a node, as messages begin with them."""
        return f"{self.path}:{node.start_mark.line + 1}:"

    def error(self, node: YamlNode, message: str) -> ValueError:
        """The error to raise for a node."""
        return ValueError(f"{self.where(node)} {message}")

    @staticmethod
    def is_name(text: str) -> bool:
        """Whether a text can name an intent, a slot or a type."""
        return re.fullmatch(NAME, text) is not None

    def mapping(self, node: YamlNode, what: str, known: set[str] | None) -> dict[str, YamlNode]:
        """Key -> value node, keys unique; `known` names the keys allowed, None allows names."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} is {_kind(node)}, expected a mapping ('name:' lines)")
        result: dict[str, YamlNode] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else key_node.id
            if known is not None and key not in known:
                near = nearest(key, known)
                expected = f"expected {', '.join(sorted(known))}"
                hint = f"did you mean '{near}'?" if near else expected
                raise self.error(key_node, f"unknown key '{key}' in {what}, {hint}")
            if known is None and not self.is_name(key):
                raise self.error(
                    key_node,
                    f"name '{key}' in {what}, expected a letter, then letters, digits, '_' or '-'",
                )
            if key in result:
                raise self.error(key_node, f"duplicate key '{key}' in {what}")
            result[key] = value
        return result

    def section(self, context: dict[str, YamlNode], key: str) -> dict[str, YamlNode]:
        """Name -> node of an optional mapping under `context`; {} where it is empty or missing."""
        node = context.get(key)
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
            return {}
        return self.mapping(node, f"'{key}'", None)

    def items(self, node: YamlNode, what: str) -> list[yaml.ScalarNode]:
        """The texts of a list that is not empty."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, f"{what} is {_kind(node)}, expected a list ('- \"...\"' lines)")
        if not node.value:
            raise self.error(node, f"{what} is an empty list")
        return [self.scalar(item, what) for item in node.value]

    def scalar(self, item: YamlNode, what: str) -> yaml.ScalarNode:
        """A text."""
        if not isinstance(item, yaml.ScalarNode):
            raise self.error(item, f"{what}: an entry is {_kind(item)}; put it in double quotes")
        return item
