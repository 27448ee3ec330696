#!/usr/bin/env python3
"""Start, stop or show a Slurm cluster of several nodes on this machine, over the loopback device.

For trying `./run.sh --cmd slurm` and for its test, with Debian's slurm-wlm and munge
(`tools/install.sh --slurm` installs them): no systemd, no database, nothing outside DIR. Every node
is a slurmd of its own with as many CPUs as it is told to have, whatever the machine has. Jobs are
those of the user who starts it, root or not.

  tools/slurm_cluster.py start DIR [--nodes 2] [--cpus 2] [--hold]
  export SLURM_CONF=DIR/slurm.conf        what start prints; sbatch, squeue, srun then find it
  tools/slurm_cluster.py status DIR
  tools/slurm_cluster.py stop DIR         its jobs too; logs stay in DIR

Exit codes: 0 all well, 1 a daemon did not start or end, 2 a mistake in what was given.
"""

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

# A socket's path has at most 107 bytes; the longest here is that of a step of a job.
MAX_ROOT = 107 - len("/spool-node99/node99_9999999.4294967291")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
LIMIT_S = 30  # for a daemon to start or to end
DAEMONS = ("slurmctld", "slurmd-*", "munged")  # in the order in which they end

# proctrack/linuxproc and task/none: cgroups are not asked for, so a container does. The rest makes
# it quick: no accounting, a job that is requeued starts 5 s later (cred_expire; 120 s otherwise).
CONFIG = """\
ClusterName=loopback
SlurmctldHost={host}({address})
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=600
MessageTimeout=60
SlurmdTimeout=300
{bound}
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("start", "stop", "status"))
    parser.add_argument("root", type=Path, metavar="DIR", help="of its files")
    parser.add_argument("--nodes", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--cpus", type=int, default=2, help="that a node says it has (default: 2)")
    parser.add_argument(
        "--hold", action="store_true", help="stay until standard input ends, then stop the cluster"
    )
    args = parser.parse_args()
    if not 1 <= args.nodes <= 64 or args.cpus < 1:
        parser.error(f"got --nodes {args.nodes} --cpus {args.cpus}, expected 1 to 64 and 1 or more")
    root = args.root.resolve()
    if args.what == "start":
        code = start(root, args.nodes, args.cpus)
        if code == 0 and args.hold:
            sys.stdin.buffer.read()
            code = stop(root)
        return code
    if not (root / "slurm.conf").is_file():
        parser.error(f"{root}: no cluster was started there")
    return stop(root) if args.what == "stop" else status(root)


def missing() -> list[str]:
    """Programs of Slurm and munge that are not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def start(root: Path, num_nodes: int, num_cpus: int) -> int:
    if lacking := missing():
        return _say(f"needs {', '.join(lacking)}: apt-get install slurm-wlm munge", 2)
    if running(root):
        return _say(f"a cluster runs in {root}; stop it first", 2)
    if len(os.fsencode(root)) > MAX_ROOT:
        return _say(f"{root}: too long for the names of sockets, expected {MAX_ROOT} bytes", 2)
    for name in ("state", *(f"spool-node{n}" for n in range(1, num_nodes + 1))):
        (root / name).mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)  # munge asks for that: nobody else writes, all may reach the socket
    write_config(root, num_nodes, num_cpus)
    try:
        _start_munge(root)
        _run(root, "slurmctld", "-c", "-f", root / "slurm.conf")
        for n in range(1, num_nodes + 1):
            _run(root, "slurmd", "-c", "-N", f"node{n}", "-f", root / "slurm.conf")
        _wait_for(lambda: _idle(root) == num_nodes, "the nodes are not there", root)
    except (OSError, subprocess.SubprocessError, TimeoutError) as e:
        _say(f"{e}; logs are in {root}", 1)
        stop(root)
        return 1
    print(f"export SLURM_CONF={root}/slurm.conf", flush=True)
    return 0


