#!/usr/bin/env python3
"""Write conf/base.yaml, the reference of all settings, from atat/config/schema.py.

tests/config/test_validation.py fails where the file is not what this writes.
"""

import dataclasses
import textwrap
from typing import Any, get_args

import yaml

from atat.common import cli
from atat.common.files import atomic_write
from atat.config import schema
from atat.config.config_file import BASE

WIDTH = 100
COLUMN = 32  # where the meanings start
HEADER = """\
# Every setting, once, with its unit, meaning and range: the reference manual. A recipe's
# conf/recipe.yaml says only what differs; experiments (tables.yaml) and key=value on the command
# line say what differs from that. `null` is "not used".
#
# Written by tools/write_settings.py from atat/config/schema.py; change it there.
"""


def reference() -> str:
    """The text of conf/base.yaml."""
    lines = HEADER.splitlines()
    for part in dataclasses.fields(schema.Config):
        lines.append("")
        if dataclasses.is_dataclass(part.type):
            lines.append(f"{part.name}:".ljust(COLUMN) + f"# {part.type.__doc__}")
            for one in dataclasses.fields(part.type):
                lines += _setting(one)
        else:
            lines += _setting(part, indent="")
    return "\n".join(lines) + "\n"


def _setting(one: dataclasses.Field, indent: str = "  ") -> list[str]:
    """The line of a setting, and those that its meaning goes on in."""
    is_plain = one.default_factory is dataclasses.MISSING
    value = _yaml(one.default if is_plain else one.default_factory())
    lines = _commented(f"{indent}{one.name}: {value}", _meaning(one))
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
    with atomic_write(BASE) as file:
        file.write(reference())
    print(f"written: {BASE}")


if __name__ == "__main__":
    cli.run(main)
