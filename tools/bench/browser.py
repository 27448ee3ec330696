#!/usr/bin/env python3
"""Whether a model answers in the browser as in Python, and how fast.

Writes the page of an exported model (`atat.web`), opens it in Chromium, and gives each recording of
a Kaldi directory to the page and to Python, one after the other, for one best and for three. Prints
a table of equal answers, differences of scores, seconds an utterance and megabytes.

  OMP_NUM_THREADS=1 tools/bench/browser.py --model model/ --data egs/commands/data/test --num 50
"""

import base64
import contextlib
import functools
import http.server
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atat import SpeechToSemantics
from atat.common import cli, provenance
from atat.data import kaldi_dir
from atat.serving import static_site

COMPARED = ("intent", "slots", "semantics", "accepted", "spoken_slots")
LOAD = """async () => {
  const { InBrowser } = await import(new URL("browser/in-browser.js", location));
  const start = performance.now();
  window.model = new InBrowser(new URL("model/", location).href, () => {});
  await window.model.about();
  return (performance.now() - start) / 1000;
}"""
UNDERSTAND = """async ([file, nbest]) => {
  const bytes = Uint8Array.from(atob(file), (c) => c.charCodeAt(0));
  return window.model.understandFile(new File([bytes], "recording"), nbest);
}"""


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of a directory, on a plain web server that runs until the block ends."""
    handler = functools.partial(_Files, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def compare(page: Any, model: SpeechToSemantics, paths: list[Path], nbest: int) -> list[str]:
    """Cells of a row of the table."""
    same = same_nbest = 0
    differences, seconds = [0.0], []
    for path in paths:
        got = page.evaluate(UNDERSTAND, [base64.b64encode(path.read_bytes()).decode(), nbest])
        expected = model(path, nbest=nbest).to_dict()
        same += all(got[key] == expected[key] for key in COMPARED)
        readings = [[r["semantics"] for r in one["nbest"]] for one in (got, expected)]
        same_nbest += readings[0] == readings[1]
        if got["score"] is not None and expected["score"] is not None:
            differences.append(abs(got["score"] - expected["score"]))
        seconds.append((got["seconds"], expected["seconds"], got["duration_s"]))
    browser, python, durations = np.array(seconds).T
    return [
        str(nbest),
        f"{same} of {len(paths)}",
        f"{same_nbest} of {len(paths)}",
        f"{max(differences):.4f}",
        *(
            cell
            for s in (browser, python)
            for cell in (
                f"{np.median(s):.3f} ({np.percentile(s, 95):.3f})",
                f"{s.sum() / durations.sum():.3f}",
            )
        ),
    ]


def main() -> None:
    """Compare, from the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="an exported model")
    add("--data", type=Path, required=True, metavar="DIR", help="a Kaldi directory with wav.scp")
    add("--num", type=cli.positive_int, default=50, help="recordings, spread over the directory")
    add("--onnxruntime_web", type=Path, metavar="DIR", help="its files; default: npm fetches them")
    add("--chromium", default="chromium", help="the browser")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    paths = [Path(path) for path in kaldi_dir.read(args.data).wav_scp.values()]
    paths = paths[:: max(len(paths) // args.num, 1)][: args.num]
    model = SpeechToSemantics.load(args.model)
    for path in paths[:3]:  # warm
        model(path)
    head = ["n best", "equal", "n best equal", "largest difference of scores, nats"]
    head += [f"{who}: {what}" for who in ("browser", "Python") for what in ("s (p95)", "RTF")]
    rows = [head, ["---"] * len(head)]
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        site = Path(temporary) / "site"
        print(static_site.write(args.model, site, args.onnxruntime_web), end="\n\n")
        browser = playwright.chromium.launch(
            executable_path=shutil.which(args.chromium), args=["--no-sandbox", "--disable-gpu"]
        )
        with served(site) as address:
            page = browser.new_page()
            page.goto(address)
            load_s = page.evaluate(LOAD)
            rows += [compare(page, model, paths, nbest) for nbest in (1, 3)]
        version = browser.version
        browser.close()
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    about = provenance.environment(seed=0)
    print(
        f"\n{len(paths)} recordings; seconds an utterance are medians. Chromium {version}, loaded "
        f"in {load_s:.1f} s; one thread each of {about['num_cpus']} processors ({about['cpu']}), "
        f"at a load of {os.getloadavg()[0]:.1f}; commit {about['commit']}."
    )


if __name__ == "__main__":
    cli.run(main)
