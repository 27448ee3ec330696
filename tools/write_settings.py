#!/usr/bin/env python3
"""Write conf/base.yaml and docs/settings.md, the reference of all settings, from the schema.

That is atat/config/schema.py. tests/config/test_validation.py fails where a file is not what this
writes.
"""

import dataclasses
import textwrap
from collections.abc import Iterable
from typing import Any, get_args

import yaml

from atat.common import cli
from atat.common.files import atomic_write
from atat.config import config_file, schema

PAGE = config_file.ROOT / "docs" / "settings.md"
WIDTH = 100
COLUMN = 32  # where the meanings start
HEADER = """\
# Every setting, once, with its unit, meaning and range: the reference manual. A recipe's
# conf/recipe.yaml says only what differs; experiments (tables.yaml) and key=value on the command
# line say what differs from that. `null` is "not used".
#
# Written by tools/write_settings.py from atat/config/schema.py; change it there.
"""


PAGE_HEADER = """\
# Settings

Each with its default; `null` is "not used". [How to change them](recordings.md#settings); the same
as a file to copy from: [conf/base.yaml](../conf/base.yaml).

<!-- Written by tools/write_settings.py from atat/config/schema.py; change it there. -->
"""


def reference() -> str:
    """The text of conf/base.yaml."""
    lines = HEADER.splitlines()
    for part in dataclasses.fields(schema.Config):
        lines.append("")
        if dataclasses.is_dataclass(part.type):
            lines += _commented(f"{part.name}:", str(part.type.__doc__))
            for one in dataclasses.fields(part.type):
                lines += _setting(one)
        else:
            lines += _setting(part, indent="")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The text of docs/settings.md: a table for each part of the settings."""
    lines = PAGE_HEADER.splitlines()
    parts = dataclasses.fields(schema.Config)
    alone = [part for part in parts if not dataclasses.is_dataclass(part.type)]
    lines += ["", "## Of all stages", "", *_table(alone)]
    for part in parts:
        if dataclasses.is_dataclass(part.type):
            lines += ["", f"## {part.name}", "", str(part.type.__doc__), ""]
            lines += _table(dataclasses.fields(part.type))
    return "\n".join(lines) + "\n"


def _table(settings: Iterable[dataclasses.Field]) -> list[str]:
    lines = ["| setting | default | meaning | values |", "|---|---|---|---|"]
    for one in settings:
        lines.append(_row(f"`{one.name}`", one))
        for inner in get_args(one.type):  # of a list or mapping of settings
            for part in dataclasses.fields(inner) if dataclasses.is_dataclass(inner) else ():
                lines.append(_row(f"`{one.name}`: `{part.name}`", part))
    return lines


def _row(name: str, one: dataclasses.Field) -> str:
    expected = one.metadata.get("expected")
    default = _default(one)
    cells = [name, "none, it must be given" if default is None else f"`{default}`"]
    cells.append(one.metadata.get("meaning", "its name"))
    cells.append(expected.said if expected is not None else "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(one: dataclasses.Field) -> str | None:
    """In YAML; None where there is none."""
    if one.default_factory is not dataclasses.MISSING:
        return _yaml(one.default_factory())
    return None if one.default is dataclasses.MISSING else _yaml(one.default)


def _setting(one: dataclasses.Field, indent: str = "  ") -> list[str]:
    """The line of a setting, and those that its meaning goes on in."""
    lines = _commented(f"{indent}{one.name}: {_default(one)}", _meaning(one))
    for inner in get_args(one.type):  # of a list or mapping of settings
        for part in dataclasses.fields(inner) if dataclasses.is_dataclass(inner) else ():
            lines += _commented("", f"  {part.name}: {_meaning(part)}", hanging="    ")
    return lines


def _commented(start: str, comment: str, hanging: str = "") -> list[str]:
    wrapped = textwrap.wrap(comment, WIDTH - COLUMN - 2, subsequent_indent=hanging)
    starts = [start.ljust(COLUMN - 1) + " ", *[" " * COLUMN] * len(wrapped)]
    return [f"{first}# {line}" for first, line in zip(starts, wrapped, strict=False)]


def _meaning(one: dataclasses.Field) -> str:
    meaning = one.metadata.get("meaning", "its name")
    expected = one.metadata.get("expected")
    if expected is None or expected.said.startswith(("one of", "some of", "any of")):
        return meaning
    return f"{meaning}; {expected.said}"


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def main() -> None:
    cli.parser(__doc__).parse_args()
    for path, text in ((config_file.BASE, reference()), (PAGE, page())):
        with atomic_write(path) as file:
            file.write(text)
        print(f"written: {path}")


if __name__ == "__main__":
    cli.run(main)
