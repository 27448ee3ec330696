#!/usr/bin/env python3
"""Pin, with hashes, what requirements.in asks for: requirements-*.lock.txt, by `uv pip compile`.

Versions that a lock file has already stay, as far as they fit; --upgrade takes the newest. What
tools/check_install.py excuses is left out, or taken in the version that fits the rest. Needs uv
(`pip install uv`) and the network; tools/install.sh then brings the environment to the lock.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import check_install

ROOT = check_install.ROOT
REQUIREMENTS = ROOT / "requirements.in"
# tools/install.sh installs torch by itself, in the build that fits the machine.
LEFT_OUT = {"torch"}
# The first patch release that all packages run on, where that is not the first of all.
PYTHON = {"3.11": "3.11.5"}


def name(requirement: str) -> str:
    """A package's name as the index writes it: "ci_sdr>=1" is ci-sdr."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def compile_lock(python: str, path: Path, upgrade: bool) -> None:
    """Write one lock file.

    Args:
        python: the lowest version of Python that the file is for, as 3.12.
        path: the lock file.
        upgrade: take the newest versions that fit.
    """
    lines = REQUIREMENTS.read_text("utf-8").splitlines()
    asked = {name(line): line for line in lines if re.match(r"\w", line)}
    unmet = {name(request.partition(": ")[2]) for request in check_install.UNMET[path.name]}
    with tempfile.TemporaryDirectory() as directory:
        excludes, overrides = Path(directory, "excludes"), Path(directory, "overrides")
        excludes.write_text("\n".join(sorted((unmet - asked.keys()) | LEFT_OUT)), "utf-8")
        # Asked for here as well: as it is here, whatever ESPnet's bounds are.
        overrides.write_text("\n".join(asked[one] for one in sorted(unmet & asked.keys())), "utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-annotate"]
        command += ["--python-version", PYTHON.get(python, python)]
        command += ["--excludes", excludes, "--overrides", overrides]
        command += ["--custom-compile-command", "tools/write_locks.py"]
        command += ["--output-file", path, *["--upgrade"] * upgrade, REQUIREMENTS]
        try:
            subprocess.run(command, cwd=ROOT, check=True)
        except FileNotFoundError:
            sys.exit("tools/write_locks.py: error: found no uv (pip install uv)")
        except subprocess.CalledProcessError as e:
            sys.exit(e.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    upgrade = parser.parse_args().upgrade
    first = {file: python for python, file in reversed(check_install.LOCKS.items())}
    for file, python in sorted(first.items()):
        compile_lock(python, ROOT / file, upgrade)
        print(f"written: {file}, {len(check_install.read_lock(ROOT / file))} packages")


if __name__ == "__main__":
    main()
