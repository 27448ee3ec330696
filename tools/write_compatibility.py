#!/usr/bin/env python3
"""Write docs/compatibility.md, what is tested to be supported, from the marks on the tests.

A test that shows how a kind of input is treated has the mark `supports(area, what, how)`
(CONTRIBUTING.md, "Conventions"). Only the test files that use it are collected; no test is run.
tests/test_docs.py fails where the page is not what this writes.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

import pytest

from atat.common import cli
from atat.common.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
AREAS = (
    "Audio files",
    "Python inputs",
    "Kaldi files",
    "Corpora",
    "Grammars",
    "Text",
    "Versions",
)
HEADER = """\
# What is supported

Each line is shown by a test of this repository. What is not here may work, but nothing says so.

<!-- Written by tools/write_compatibility.py from the tests' marks `supports`; change it there. -->
"""

Row = tuple[str, str]  # what, how it is treated


class Marks:
    """A plugin of pytest that notes the marks of the collected tests."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[Row, list[str]]] = {area: {} for area in AREAS}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """pytest's hook, after all tests are known."""
        for item in session.items:
            for mark in item.iter_markers("supports"):
                area, *row = mark.args if len(mark.args) == 3 else (None,)
                if area not in AREAS:
                    raise pytest.UsageError(
                        f"{item.nodeid}: got supports{mark.args!r}, expected an area "
                        f"({', '.join(AREAS)}), what, and how it is treated"
                    )
                name = item.nodeid.partition("[")[0]
                tests = self.tests[area].setdefault((row[0], row[1]), [])
                if name not in tests:
                    tests.append(name)


def collect(root: Path = ROOT) -> dict[str, dict[Row, list[str]]]:
    """The marked tests (`path::name`) by area and row.

    Raises:
        ValueError: a mark with other arguments, or a test file that cannot be collected.
    """
    marked = [
        str(path)
        for path in sorted((root / "tests").rglob("test_*.py"))
        if "mark.supports(" in path.read_text("utf-8")
    ]
    options = ["--collect-only", "--quiet", "-p", "no:cacheprovider", f"--rootdir={root}"]
    marks, said = Marks(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main([*options, *marked], plugins=[marks])
    if code != pytest.ExitCode.OK:
        raise ValueError(f"the tests were not collected: {said.getvalue().strip()[-2000:]}")
    return marks.tests


def page(tests: dict[str, dict[Row, list[str]]]) -> str:
    """The text of the page: a table for each area that has a row."""
    lines = HEADER.splitlines()
    for area, rows in tests.items():
        if rows:
            lines += [
                "",
                f"## {area}",
                "",
                "| what | how it is treated | shown by |",
                "|---|---|---|",
            ]
        for (what, how), names in sorted(rows.items(), key=lambda row: row[0][0].lower()):
            shown = "; ".join(map(_link, names))
            lines.append(f"| {_cell(what)} | {_cell(how)} | {shown} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.rpartition('::')[2]}](../{path})"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: docs/)")
    output = parser.parse_args().output
    os.chdir(ROOT)
    text = page(collect())
    with atomic_write(output) as file:
        file.write(text)
    print(f"written: {output}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
