"""Fuzz every parser that reads what a stranger may give: files, model directories, requests.

Valid inputs are changed in a few places and parsed, each within 5 s of CPU time and 1 GiB, by
processes that may neither write elsewhere, nor start a program, nor use the network. What is no
documented error is a crash, and saved with the command that repeats it: exit code 1.
"""

import contextlib
import json
import mmap
import os
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from atat.common import cli
from atat.common.files import atomic_write
from atat.common.provenance import commit
from atat.common.text_table import align
from tools.fuzz import sandbox, toy_model
from tools.fuzz.parsers import ROOT, TARGETS, Parser, Prepared, load_all
from tools.fuzz.sandbox import Sandbox, Tally

BLOCK = 500  # inputs between two reports
STILL_S = 60.0  # without a new input, before a worker is killed
# Of a worker: the input that it parses; accepted and refused ones since its last report.
PROGRESS = struct.Struct("<qqq")


def arguments() -> cli.Parser:
    """The options of the command."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--parsers", default="", help="names, separated by commas; all of them where none is given")
    add("--num", type=cli.positive_int, default=100_000, help="inputs of each parser")
    add("--seed", type=int, default=1)
    add("--jobs", type=cli.positive_int, default=2, help="processes at once")
    add("--out", type=Path, default=Path("build/fuzz"), metavar="DIR", help="counts and crashes")
    add("--again", action="store_true", help="begin anew; else a run goes on where it ended")
    add("--models", type=Path, metavar="DIR", help="of tools.fuzz.toy_model; made if not there")
    add("--repeat", type=Path, metavar="FILE", help="parse a saved input, and show its traceback")
    add(
        "--shrink",
        action="store_true",
        help="with --repeat: find a shorter input that does the same",
    )
    add("--list", action="store_true", help="name the parsers")
    add("--quick", action="store_true", help="all of it in one process, and nothing kept")
    add("--targets", default=",".join(TARGETS), help="modules that register parsers")
    add("--worker", help="used by the command itself: NAME START")
    return parser


def main() -> None:
    """Fuzz, or repeat one input."""
    args = arguments().parse_args()
    parsers = load_all(args.targets.split(","))
    chosen = [name for name in args.parsers.split(",") if name] or list(parsers)
    if unknown := [name for name in chosen if name not in parsers]:
        raise ValueError(f"--parsers: got '{unknown[0]}', expected some of {', '.join(parsers)}")
    if args.list:
        for name, parser in parsers.items():
            print(f"{name:24}{(parser.prepare.__doc__ or '').strip()}")
        return
    if args.worker is not None:
        name, start = args.worker.split()
        work(parsers[name], args.seed, int(start), args.num)
        return
    if args.targets == ",".join(TARGETS):
        toy_model.ensure((args.models or args.out / "models").resolve())
    if args.quick:
        sys.exit(quick([parsers[name] for name in chosen], args.seed, args.num))
    elif args.repeat is not None:
        repeat(parsers, args.repeat, args.shrink)
    else:
        sys.exit(fuzz(chosen, args))


def fuzz(names: list[str], args: Any) -> int:
    """Fuzz parsers; the exit code."""
    args.out.mkdir(parents=True, exist_ok=True)
    runs = {name: Run(name, args) for name in names}
    start = time.monotonic()

    def go_on(name: str) -> None:
        runs[name].go_on()
        print(f"{runs[name].line()}  ({time.monotonic() - start:.0f} s)", file=sys.stderr)

    with ThreadPoolExecutor(args.jobs) as pool:
        waiting = [pool.submit(go_on, name) for name in names]
    for one in waiting:
        one.result()
    print(table({name: run.tally for name, run in runs.items()}))
    print(f"seed {args.seed}, commit {commit()}")
    for run in runs.values():
        for key, count in run.tally.crashes.items():
            file = shlex.quote(run.files[key])
            print(f"{run.name}: {count} x {key}: python -m tools.fuzz --repeat {file}")
    return 1 if any(run.tally.crashes for run in runs.values()) else 0


def quick(parsers: list[Parser], seed: int, num: int) -> int:
    """Fuzz parsers in this process, which a crash of a library ends; the exit code."""
    tallies = {parser.name: Tally() for parser in parsers}
    with working_directory() as root:
        ready = {parser.name: accepted(parser, root / parser.name) for parser in parsers}
        box = Sandbox(root)
        box.bound_memory()
        for parser in parsers:
            for index in range(num):
                data = sandbox.drawn(parser, ready[parser.name], seed, index)
                with silent():
                    outcome = box.run(parser, ready[parser.name], data)
                tallies[parser.name].add(outcome)
    print(table(tallies))
    for name, tally in tallies.items():
        for key, count in tally.crashes.items():
            print(f"{name}: {count} x {key}")
    return 1 if any(tally.crashes for tally in tallies.values()) else 0


def table(tallies: dict[str, Tally]) -> str:
    """What came of each parser's inputs."""
    rows = [["parser", "inputs", "accepted", "refused", "slowest (s)", "memory (MiB)", "crashes"]]
    for name, one in tallies.items():
        counts = [f"{number:,}" for number in (one.inputs, one.accepted, one.refused)]
        rows.append(
            [name, *counts, f"{one.slowest_s:.2f}", f"{one.peak_mib:.0f}", str(one.crashes.total())]
        )
    return align(rows)


