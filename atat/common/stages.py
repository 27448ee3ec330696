"""Which stages of a recipe are due, and what their markers say; stage_runner.py runs them.

A stage is one command. Its marker `.done.N` is written when the stage has succeeded, and holds what
it depended on: its settings, as `atat.inputs` says them, and when the stages that it builds on were
done. Without an order (--stage), a stage whose marker says what it would say now is not run again.
Stages 1 to 3 (data) are shared by all experiments.

While a stage runs there is `.begun.N`, which says what it depends on; with it, no marker from N on
counts. A stage that ends with exit code 2 and has changed no file leaves all markers. What is
trained is not made anew with other settings, or because anything else has changed, but with
--overwrite true.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from atat.common import stage_files

NUM_STAGES = 7
DATA_STAGES = (1, 2, 3)  # of a part of the corpus, not of an experiment
FAILED, MISTAKE, MISSING = 1, 2, 3  # exit codes
UNDER_WAY = ("logs", ".job")  # of --cmd slurm, in the directory of experiments
AGAIN = 75  # of a command that was told to stop and goes on when it is run again (EX_TEMPFAIL)


class Stop(Exception):
    """The run ends here, with an exit code; the message is "" where a command has said why."""

    def __init__(self, code: int, message: str = "") -> None:
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
        """Whether a stage is among those that are asked for."""
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

    def rest_of_lines(self, key: str) -> list[str]:
        """The rest of the lines that begin with two words.

        >>> Part("data", "dump", "exp", ("4 atat seed=1", "4 e2e seed=1")).rest_of_lines("4 e2e")
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
        """The directory of the experiment."""
        return os.path.join(self.part.expdir, self.experiment)

    @property
    def place(self) -> str:
        """The directory of the markers."""
        return self.part.data if self.number in DATA_STAGES else self.exp

    @property
    def begun(self) -> str:
        """The marker that is there while the stage runs."""
        return stage_files.begun(self.place, self.number)

    @property
    def done(self) -> str:
        """The marker of a step that has succeeded."""
        return stage_files.done(self.place, self._name)

    @property
    def listed(self) -> str:
        """The list of what a step that has succeeded has left."""
        return stage_files.listed(self.place, self._name)

    @property
    def _name(self) -> int | str:
        return self.subject if self.kind == "examine" else self.number


# What a stage depends on


def depends_on(step: Step) -> list[str]:
    """Lines: the settings of a stage, and the runs that it builds on, as far as they are done."""
    part, name, number = step.part, step.experiment or "-", step.number
    lines = part.rest_of_lines(f"{number} {name}")
    if step.kind == "examine":
        return part.rest_of_lines(f"5 {name}") + _run_of(step.exp, 4)
    if number in (2, 3, 5, 6):
        lines += _run_of(step.place, number - 1)
    elif number == 4:
        lines += _run_of(part.data, 3)
        for line in part.rest_of_lines(f"4 {name}")[:1]:
            key, _, start = line.partition("=")
            lines += _run_of(os.path.join(part.expdir, start), 4) if key == "init_from" else []
        for other in sorted({line.split(" ")[0] for line in part.rest_of_lines(f"align {name}")}):
            lines += _run_of(os.path.join(part.expdir, other), 4)
    return lines


def first_changed_input(old: Sequence[str], new: Sequence[str], of_settings: bool = False) -> str:
    """The first thing that a stage depends on now and did not when it was done, or that it does not
    any more; "" if all is the same.

    Args:
        old: lines of `depends_on` from when it was done.
        new: those of now.
        of_settings: leave out the runs that it builds on.

    >>> first_changed_input(["seed=1", "stage 2 (data) finished today"], ["seed=2"])
    'seed=2'
    >>> first_changed_input(["seed=1", "stage 2 (data) finished today"], ["seed=1"])
    'no stage 2 (data) finished today'
    >>> first_changed_input(['grammar="c33f81bdf186080c"'], ['grammar="5b0f9d0d1c5a4b1e"'])
    'the grammar differs'
    """
    if of_settings:
        old, new = ([x for x in lines if not x.startswith("stage ")] for lines in (old, new))
    added, removed = Counter(new) - Counter(old), Counter(old) - Counter(new)
    changed = next(iter([*added, *(f"no {line}" for line in removed)]), "")
    return "the grammar differs" if changed.startswith("grammar=") else changed


def read_done(path: str) -> list[str] | None:
    """What a marker says that its stage depended on; None where there is none."""
    lines = stage_files.read_lines(path)
    return None if lines is None else lines[1:]  # the first says when


def drop(step: Step) -> None:
    """Remove the markers of a stage and of all that follow it (from data: every experiment's)."""
    places = [step.place]
    if step.number in DATA_STAGES:
        places += stage_files.subdirectories(step.part.expdir)
    for place in places:
        for number in range(step.number, NUM_STAGES):
            stage_files.remove(stage_files.done(place, number))
            stage_files.remove(stage_files.listed(place, number))


def _run_of(directory: str, number: int) -> list[str]:
    """When a stage was done, as a line; none where it is not."""
    lines = stage_files.read_lines(stage_files.done(directory, number))
    if lines is None or os.path.exists(stage_files.begun(directory, number)):
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
    changed = first_changed_input(done or (), depends_on(step))
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
        if number == 1 and not os.path.exists(step.begun) and stage_files.has_split(part.data):
            return f"not run; the splits in {part.data} are used as they are"
        raise _missing(step, order, "is not done")
    # Features that --clean has removed can be made again with the same settings only.
    is_read = (order.stage or 1) <= 5 and order.stop_stage >= 4
    if number == 2 and is_read and not os.path.isdir(part.dump):
        other = first_changed_input(done, depends_on(step), of_settings=True)
        if other:
            raise _missing(step, order, f"is wanted anew, since now {other}")
    return f"used as it is, though now {changed}" if changed else ""


def _missing(step: Step, order: Order, what: str) -> Stop:
    command = f"{order.command} --stage {step.number}"
    return Stop(MISSING, f"stage {order.stage} needs {step.title}, which {what}; run:\n  {command}")


def _protect(step: Step, order: Order, done: list[str] | None, changed: str) -> None:
    """Stop where a stage would replace what is trained, or what that was trained on, though nobody
    has asked for it: by --stage or --resume false with the same settings, or --overwrite true."""
    exps = [step.exp]
    if step.number in DATA_STAGES:
        exps = stage_files.subdirectories(step.part.expdir)
    trained = [exp for exp in exps if stage_files.has_model(exp)]
    if order.overwrite or not trained:
        return
    why = "" if done is None else first_changed_input(done, depends_on(step), of_settings=True)
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
        if order.stage is not None or stage_files.damage(step.listed):
            return True
        return stage_files.read_lines(step.done) != depends_on(step)
    other, split = step.subject.split(" ", 1)
    ctm = os.path.join(step.part.data, split, "ctm")
    found, trained = f"{ctm}.by", stage_files.done(os.path.join(step.part.expdir, other), 4)
    # One that came with the corpus has nothing beside it that says who found it.
    return not os.path.exists(ctm) or stage_files.is_newer(trained, found)
