"""Something that takes jobs: Slurm itself on this machine, where it is installed, or a stand-in.

The stand-in is sbatch, squeue, scancel and scontrol as far as atat/common/slurm.py asks: a job is a
process that starts at once, in a session of its own.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

STAND_IN = f"""#!{sys.executable} -IS
import json, os, pathlib, signal, subprocess, sys, time
here = pathlib.Path(__file__).parent
jobs = here / "jobs"
name, *words = pathlib.Path(sys.argv[0]).name, *sys.argv[1:]
options, rest = {{}}, []
for number, word in enumerate(words):
    if not word.startswith("-"):
        rest = words[number:]
        break
    key, _, value = word.removeprefix("--").partition("=")
    options[key] = value

def alive(job):
    stat = pathlib.Path("/proc", str(job["pid"]), "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

def read():
    return [json.loads(path.read_text()) for path in sorted(jobs.glob("*.json"))]

def start(job, restarts):
    env = dict(os.environ, SLURM_JOB_ID=job["id"], SLURM_RESTART_COUNT=str(restarts))
    env["SLURM_JOB_NODELIST"] = "here"
    if job["task"]:
        env["SLURM_ARRAY_TASK_ID"] = str(job["task"])
    with open(job["log"], "ab") as log:
        process = subprocess.Popen(job["command"], stdout=log, stderr=log, env=env,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    job.update(pid=process.pid, restarts=restarts)
    (jobs / f"{{job['id']}}.json").write_text(json.dumps(job))

with open(here / "calls", "a") as file:
    print(json.dumps([name, *words]), file=file)
if name == "sbatch":
    if (here / "refuse").exists():
        sys.exit("sbatch: error: Batch job submission failed: Invalid account")
    jobs.mkdir(exist_ok=True)
    last = int(options["array"].split("-")[1]) if "array" in options else 1
    for task in range(1, last + 1):
        log = options["output"].replace("%%", "%").replace("%a", str(task))
        job = dict(id=str(len(read()) + 1), name=options["job-name"], log=log, command=rest)
        start(job | dict(task=task if "array" in options else 0), 0)
    print(len(read()))
elif name == "squeue":
    for job in read():
        if job["name"] == options["name"] and alive(job):
            print("RUNNING|None")
elif name == "scancel":
    for job in read():
        if job["name"] == options["name"] and alive(job):
            os.killpg(job["pid"], signal.SIGTERM)
elif rest[:1] == ["requeue"]:
    for job in read():
        if job["id"] == rest[1]:
            start(job, job["restarts"] + 1)
"""


def load_tool():
    """tools/slurm_cluster.py as a module."""
    spec = importlib.util.spec_from_file_location("cluster", ROOT / "tools" / "slurm_cluster.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class StandIn:
    """Slurm's commands in a directory of their own, first in PATH."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()
        for name in ("sbatch", "squeue", "scancel", "scontrol"):
            (root / name).write_text(STAND_IN)
            (root / name).chmod(0o755)
        self.environment = {"PATH": f"{root}{os.pathsep}{os.environ['PATH']}"}

    def warn(self, name: str) -> None:
        """As Slurm warns of the time limit: SIGUSR1 to the job's own process alone."""
        for path in (self.root / "jobs").glob("*.json"):
            job = json.loads(path.read_text())
            if job["name"] == name:
                os.kill(job["pid"], signal.SIGUSR1)


class Cluster:
    """Slurm itself, which ends with this process, however that ends."""

    def __init__(self, num_nodes: int = 2):
        # The paths of its sockets must be short, which pytest's directories are not.
        self._directory = tempfile.TemporaryDirectory(prefix="slurm")
        root = Path(self._directory.name)
        tool = ROOT / "tools" / "slurm_cluster.py"
        command = [sys.executable, tool, "start", root, "--nodes", num_nodes, "--hold"]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen(list(map(str, command)), text=True, **pipes)
        if not self._process.stdout.readline():
            raise AssertionError(self._process.communicate()[1])
        self.environment = {"SLURM_CONF": str(root / "slurm.conf")}

    def run(self, *command: str) -> str:
        env = os.environ | self.environment
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    def warn(self, name: str) -> None:
        (id_,) = self.run("squeue", "--noheader", f"--name={name}", "--format=%A").split()
        self.run("scancel", "--batch", "--signal=USR1", id_)

    def stop(self) -> None:
        _, err = self._process.communicate()
        self._directory.cleanup()
        assert self._process.returncode == 0, err
