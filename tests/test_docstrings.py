"""What docstrings promise: every argument that they explain is one that the function takes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|>>>)")
ENTRY = re.compile(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):")


def explained(docstring: str) -> list[str]:
    """Names of the section `Args`, in order."""
    lines = iter(docstring.splitlines())
    for line in lines:
        if line.strip() == "Args:":
            break
    names = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        if found := ENTRY.match(line):
            names += [name.lstrip("*") for name in found[1].split(", ")]
    return names


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    a = function.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return {one.arg for one in given}


def wrong(source: str) -> list[str]:
    """A line for each name that a docstring explains and the function does not take."""
    found = []
    for node in ast.walk(ast.parse(source)):
        takes = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            takes = parameters(node)
        elif isinstance(node, ast.ClassDef):  # its constructor, or its fields
            takes = {
                part.target.id
                for part in node.body
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            }
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    takes |= parameters(part)
        if takes is not None:
            names = explained(ast.get_docstring(node) or "")
            found += [f"{node.name}: {name}" for name in names if name not in takes]
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "atat").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_argument_that_is_explained_is_taken(path):
    assert wrong(path.read_text(encoding="utf-8")) == []


def test_a_wrong_name_shows():
    source = (
        'def f(a, *, c):\n    """One.\n\n    Args:\n        a, b: two.\n        c: three.\n    """'
    )
    assert wrong(source) == ["f: b"]
