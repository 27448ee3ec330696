"""The list of stages as the shell writes it, and the processes that run it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atat.common import stage_processes, stages
from tests.stage_list import record


def test_a_list_is_read_word_by_word():
    part = record("part", "a data", "dump", "exp", "1 - seed=1\n4 atat x=ü\udc80")
    command = ("python", "", "$(x)\n", "\udc80")
    stage = record("stage", 4, "atat", "train", "stage 4 train (atat)", *command)
    (step,) = stage_processes.read_steps(part + stage + record("end"))
    assert (step.number, step.experiment, step.command) == (4, "atat", command)
    assert step.part.data == "a data" and stages.depends_on(step) == ["x=ü\udc80"]
    for cut in (len(part), len(part + stage), len(part + stage) - 3):
        with pytest.raises(ValueError, match="not whole"):
            stage_processes.read_steps((part + stage)[:cut])


def listed(tmp_path: Path, *command: object) -> list[str]:
    """A command line that runs stage 1 as a command."""
    places = [tmp_path / name for name in ("data", "dump", "exp")]
    content = record("part", *places, "1 - seed=1")
    content += record("stage", 1, "", "prepare", "stage 1 prepare", *command) + record("end")
    (tmp_path / "list").write_bytes(content)
    options = ["--program", "driver.sh", "--stop_stage", "1"]
    return [sys.executable, "-m", "atat.run_stages", *options, str(tmp_path / "list")]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["true"], 0, ""),
        (["false"], 1, "driver.sh: error: stage 1 prepare failed (exit code 1)"),
        (["bash", "-c", "kill -9 $$"], 1, "stage 1 prepare failed (exit code 137)"),
        (["no such command"], 1, "failed (exit code 127)"),
        (["bash", "-c", "exit 2"], 2, ""),
    ],
)
def test_commands_are_run_and_their_exit_codes_become_the_drivers(tmp_path, command, code, said):
    result = subprocess.run(listed(tmp_path, *command), capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    assert said in result.stderr and (said != "") == (result.stderr != "")
    assert (tmp_path / "data" / ".done.1").exists() == (code == 0)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_command_too_and_nothing_counts_as_done(tmp_path, sent):
    if signal.getsignal(sent) is signal.SIG_IGN:
        pytest.skip("these tests were started to ignore it, as nohup does, and so are commands")
    pid = tmp_path / "pid"
    # Not a shell, which goes on after a Ctrl-C that comes while it waits for another command.
    script = "import os, sys, time; open(sys.argv[1] + '.new', 'w').write(str(os.getpid()))"
    script += "; os.rename(sys.argv[1] + '.new', sys.argv[1]); time.sleep(600)"
    command = [sys.executable, "-c", script, pid]
    driver = subprocess.Popen(listed(tmp_path, *command), start_new_session=True)
    while not pid.exists():
        time.sleep(0.02)
    # As from a terminal Ctrl-C reaches all of them.
    (os.killpg if sent == signal.SIGINT else os.kill)(driver.pid, sent)
    assert driver.wait(timeout=60) == 128 + sent
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert (tmp_path / "data/.begun.1").exists() and not (tmp_path / "data/.done.1").exists()


def test_it_starts_without_what_takes_time():
    script = (
        "import sys, atat.run_stages; print({'torch', 'numpy', 'omegaconf'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n"
