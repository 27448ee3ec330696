"""Within a job of Slurm: run its command, write down how it went, and be requeued.

A job is `utils/slurm_job.sh python -m atat.run_job ...`, as `atat/common/slurm.py` submits it. Its
log begins with the command and the time, and ends with the time and the exit code; what is between
is the command's. `NAME.exit` beside the log (`NAME_3.exit` of the third of an array) says to the
driver that it has ended, and how.

Slurm's warning that the time limit is near (SIGUSR1) goes to the command. When that has ended, the
job is requeued and runs the same command again, which goes on where it was; so is a job whose
command ends with AGAIN. After SIGTERM (the job is cancelled or preempted) Slurm decides that.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atat.common.array_job import VARIABLE
from atat.common.stages import AGAIN

PORTS = (20_000, 20_000)  # the first that processes of a job meet at, and how many there are


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: path of its log without `.log`, for all of an array.
        command: what it runs.
        tasks: processes that run it, which talk to each other as torchrun has them.
        cpus: of each.
        jobs: how many share the work; 1 where they do not.
        requeues: how often it may be requeued.
    """

    name: str
    command: Sequence[str]
    tasks: int = 1
    cpus: int = 1
    jobs: int = 1
    requeues: int = 0


def run(job: Job) -> int:
    """Run a job to its end; its exit code."""
    environment = dict(os.environ)
    task = environment.get("SLURM_ARRAY_TASK_ID") if job.jobs > 1 else None
    if task is not None:
        environment[VARIABLE] = f"{task}/{job.jobs}"
    number, start = environment.get("SLURM_RESTART_COUNT", "0"), time.monotonic()
    which = "" if task is None else f", {task} of {job.jobs}"
    _say(shlex.join(job.command))
    _say(
        f"job {environment.get('SLURM_JOB_ID')}{which} on {socket.gethostname()} "
        f"({environment.get('SLURM_JOB_NODELIST', 'no node')}), requeued {number} times; "
        f"started {_now()}"
    )
    command = job.command if job.tasks == 1 else _with_srun(job)
    code, signals = _attend(command, environment)
    _say(f"ended {_now()} after {time.monotonic() - start:.0f} s, exit code {code}")
    again = code == AGAIN or (signal.SIGUSR1 in signals and code != 0)
    can_again = signal.SIGTERM not in signals and int(number) < job.requeues
    if again and can_again and _requeue(environment):
        return AGAIN
    if signal.SIGTERM in signals and code != 0:
        return code  # Slurm ends this job, or requeues it: it is not for us to say that it is over
    _write(f"{job.name}{'' if task is None else f'_{task}'}.exit", f"{code}\n")
    return code


def rank_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What torchrun sets for a process, from what srun sets.

    The first process is on the node of the job's script, which is where srun was started.

    >>> slurm = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "4"}
    >>> slurm |= {"SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
    >>> slurm |= {"SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1", "SLURM_JOB_ID": "7"}
    >>> " ".join(f"{key}={value}" for key, value in rank_environment(slurm).items())
    'RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=20007'
    """
    first, count = PORTS
    return {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "WORLD_SIZE": environment["SLURM_NTASKS"],
        "LOCAL_WORLD_SIZE": _on_node(
            environment["SLURM_STEP_TASKS_PER_NODE"], int(environment["SLURM_NODEID"])
        ),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or environment["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": environment.get("MASTER_PORT")
        or str(first + int(environment["SLURM_JOB_ID"]) % count),
    }


def _on_node(counts: str, node: int) -> str:
    """Of Slurm's list of tasks by node, as 2(x3),1, the number of one node."""
    for part in counts.split(","):
        number, _, times = part.partition("(x")
        node -= int(times.rstrip(")")) if times else 1
        if node < 0:
            return number
    raise ValueError(f"SLURM_STEP_TASKS_PER_NODE: got '{counts}', expected a node more")


def _with_srun(job: Job) -> list[str]:
    options = [f"--ntasks={job.tasks}", f"--cpus-per-task={job.cpus}", "--mpi=none"]
    # One that fails ends the others, which would wait for it.
    rank = [sys.executable, "-m", "atat.run_job", "--rank", "true", "--"]
    return ["srun", *options, "--kill-on-bad-exit=1", *rank, *job.command]


def _attend(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, set[int]]:
    """Run a command, which gets the signals that come; its exit code, and which came."""
    signals: set[int] = set()
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: object) -> None:
        signals.add(number)
        if process is not None:
            process.send_signal(number)

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, forward)
    try:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(error, file=sys.stderr)
        return 127, signals
    for sent in tuple(signals):  # came before there was a process to forward it to
        process.send_signal(sent)
    code = process.wait()
    return (code if code >= 0 else 128 - code), signals


def _requeue(environment: Mapping[str, str]) -> bool:
    """Ask Slurm to run this job again; whether it will."""
    command = ["scontrol", "requeue", environment.get("SLURM_JOB_ID", "")]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    _say("requeued" if said.returncode == 0 else f"not requeued: {said.stderr.strip()}")
    return said.returncode == 0


def _write(path: str, text: str) -> None:
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def _say(text: str) -> None:
    print(f"# {text}", flush=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
