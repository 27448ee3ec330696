"""Stages as jobs of Slurm: submitted, waited for, cancelled with the run, found again after it.

`sbatch`, `squeue`, `scancel` and `scontrol` are all that is asked of Slurm, no accounting. That a
job has ended, and how, is in a file that the job itself writes (atat/common/slurm_job.py); Slurm's
queue says only that it has not. Logs are in EXPDIR/logs, which nodes must see as this machine does.

While a job is under way, EXPDIR/logs/.job says which. A run that finds it, since the one before was
killed, waits for that job if it would submit the same, and else cancels it first.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from atat.common.slurm_settings import SHARED, Resources
from atat.common.stage_processes import Attendant
from atat.common.stages import FAILED, UNDER_WAY, Step, Stop

SCRIPT = os.path.join("utils", "slurm_job.sh")
POLL_S = (0.2, 1.0)  # between looks at the files of jobs: at first, and at most
ASK_S = 10.0  # between questions to Slurm
GRACE_S = 20.0  # that files of a job that has left the queue may take to arrive (NFS)
LIMIT_S = 120.0  # for a cancelled job to end
LAUNCH_FAILED = "launch failed"  # of a reason: such a job is held until somebody releases it
NUM_LINES = 20  # of a failed job's log


@dataclass(frozen=True)
class Submission:
    """What is submitted.

    Attributes:
        name: path of the log without .log; its last part is the name of the job.
        command: that the job runs.
        jobs: how many share the work; 1 where it is not shared.
    """

    name: str
    command: tuple[str, ...]
    jobs: int

    def log(self, task: int | None = None) -> str:
        """The log of a job, or of all of an array."""
        number = "*" if task is None else str(task)
        return f"{self.name}_{number}.log" if self.jobs > 1 else f"{self.name}.log"

    def codes(self) -> dict[int, int]:
        """Exit codes of the jobs that have ended by themselves, by their number from 1."""
        found = {}
        for task in range(1, self.jobs + 1):
            path = f"{self.name}_{task}.exit" if self.jobs > 1 else f"{self.name}.exit"
            with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
                found[task] = int(file.read())
        return found

    def forget(self) -> None:
        """Remove the files of exit codes, which the logs say too."""
        for task in range(1, self.jobs + 1):
            for path in (f"{self.name}_{task}.exit", f"{self.name}.exit"):
                with suppress(OSError):
                    os.unlink(path)


class Slurm:
    """Runs the commands of steps as jobs.

    Args:
        resources: what jobs ask for, by name.
        attendant: says when this run is to end.
        root: the project's directory.
    """

    def __init__(self, resources: Mapping[str, Resources], attendant: Attendant, root: str) -> None:
        self._resources, self._attendant, self._root = resources, attendant, root
        self.ask_s, self.grace_s = ASK_S, GRACE_S

    def __call__(self, step: Step) -> int:
        """Run a step's command to its end; its exit code.

        Raises:
            Stop: a signal has come, and the job is cancelled; Slurm does not take the job.
        """
        asked = self._resources[name_of(step)]
        command = with_processes(step.command, asked.cpus)
        if asked.jobs > 1 and can_be_shared(step):
            code = self._run(step, command, asked)
            if code:
                return code
        return self._run(step, command, replace_jobs(asked))

    def _run(self, step: Step, command: Sequence[str], asked: Resources) -> int:
        path = os.path.join(step.part.expdir, *UNDER_WAY)
        logs = os.path.dirname(path)
        os.makedirs(logs, exist_ok=True)
        job = self._find(path, tuple(command), asked.jobs)
        if job is None:
            title = "_".join(filter(None, (name_of(step), step.experiment)))
            name = f"{title}.{time.strftime('%Y%m%d-%H%M%S')}.{os.getpid()}"
            if asked.jobs > 1:
                name += ".shares"
            job = Submission(os.path.join(os.path.abspath(logs), name), tuple(command), asked.jobs)
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                json.dump(asdict(job), file)
            os.replace(f"{path}.new", path)
            self._submit(job, asked)
        try:
            code = self._wait(job, asked)
        except Stop:
            self._cancel(job)
            _remove(path)
            raise
        _remove(path)
        job.forget()
        return code

    def _find(self, path: str, command: tuple[str, ...], jobs: int) -> Submission | None:
        """The job of a run that was killed, if it is what would be submitted now."""
        job = read_under_way(path)
        if job is None:
            return None
        if (job.command, job.jobs) != (command, jobs):
            self._cancel(job)
            _remove(path)
            return None
        if not _queue(job) and len(job.codes()) < job.jobs:
            return None  # never submitted, or gone
        print(f"  goes on waiting for {os.path.basename(job.name)}; log: {_shown(job.log())}")
        return job

    def _submit(self, job: Submission, asked: Resources) -> None:
        array = [f"--array=1-{job.jobs}"] if job.jobs > 1 else []
        log = job.name.replace("%", "%%") + ("_%a.log" if array else ".log")
        inner = {"name": job.name, "tasks": asked.tasks, "cpus": asked.cpus}
        inner |= {"jobs": job.jobs, "requeues": asked.requeues}
        _ask(
            *("sbatch", "--parsable", "--requeue", "--open-mode=append"),
            *(f"--job-name={os.path.basename(job.name)}", f"--output={log}"),
            *(*array, *asked.sbatch(), os.path.join(self._root, SCRIPT)),
            *(sys.executable, "-m", "atat.run_job"),
            *(f"--{key}={value}" for key, value in inner.items()),
            *("--", *job.command),
        )
        print(f"  {os.path.basename(job.name)} submitted; log: {_shown(job.log())}")

    def _wait(self, job: Submission, asked: Resources) -> int:
        """Wait until all have ended or one has failed; its exit code."""
        pause, seen_at, said = POLL_S[0], time.monotonic(), ""
        asked_at = seen_at - self.ask_s + 2.0  # not before it has had time to start
        while True:
            self._attendant.leave_if_told()
            codes = job.codes()
            for task, code in codes.items():
                if code:
                    self._cancel(job)
                    show_end(job.log(task))
                    return code
            if len(codes) == job.jobs:
                return 0
            now = time.monotonic()
            if now - asked_at >= self.ask_s:
                asked_at, states = now, _queue(job)
                if states is None or states:  # it is there, or Slurm gives no answer
                    seen_at = now
                if failed := [why for _, why in states or () if why.startswith(LAUNCH_FAILED)]:
                    self._cancel(job)
                    print(
                        f"  Slurm could not launch the job: {failed[0]}; the nodes' slurmd.log "
                        "says why",
                        file=sys.stderr,
                    )
                    return FAILED
                if states and (text := progress(states, len(codes), job.jobs)) != said:
                    said = text
                    print(f"  {text}")
            if now - seen_at > self.grace_s + self.ask_s:
                task = min(set(range(1, job.jobs + 1)) - codes.keys())
                show_end(job.log(task))
                print(f"  the job is gone and has not said why: {state(job)}", file=sys.stderr)
                return FAILED
            time.sleep(pause)
            pause = min(1.5 * pause, POLL_S[1])

    def _cancel(self, job: Submission) -> None:
        """Cancel a job, and wait until it has ended: it writes where the next run does."""
        if not _queue(job):
            return
        with suppress(Stop):
            _ask("scancel", f"--name={os.path.basename(job.name)}", *_mine())
        print(f"  {os.path.basename(job.name)} cancelled", flush=True)
        deadline = time.monotonic() + LIMIT_S
        while _queue(job) and time.monotonic() < deadline:
            time.sleep(POLL_S[1])


def name_of(step: Step) -> str:
    """What the settings call a step's job."""
    return "align" if step.kind == "align" else step.subject


