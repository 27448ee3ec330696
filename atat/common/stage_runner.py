"""Running the stages of a recipe that are due, and making again what is damaged of the others.

What is made again of a stage that is done is what it was: its marker stays, and with it what was
made of that. The files of stage 1 may have been changed by hand, so only those that are lost or
empty are made again.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence

from atat.common import stage_files
from atat.common.stage_files import Damage
from atat.common.stages import (
    AGAIN,
    DATA_STAGES,
    FAILED,
    MISTAKE,
    NUM_STAGES,
    Order,
    Part,
    Step,
    Stop,
    depends_on,
    drop,
    is_wanted,
    judge,
)

RESTORE = "atat.restore"  # puts back what a training has left


class Runner:
    """Runs the steps of a list.

    Args:
        order: what was asked for.
        attend: runs a command and gives its exit code.
        submit: does that for the command of a step, on a cluster; None: `attend` does. What takes a
            moment, the report and what is put back, stays with `attend`.
    """

    def __init__(
        self,
        order: Order,
        attend: Callable[[Sequence[str]], int],
        submit: Callable[[Step], int] | None = None,
    ) -> None:
        self._order, self._attend = order, attend
        self._run = submit or (lambda step: attend(step.command))
        self._edited: list[Step] = []  # stage 1, where its files are used though they are others
        self._used: list[Step] = []  # decoded or scored, of these, in this run

    def run(self, steps: Sequence[Step]) -> None:
        """Run what is due, after a look at all stages: what stands in the way of one shows before
        any is run.

        Raises:
            Stop: a stage failed or cannot be run.
        """
        self._fill = {step.part.dump: step for step in steps if step.number == 2}
        for step in steps:
            if step.kind == "stage" and step.number <= min(NUM_STAGES - 1, self._order.stop_stage):
                if had_ended(step) and self._order.stage is None:
                    drop(step)
                    _finish(step, depends_on(step))
                    print(f"{step.title}: it had ended when its run was killed")
                if stage_files.mend_marker(step.done, step.listed):
                    print(f"{step.title}: {step.done} was damaged and is put back")
                if not judge(step, self._order).is_due:
                    self._refuse_changed_data(step)
        try:
            for step in steps:
                self._step(step)
        except Stop as stop:
            if stop.code == MISTAKE:
                self._forget_used()
            elif self._used:
                self._accept_edited()
            raise
        self._accept_edited()

    def _step(self, step: Step) -> None:
        if step.kind != "stage":
            self._beside(step)
        elif step.number < NUM_STAGES and step.number <= self._order.stop_stage:
            self._stage(step)
        elif step.number <= self._order.stop_stage:  # the report is written at every run
            print(f"== {step.title}")
            self._check(step, self._attend(step.command))

    def _stage(self, step: Step) -> None:
        started, verdict = time.monotonic(), judge(step, self._order)
        is_due, message = verdict.is_due, verdict.message
        found = [] if is_due else damage(step)
        if found and step.number in (5, 6) and self._order.stage is None:
            is_due, message = True, f"again, since {found[0]}"
        elif found:
            message = ""
        if message:
            print(f"{step.title}: {message}")
        if not is_due:
            if found:
                self._mend(step, found)
            return
        wanted = depends_on(step)
        if step.number in (4, 5):
            self._fill_dump(step.part)
        print(f"== {step.title}")
        os.makedirs(step.place, exist_ok=True)
        is_first = not os.path.exists(step.begun)
        # A stage that ends halfway has left something, but not all.
        stage_files.write_lines(step.begun, wanted)
        before = _files(step)
        code = self._run(step)
        if code == MISTAKE and _files(step) == before:
            if is_first:
                stage_files.remove(step.begun)
            if os.path.isdir(step.place) and not os.listdir(step.place):  # made for this stage
                os.rmdir(step.place)
        else:
            drop(step)
        self._check(step, code)
        _finish(step, wanted)
        if step.number > 4 and self._edited:
            self._used.append(step)
        else:
            self._accept_edited()
        print(f"{step.title}: done in {time.monotonic() - started:.0f} s")

    def _beside(self, step: Step) -> None:
        if not is_wanted(step, self._order):
            return
        wanted = depends_on(step)
        self._fill_dump(step.part)
        print(f"== {step.title}")
        before = dict(stage_files.changes(step.exp))
        self._or_stop(step)
        if step.kind == "examine":
            if stage_files.read_lines(step.done) != wanted:
                stage_files.write_lines(step.done, wanted)
            now = stage_files.changes(step.exp)
            left = [path for path, when in now if before.get(path) != when]
            ours = [path for path in left if not os.path.basename(path).startswith(".")]
            if ours or stage_files.damage(step.listed):
                stage_files.keep_list(step.listed, ours, wanted)

    # What is damaged

    def _refuse_changed_data(self, step: Step) -> None:
        """Stop where files of stage 1 have been changed and nobody has said that they be used."""
        if step.number != 1 or self._order.stage is not None:
            return
        for file in damage(step):
            if not file.is_lost:
                again = self._order.command
                raise Stop(
                    MISTAKE,
                    f"{file}; to have it made again, remove it and run the same command; to use "
                    f"it as it is: {again} --stage 2 --overwrite true",
                )

    def _mend(self, step: Step, found: Sequence[Damage]) -> None:
        """Make again what is damaged of a stage that is done, or say what would."""
        if step.number == 1 and not all(file.is_lost for file in found):
            print(f"{step.title}: used as it is, though {found[0]}")
            self._edited.append(step)
        elif step.number in DATA_STAGES:
            self._make_again(step, found)
        elif step.number == 4:
            self._restore(step, found)
        else:
            again = f"{self._order.command} --stage {step.number}"
            raise Stop(MISTAKE, f"{found[0]}; to have it made again, run:\n  {again}")

    def _accept_edited(self) -> None:
        """From now on, data that somebody has edited are what stage 1 has left. Not before a stage
        has used them: one that refuses them changes nothing. Features, a tokenizer and a model are
        made of them at once; what is decoded and scored may still be refused at the next stage."""
        while self._edited:
            step = self._edited.pop()
            _keep_list(step, stage_files.read_lines(step.done) or [])

    def _forget_used(self) -> None:
        """Edited data are refused: what this run has decoded and scored of them is not done."""
        if self._edited:
            for step in self._used:
                drop(step)

    def _make_again(self, step: Step, found: Sequence[Damage]) -> None:
        print(f"== {step.title}: made again, since {found[0]}")
        self._or_stop(step)
        other = [file for file in damage(step) if os.path.basename(file.path) != stage_files.TIMED]
        if other:  # what was made of it does not hold
            wanted = depends_on(step)
            drop(step)
            _finish(step, wanted)
            print(f"{step.title}: it is not what it was: {other[0]}")
        else:
            _keep_list(step, stage_files.read_lines(step.done) or [])

    def _restore(self, step: Step, found: Sequence[Damage]) -> None:
        print(f"== {step.title}: put back, since {found[0]}")
        code = self._attend((*step.command[:2], RESTORE, "--exp", step.exp))
        if code == MISTAKE or (code == 0 and damage(step)):
            again = f"{self._order.command} --stage 4 --overwrite true"
            raise Stop(MISTAKE, f"{found[0]}; to train it anew, run:\n  {again}")
        self._check(step, code)

    def _fill_dump(self, part: Part) -> None:
        """Make features that --clean has removed, and nothing else: what was made of them holds."""
        if not os.path.isdir(part.dump):
            step = self._fill[part.dump]
            print(f"== stage 2 features: made again, since {part.dump} was removed")
            self._or_stop(step)
            if os.path.exists(step.listed):
                _keep_list(step, stage_files.read_lines(step.done) or [])

    def _or_stop(self, step: Step) -> None:
        code = self._run(step)
        if code:
            raise Stop(code)

    def _check(self, step: Step, code: int) -> None:
        again = "the same command goes on from there"
        if code == 128 + signal.SIGINT:
            raise Stop(code, f"{step.title} stopped; {again}")
        if code == AGAIN:
            raise Stop(AGAIN, f"{step.title} was told to stop; {again}")
        if code:
            message = f"{step.title} failed (exit code {code}); {again}"
            raise Stop(MISTAKE) if code == MISTAKE else Stop(FAILED, message)


def had_ended(step: Step) -> bool:
    """Whether a training came to its end, which is when it writes its model, with what it depends
    on now, and the run that was to write the marker did not live so long."""
    if step.number != 4 or stage_files.read_lines(step.begun) != depends_on(step):
        return False
    return stage_files.is_newer(os.path.join(step.exp, stage_files.MODELS[0]), step.begun)


def damage(step: Step) -> list[Damage]:
    """The files of a stage that are not as it has left them."""
    if step.number == 2 and not os.path.isdir(step.part.dump):
        return []  # --clean has removed them all
    if step.number not in (5, 6):
        return stage_files.damage(step.listed)
    # Stage 6 adds to files of stage 5: it has the last word of what they are.
    decoded, scored = (stage_files.listed(step.place, number) for number in (5, 6))
    if step.number == 5:
        later = stage_files.names_in(scored)
        ours = [f for f in stage_files.damage(decoded) if _name(step, f) not in later]
        earlier = stage_files.names_in(decoded)
        return ours + [f for f in stage_files.damage(scored) if _name(step, f) in earlier]
    earlier = stage_files.names_in(decoded)
    return [f for f in stage_files.damage(scored) if _name(step, f) not in earlier]


def _name(step: Step, file: Damage) -> str:
    return os.path.relpath(file.path, step.place)


def _finish(step: Step, wanted: Sequence[str]) -> None:
    """Write the marker of a stage that has succeeded, and the list of its files."""
    when = time.time_ns()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when // 10**9))
    marker = [f"finished {seconds}.{when % 10**9:09d}Z", *wanted]
    _keep_list(step, marker)
    stage_files.write_lines(step.done, marker)
    stage_files.remove(step.begun)


def _keep_list(step: Step, marker: Sequence[str]) -> None:
    part = step.part
    outputs = stage_files.outputs(step.number, part.data, part.dump, step.exp)
    stage_files.keep_list(step.listed, outputs, marker)


def _files(step: Step) -> list[tuple[str, int]]:
    """Files that a stage may change, and when each was changed."""
    part = step.part
    return stage_files.changes(*([step.exp] if step.number > 3 else [part.data, part.dump]))