class Run:
    """One parser's inputs, by one process after another."""

    def __init__(self, name: str, args: Any) -> None:
        self.name, self.args = name, args
        self.state = args.out / f"{name}.json"
        self.crash_dir = args.out / "crashes"
        self.tally, self.files = Tally(), dict[str, str]()  # of each crash, the shortest input
        if not args.again and self.state.is_file():
            content = json.loads(self.state.read_text())
            if content["seed"] == args.seed:
                known = content["tally"]
                self.tally = Tally(**known | {"crashes": Counter(known["crashes"])})
                self.files = content["files"]

    def line(self) -> str:
        """What came of it."""
        one = self.tally
        return f"{self.name}: {one.inputs:,} inputs, {one.crashes.total()} crashes"

    def go_on(self) -> None:
        """Until all inputs are done; a worker that dies has found a crash."""
        while self.tally.inputs < self.args.num:
            before = self.tally.inputs
            died_at, how = self._worker()
            if how is not None:
                self._crash(how, "process", died_at, None)
            elif self.tally.inputs == before:
                raise RuntimeError(f"{self.name}: the worker ends without a word")
            self._save()

    def _worker(self) -> tuple[int, str | None]:
        """One process: at which input it died, and how; None if it did not."""
        with tempfile.NamedTemporaryFile() as shared:
            shared.write(PROGRESS.pack(-1, 0, 0))
            shared.flush()
            command = [sys.executable, "-m", "tools.fuzz", "--worker"]
            command += [f"{self.name} {self.tally.inputs}", "--num", str(self.args.num)]
            command += ["--seed", str(self.args.seed), "--targets", self.args.targets]
            environment = os.environ | {"ATAT_FUZZ_PROGRESS": shared.name, "OMP_NUM_THREADS": "1"}
            environment |= {"HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0"}
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
            )
            assert process.stdout is not None and process.stderr is not None
            watch = threading.Thread(target=self._watch, args=(process, shared.name), daemon=True)
            watch.start()
            for line in process.stdout:
                self._told(json.loads(line))
            said = process.stderr.read().decode(errors="replace")
            code = process.wait()
            with open(shared.name, "rb") as file:
                at, accepted, refused = PROGRESS.unpack(file.read(PROGRESS.size))
        if code == 0:
            return at, None
        if at < 0 or code > 0:
            raise RuntimeError(f"{self.name}: the worker failed:\n{said[-3000:]}")
        self.tally.inputs = at + 1
        self.tally.accepted += accepted
        self.tally.refused += refused
        how = "no new input" if code == -signal.SIGKILL else signal.Signals(-code).name
        return at, f"killed: {how} for {STILL_S:g} s" if code == -signal.SIGKILL else how

    def _watch(self, process: subprocess.Popen[bytes], shared: str) -> None:
        """Kill a worker that stands still."""
        last, since = None, time.monotonic()
        while process.poll() is None:
            with contextlib.suppress(FileNotFoundError), open(shared, "rb") as file:
                now = file.read(PROGRESS.size)
                if now != last:
                    last, since = now, time.monotonic()
                elif time.monotonic() - since > STILL_S:
                    process.kill()
            time.sleep(0.5)

    def _told(self, what: dict[str, Any]) -> None:
        """Take what a worker says: a crash, or the counts of a block."""
        if "crash" in what:
            self._crash(what["crash"], what["place"], what["index"], bytes.fromhex(what["data"]))
            return
        one = self.tally
        one.inputs += what["inputs"]
        one.accepted += what["accepted"]
        one.refused += what["refused"]
        one.slowest_s = max(one.slowest_s, what["slowest_s"])
        one.peak_mib = max(one.peak_mib, what["peak_mib"])
        self._save()

    def _crash(self, error: str, place: str, index: int, data: bytes | None) -> None:
        key = f"{error} at {place}"
        self.tally.crashes[key] += 1
        if data is None:
            data = self._regenerated(index)
        known = self.files.get(key)
        if known is None or len(data) < Path(known).stat().st_size:
            path = self.crash_dir / f"{self.name}-{self.args.seed}-{index}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.files[key] = str(path)
            if known is not None:
                Path(known).unlink()

    def _regenerated(self, index: int) -> bytes:
        """The input that killed a worker."""
        parser = load_all(self.args.targets.split(","))[self.name]
        with tempfile.TemporaryDirectory() as directory:
            return sandbox.drawn(parser, parser.prepare(Path(directory)), self.args.seed, index)

    def _save(self) -> None:
        content = {"seed": self.args.seed, "tally": self.tally.to_dict()}
        content["files"] = self.files
        with atomic_write(self.state) as file:
            file.write(json.dumps(content, indent=1) + "\n")


