"""Order, errors and signals: workers are real processes, killed and interrupted for real."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atat.common import parallel


def square(n):
    return n * n


def fail_at_seven(n):
    if n == 7:
        raise OSError(28, "No space left on device", "x")
    return n


def die_at_seven(n):
    if n == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def run(function, count, num_jobs):
    return list(parallel.run(function, range(count), num_jobs, total=count, desc="", chunk_size=3))


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_results_come_in_order(num_jobs):
    assert run(square, 50, num_jobs) == [n * n for n in range(50)]


def test_no_items_are_no_results():
    assert run(square, 0, 2) == []


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_an_error_keeps_its_type_and_number(num_jobs):
    with pytest.raises(OSError, match="No space left") as caught:
        run(fail_at_seven, 50, num_jobs)
    assert caught.value.errno == 28


def test_a_killed_worker_is_reported_and_does_not_hang():
    with pytest.raises(ChildProcessError, match="worker process died"):
        run(die_at_seven, 50, 2)


SLEEPER = """
import time, sys
from atat.common import cli, parallel
def slow(n):
    time.sleep(0.05)
    return n
def main():
    for n in parallel.run(slow, range(2000), 2, total=2000, desc=""):
        print(n, flush=True)
if __name__ == "__main__":
    cli.run(main)
"""


def start_sleeper(tmp_path):
    """The process in a group of its own, once its workers are at work."""
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stdout.readline() == "0\n"
    return process


def members(group):
    """Live processes of a process group."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(pid))
    return found


def assert_all_end(group, seconds=10.0):
    deadline = time.monotonic() + seconds
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert members(group) == []


def test_ctrl_c_is_one_line_and_leaves_no_worker(tmp_path):
    process = start_sleeper(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everyone in the group
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1 and "interrupted" in errors
    assert_all_end(process.pid)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    process = start_sleeper(tmp_path)
    assert len(members(process.pid)) >= 3
    process.kill()
    process.communicate(timeout=20)
    assert_all_end(process.pid)
