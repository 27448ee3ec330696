"""One command for all: `atat parse --exp DIR a.wav` is `python -m atat.parse --exp DIR a.wav`.

VERB --help has the options of each. A recipe (./run.sh) needs the repository.
"""

import ast
import re
import runpy
import sys
from pathlib import Path

import atat
from atat.common import cli

HERE = Path(__file__).parent
PLUMBING = ("inputs", "run_job", "run_stages")  # asked by the driver of recipes


def verbs() -> dict[str, str]:
    """Verb -> the first line of its docstring; no module is imported for it."""
    paths = sorted(HERE.glob("[!_]*.py"))
    return {path.stem: _first_line(path) for path in paths if path.stem not in PLUMBING}


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def main() -> None:
    """Run the verb that the command line names."""
    arguments = sys.argv[1:]
    verb = arguments[0].replace("-", "_") if arguments else ""
    if re.fullmatch("[a-z][a-z_]*", verb) and (HERE / f"{verb}.py").is_file():
        cli.through_console = True
        sys.argv[1:] = arguments[1:]
        runpy.run_module(f"atat.{verb}", run_name="__main__", alter_sys=True)
        return
    known = verbs()
    if arguments[:1] in (["-h"], ["--help"]):
        width = max(map(len, known))
        lines = [f"  {name:{width}}  {about}" for name, about in known.items()]
        print(f"usage: atat VERB ...\n\n{atat.__doc__}\n\n" + "\n".join(lines))
        print("\n" + (__doc__ or "").partition("\n\n")[2].strip())
        return
    if arguments[:1] == ["--version"]:
        print(f"atat {atat.__version__}")
        return
    from atat.common.nearest_name import nearest

    got = f"'{arguments[0]}'" if arguments else "none"
    near = nearest(verb, known)
    hint = f"; did you mean {near}?" if near else ""
    message = f"got {got}, expected a verb{hint} (atat --help lists them)"
    print(f"atat: error: {message}", file=sys.stderr)
    sys.exit(cli.USAGE)


if __name__ == "__main__":
    main()