def accepted(parser: Parser, directory: Path) -> Prepared:
    """A parser that has read its seeds.

    Raises:
        RuntimeError: a seed is refused: nothing that comes of it would get far.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = parser.prepare(directory)
    for number, seed in enumerate(found.seeds):
        try:
            found.parse(seed)
        except Exception as error:
            raise RuntimeError(f"{parser.name}: seed {number} is refused: {error}") from error
    return found


def prepared(parser: Parser, directory: Path) -> tuple[Sandbox, Prepared]:
    """A parser that has read its seeds, and the sandbox for all else."""
    found = accepted(parser, directory)
    box = Sandbox(directory)
    box.bound_memory()
    return box, found


@contextlib.contextmanager
def silent() -> Any:
    """Without what readers print."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def work(parser: Parser, seed: int, start: int, end: int) -> None:
    """The worker: parse inputs by their numbers, and tell what came of them on standard output."""
    tell = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    with open(os.environ["ATAT_FUZZ_PROGRESS"], "r+b") as file, working_directory() as directory:
        progress = mmap.mmap(file.fileno(), PROGRESS.size)
        box, ready = prepared(parser, directory)
        tally = Tally()
        for index in range(start, end):
            progress[:] = PROGRESS.pack(index, tally.accepted, tally.refused)
            data = sandbox.drawn(parser, ready, seed, index)
            with silent():
                outcome = box.run(parser, ready, data)
            tally.add(outcome)
            if outcome.kind == "crash":
                about = {"crash": outcome.error, "place": outcome.place, "index": index}
                tell.write(json.dumps(about | {"data": data.hex()}) + "\n")
            if tally.inputs == BLOCK or index + 1 == end:
                tell.write(json.dumps(tally.to_dict()) + "\n")
                tally = Tally()
        tell.flush()


@contextlib.contextmanager
def working_directory() -> Any:
    """In memory where there is a place for it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="atat-fuzz-", dir=memory) as directory:
        yield Path(directory)


def repeat(parsers: dict[str, Parser], path: Path, shrink: bool) -> None:
    """Parse a saved input again; its traceback is what is wanted."""
    parser = parsers[path.name.partition("-")[0]]
    data = path.read_bytes()
    with working_directory() as directory:
        if shrink:
            box, ready = prepared(parser, directory)
            first = box.run(parser, ready, data)

            def still(shorter: bytes) -> bool:
                outcome = box.run(parser, ready, shorter)
                return (outcome.kind, outcome.error, outcome.place) == (
                    first.kind,
                    first.error,
                    first.place,
                )

            print(f"{first}\n{sandbox.shrunk(data, still)!r}")
            return
        parser.prepare(directory).parse(data)
        print("accepted")


if __name__ == "__main__":
    cli.run(main)