def write_config(root: Path, num_nodes: int, num_cpus: int) -> None:
    """slurm.conf: nodes node1, node2, ..., each behind a port of its own that is free now."""
    with ExitStack() as held:
        ports = []
        for _ in range(num_nodes + 1):
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
    host = socket.gethostname().partition(".")[0]
    # Daemons bind to what the host's name means; where that is another device, to all of them.
    address, bound = "127.0.0.1", ""
    with suppress(OSError):
        if (found := socket.gethostbyname(host)).startswith("127."):
            address, bound = found, "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
    nodes = "\n".join(
        f"NodeName=node{n} NodeHostname={host} NodeAddr={address} Port={port} CPUs={num_cpus} "
        "RealMemory=65536 State=UNKNOWN"
        for n, port in enumerate(ports[1:], 1)
    )
    text = CONFIG.format(
        **{"root": root, "host": host, "address": address, "bound": bound, "nodes": nodes},
        **{"user": getpass.getuser(), "controller_port": ports[0]},
    )
    (root / "slurm.conf").write_text(text)
    (root / "cgroup.conf").write_text("CgroupAutomount=no\n")


def _start_munge(root: Path) -> None:
    key = root / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    options = {
        "socket": root / "munge.socket",
        "key-file": key,
        "pid-file": root / "munged.pid",
        "log-file": root / "munged.log",
        "seed-file": root / "munge.seed",
    }
    _run(root, "munged", "--force", *(f"--{name}={path}" for name, path in options.items()))


def stop(root: Path) -> int:
    with suppress(OSError, subprocess.SubprocessError):
        _run(root, "scancel", "--user", getpass.getuser())
        _wait_for(lambda: not _ask(root, "squeue", "--noheader").strip(), "jobs do not end", root)
    code = 0
    for pattern in DAEMONS:
        for file in sorted(root.glob(f"{pattern}.pid")):
            code = max(code, _end(file))
    for name in ("munge.socket", "munge.socket.lock", "munge.key"):
        (root / name).unlink(missing_ok=True)
    return code


def status(root: Path) -> int:
    if not running(root):
        print(f"no cluster runs in {root}")
        return 1
    print(_ask(root, "sinfo", "--Node", "--long"), _ask(root, "squeue"), sep="\n", end="")
    return 0


def running(root: Path) -> list[int]:
    """Process ids of the daemons that run."""
    return [pid for file in root.glob("*.pid") if (pid := _alive(file)) is not None]


def _alive(file: Path) -> int | None:
    """The process of a pid file, if it runs and is a daemon of ours (a number is used again)."""
    with suppress(OSError, ValueError):
        pid = int(file.read_text())
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        # Z: it has ended, and nobody has asked for its exit code (containers without an init).
        if name == file.stem.partition("-")[0] and not rest.startswith(" Z"):
            return pid
    return None


def _end(file: Path) -> int:
    pid = _alive(file)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + LIMIT_S
        with suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)
        while (pid := _alive(file)) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if pid is None:
            file.unlink(missing_ok=True)
            return 0
    return _say(f"{file.stem} (process {pid}) does not end", 1)


def _idle(root: Path) -> int:
    return len(_ask(root, "sinfo", "--noheader", "--Node", "--states", "idle").splitlines())


def _wait_for(condition: Callable[[], bool], what: str, root: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        with suppress(subprocess.SubprocessError):  # the controller does not answer yet
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {LIMIT_S} s")
        time.sleep(0.1)


def _run(root: Path, *command: object) -> None:
    _ask(root, *command)


def _ask(root: Path, *command: object) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    env = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    env |= {"SLURM_CONF": str(root / "slurm.conf"), "PATH": path}
    result = subprocess.run(
        list(map(str, command)), env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT_S,
    )  # fmt: skip
    if result.returncode:
        said = (result.stderr or result.stdout).strip().splitlines()
        raise subprocess.SubprocessError(f"{command[0]}: {said[-1] if said else 'failed'}")
    return result.stdout


def _say(message: str, code: int) -> int:
    print(f"tools/slurm_cluster.py: error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
