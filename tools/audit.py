#!/usr/bin/env python3
"""Ask whether vulnerabilities of the locked packages are known, by pip-audit where it is there.

`pip install pip-audit`, and the network: it asks PyPI about each package. Exit code 1 where
something is known; where nobody could be asked, one line says "not checked", and the code is 0.
"""

import json
import subprocess
import sys

import check_install

COMMAND = ("-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off")


def found(output: str) -> list[str]:
    """A line for each vulnerability in what pip-audit says as JSON.

    Raises:
        ValueError: it is something else.

    >>> found('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", '
    ...       '"fix_versions": ["2"]}]}, {"name": "b", "version": "1", "vulns": []}]}')
    ['a 1: PYSEC-1 (mended in 2)']
    """
    lines = []
    for package in json.loads(output)["dependencies"]:
        for one in package.get("vulns", ()):
            mended = ", ".join(one.get("fix_versions") or ()) or "no version yet"
            lines.append(
                f"{package['name']} {package['version']}: {one['id']} (mended in {mended})"
            )
    return lines


def main() -> None:
    path = check_install.lock()
    command = [sys.executable, *COMMAND, "--format", "json", "--requirement", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        lines = found(done.stdout)
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"not checked: {said[:200]} (needs pip-audit and an index that answers)")
        return
    for line in lines:
        print(line)
    print(f"{path.name}: {len(lines)} known vulnerabilities")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
