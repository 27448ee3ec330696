"""Tag nesting: which tags training's target sequences have directly inside which, and at the root.

Decoding that is constrained to well-formed sequences nests tags as training had them and in no
other way (atat/inference/constraints.py): a room has no artist in it.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from atat.common.advice import TRAIN_AGAIN, again
from atat.common.files import atomic_write
from atat.semantics.target_sequence import Node, parse

OUTSIDE = ""  # stands for what is around the outermost tag; no label is empty
FILE = "nesting.json"

Nesting = dict[str, list[str]]  # label -> labels directly inside it, sorted


def of(sequences: Iterable[str]) -> Nesting:
    """The tag nesting of target sequences.

    Raises:
        ValueError: one of them is not well formed.

    >>> of(["go( to( rome )to )go", "stop( now )stop"])
    {'': ['go', 'stop'], 'go': ['to'], 'stop': [], 'to': []}
    """
    inside: dict[str, set[str]] = {}

    def collect(outer: str, node: Node) -> None:
        inside.setdefault(outer, set()).add(node.label)
        inside.setdefault(node.label, set())
        for child in node.children:
            if isinstance(child, Node):
                collect(node.label, child)

    for sequence in sequences:
        collect(OUTSIDE, parse(sequence))
    return {label: sorted(inside[label]) for label in sorted(inside)}


def save(nesting: Nesting, exp: Path) -> None:
    """Write it into an experiment's directory."""
    with atomic_write(exp / FILE) as file:
        json.dump(nesting, file, indent=1)
        file.write("\n")


def load(exp: Path) -> Nesting | None:
    """That of an experiment; None where its training had no sequences, or did not keep it.

    Raises:
        ValueError: the file does not hold one.
    """
    path = exp / FILE
    if not path.is_file():
        return None
    try:
        nesting = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{path}: is not JSON ({e}); {again(exp, TRAIN_AGAIN)}") from e
    if not isinstance(nesting, dict) or not all(
        isinstance(labels, list) and all(isinstance(label, str) for label in labels)
        for labels in nesting.values()
    ):
        advice = again(exp, TRAIN_AGAIN)
        raise ValueError(f"{path}: expected lists of labels by label; {advice}")
    return nesting or None
