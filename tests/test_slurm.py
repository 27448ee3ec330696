"""`--cmd slurm`: stages as jobs of Slurm.

Most tests run with a stand-in for Slurm's commands, and with Slurm itself, several nodes on this
machine, where that is installed (tools/install.sh --slurm).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atat.common import slurm, slurm_job, slurm_settings
from atat.common.slurm_settings import Resources
from atat.common.stages import Part, Step, Stop
from tests.slurm_cluster import Cluster, StandIn, load_tool
from tests.stage_list import record

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"all": {"time": "5", "memory": "100M", "requeues": 3}}
VOICES = 'data.voices={"train": {"espeak": 1.0}}'


@pytest.fixture(scope="session")
def cluster():
    """Slurm on this machine."""
    if lacking := load_tool().missing():
        pytest.skip(f"{', '.join(lacking)} not installed (tools/install.sh --slurm)")
    running = Cluster()
    yield running
    running.stop()


@pytest.fixture(params=["stand-in", pytest.param("slurm", marks=pytest.mark.slurm)])
def place(request, tmp_path):
    """What takes the jobs."""
    return (
        StandIn(tmp_path / "bin")
        if request.param == "stand-in"
        else request.getfixturevalue("cluster")
    )


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A stand-in whose commands this process finds too."""
    made = StandIn(tmp_path / "bin")
    monkeypatch.setenv("PATH", made.environment["PATH"])
    return made


