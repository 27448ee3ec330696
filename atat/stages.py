"""Which stages of a recipe are due, what their markers say, and running those that are.

A stage is one command. Its marker `.done.N` is written when the stage has succeeded, and holds what
it depended on: its settings, as `atat.inputs` says them, and when the stages that it builds on were
done. Without an order (--stage), a stage whose marker says what it would say now is not run again.
Stages 1 to 3 (data) are shared by all experiments.

While a stage runs there is `.begun.N`; with it, no marker from N on counts. A stage that ends with
exit code 2 and has changed no file leaves all markers. What is trained (model.pth) is not made
anew with other settings, or because anything else has changed, but with --overwrite true.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

NUM_STAGES = 7
DATA_STAGES = (1, 2, 3)  # of a part of the corpus, not of an experiment
FAILED, MISTAKE, MISSING = 1, 2, 3  # exit codes


class Stop(Exception):
    """The run ends here, with an exit code; the message is "" where a command has said why."""

    def __init__(self, code: int, message: str = ""):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Order:
    """What this run was asked for."""

    stage: int | None = None  # the first that is run, done or not; None: those that are due
    stop_stage: int = NUM_STAGES
    overwrite: bool = False
    resume: bool = True
    command: str = "./run.sh"  # quoted, without what is of one run

    def has(self, number: int) -> bool:
        return (self.stage or 1) <= number <= self.stop_stage


@dataclass(frozen=True)
class Part:
    """The directories of a corpus, or of one part of it, and what its stages depend on.

    Attributes:
        inputs: lines of `atat.inputs`.
    """

    data: str
    dump: str
    expdir: str
    inputs: tuple[str, ...] = ()

    def said(self, key: str) -> list[str]:
        """The rest of the lines that begin with two words.

        >>> Part("data", "dump", "exp", ("4 atat seed=1", "4 e2e seed=1")).said("4 e2e")
        ['seed=1']
        """
        return list(self._by_words.get(key, ()))

    @cached_property
    def _by_words(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in self.inputs:
            first, second, *rest = [*line.split(" ", 2), ""][:3]
            found.setdefault(f"{first} {second}", []).append("".join(rest))
        return found


@dataclass(frozen=True)
class Step:
    """One command of the list, and what it is about."""

    kind: str  # stage, examine or align
    number: int
    experiment: str  # "" for stages that all share
    subject: str
    title: str
    command: tuple[str, ...]
    part: Part

    @property
    def exp(self) -> str:
        return os.path.join(self.part.expdir, self.experiment)

    @property
    def place(self) -> str:
        """The directory of the markers."""
        return self.part.data if self.number in DATA_STAGES else self.exp

    @property
    def begun(self) -> str:
        return _begun(self.place, self.number)

    @property
    def done(self) -> str:
        name = self.subject if self.kind == "examine" else self.number
        return _done(self.place, name)


# What a stage depends on


def depends_on(step: Step) -> list[str]:
    """Lines: the settings of a stage, and the runs that it builds on, as far as they are done."""
    part, name, number = step.part, step.experiment or "-", step.number
    lines = part.said(f"{number} {name}")
    if step.kind == "examine":
        return part.said(f"5 {name}") + _run_of(step.exp, 4)
    if number in (2, 3, 5, 6):
        lines += _run_of(step.place, number - 1)
    elif number == 4:
        lines += _run_of(part.data, 3)
        for line in part.said(f"4 {name}")[:1]:
            key, _, start = line.partition("=")
            lines += _run_of(os.path.join(part.expdir, start), 4) if key == "init_from" else []
        for other in sorted({line.split(" ")[0] for line in part.said(f"align {name}")}):
            lines += _run_of(os.path.join(part.expdir, other), 4)
    return lines


def news(old: Sequence[str], new: Sequence[str], of_settings: bool = False) -> str:
    """The first thing that a stage depends on now and did not when it was done, or that it does not
    any more; "" if all is the same.

    Args:
        of_settings: leave out the runs that it builds on.

    >>> news(["seed=1", "stage 2 (data) finished today"], ["seed=2"])
    'seed=2'
    >>> news(["seed=1", "stage 2 (data) finished today"], ["seed=1"])
    'no stage 2 (data) finished today'
    """
    if of_settings:
        old, new = ([x for x in lines if not x.startswith("stage ")] for lines in (old, new))
    added, removed = Counter(new) - Counter(old), Counter(old) - Counter(new)
    return next(iter([*added, *(f"no {line}" for line in removed)]), "")


def read_done(path: str) -> list[str] | None:
    """What a marker says that its stage depended on; None where there is none."""
    lines = _read(path)
    return None if lines is None else lines[1:]  # the first says when


def drop(step: Step) -> None:
    """Remove the markers of a stage and of all that follow it (from data: every experiment's)."""
    for number in range(step.number, NUM_STAGES):
        _remove(_done(step.place, number))
        if step.number in DATA_STAGES:
            for exp in _directories(step.part.expdir):
                _remove(_done(exp, number))


def _run_of(directory: str, number: int) -> list[str]:
    """When a stage was done, as a line; none where it is not."""
    lines = _read(_done(directory, number))
    if lines is None or os.path.exists(_begun(directory, number)):
        return []
    return [f"stage {number} ({os.path.basename(directory)}) {''.join(lines[:1])}"]


# What is to be done


@dataclass(frozen=True)
class Verdict:
    """Whether a stage is run, and what is said of that."""

    is_due: bool
    message: str = ""


def judge(step: Step, order: Order) -> Verdict:
    """Whether a stage (1 to 6) is due. Markers that a killed stage has left are removed.

    Raises:
        Stop: an earlier stage is missing, or the stage would replace what is trained.
    """
    if os.path.exists(step.begun):
        drop(step)
    done = read_done(step.done)
    changed = news(done or (), depends_on(step))
    if step.number < (order.stage or 1):
        return Verdict(False, _use(step, order, done, changed))
    message = ""
    if done is not None and order.stage is None:
        if not changed:
            return Verdict(False, f"done already ({step.done})")
        message = f"again, since now {changed}"
    if step.number <= 4:
        _protect(step, order, done, changed)
    return Verdict(True, message)


def _use(step: Step, order: Order, done: list[str] | None, changed: str) -> str:
    """What is said of an earlier stage than was ordered, whose results are used as they are."""
    number, part = step.number, step.part
    if done is None:
        if number == 1 and not os.path.exists(step.begun) and _has_split(part.data):
            return f"not run; the splits in {part.data} are used as they are"
        raise _missing(step, order, "is not done")
    # Features that --clean has removed can be made again with the same settings only.
    if number == 2 and order.stage <= 5 and order.stop_stage >= 4 and not os.path.isdir(part.dump):
        other = news(done, depends_on(step), of_settings=True)
        if other:
            raise _missing(step, order, f"is wanted with {other}")
    return f"used as it is, though now {changed}" if changed else ""


def _missing(step: Step, order: Order, what: str) -> Stop:
    command = f"{order.command} --stage {step.number}"
    return Stop(MISSING, f"stage {order.stage} needs {step.title}, which {what}; run:\n  {command}")


def _protect(step: Step, order: Order, done: list[str] | None, changed: str) -> None:
    """Stop where a stage would replace what is trained, or what that was trained on, though nobody
    has asked for it: by --stage or --resume false with the same settings, or --overwrite true."""
    exps = _directories(step.part.expdir) if step.number in DATA_STAGES else [step.exp]
    trained = [exp for exp in exps if os.path.isfile(os.path.join(exp, "model.pth"))]
    if order.overwrite or not trained:
        return
    why = "" if done is None else news(done, depends_on(step), of_settings=True)
    if not why:
        if order.stage is not None or not order.resume:
            return
        why = f"{step.title} is to be run anew" if done is None else changed
    again = order.command + (f" --stage {order.stage}" if order.stage else "")
    raise Stop(
        MISTAKE,
        f"{trained[0]} is trained, and now {why}; give another --expdir, or to train it anew: "
        f"{again} --overwrite true",
    )


def is_wanted(step: Step, order: Order) -> bool:
    """Whether what is no stage is run: the examination or alignment of a model."""
    if not order.has(step.number):
        return False
    if step.kind == "examine":
        return order.stage is not None or _read(step.done) != depends_on(step)
    other, split = step.subject.split(" ", 1)
    ctm = os.path.join(step.part.data, split, "ctm")
    found, trained = f"{ctm}.by", _done(os.path.join(step.part.expdir, other), 4)
    # One that came with the corpus has nothing beside it that says who found it.
    return not os.path.exists(ctm) or _is_newer(trained, found)


# Running


class Runner:
    """Runs the steps of a list.

    Args:
        order: what was asked for.
        attend: runs a command and gives its exit code.
    """

    def __init__(self, order: Order, attend: Callable[[Sequence[str]], int]):
        self._order, self._attend = order, attend

    def run(self, steps: Sequence[Step]) -> None:
        """Run what is due, after a look at all stages: what stands in the way of one shows before
        any is run.

        Raises:
            Stop: a stage failed or cannot be run.
        """
        self._fill = {step.part.dump: step for step in steps if step.number == 2}
        for step in steps:
            if step.kind == "stage" and step.number <= min(NUM_STAGES - 1, self._order.stop_stage):
                judge(step, self._order)
        for step in steps:
            if step.kind != "stage":
                self._beside(step)
            elif step.number > self._order.stop_stage:
                continue
            elif step.number < NUM_STAGES:
                self._stage(step)
            else:  # the report is written at every run
                print(f"== {step.title}")
                self._check(step, self._attend(step.command))

    def _stage(self, step: Step) -> None:
        started, verdict = time.monotonic(), judge(step, self._order)
        if verdict.message:
            print(f"{step.title}: {verdict.message}")
        if not verdict.is_due:
            return
        wanted = depends_on(step)
        if step.number in (4, 5):
            self._fill_dump(step.part)
        print(f"== {step.title}")
        os.makedirs(step.place, exist_ok=True)
        is_first = not os.path.exists(step.begun)
        # A stage that ends halfway has left something, but not all.
        with open(step.begun, "w"):
            pass
        before = _files(step)
        code = self._attend(step.command)
        if code == MISTAKE and _files(step) == before:
            if is_first:
                _remove(step.begun)
            if os.path.isdir(step.place) and not os.listdir(step.place):  # made for this stage
                os.rmdir(step.place)
        else:
            drop(step)
        self._check(step, code)
        when = time.time_ns()
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when // 10**9))
        _write(step.done, [f"finished {seconds}.{when % 10**9:09d}Z", *wanted])
        _remove(step.begun)
        print(f"{step.title}: done in {time.monotonic() - started:.0f} s")

    def _beside(self, step: Step) -> None:
        if not is_wanted(step, self._order):
            return
        wanted = depends_on(step)
        self._fill_dump(step.part)
        print(f"== {step.title}")
        self._or_stop(step.command)
        if step.kind == "examine":
            _write(step.done, wanted)

    def _fill_dump(self, part: Part) -> None:
        """Make features that --clean has removed, and nothing else: what was made of them holds."""
        if not os.path.isdir(part.dump):
            print(f"== stage 2 features: made again, since {part.dump} was removed")
            self._or_stop(self._fill[part.dump].command)

    def _or_stop(self, command: Sequence[str]) -> None:
        code = self._attend(command)
        if code:
            raise Stop(code)

    def _check(self, step: Step, code: int) -> None:
        again = "the same command goes on from there"
        if code == 128 + signal.SIGINT:
            raise Stop(code, f"{step.title} stopped; {again}")
        if code:
            message = f"{step.title} failed (exit code {code}); {again}"
            raise Stop(MISTAKE) if code == MISTAKE else Stop(FAILED, message)


# Files


def _files(step: Step) -> list[tuple[str, int]]:
    """Files that a stage may change, and when each was changed."""
    places = [step.exp] if step.number > 3 else [step.part.data, step.part.dump]
    return sorted(file for place in places for file in _walk(place))


def _walk(directory: str) -> Iterator[tuple[str, int]]:
    if not os.path.isdir(directory):
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, entry.stat().st_mtime_ns


def _has_split(data: str) -> bool:
    """Whether there is a split, which somebody may have written by hand."""
    return any(
        os.path.exists(os.path.join(split, name))
        for split in _directories(data)
        for name in ("wav.scp", "text")
    )


def _directories(directory: str) -> list[str]:
    """The directories in a directory."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    paths = [os.path.join(directory, name) for name in names if not name.startswith(".")]
    return [path for path in paths if os.path.isdir(path)]


def _is_newer(path: str, other: str) -> bool:
    if not (os.path.exists(path) and os.path.exists(other)):
        return False
    return os.stat(path).st_mtime_ns > os.stat(other).st_mtime_ns


def _done(directory: str, number: int | str) -> str:
    return os.path.join(directory, f".done.{number}")


def _begun(directory: str, number: int) -> str:
    return os.path.join(directory, f".begun.{number}")


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _read(path: str) -> list[str] | None:
    """The lines of a marker but empty ones; None where there is none."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return [line for line in file.read().split("\n") if line]


def _write(path: str, lines: Sequence[str]) -> None:
    with open(f"{path}.new", "wb") as file:
        file.write(os.fsencode("".join(f"{line}\n" for line in lines)))
    os.replace(f"{path}.new", path)