def can_be_shared(step: Step) -> bool:
    """Whether several jobs can share a step's work; stage 1's only where speech is rendered."""
    name = name_of(step)
    if name != "prepare":
        return name in SHARED
    voices = [x for x in step.part.rest_of_lines("1 -") if x.startswith("data.voices=")]
    return bool(voices) and voices[0] != "data.voices={}"


def with_processes(command: Sequence[str], count: int) -> list[str]:
    """A command that takes as many processes (--nj) as its job has CPUs.

    >>> with_processes(["python", "--nj", "64", "key=value"], 2)
    ['python', '--nj', '2', 'key=value']
    """
    words = list(command)
    if "--nj" in words[:-1]:
        words[words.index("--nj") + 1] = str(count)
    return words


def replace_jobs(asked: Resources) -> Resources:
    """The same for one job that has all of the work."""
    return Resources(**{**asdict(asked), "jobs": 1})


def read_under_way(path: str) -> Submission | None:
    """The job that a file says to be under way; None where there is none, or no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return Submission(found["name"], tuple(found["command"]), found["jobs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def progress(states: Sequence[tuple[str, str]], num_done: int, num_jobs: int) -> str:
    """A line on jobs: how many have ended, run and wait, and for what.

    >>> progress([("RUNNING", "None"), ("PENDING", "Resources"), ("PENDING", "Resources")], 1, 4)
    '1 of 4 done, 1 running, 2 pending (Resources)'
    >>> progress([("RUNNING", "None")], 0, 1)
    'running'
    """
    counts = Counter(
        state.lower() + (f" ({reason})" if state == "PENDING" else "") for state, reason in states
    )
    if num_jobs == 1:
        return ", ".join(counts)
    parts = [f"{count} {state}" for state, count in counts.items()]
    return ", ".join([f"{num_done} of {num_jobs} done", *parts])


def show_end(path: str) -> None:
    """Show the last lines of a log, and where it is, on stderr."""
    with suppress(OSError):
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 100_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
        for line in lines[-NUM_LINES:]:
            print(f"  | {line}", file=sys.stderr)
    print(f"  log: {_shown(path)}", file=sys.stderr)


def state(job: Submission) -> str:
    """What Slurm says of a job that has left its queue, as far as it remembers."""
    with suppress(Stop):
        said = _ask("scontrol", "--oneliner", "show", "jobs")
        for line in said.splitlines():
            words = dict(word.partition("=")[::2] for word in line.split(" ") if "=" in word)
            if words.get("JobName") == os.path.basename(job.name):
                return f"{words.get('JobState')}, {words.get('Reason')}"
    return "Slurm does not remember it"


def _queue(job: Submission) -> list[tuple[str, str]] | None:
    """State and reason of every job that has not ended; None where Slurm gives no answer."""
    try:
        name = f"--name={os.path.basename(job.name)}"
        said = _ask("squeue", "--noheader", "--array", name, *_mine(), "--format=%T|%r")
    except Stop:
        return None
    pairs = (line.strip().partition("|")[::2] for line in said.splitlines())
    return [(state, reason) for state, reason in pairs if state]


def _mine() -> list[str]:
    return [f"--user={os.getuid()}"]


def _ask(*command: str) -> str:
    """Run a command of Slurm's; what it says.

    Raises:
        Stop: it fails, or is not there.
    """
    # Of a job that this run may itself be in, what would become the new one's options.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_") or k == "SLURM_CONF"}
    try:
        done = subprocess.run(
            command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            start_new_session=True,  # Ctrl-C is for this run, which then cancels the job
        )  # fmt: skip
    except OSError as error:
        raise Stop(FAILED, f"--cmd slurm: {command[0]}: {error.strerror}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Stop(FAILED, f"{command[0]} failed (exit code {done.returncode}): {said}")
    return done.stdout


def _shown(path: str) -> str:
    """A path as short as it can be said."""
    return min(path, os.path.relpath(path), key=len)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