class Run:
    """A list of one stage, run by `atat.run_stages`, in a directory whose name is no help."""

    def __init__(self, place, tmp_path: Path, stage: tuple, inputs: str = "1 - seed=1"):
        self.place, self.root = place, tmp_path / "it's 100% here"
        self.root.mkdir(exist_ok=True)
        self.stage, self.inputs, self.settings = stage, inputs, dict(QUICK)
        self.logs = self.root / "exp" / "logs"

    def start_and_kill(self, *command, once: Path) -> None:
        """Start a run, and kill it once there is a file."""
        driver = self.start(*command)
        wait_for(once)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()

    def start(self, *command: object) -> subprocess.Popen:
        places = [self.root / name for name in ("data", "dump", "exp")]
        number, experiment, name = self.stage
        content = record("part", *places, self.inputs)
        content += record("stage", number, experiment, name, f"stage {number} {name}", *command)
        (self.root / "list").write_bytes(content + record("end"))
        (self.root / "slurm.yaml").write_text(json.dumps(self.settings))
        options = ["--cmd", "slurm", "--cmd_config", self.root / "slurm.yaml"]
        if number > 1:
            options += ["--stage", number]
        return subprocess.Popen(
            [sys.executable, "-m", "atat.run_stages", *map(str, options), self.root / "list"],
            env=os.environ | self.place.environment, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def __call__(self, *command: object, code: int = 0) -> tuple[str, str]:
        driver = self.start(*command)
        out, err = driver.communicate(timeout=120)
        assert driver.returncode == code, out + err
        return out, err

    def log(self, pattern: str = "*.log") -> str:
        (found,) = self.logs.glob(pattern)
        return found.read_text()


@pytest.fixture
def prepare(place, tmp_path):
    return Run(place, tmp_path, (1, "", "prepare"))


def wait_for(path: Path) -> str:
    for _ in range(1200):
        if path.exists():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def test_a_job_has_a_log_with_its_command_times_and_exit_code(prepare):
    out, err = prepare("bash", "-c", "echo said; echo also said >&2")
    first, second, *said, last = prepare.log().splitlines()
    assert first == "# bash -c 'echo said; echo also said >&2'"
    assert "requeued 0 times; started 20" in second
    assert said == ["said", "also said"]
    assert last.startswith("# ended 20") and last.endswith(" s, exit code 0")
    assert (prepare.root / "data" / ".done.1").exists() and err == ""
    assert "log: " in out and not list(prepare.logs.glob("*.exit"))
    assert not (prepare.logs / ".job").exists()


def test_words_reach_a_job_as_they_are(prepare):
    words = ["", "a b", "$(touch hit)", "'\"`\\", "--jobs=3", "line\nline", "%j %a", "ü"]
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    prepare(sys.executable, "-c", script, *words)
    assert json.dumps(words) in prepare.log().splitlines()
    assert not (ROOT / "hit").exists()


@pytest.mark.parametrize(("ends", "code"), [(1, 1), (2, 2), (127, 1)])
def test_a_job_that_fails_shows_the_end_of_its_log(prepare, ends, code):
    _, err = prepare("bash", "-c", f"seq 30; echo it was this; exit {ends}", code=code)
    shown = err.splitlines()
    assert "  | it was this" in shown and "  | 30" in shown and "  | 9" not in shown
    assert any(line.startswith("  log: ") and "prepare." in line for line in shown)
    assert f"exit code {ends}" in err
    assert not (prepare.root / "data" / ".done.1").exists()


def test_a_command_that_is_not_there_fails_as_elsewhere(prepare):
    assert "No such file or directory: 'no such command'" in prepare("no such command", code=1)[1]


@pytest.mark.parametrize(
    ("stage", "inputs", "expected"),
    [
        ((2, "", "features"), "", ["", "1/3", "2/3", "3/3"]),
        ((1, "", "prepare"), f"1 - {VOICES}", ["", "1/3", "2/3", "3/3"]),
        ((1, "", "prepare"), "1 - data.voices={}", [""]),  # nothing is rendered
        ((3, "", "tokenizer"), "", [""]),
    ],
)
def test_jobs_share_the_work_of_stages_that_can_be_shared(place, tmp_path, stage, inputs, expected):
    run = Run(place, tmp_path, stage, inputs)
    run.settings["all"] = QUICK["all"] | {"jobs": 3, "cpus": 2}
    for number in range(1, stage[0]):  # done already
        (run.root / "data").mkdir(exist_ok=True)
        (run.root / "data" / f".done.{number}").write_text("finished\n")
    said = run.root / "shares"
    script = 'echo "$ATAT_SHARE" >>"$0"; [[ $2 == 2 ]]'
    run("bash", "-c", script, said, "--nj", 64)
    assert sorted(said.read_text().split("\n")[:-1]) == expected
    # The one that puts the shares together comes last.
    assert said.read_text().split("\n")[-2] == ""


def test_a_share_that_fails_is_the_end_and_the_others_are_cancelled(place, tmp_path):
    run = Run(place, tmp_path, (1, "", "prepare"), f"1 - {VOICES}")
    run.settings["prepare"] = {"jobs": 2}
    script = "[[ $ATAT_SHARE == 2/2 ]] && { echo this one; exit 7; }; sleep 600"
    out, err = run("bash", "-c", script, code=1)
    assert "  | this one" in err and "shares_2.log" in err and "cancelled" in out


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_run_cancels_its_job(prepare, sent):
    pid = prepare.root / "pid"
    driver = prepare.start("bash", "-c", 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec sleep 600', pid)
    job = int(wait_for(pid))
    os.killpg(driver.pid, sent)
    out, _ = driver.communicate(timeout=120)
    assert driver.returncode == 128 + sent and "cancelled" in out
    with pytest.raises(ProcessLookupError):
        os.kill(job, 0)
    assert not (prepare.logs / ".job").exists() and "# ended" in prepare.log()


def test_a_local_run_does_not_work_beside_a_job(stand_in, tmp_path):
    run = Run(stand_in, tmp_path, (1, "", "prepare"))
    run.start_and_kill("sleep", "600", once=run.logs / ".job")
    command = [sys.executable, "-m", "atat.run_stages", run.root / "list"]
    refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert refused.returncode == 1 and "a job of --cmd slurm may be under way" in refused.stderr
    assert "cancelled" in run("true")[0]
    assert subprocess.run([*command, "--stop_stage", "1"], cwd=ROOT).returncode == 0


# Starts are counted; it goes on when it is told to.
WAITING = 'echo started >>"$0"; until [[ -e $0.go ]]; do sleep 0.05; done'


def test_the_job_of_a_killed_run_is_waited_for_by_the_next(prepare):
    said = prepare.root / "said"
    prepare.start_and_kill("bash", "-c", WAITING, said, once=said)
    again = prepare.start("bash", "-c", WAITING, said)
    assert "goes on waiting" in again.stdout.readline() + again.stdout.readline()
    Path(f"{said}.go").touch()
    again.communicate(timeout=120)
    assert again.returncode == 0 and said.read_text() == "started\n"


def test_what_a_job_did_while_no_run_waited_for_it_counts(prepare):
    said = prepare.root / "said"
    prepare.start_and_kill("bash", "-c", WAITING, said, once=said)
    Path(f"{said}.go").touch()
    wait_for(next(prepare.logs.glob("*.log")).with_suffix(".exit"))
    prepare("bash", "-c", WAITING, said)
    assert said.read_text() == "started\n"


def test_another_job_of_a_killed_run_is_cancelled_first(prepare):
    said = prepare.root / "said"
    prepare.start_and_kill("bash", "-c", WAITING, said, once=said)
    out, _ = prepare("true")
    assert "cancelled" in out


# Told to stop, it has gone on by one and can be started again; the third time it comes to the end.
RESUMING = """
trap 'exit 75' USR1
echo started >>"$0"
[[ $(wc -l <"$0") -lt 3 ]] || exit 0
touch "$0.ready"
while :; do sleep 0.05; done
"""


def test_a_job_whose_time_is_nearly_over_is_requeued_and_goes_on(prepare):
    said = prepare.root / "said"
    driver = prepare.start("bash", "-c", RESUMING, said)
    for _ in range(2):
        wait_for(ready := Path(f"{said}.ready"))
        ready.unlink()
        prepare.place.warn(next(prepare.logs.glob("*.log")).stem)
    out, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, out + err
    assert said.read_text() == "started\n" * 3
    log = prepare.log()
    assert log.count("exit code 75") == log.count("# requeued") == 2
    assert "requeued 2 times; started" in log and "exit code 0" in log.splitlines()[-1]


def test_a_job_is_requeued_no_more_often_than_it_may_be(stand_in, tmp_path):
    run = Run(stand_in, tmp_path, (1, "", "prepare"))
    run.settings["all"] = QUICK["all"] | {"requeues": 2}
    _, err = run("bash", "-c", "exit 75", code=75)
    assert run.log().count("exit code 75") == 3
    assert "stage 1 prepare was told to stop; the same command goes on" in err


@pytest.mark.slurm
def test_processes_of_a_training_find_each_other_as_torchrun_has_them(cluster, tmp_path):
    run = Run(cluster, tmp_path, (4, "atat", "train"))
    run.settings["train"] = {"tasks": 3, "nodes": 2}
    (run.root / "data").mkdir()
    for number in (1, 2, 3):
        (run.root / "data" / f".done.{number}").write_text("finished\n")
    (run.root / "dump").mkdir()
    names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT"
    shown = " ".join(f"${name}" for name in names.split())
    run("bash", "-c", f"echo is {shown} on $SLURMD_NODENAME; true")
    lines = sorted(line.split() for line in run.log().splitlines() if line.startswith("is "))
    assert [(line[1], line[2], line[5]) for line in lines] == [
        (str(r), "3", "127.0.0.1") for r in range(3)
    ]
    assert {line[8] for line in lines} == {"node1", "node2"}
    assert len({line[6] for line in lines}) == 1


# Slurm's answers


def step(tmp_path: Path, *command: str) -> Step:
    part = Part(*(str(tmp_path / name) for name in ("data", "dump", "exp")))
    return Step("stage", 1, "", "prepare", "stage 1 prepare", command, part)


class Patient:
    def leave_if_told(self) -> None:
        pass


def test_a_job_that_is_gone_without_a_word_is_a_failure(stand_in, tmp_path, capfd):
    """Killed with its node, or for its memory."""
    runner = slurm.Slurm({"prepare": Resources()}, Patient(), str(ROOT))
    runner.ask_s, runner.grace_s = 0.1, 0.1
    assert runner(step(tmp_path, "bash", "-c", "echo so far; kill -9 $PPID")) == 1
    err = capfd.readouterr().err
    assert "  | so far" in err and "the job is gone and has not said why" in err


def test_a_job_that_slurm_cannot_launch_is_a_failure(stand_in, tmp_path, capfd, monkeypatch):
    """Slurm holds it then, and would keep it for ever."""
    held = [("PENDING", "launch failed requeued held")]
    monkeypatch.setattr(slurm, "_queue", lambda job: held)
    monkeypatch.setattr(slurm.Slurm, "_cancel", lambda self, job: held.clear())
    runner = slurm.Slurm({"prepare": Resources()}, Patient(), str(ROOT))
    runner.ask_s = 0.1
    assert runner(step(tmp_path, "sleep", "60")) == 1
    assert "Slurm could not launch the job: launch failed requeued held" in capfd.readouterr().err
    assert held == []


def test_a_job_that_is_not_taken_is_one_line_with_slurms_reason(stand_in, tmp_path):
    (stand_in.root / "refuse").touch()
    runner = slurm.Slurm({"prepare": Resources()}, Patient(), str(ROOT))
    with pytest.raises(Stop, match=r"sbatch failed \(exit code 1\): .*Invalid account"):
        runner(step(tmp_path, "true"))


def test_without_slurm_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    runner = slurm.Slurm({"prepare": Resources()}, Patient(), str(ROOT))
    with pytest.raises(Stop, match="--cmd slurm: sbatch: No such file or directory"):
        runner(step(tmp_path, "true"))


def test_what_a_job_asks_for_is_what_the_settings_say(stand_in, tmp_path):
    (tmp_path / "slurm.yaml").write_text(
        "all: {partition: cpu, time: 1:30:00, options: [--qos=low]}\n"
        "prepare: {time: 0:20:00, cpus: 3}\n"
    )
    found = slurm_settings.load([str(ROOT / "conf" / "slurm.yaml"), str(tmp_path / "slurm.yaml")])
    assert (found["prepare"].time, found["score"].time) == ("0:20:00", "1:30:00")
    slurm.Slurm(found, Patient(), str(ROOT))(step(tmp_path, "true"))
    name, *words = json.loads((stand_in.root / "calls").read_text().splitlines()[0])
    asked = ["--partition=cpu", "--time=0:20:00", "--cpus-per-task=3", "--mem=4G", "--qos=low"]
    assert name == "sbatch" and set(asked) < set(words)
    assert {"--requeue", "--open-mode=append", "--signal=B:USR1@60"} < set(words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all: [", "is not YAML"),
        ("- all", "got no names"),
        ("trian: {cpus: 2}", "got 'trian', expected all or one of prepare"),
        ("train: 3", "train: got '3', expected setting: value"),
        ("train: {cpu: 2}", "train: got 'cpu', expected one of partition"),
        ("train: {cpus: many}", "cpus: got 'many', expected a whole number of 1 or more"),
        ("train: {cpus: 0}", "cpus: got '0', expected a whole number of 1 or more"),
        ("train: {time: [1]}", "time: got '['1']', expected one value"),
        ("train: {options: qos}", "options: got 'qos', expected a list of options"),
        ("train: {options: [qos]}", "expected a list of options"),
        ("train: {jobs: 2}", "jobs: got 2, expected 1 (above that in prepare, features, decode"),
        ("decode: {tasks: 2}", "tasks: got 2, expected 1 (above that in train alone)"),
    ],
)
def test_settings_that_cannot_be_are_one_line(tmp_path, text, said):
    path = tmp_path / "slurm.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as raised:
        slurm_settings.load([str(path)])
    assert str(raised.value).startswith(f"{path}: ") and said in str(raised.value)


def test_the_settings_file_says_every_setting_and_its_default():
    import yaml

    said = yaml.safe_load((ROOT / "conf" / "slurm.yaml").read_text())
    defaults = vars(Resources()) | {"options": []}
    assert said["all"] == defaults and set(said) <= {"all", *slurm_settings.NAMES}


def test_a_rank_without_slurm_is_a_mistake():
    with pytest.raises(KeyError):
        slurm_job.rank_environment({})
