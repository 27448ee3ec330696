"""Runs the page's JavaScript in node, on values from Python."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import atat.serving

SOURCE = Path(atat.serving.__file__).parent / "browser"
TIMEOUT_S = 120
RUN = """
const { readFileSync } = await import("node:fs");
const data = JSON.parse(readFileSync(0, "utf8"));
const floats = (list) => Float32Array.from(list, (x) => x ?? -Infinity);
const plain = (key, x) => (ArrayBuffer.isView(x) ? [...x] : x === -Infinity ? null : x);
console.log(JSON.stringify(await (async () => { %s })(), plain));
"""


def javascript(directory: Path, body: str, data: Any) -> Any:
    """What a piece of code returns; None stands for -infinity, either way.

    Args:
        directory: for a copy of the modules, which code imports as "./name.js".
        body: of an async function that has `data`, and `floats`, which makes a Float32Array of a
            list.
        data: plain values.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here (apt-get install nodejs)")
    if not (directory / "package.json").is_file():
        shutil.copytree(SOURCE, directory, dirs_exist_ok=True)
        (directory / "package.json").write_text('{"type": "module"}')  # as a browser reads them
    (directory / "test.js").write_text(RUN % body, encoding="utf-8")
    run = subprocess.run(
        [node, "test.js"],
        cwd=directory,
        input=json.dumps(data),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
