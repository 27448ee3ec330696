"""The driver's contract: utils/recipe.sh, the run.sh of recipes, and ./run.sh.

A stub stands for the interpreter: it logs the stage commands and fails or waits as it is told; what
the driver asks of `atat.inputs` and `atat.run_stages` it passes on. The project's directory has a
space in its name, and so has what users give.
"""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from atat.config import config_file, stage_inputs
from atat.data.tokenizer import Tokenizer
from tests.slurm_cluster import StandIn

REPO = Path(__file__).resolve().parent.parent
DATA, TRAINING = ["prepare.toy", "features", "tokenizer"], ["train", "decode", "score"]
ALL = [*DATA, *TRAINING, "report"]

STUB = f"""#!{sys.executable} -IS
import json, os, pathlib, subprocess, sys, time
here = pathlib.Path(__file__).parent
_, module, *arguments = sys.argv[1:]
real = ["atat.inputs", "atat.run_stages", *(["atat.report"] if (here / "reports").exists() else [])]
if module in real:
    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
name = module.removeprefix("atat.")
with open(here / "log", "a") as log:
    print(json.dumps([name, arguments, os.environ.get("OMP_NUM_THREADS")]), file=log)
told = here / name
if told.exists() and told.read_text() == "slow":
    time.sleep(0.3)
elif told.exists():
    if told.read_text() == "wait":
        try:
            (here / "waiting").write_text(str(os.getpid()))
            time.sleep(600)
        except KeyboardInterrupt:
            sys.exit(130)
    if told.read_text() == "spoil":  # a file, and find a mistake only then
        place = "--exp" if "--exp" in arguments else "--data"
        (pathlib.Path(arguments[arguments.index(place) + 1]) / "spoiled").touch()
        sys.exit(2)
    if told.read_text() == "linger":  # in a process that outlives this one
        quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(["sleep", "8"], close_fds=False, **quiet)
        sys.exit(1)
    sys.exit(int(told.read_text()))
if name == "features":
    pathlib.Path(arguments[arguments.index("--dump") + 1]).mkdir(parents=True, exist_ok=True)
"""

TABLES = """
experiments:
  tuned: {about: starts from atat, init_from: atat}
  atat: {about: all tasks}
  e2e: {about: speech only, config: {train: {num_steps: 7}}, from_scratch: true}
subsets:
  unseen: {intents: [a]}
"""


class Project:
    """A copy of the project's shell with a recipe `toy`, and a stub for python."""

    def __init__(self, root: Path):
        self.root = root
        self.recipe = root / "egs" / "toy"
        self.python = root / "stub" / "python"
        if not root.exists():
            self.build()

    def build(self) -> None:
        root = self.root
        (self.recipe / "conf").mkdir(parents=True)
        for name in ("utils", "run.sh"):
            copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
            copy(REPO / name, root / name)
        shutil.copy(REPO / "egs" / "barista" / "run.sh", self.recipe)
        (root / "atat").symlink_to(REPO / "atat")
        (self.recipe / "conf" / "recipe.yaml").write_text("train: {num_steps: 10, num_epochs: 2}\n")
        (self.recipe / "tables.yaml").write_text(TABLES)
        self.python.parent.mkdir()
        self.python.write_text(STUB)
        self.python.chmod(0o755)

    def has_parts(self) -> None:
        script = self.recipe / "run.sh"
        parts = "parts=(near_1 near_2)\n\nrecipe_main"
        script.write_text(script.read_text().replace("recipe_main", parts))

    def has_seeds(self) -> None:
        path = self.recipe / "tables.yaml"
        text = path.read_text().replace("all tasks", "all tasks, seeds: [1, 2]")
        path.write_text(text.replace("init_from: atat", "init_from: atat, seeds: [1, 2]"))

    def command(self, *arguments: object, python: bool = True) -> list[str]:
        given = [*arguments, *(["--python", self.python] if python else [])]
        return [str(x) for x in ["./run.sh", "--recipe", "toy", *given]]

    def run(self, *arguments: object, code: int = 0, **options) -> subprocess.CompletedProcess:
        """Run ./run.sh for the toy recipe and expect an exit code."""
        return self.shell(self.command(*arguments, **options), code)

    def shell(self, command: list[str], code: int = 0, env: dict | None = None):
        hidden = ("VIRTUAL_ENV", "PYTHONPATH")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        result = subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, timeout=240,
            env=environment | (env or {}), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert result.returncode == code, result.stdout + result.stderr
        return result

    def tell(self, module: str, what: int | str | None) -> None:
        """Let the stub fail with an exit code or as STUB says, or (None) not."""
        told = self.python.parent / module
        told.unlink(missing_ok=True)
        if what is not None:
            told.write_text(str(what))

    def start(self, *arguments: object) -> subprocess.Popen:
        """Start a run, and come back when its stage waits, as it was told to."""
        waiting = self.python.parent / "waiting"
        waiting.unlink(missing_ok=True)
        driver = subprocess.Popen(
            self.command(*arguments), cwd=self.root, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not (waiting.exists() and waiting.read_text()) and driver.poll() is None:
            time.sleep(0.05)
        return driver

    def train(self, *experiments: Path) -> None:
        """Put files there as stages 1, 2, 4 and 5 leave them."""
        for exp in experiments:
            for name in (
                "model.safetensors",
                "config.yaml",
                "checkpoints/1epoch.pth",
                "decode_test/hyp",
            ):
                (exp / name).parent.mkdir(parents=True, exist_ok=True)
                (exp / name).write_text("x" * 2_000_000)
        for name in ("data/train/text", "dump/train/feats.ark"):
            (self.recipe / name).parent.mkdir(parents=True, exist_ok=True)
            (self.recipe / name).write_text("x" * 2_000_000)

    def files(self) -> dict[str, tuple[str, int]]:
        """All that runs have left, with content and time of change."""
        found = [p for p in self.recipe.rglob("*") if p.is_file() and p.name != ".lock"]
        return {str(p): (p.read_text(), p.stat().st_mtime_ns) for p in found}

    def calls(self) -> list[list]:
        """[module, arguments, OMP_NUM_THREADS] of each stage since the last time."""
        log = self.python.parent / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def modules(self) -> list[str]:
        return [call[0] for call in self.calls()]

    def markers(self) -> list[str]:
        """Markers of the default directories, e.g. data/1 and exp/atat/4."""
        found = self.recipe.glob("**/.done.*")
        return sorted(f"{p.parent.relative_to(self.recipe)}/{p.name[6:]}" for p in found)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "the project")


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("finished") / "the project")
    for options in ([], ["--expdir", "e"]):
        project.run(*options)
        assert project.modules() == ALL
    return project.root


@pytest.fixture
def finished(finished_project, tmp_path):
    """A project whose stages are all done, in the recipe's directory and in `e`."""
    copy = tmp_path / "the project"
    return Project(shutil.copytree(finished_project, copy, symlinks=True))


@pytest.fixture
def trained(finished):
    """The same, with a model and what else stages leave."""
    finished.train(finished.recipe / "exp" / "atat")
    return finished


# Options


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        (["--stage", "banana"], "'banana'"),
        (["--stage"], "nothing"),
        (["--stage", "--stop_stage", "3"], "nothing"),
        (["--stage="], "''"),
        (["--stage", "08"], "'08'"),
        (["--stage", "99"], "'99'"),
        (["--stage", "0"], "'0'"),
        (["--stage", "5", "--stop_stage", "3"], "5"),
        (["--nope", "1"], "--nope"),
        (["--stag", "1"], "--stag"),
        (["--PATH", "x"], "--PATH"),
        (["--root", "x"], "--root"),
        (["stray"], "stray"),
        (["-x"], "-x"),
        (["--"], "--"),
        ([""], "''"),
        (["--nj", "0"], "'0'"),
        (["--seed", "-1"], "'-1'"),
        (["--table", "yes"], "'yes'"),
        (["--experiment", "../data"], "'../data'"),
        (["--experiment", "nope"], "'nope'"),
        (["--set", "novalue"], "'novalue'"),
        (["--set", "train.num_stpes=1"], "did you mean 'train.num_steps'"),
        (["--corpus_dir", "nowhere"], "'nowhere'"),
        (["--grammar", "no.yaml"], "'no.yaml'"),
        (["--config", "no.yaml"], "'no.yaml'"),
        (["--expdir", "run.sh"], "'run.sh'"),
        (["--expdir", ""], "''"),
        (["--python", "no-such-python"], "'no-such-python'"),
        (["--part", "near_1"], "expected none: toy has no parts"),
        (["--init_from", "nowhere"], "'nowhere'"),
        (["--check", "yes"], "'yes'"),
        (["--stand_in", "true", "--corpus_dir", "."], "expected one of them"),
        (["--budget", "long"], "toy has no other than its own"),
        (["--recipe", "nope"], "'nope'"),
        (["--recipe", "../egs/toy"], "'../egs/toy'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_was_got_and_runs_nothing(project, arguments, got):
    # The stub comes first, so that a given --python or an option without value comes last.
    command = ["./run.sh", "--recipe", "toy", "--python", project.python, *arguments]
    result = project.shell([str(x) for x in command], code=2)
    assert got in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert project.calls() == []


def test_a_broken_tables_file_or_setting_stops_before_the_first_stage(project):
    (project.recipe / "tables.yaml").write_text("experiments: {atat: {config: {trian: {}}}}")
    assert "trian" in project.run(code=2).stderr
    assert project.calls() == []


def test_what_a_training_lacks_stops_before_the_first_stage(project, tmp_path):
    gpus, slurm = ("--set", "train.num_gpus=999"), ("--cmd", "slurm", "--stop_stage", "4")
    assert "train.num_gpus: got 999, expected" in project.run(*gpus, code=2).stderr
    bert = ("--set", "model.text_encoder=pretrained", "--set", "model.text_pretrained=./none")
    for cmd in ((), slurm):
        assert "no tokenizer in './none'" in project.run(*bert, *cmd, code=2).stderr
    assert project.modules() == []
    # Not of this machine, or not now: data for another, a plan, what is trained.
    for fine in (("--stop_stage", "3"), ("--stage", "5"), ("--dry_run", "true")):
        assert "num_gpus: got" not in project.run(*gpus, *fine, code=3 if "5" in fine else 0).stderr
    assert project.modules() == DATA
    project.train(project.root / "e" / "atat")
    project.run(*gpus, "--expdir", "e", "--overwrite", "true")


def test_values_are_literal(project):
    project.run("--expdir", "$(touch x)", "--set", "data.cache=$(touch x);touch x")
    assert not list(project.root.glob("**/x"))
    assert (project.root / "$(touch x)" / "atat" / ".done.6").is_file()
    assert "data.cache=$(touch x);touch x" in project.calls()[0][1]


def test_a_directory_that_looks_like_an_option_is_a_directory(project):
    project.run("--expdir", "-n")
    assert (project.root / "-n" / "data" / ".done.1").is_file()


def test_variables_of_the_shell_are_not_options(project):
    command = project.command("--dry_run", "true")
    environment = {"stage": "4", "experiment": "e2e", "table": "true", "configs": "x"}
    assert project.shell(command, env=environment).stdout == project.shell(command).stdout


def test_options_take_dashes_and_equals_signs(finished):
    finished.run("--stage=3", "--stop-stage", "5")
    assert finished.modules() == ["tokenizer", "train", "decode"]


def test_the_last_of_an_option_counts(project):
    project.run("--stop_stage", "7", "--stop_stage", "1")
    assert project.modules() == ["prepare.toy"]


def test_help_lists_every_option_and_its_default(project):
    for arguments in (["--help"], ["-h"], ["--stage", "3", "--help"]):
        text = project.run(*arguments, python=False).stdout
        for line in (REPO / "utils" / "options.sh").read_text().split("OPTIONS='")[1].splitlines():
            if line == "'":
                break
            assert line == "" or f"--{line.split()[0]} " in text
    for default in ("(default: 7)", "(default: atat)", "(default: false)"):
        assert default in text


@pytest.mark.parametrize("recipe", sorted(p.parent.name for p in REPO.glob("egs/*/run.sh")))
def test_every_recipe_is_thin_and_has_help(recipe):
    script = REPO / "egs" / recipe / "run.sh"
    assert len(script.read_text().splitlines()) <= 35
    result = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=10)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"\n{recipe}: " in result.stdout


def test_what_starts_from_a_pretraining_finds_it_where_the_command_before_has_left_it(tmp_path):
    header = (REPO / "egs" / "pretrain" / "run.sh").read_text()
    header = re.sub(r" \\\n# *", " ", header)  # of a line that goes on
    commands = re.findall(r"^#   ./run.sh (.*?)(?: {3,}.*)?$", header, re.MULTILINE)
    _, train, start = map(shlex.split, commands)
    train[train.index("--corpus_dir") + 1] = str(tmp_path)
    printed = subprocess.run(
        ["./run.sh", *train, "--dry_run", "true", "--python", sys.executable],
        **dict(cwd=REPO, capture_output=True, text=True, timeout=240),
    )
    assert printed.returncode == 0, printed.stderr
    left = re.findall(r" -m atat.train .* --exp (\S+)", printed.stdout)
    assert [start[start.index("--init_from") + 1]] == [os.path.relpath(p, REPO) for p in left]


# Stages and their commands


@pytest.mark.parametrize("recipe", sorted(p.parent.name for p in REPO.glob("egs/*/run.sh")))
def test_every_recipe_says_which_stages_there_are_and_what_each_runs(recipe):
    script = REPO / "egs" / recipe / "run.sh"
    said = re.findall(r"^#   [1-7 ] (\w+) +(atat\.\S+) {2,}\S", script.read_text(), re.MULTILINE)
    command = [script, "--dry_run", "true", "--python", sys.executable]
    if "\nparts=" in script.read_text():  # one has the stages of all
        command += ["--part", "close_1"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert printed.returncode == 0, printed.stderr
    run = re.findall(r"^# (?:stage [1-7] )?(\w+).*\n.* -m (\S+)", printed.stdout, re.MULTILINE)
    assert len(said) >= 7 and said == list(dict.fromkeys(run))


def test_stages_get_the_arguments_of_the_contract(project):
    project.run("--nj", "3")
    at = "./egs/toy"
    settings = ["--config", f"{at}/conf/recipe.yaml"]
    data, dump = ["--data", f"{at}/data"], ["--dump", f"{at}/dump"]
    exp = ["--exp", f"{at}/exp/atat"]
    tables = ["--tables", f"{at}/tables.yaml"]
    experiment = [*tables, "--experiment", "atat"]
    command = f"{at}/run.sh --nj 3 --python " + str(project.python).replace(" ", "\\ ")
    assert [call[:2] for call in project.calls()] == [
        ["prepare.toy", [*settings, *data, "--nj", "3"]],
        ["features", [*settings, *data, *dump, "--nj", "3"]],
        ["tokenizer", [*settings, *data]],
        ["train", [*settings, *experiment, *data, *dump, *exp, "--resume", "true"]],
        ["decode", [*exp, *data, *dump, "--nj", "3"]],
        ["score", [*exp, *data, *tables]],
        [
            "report",
            [*tables, "--expdir", f"{at}/exp", *data, "--out", f"{at}/exp", "--command", command],
        ],
    ]


def test_a_recipe_may_have_the_model_of_a_run_examined(project):
    script = project.recipe / "run.sh"
    script.write_text(script.read_text().replace("recipe_main", "examined=true\nrecipe_main"))
    project.run("--experiment", "tuned")  # which starts from atat, and that is not what it is about
    examined = ["train", "calibrate", "decode", "score", "conditions", "report"]
    calls = project.calls()
    assert [call[0] for call in calls] == [*DATA, *TRAINING, *examined]
    for name, *_ in (call for call in calls if call[0] in ("calibrate", "conditions")):
        arguments = next(call[1] for call in calls if call[0] == name)
        assert arguments[:2] == ["--exp", "./egs/toy/exp/tuned"]
        assert arguments[-2:] == ["--if_needed", "true"]
    project.run("--experiment", "tuned")  # once for a model
    assert project.modules() == ["report"]
    saved = project.recipe / "exp" / "tuned" / "config.yaml"
    saved.write_text("decode: {negative_hours: 2.0, runs: {}}\n")
    project.run("--experiment", "tuned", "--set", "decode.negative_hours=1")
    calls = project.calls()
    [arguments] = [call[1] for call in calls if call[0] == "calibrate"]
    assert arguments[2] == "decode.negative_hours=1.0"
    tuned = ["calibrate", "decode", "score", "conditions", "report"]
    assert [call[0] for call in calls] == ["decode", "score", *tuned]
    project.run("--experiment", "tuned", "--stage", "6")
    assert project.modules() == ["score", "conditions", "report"]
    project.tell("calibrate", 2)
    before = project.files()
    project.run("--experiment", "tuned", "--stage", "5", code=2)
    assert project.modules() == ["calibrate"] and project.files() == before


@pytest.mark.skipif(sys.platform != "linux", reason="nproc is Linux's")
def test_stages_can_be_jobs_of_slurm(project, tmp_path):
    place = StandIn(tmp_path / "slurm")
    (project.recipe / "conf" / "slurm.yaml").write_text("all: {account: recipes}\n")
    (tmp_path / "my own.yaml").write_text("features: {jobs: 2, cpus: 3}\n")
    given = ["--cmd", "slurm", "--cmd_config", tmp_path / "my own.yaml"]
    project.shell(project.command(*given), env=place.environment)
    calls = project.calls()
    assert [call[0] for call in calls] == sorted([*ALL, "features", "features"], key=ALL.index)
    assert calls[3][1][calls[3][1].index("--nj") + 1] == "3" and calls[3][2] == "1"
    asked = [json.loads(line) for line in (place.root / "calls").read_text().splitlines()]
    submitted = [words for name, *words in asked if name == "sbatch"]
    assert len(submitted) == len(ALL)  # an array more, and no report
    assert all("--account=recipes" in words for words in submitted)
    assert len(list((project.recipe / "exp" / "logs").glob("*.log"))) == 8
    project.run("--cmd", "slurm", "--cmd_config", project.recipe / "tables.yaml", code=2)
    project.run("--cmd", "pbs", code=2)


def test_processes_are_the_cores_whatever_threads_one_may_have(project):
    cores = str(len(os.sched_getaffinity(0)))
    for threads in ("1", "77"):
        project.shell(project.command("--stop_stage", "1"), env={"OMP_NUM_THREADS": threads})
        [(_, arguments, _)] = project.calls()
        assert arguments[-2:] == ["--nj", cores]
        (project.recipe / "data" / ".done.1").unlink()


def test_settings_reach_the_stages(project):
    (project.root / "my delta.yaml").write_text("train: {num_steps: 5}")
    (project.root / "corpus").mkdir()
    (project.root / "g.yaml").write_text("x")
    project.run(
        "--config", "my delta.yaml", "--set", "seed=1", "--set", "model.width=8", "--seed", "3",
        "--corpus_dir", "corpus", "--grammar", "g.yaml", "--expdir", "e", "--resume", "false",
    )  # fmt: skip
    calls = {name: arguments for name, arguments, _ in project.calls()}
    for name in [*DATA, "train"]:
        assert calls[name][2:4] == ["--config", "my delta.yaml"]
        assert calls[name][-3:] == ["seed=1", "model.width=8", "seed=3"]
    assert calls["prepare.toy"][6:10] == ["--corpus_dir", "corpus", "--grammar", "g.yaml"]
    assert calls["train"][calls["train"].index("--resume") + 1] == "false"


def test_another_budget_is_settings_and_a_directory_of_their_own(project):
    long = project.recipe / "conf" / "budget_long.yaml"
    long.write_text("train: {num_steps: 99}\n")
    (project.root / "delta.yaml").write_text("train: {num_steps: 5}")
    project.run("--budget", "long", "--config", "delta.yaml", "--seed", "2")
    at = "./egs/toy"
    arguments = next(arguments for name, arguments, _ in project.calls() if name == "train")
    assert arguments[:6] == [
        *("--config", f"{at}/conf/recipe.yaml", "--config", f"{at}/conf/budget_long.yaml"),
        *("--config", "delta.yaml"),
    ]
    assert arguments[arguments.index("--exp") + 1] == f"{at}/exp_long_delta_seed=2/atat"
    assert arguments[arguments.index("--data") + 1] == f"{at}/exp_long_delta_seed=2/data"
    error = project.run("--budget", "short", code=2).stderr
    assert "--budget: got 'short', expected one of: long" in error


# All but num_gpus, which goes with one process alone.
OF_THE_MACHINE = [f"train.{x}=2" for x in stage_inputs.OF_THE_MACHINE if x != "num_gpus"]


@pytest.mark.parametrize(
    ("recipe", "given", "named"),
    [
        ("", OF_THE_MACHINE, ""),
        ("", ["model.width=8", *OF_THE_MACHINE, "seed=2"], "_model.width=8_seed=2"),
        ("train: {sync: parameters, sync_every: 4}", OF_THE_MACHINE[:1], f"_{OF_THE_MACHINE[0]}"),
        (
            "train: {sync: parameters}",
            ["train.num_gpus=2", "train.sync=gradients"],
            "_train.sync=gradients",
        ),
    ],
)
def test_settings_of_the_machine_name_no_directory(project, recipe, given, named):
    (project.recipe / "conf" / "recipe.yaml").write_text(recipe)
    result = project.run("--dry_run", "true", *[x for one in given for x in ("--set", one)])
    assert f"--exp ./egs/toy/exp{named}/atat " in result.stdout
    assert all(one in result.stdout for one in given)


def test_a_config_that_exchanges_gradients_leaves_the_number_of_gpus_to_the_machine(project):
    (project.recipe / "conf" / "recipe.yaml").write_text("train:\n  sync: parameters\n")
    (project.root / "gpus.yaml").write_text("train:\n  sync: gradients\n  num_gpus: 1\n")
    for num in ("4", "8"):
        told = ("--config", "gpus.yaml", "--set", f"train.num_gpus={num}", "--dry_run", "true")
        assert "--exp ./egs/toy/exp_gpus/atat " in project.run(*told).stdout


def test_expdir_holds_data_and_dump_and_report_too(project):
    project.run("--expdir", "my dir/")
    calls = {name: arguments for name, arguments, _ in project.calls()}
    assert calls["features"][2:6] == ["--data", "my dir/data", "--dump", "my dir/dump"]
    assert calls["decode"][:2] == ["--exp", "my dir/atat"]
    told = ["--expdir", "my dir", "--data", "my dir/data", "--out", "my dir", "--command"]
    assert calls["report"][2:-1] == told
    assert project.markers() == []


def test_results_are_published_beside_the_recipe_when_that_is_asked_for(finished):
    finished.run("--publish", "true", "--overwrite", "true")
    finished.run("--publish", "true", "--set", "train.num_steps=5")
    published, of_others = (call[1] for call in finished.calls() if call[0] == "report")
    assert published[-4:] == ["--publish", "./egs/toy", "--overwrite", "true"]
    assert "--publish" not in shlex.split(published[published.index("--command") + 1])
    assert of_others[-2:] == ["--publish", "./egs/toy"]
    (finished.root / "g.yaml").touch()
    for other in (["--grammar", "g.yaml"], ["--stand_in", "true"], ["--stop_stage", "6"]):
        result = finished.run("--publish", "true", *other, code=2)
        assert result.stderr.splitlines()[-1].startswith("run.sh: error: --publish: got --")
    assert finished.modules() == []


def test_another_grammar_leaves_what_the_recipes_own_has_given(finished):
    before = finished.markers()
    (finished.root / "kitchen.v2.yaml").write_text("x")
    result = finished.run("--grammar", "kitchen.v2.yaml")
    assert "this goes to ./egs/toy/exp_kitchen.v2" in result.stderr
    assert finished.modules() == ALL
    assert set(before) < set(finished.markers())
    assert "exp_kitchen.v2/data/1" in finished.markers()


def test_data_stages_use_one_thread_a_process(project):
    project.run()
    assert [call[2] for call in project.calls()[:3]] == ["1"] * 3


def test_dry_run_prints_commands_that_do_what_a_run_does(project):
    arguments = ["--expdir", "it's $HOME", "--set", "data.cache=a b", "--nj", "2"]
    script = project.run(*arguments, "--dry_run", "true").stdout
    assert project.calls() == []
    assert not (project.root / "it's $HOME").exists()
    project.shell(["bash", "-euc", script])
    pasted = project.calls()
    project.run(*arguments)
    run = project.calls()
    assert pasted == run
    assert [call[0] for call in run] == ALL


def test_dry_run_prints_the_stages_that_are_asked_for(project):
    script = project.run("--dry_run", "true", "--stage", "3", "--stop_stage", "5").stdout
    commands = [line for line in script.splitlines() if " -m atat." in line]
    assert [shlex.split(c)[-1] != "" and c.split(" -m atat.")[1].split()[0] for c in commands] == [
        "tokenizer", "train", "decode",
    ]  # fmt: skip


# What is done already


def test_a_second_run_skips_what_is_done(finished):
    result = finished.run()
    assert finished.modules() == ["report"]
    assert "stage 1 prepare: done already (./egs/toy/data/.done.1)" in result.stdout
    assert "stage 4 train (atat): done already" in result.stdout


def test_a_stage_given_is_an_order(finished):
    finished.run("--stage", "2", "--stop_stage", "3")
    assert finished.modules() == ["features", "tokenizer"]
    # Data that was made again ends every experiment that was trained on it.
    assert finished.markers() == ["data/1", "data/2", "data/3"]


@pytest.mark.parametrize(
    ("setting", "modules"),
    [
        ("data.num_train=9", ALL),
        ("features.num_mel_bins=40", ALL[1:]),
        ("tokenizer.vocab_size=9", ALL[2:]),
        ("model.width=8", ALL[3:]),
        ("train.sources=[{split: train, tasks: [slu]}]", ALL[3:]),
        ("decode.beam=2", ALL[4:]),
        ("seed=2", ALL),
    ],
)
def test_a_changed_setting_runs_the_stages_that_depend_on_it(finished, setting, modules):
    result = finished.run("--expdir", "e", "--set", setting)
    assert finished.modules() == modules
    assert f"again, since now {setting.partition('=')[0]}=" in result.stdout
    finished.run("--expdir", "e", "--set", setting)
    assert finished.modules() == ["report"]


def test_a_changed_file_runs_the_stages_that_depend_on_it(project):
    grammar = project.root / "g.yaml"
    grammar.write_text("one")
    project.run("--grammar", grammar, "--expdir", "e")
    project.calls()
    grammar.write_text("two")
    project.run("--grammar", grammar, "--expdir", "e")
    assert project.modules() == ALL

    tables = TABLES.replace("[a]", "[a, b]")
    (project.recipe / "tables.yaml").write_text(tables)
    project.run("--grammar", grammar, "--expdir", "e")
    assert project.modules() == ["score", "report"]

    (project.recipe / "tables.yaml").write_text(tables.replace("all tasks", "other words"))
    project.run("--grammar", grammar, "--expdir", "e")
    assert project.modules() == ["report"]

    project.run("--expdir", "e")  # the recipe's own grammar again
    assert project.modules() == ALL


def test_decoding_follows_settings_that_were_changed_after_training(finished):
    saved = finished.recipe / "exp" / "atat" / "config.yaml"
    saved.write_text("decode: {beam: 4, nbest: 1, runs: {}}\n")
    settings = "decode: {beam: 2, nbest: 1, runs: {test: {beam: 8}}}\n"
    (finished.recipe / "conf" / "recipe.yaml").write_text(
        f"train: {{num_steps: 10, num_epochs: 2}}\n{settings}"
    )
    finished.run()
    name, arguments, _ = finished.calls()[0]
    beam, runs = arguments[8:]
    assert (name, beam) == ("decode", "decode.beam=2")
    assert runs.startswith("decode.runs={") and '"beam": 8' in runs


def test_an_order_says_that_what_it_builds_on_has_other_settings(finished):
    result = finished.run("--expdir", "e", "--stage", "5", "--set", "features.num_mel_bins=40")
    assert finished.modules() == ["decode", "score", "report"]
    assert "stage 2 features: used as it is, though now features.num_mel_bins=40" in result.stdout


def test_experiments_share_the_data(finished):
    finished.run("--experiment", "e2e")
    assert finished.modules() == [*TRAINING, "report"]
    assert {"exp/atat/6", "exp/e2e/6"} < set(finished.markers())
    finished.run("--stage", "3", "--stop_stage", "3")
    assert finished.markers() == ["data/1", "data/2", "data/3"]


# Failures


@pytest.mark.parametrize(("told", "code"), [(1, 1), (3, 1), (139, 1), (2, 2), (130, 130)])
def test_a_failed_stage_stops_the_run_and_leaves_no_marker_from_itself_on(finished, told, code):
    finished.tell("features", told)
    result = finished.run("--stage", "1", code=code)
    assert finished.modules() == ["prepare.toy", "features"]
    assert finished.markers() == ["data/1"]
    # With exit code 2 the stage has said, in one line, what is wrong.
    lines = result.stderr.splitlines()
    # What a signal ends is said once more by the driver.
    assert lines == [] if told == 2 else "stage 2 features" in lines[-2 if told == 130 else -1]
    finished.tell("features", None)
    finished.run()
    assert finished.modules() == ALL[1:]


@pytest.mark.parametrize("module", ALL)
def test_any_stage_that_fails_stops_the_run(project, module):
    project.tell(module, 1)
    project.run(code=1)
    assert project.modules() == ALL[: ALL.index(module) + 1]
    assert len(project.markers()) == ALL.index(module)


def test_a_missing_stage_gives_the_command_to_run(project):
    project.run("--stop_stage", "2")
    project.calls()
    result = project.run("--stage", "5", "--nj", "1", code=3)
    assert project.calls() == []
    assert "stage 5 needs stage 3 tokenizer" in result.stderr
    command = shlex.split(result.stderr.splitlines()[-1])
    project.shell(command)
    assert project.modules() == ALL[2:]


def test_splits_that_somebody_wrote_are_used_from_stage_2_on(project):
    split = project.recipe / "data" / "train"
    split.mkdir(parents=True)
    assert "stage 2 needs stage 1" in project.run("--stage", "2", code=3).stderr  # it is empty
    (split / "text").write_text("a-1 go\n")
    result = project.run("--stage", "2")
    assert "stage 1 prepare: not run; the splits in" in result.stdout
    assert project.modules() == ALL[1:]
    project.run("--stage", "4")
    assert (split / "text").read_text() == "a-1 go\n"


def test_splits_that_stage_1_left_halfway_are_not_used(project):
    project.tell("prepare.toy", 1)
    project.run(code=1)
    split = project.recipe / "data" / "train"
    split.mkdir()
    (split / "text").write_text("a-1 go\n")
    assert "stage 2 needs stage 1" in project.run("--stage", "2", code=3).stderr
    project.tell("prepare.toy", None)
    project.run()
    project.run("--stage", "2")


def test_an_interrupted_run_goes_on_where_it_was(project):
    project.tell("train", "wait")
    driver = project.start()
    busy = project.run(code=1)
    assert f"process {driver.pid} works in ./egs/toy/exp" in busy.stderr
    assert project.modules() == ALL[:4]  # those of the first

    os.killpg(driver.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    _, errors = driver.communicate(timeout=20)
    assert driver.returncode == 130, errors
    assert project.markers() == ["data/1", "data/2", "data/3"]

    project.tell("train", None)
    project.run()
    assert project.modules() == ALL[3:]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("to", [os.kill, os.killpg])
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_run_whoever_gets_it_and_how_often(project, sent, code, to, times):
    if signal.getsignal(sent) is signal.SIG_IGN:
        pytest.skip("these tests were started to ignore it, as nohup does, and so are runs")
    project.tell("train", "wait")
    driver = project.start()
    stage = int((project.python.parent / "waiting").read_text())
    begin = time.monotonic()
    for _ in range(times):
        to(driver.pid, sent)
        time.sleep(0.05)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == code, errors
    assert "the same command goes on" in errors and "Traceback" not in errors
    assert time.monotonic() - begin < 30  # on a busy machine
    with pytest.raises(ProcessLookupError):
        os.kill(stage, 0)
    project.calls()
    project.tell("train", None)
    project.run()
    assert project.modules() == ALL[3:]


def test_the_end_of_what_runs_the_stages_is_said(project):
    project.tell("train", "wait")
    driver = project.start()
    stage = int((project.python.parent / "waiting").read_text())
    parent = int(Path(f"/proc/{stage}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGTERM)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 143 and "ended by signal 15; the same command goes on" in errors


def test_a_directory_that_cannot_be_written_to_is_one_line(project):
    (project.root / "e" / ".lock").mkdir(parents=True)
    result = project.run("--expdir", "e", code=2)
    assert len(result.stderr.splitlines()) == 1 and "cannot write to e" in result.stderr


def test_nothing_of_the_current_directory_is_run(project, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    for name in ("yaml", "json", "argparse", "omegaconf"):
        (here / f"{name}.py").write_text("print('HIJACKED')")
    command = ["../the project/run.sh", "--recipe", "toy", "--python", str(project.python)]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0 and "HIJACKED" not in done.stdout + done.stderr


def test_the_lock_of_an_ended_run_is_waited_for(project):
    project.tell("features", "linger")
    project.run(code=1)
    project.tell("features", None)
    project.run()


def test_a_killed_stage_is_not_done_nor_are_those_after_it(finished):
    finished.tell("features", "wait")
    driver = finished.start("--stage", "2")
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    finished.calls()
    finished.tell("features", None)
    finished.run()
    assert finished.modules() == ALL[1:]


def test_killed_again_and_again_a_run_repeats_no_stage_that_was_done(project):
    """At random moments, the whole process group; tools/kill_test.py does that with real stages."""
    moments, killed = random.Random(31), 0
    for module in ALL:
        project.tell(module, "slow")
    while killed < 6:
        done = set(project.markers())
        driver = subprocess.Popen(
            project.command(), cwd=project.root, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moments.uniform(0.2, 1.5 + 0.2 * killed))
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            killed += 1
        driver.wait()
        assert done <= set(project.markers())
        ran = set(project.modules())
        names = {f"data/{n}": DATA[n - 1] for n in (1, 2, 3)}
        names |= {f"exp/atat/{n}": TRAINING[n - 4] for n in (4, 5, 6)}
        assert not ran & {names[marker] for marker in done}
    project.run()
    assert set(project.markers()) == names.keys()


# Nothing that is trained is lost


@pytest.mark.parametrize("module", ALL[:-1])
def test_a_mistake_that_a_stage_finds_changes_nothing(trained, module):
    stage = str(ALL.index(module) + 1)
    before = trained.files()
    trained.tell(module, 2)
    trained.run("--stage", stage, code=2)
    assert trained.modules() == [module]
    assert trained.files() == before
    trained.tell(module, None)
    assert trained.run().stdout.count("done already") == 6
    # But where it had changed something, that and what follows is not done.
    trained.tell(module, "spoil")
    trained.run("--stage", stage, code=2)
    assert trained.markers() == [f"data/{n}" for n in range(1, min(int(stage), 4))] + [
        f"exp/atat/{n}" for n in range(4, int(stage))
    ]


def test_a_mistake_in_a_new_directory_leaves_nothing_in_it(project):
    project.tell("prepare.toy", 2)
    project.run("--expdir", "e", code=2)
    assert [p.name for p in (project.root / "e").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("--seed 2", "exp_seed=2"),
        ("--set seed=2", "exp_seed=2"),
        ("--config conf/my.delta.yaml --set model.width=8", "exp_my.delta_model.width=8"),
        ("--grammar conf/my.delta.yaml --seed 2", "exp_my.delta_seed=2"),
        # Where the name is not all of it, a checksum tells it from others.
        ("--set data.cache=a/b", "exp_data.cache=a-b_3329111534"),
        ("--set data.cache=a|b", "exp_data.cache=a-b_2149464694"),
        ("--set data.cache=" + 90 * "a", f"exp_data.cache={48 * 'a'}_126883076"),
        ("--set decode.beam=2 --config conf/decode.yaml", None),
    ],
)
def test_other_settings_go_to_a_directory_named_after_them(project, given, name):
    (project.root / "conf").mkdir()
    (project.root / "conf" / "my.delta.yaml").write_text("train: {num_steps: 5}\n")
    (project.root / "conf" / "decode.yaml").write_text("# fast\ndecode:\n  beam: 2\n  nbest: 1\n")
    result = project.run(*given.split(), "--dry_run", "true")
    place = f"./egs/toy/{name}" if name else "./egs/toy/exp"
    (train,) = (line for line in result.stdout.splitlines() if " -m atat.train " in line)
    given = shlex.split(train)
    assert given[given.index("--exp") + 1] == f"{place}/atat"
    assert (f"this goes to {place}; " in result.stderr) == (name is not None)


def test_a_trained_model_stays_beside_one_with_other_settings(trained):
    before = trained.files()
    trained.run("--set", "model.width=8", "--seed", "2")
    assert trained.modules() == ALL
    assert before.items() < trained.files().items()
    trained.run("--set", "model.width=8", "--seed", "2")
    assert trained.modules() == ["report"]
    trained.run("--set", "decode.beam=2")
    assert trained.modules() == ["decode", "score", "report"]


@pytest.mark.parametrize("setting", ["data: {num_train: 9}", "seed: 2", "model: {width: 8}"])
def test_what_is_trained_is_not_made_anew_with_other_settings_unless_that_is_asked_for(
    trained, setting
):
    path = trained.recipe / "conf" / "recipe.yaml"
    path.write_text(path.read_text() + setting + "\n")
    before = trained.files()
    for order in ([], ["--stage", "1"], ["--resume", "false"]):
        result = trained.run(*order, code=2)
        (line,) = result.stderr.splitlines()
        key = setting.replace(": {", ".").partition(":")[0]
        assert f"./egs/toy/exp/atat is trained, and now {key}=" in line
        assert (trained.files(), trained.modules()) == (before, [])
    trained.run("--experiment", "e2e", code=0 if setting.startswith("model") else 2)
    trained.calls()
    command = shlex.split(line.split("to train it anew: ")[1])
    assert command[-2:] == ["--overwrite", "true"]
    trained.shell(command)
    assert trained.modules() == ALL[3 if setting.startswith("model") else 0 :]
    trained.run()
    assert trained.modules() == ["report"]


def test_an_explicit_directory_keeps_the_settings_it_was_trained_with(project):
    (project.root / "g.yaml").write_text("one")
    options = ["--expdir", "e", "--grammar", "g.yaml"]
    project.run(*options)
    project.train(project.root / "e" / "atat")
    project.calls()
    project.run(*options, "--set", "decode.beam=2", "--stop_stage", "6")
    assert project.modules() == ["decode", "score"]
    for changed in (["--seed", "2"], ["--set", "model.width=8", "--stage", "4"]):
        error = project.run(*options, *changed, code=2).stderr
        assert "e/atat is trained, and now" in error and "--overwrite true" in error
    (project.root / "g.yaml").write_text("two")
    assert "is trained, and now the grammar differs" in project.run(*options, code=2).stderr
    assert project.modules() == []
    project.run(*options, "--overwrite", "true")
    assert project.modules() == ALL


def test_an_order_trains_anew_and_what_builds_on_it_waits_for_one(trained):
    trained.run("--experiment", "tuned")
    trained.train(trained.recipe / "exp" / "tuned")
    trained.calls()
    trained.run("--stage", "4", "--stop_stage", "4")
    assert trained.modules() == ["train"]
    error = trained.run("--experiment", "tuned", code=2).stderr
    assert "exp/tuned is trained, and now stage 4 (atat) finished" in error
    trained.run("--experiment", "tuned", "--resume", "false")
    assert trained.modules() == ["decode", "score", *TRAINING, "report"]


def test_what_stands_in_the_way_shows_before_anything_is_run(trained):
    trained.run("--table", "true")
    trained.calls()
    trained.train(trained.recipe / "exp" / "e2e")
    tables = TABLES.replace("num_steps: 7", "num_steps: 8")
    (trained.recipe / "tables.yaml").write_text(tables)
    (trained.recipe / "exp" / "tuned" / ".done.4").unlink()
    error = trained.run("--table", "true", code=2).stderr
    assert "exp/e2e is trained, and now train.num_steps=8" in error
    assert trained.modules() == []


def test_clean_removes_what_can_be_made_again_and_nothing_is_due_then(trained):
    last = trained.run().stdout.splitlines()[-3]
    trained.calls()
    before = set(trained.files())
    assert last.startswith("disk: ") and "12 MB, of which 4 MB can be made again: ./egs" in last
    command = shlex.split(last.partition("again: ")[2].removesuffix(" removes them"))
    assert "removes ./egs/toy/dump" in trained.shell([*command, "--dry_run", "true"]).stdout
    assert set(trained.files()) == before
    assert "freed 4 MB" in trained.shell(command).stdout
    assert {Path(name).name for name in before - set(trained.files())} == {
        "feats.ark", "1epoch.pth"
    }  # fmt: skip
    assert trained.run().stdout.count("done already") == 6
    assert trained.modules() == ["report"]
    # Features that are wanted again are made again, and nothing is due for that.
    trained.run("--stage", "5")
    assert trained.modules() == ["features", "decode", "score", "report"]
    assert trained.run().stdout.count("done already") == 6
    trained.shell(command)
    trained.calls()
    trained.run("--stage", "6")
    assert trained.modules() == ["score", "report"]


def test_clean_leaves_an_unfinished_training(project):
    project.tell("train", 1)
    project.run(code=1)
    checkpoint = project.recipe / "exp" / "atat" / "checkpoints" / "checkpoint.pth"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    project.run("--clean", "true")
    assert checkpoint.exists() and not (project.recipe / "dump").exists()
    (checkpoint.parent.parent / ".begun.4").unlink()  # as where it was trained by hand
    project.run("--clean", "true")
    assert checkpoint.exists()
    error = project.run("--clean", "true", "--expdir", "nowhere", code=2).stderr
    assert "nowhere is not there" in error and not (project.root / "nowhere").exists()


def test_features_that_were_removed_are_not_made_with_other_settings(finished):
    finished.run("--expdir", "e", "--clean", "true")
    other = ["--expdir", "e", "--set", "features.num_mel_bins=40"]
    error = finished.run(*other, "--stage", "5", code=3).stderr
    assert (
        "needs stage 2 features, which is wanted anew, since now features.num_mel_bins=40" in error
    )
    assert finished.modules() == []


# Experiments


def test_table_trains_every_experiment_after_what_it_starts_from(project):
    project.run("--table", "true")
    calls = project.calls()
    assert [call[0] for call in calls] == [*DATA, *TRAINING * 3, "report"]
    exp = [args[args.index("--exp") + 1] for name, args, _ in calls if name == "train"]
    assert [Path(e).name for e in exp] == ["atat", "tuned", "e2e"]
    project.run("--table", "true")
    assert project.modules() == ["report"]


def test_table_goes_on_where_an_experiment_failed(project):
    project.run("--experiment", "atat")
    project.calls()
    project.tell("decode", 1)
    project.run("--table", "true", code=1)
    project.tell("decode", None)
    project.calls()
    project.run("--table", "true")
    assert project.modules() == ["decode", "score", *TRAINING, "report"]


def test_table_with_a_stage_runs_it_for_every_experiment(project):
    project.run("--table", "true")
    project.calls()
    project.run("--table", "true", "--stage", "5", "--stop_stage", "6")
    assert project.modules() == ["decode", "score"] * 3


def test_an_experiment_brings_what_it_starts_from(project):
    project.run("--experiment", "tuned")
    assert project.modules() == [*DATA, *TRAINING * 2, "report"]
    project.run("--experiment", "tuned", "--stage", "4", "--stop_stage", "4")
    assert project.modules() == ["train"]
    # tuned started from an atat that is gone.
    project.run("--experiment", "atat", "--stage", "4", "--stop_stage", "6")
    project.calls()
    project.run("--experiment", "tuned")
    assert project.modules() == [*TRAINING, "report"]


def trainings(project) -> dict[str, str | None]:
    """Trainings since the last time, in their order, and what each was given to start from."""
    found = {}
    for name, arguments, _ in project.calls():
        if name == "train":
            given = dict(pairwise(arguments))
            found[given["--exp"]] = given.get("--init_from")
    return found


def start_of(project, directory: Path) -> Path:
    """A trained experiment that those of the toy recipe can start from, by its settings."""
    config_file.save(
        config_file.load([project.recipe / "conf" / "recipe.yaml"]), directory / "config.yaml"
    )
    Tokenizer.train(["turnOn( lights on )turnOn"], 60).save(directory / "tokenizer")
    (directory / "model.pth").touch()
    return directory


def test_a_start_that_does_not_fit_is_said_before_anything_is_made_or_removed(trained, tmp_path):
    good = start_of(trained, tmp_path / "start")
    wrong = {
        "nowhere": tmp_path / "nowhere",
        "nothing is trained here": tmp_path / "empty",
        "has another speech_encoder: features.num_mel_bins is 40 there, 80 here": tmp_path
        / "feats",
        "tokenizer": tmp_path / "words",
        "is an exported model, expected the experiment": tmp_path / "exported",
        "config.yaml": tmp_path / "bare",
    }
    (tmp_path / "empty").mkdir()
    for name in ("feats", "words", "bare"):
        shutil.copytree(good, tmp_path / name)
    path = tmp_path / "feats" / "config.yaml"
    path.write_text(path.read_text().replace("num_mel_bins: 80", "num_mel_bins: 40"))
    (tmp_path / "words" / "tokenizer" / "words.model").write_bytes(b"no words")
    (tmp_path / "bare" / "config.yaml").unlink()
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.json").write_text("{}")
    before = trained.files()
    for said, start in wrong.items():
        for given in (["--init_from", start], ["--set", f"train.init_from={start}"]):
            done = trained.run(*given, "--expdir", "e", "--overwrite", "true", code=2)
            assert len(done.stderr.splitlines()) == 1 and said in done.stderr, (said, done.stderr)
    assert trained.calls() == [] and trained.files() == before
    trained.run("--init_from", tmp_path / "feats", "--expdir", "new", "--cmd", "slurm", code=2)
    assert not (trained.root / "new").exists()
    trained.run("--init_from", good, "--expdir", "new")
    assert trained.modules() == ALL


def test_a_start_is_looked_at_where_a_training_is_due(trained, tmp_path):
    start = start_of(trained, tmp_path / "start")
    given = ["--set", f"train.init_from={start}", "--expdir", "new"]
    trained.run(*given)
    trained.train(trained.root / "new" / "atat")
    (start / "tokenizer" / "words.model").write_bytes(b"no words")
    trained.modules()
    trained.run(*given)
    assert trained.modules() == ["report"]
    anew = (["--stage", 4], ["--stage", 2, "--overwrite", "true"], ["--overwrite", "true"])
    for more in anew:
        assert "tokenizer" in trained.run(*given, *more, code=2).stderr
    assert trained.modules() == []


def test_an_experiment_is_told_what_it_starts_from(project):
    start_of(project, project.root / "libri speech")
    at = "./egs/toy/exp"
    start = str(project.root / "libri speech")
    project.run("--table", "true", "--init_from", "libri speech")
    assert trainings(project) == {
        f"{at}/atat": start, f"{at}/tuned": f"{at}/atat", f"{at}/e2e": None
    }  # fmt: skip
    project.run("--table", "true", "--init_from", start)
    assert project.modules() == ["report"]
    # The model that was started from is trained again, or is another.
    (project.root / "libri speech" / ".done.4").write_text("finished\n")
    project.run("--init_from", "libri speech")
    assert trainings(project) == {f"{at}/atat": start}
    project.run()
    assert trainings(project) == {f"{at}/atat": None}


def test_seeds_are_trainings_of_their_own(project):
    project.has_seeds()
    at = "./egs/toy/exp"
    project.run("--table", "true")
    assert trainings(project) == {
        f"{at}/atat.seed1": None,
        f"{at}/tuned.seed1": f"{at}/atat.seed1",
        f"{at}/atat.seed2": None,
        f"{at}/tuned.seed2": f"{at}/atat.seed2",
        f"{at}/e2e": None,
    }
    project.run("--experiment", "tuned", "--stage", "4", "--stop_stage", "4")
    assert list(trainings(project)) == [f"{at}/tuned.seed1", f"{at}/tuned.seed2"]
    project.run("--experiment", "atat.seed2", "--stage", "4", "--stop_stage", "4")
    assert list(trainings(project)) == [f"{at}/atat.seed2"]
    assert "has seeds of its own" in project.run("--seed", "4", code=2).stderr


def test_masked_words_are_found_by_another_experiment_unless_the_corpus_has_them(project):
    tables = (project.recipe / "tables.yaml").read_text()
    masked = "masked: {align: e2e, config: {train: {sources: [{split: train, tasks: [mlm]}]}}}"
    (project.recipe / "tables.yaml").write_text(tables.replace("subsets:", f"  {masked}\nsubsets:"))
    project.run("--experiment", "masked", "--nj", "1")
    calls = project.calls()
    assert [call[0] for call in calls] == [*DATA, *TRAINING, "align", *TRAINING, "report"]
    at = "./egs/toy"
    assert calls[6][1] == [
        *("--exp", f"{at}/exp/e2e", "--data", f"{at}/data", "--dump", f"{at}/dump"),
        *("--split", "train", "--nj", "1"),
    ]
    (project.recipe / "data" / "train").mkdir()
    (project.recipe / "data" / "train" / "ctm").write_text("")
    project.run("--experiment", "masked", "--stage", "4", "--nj", "1")
    assert project.modules() == [*TRAINING, "report"]
    # One that e2e has found is out of date when e2e is trained again, and so is what it was for.
    by = project.recipe / "data" / "train" / "ctm.by"
    by.touch()
    project.run("--experiment", "masked")
    assert project.modules() == ["report"]
    os.utime(by, (0, 0))
    project.run("--experiment", "e2e", "--stage", "4", "--stop_stage", "4")
    assert project.modules() == ["train"]
    by.touch()
    os.utime(by, (0, 0))
    project.run("--experiment", "masked")
    assert project.modules() == ["decode", "score", "align", *TRAINING, "report"]


# Parts of a corpus


def test_every_part_has_its_own_data_and_experiments_and_one_report(project):
    project.has_parts()
    project.run("--nj", "1")
    calls = project.calls()
    assert [call[0] for call in calls] == [*ALL[:-1], *ALL]
    at = "./egs/toy/parts"
    for part, chunk in (("near_1", calls[:6]), ("near_2", calls[6:-1])):
        data, dump = ["--data", f"{at}/{part}/data"], ["--dump", f"{at}/{part}/dump"]
        assert chunk[0][1][2:] == [*data, "--nj", "1", f"data.part={part}"]
        assert chunk[1][1][2:6] == [*data, *dump]
        assert chunk[3][1][-1] == f"data.part={part}"
        exp = ["--exp", f"{at}/{part}/exp/atat"]
        assert chunk[4][1] == [*exp, *data, *dump, "--nj", "1"]
    tables = ["--tables", "./egs/toy/tables.yaml"]
    places = ["--part", f"{at}/near_1", "--part", f"{at}/near_2"]
    assert calls[-1][1][:-2] == [*tables, *places, "--out", "./egs/toy/exp"]
    project.run()
    assert project.modules() == ["report"]
    assert {"parts/near_1/data/1", "parts/near_2/exp/atat/6"} < set(project.markers())


def test_a_part_can_be_done_alone(project):
    project.has_parts()
    project.run("--part", "near_2", "--expdir", "e")
    calls = project.calls()
    assert [call[0] for call in calls] == ALL
    assert calls[4][1][:2] == ["--exp", "e/parts/near_2/exp/atat"]
    assert "expected near_1 near_2" in project.run("--part", "near_3", code=2).stderr
    # Parts fail and go on by themselves.
    project.tell("train", 1)
    project.run("--expdir", "e", code=1)
    assert project.modules() == ALL[:4]
    project.tell("train", None)
    result = project.run("--expdir", "e")
    assert project.modules() == [*TRAINING, "report"]
    assert "stage 4 train (near_2, atat): done already" in result.stdout


def test_dry_run_prints_the_commands_of_all_parts(project):
    project.has_parts()
    script = project.run("--nj", "1", "--dry_run", "true").stdout
    project.shell(["bash", "-euc", script])
    pasted = project.calls()
    project.run("--nj", "1")
    assert pasted == project.calls()


# The corpus


def test_check_asks_stage_1_about_the_corpus_and_makes_nothing(project):
    (project.root / "my corpus").mkdir()
    arguments = ["--check", "true", "--corpus_dir", "my corpus"]
    project.run(*arguments)
    ((name, given, _),) = project.calls()
    assert name == "prepare.toy"
    assert given[-4:] == ["--corpus_dir", "my corpus", "--check", "true"]
    assert project.markers() == [] and not (project.recipe / "exp").exists()
    project.tell("prepare.toy", 2)
    project.run(*arguments, code=2)
    assert "--check true" in project.run(*arguments, "--dry_run", "true").stdout


def test_a_stand_in_is_rendered_and_used_apart_from_the_corpus(finished):
    before = finished.markers()
    result = finished.run("--stand_in", "true", "--nj", "1")
    assert "rendered speech stands in for the corpus" in result.stderr
    assert "this goes to ./egs/toy/exp_stand_in" in result.stderr
    calls = finished.calls()
    assert [call[0] for call in calls] == ["toy_corpus", *ALL]
    corpus = str(finished.root / "cache" / "stand_in" / "toy")
    assert calls[0][1] == [
        "--layout", "toy", "--size", "large", "--out", corpus, "--nj", "1"
    ]  # fmt: skip
    given = calls[1][1]
    assert given[given.index("--corpus_dir") + 1] == corpus and given[-1] == "data.stand_in=true"
    assert "exp_stand_in/data/1" in finished.markers() and set(before) < set(finished.markers())
    finished.tell("toy_corpus", 2)
    finished.run("--stand_in", "true", "--expdir", "other", code=2)
    assert not (finished.root / "other").exists()


# The environment


def test_python_is_that_of_the_active_environment_else_of_dot_venv(project):
    command = project.command("--dry_run", "true", python=False)
    assert f"{project.root}/.venv/bin/python".replace(" ", "\\ ") in project.shell(command).stdout
    active = project.root / "active"
    (active / "bin").mkdir(parents=True)
    shutil.copy(project.python, active / "bin" / "python")
    project.shell(project.command(python=False), env={"VIRTUAL_ENV": str(active)})
    assert (active / "bin" / "log").is_file()


def test_an_active_environment_of_another_project_is_left_alone(project):
    other = project.root / "other" / "bin" / "python"
    other.parent.mkdir(parents=True)
    other.write_text("#!/bin/sh\necho No module named omegaconf >&2; exit 1\n")
    other.chmod(0o755)
    own = project.root / ".venv" / "bin"
    own.mkdir(parents=True)
    shutil.copy(project.python, own / "python")
    project.shell(project.command(python=False), env={"VIRTUAL_ENV": str(other.parents[1])})
    assert (own / "log").is_file()


def test_without_environment_a_recipe_says_how_to_get_one(project):
    result = project.shell(["egs/toy/run.sh"], code=3)
    assert result.stderr.splitlines()[-1].endswith("/tools/install.sh")


def test_without_environment_run_sh_makes_one(project):
    installer = project.root / "tools" / "install.sh"
    installer.parent.mkdir()
    installer.write_text("#!/bin/sh\nmkdir -p .venv/bin && cp stub/python .venv/bin/python\n")
    installer.chmod(0o755)
    project.run("--stage", "banana", python=False, code=2)
    project.run("--dry_run", "true", python=False)
    assert not (project.root / ".venv").exists()
    project.run(python=False)
    log = project.root / ".venv" / "bin" / "log"
    assert len(log.read_text().splitlines()) == len(ALL)


def test_an_interpreter_without_the_packages_is_told_how_to_get_them(project):
    project.python.write_text("#!/bin/sh\necho No module named omegaconf >&2; exit 1\n")
    assert "tools/install.sh" in project.run(code=1).stderr


# ./run.sh


def test_an_unknown_recipe_lists_those_that_exist(project):
    shutil.copytree(project.recipe, project.root / "egs" / "other")
    for arguments in (["--recipe", "nope"], ["--recipe=nope"], ["--recipe"]):
        result = project.shell(["./run.sh", *arguments], code=2)
        assert "other toy" in result.stderr


def test_the_default_recipe_is_commands(project):
    shutil.copytree(project.recipe, project.root / "egs" / "commands")
    project.shell(["./run.sh", "--python", str(project.python)])
    assert project.modules()[0] == "prepare.commands"


def test_no_tracked_file_is_changed_in_a_clone(tmp_path):
    if not (REPO / ".git").exists():
        pytest.skip("this is no checkout")

    def git(*arguments: object, at: Path) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=b", *map(str, arguments)]
        done = subprocess.run(command, cwd=at, check=True, capture_output=True, text=True)
        return done.stdout

    # The repository as it is here now, committed or not.
    origin, clone = tmp_path / "origin", tmp_path / "the project"
    for name in git("ls-files", "-z", "-co", "--exclude-standard", at=REPO).split("\0")[:-1]:
        if (REPO / name).exists():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, origin / name, follow_symlinks=False)
    git("init", "--quiet", at=origin)
    git("add", ".", at=origin)
    git("commit", "--quiet", "--message", "all", at=origin)
    git("clone", "--quiet", origin, clone, at=tmp_path)

    python = tmp_path / "stub" / "python"
    python.parent.mkdir()
    python.write_text(STUB)
    python.chmod(0o755)
    (python.parent / "reports").touch()
    part = ["--recipe", "snips_audio", "--part", "close_1"]
    for recipe in ([], ["--recipe", "barista"], part, ["--seed", "2"]):
        command = ["./run.sh", "--python", python, *recipe]
        done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "not trained): ./" in done.stdout
        assert git("status", "--short", at=clone) == ""
    for recipe in ("commands", "barista", "snips_audio"):
        assert (clone / "egs" / recipe / "exp" / "report.html").is_file()
    # Published rows are not lost by accident.
    command = ["./run.sh", "--python", python, "--publish", "true"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 2 and "egs/commands/RESULTS.md would lose" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and git("status", "--short", at=clone) == ""
    again = shlex.split(done.stderr.split("to lose them: ")[1])
    assert again[-6:] == ["--stage", "7", "--publish", "true", "--overwrite", "true"]
    subprocess.run(again, cwd=clone, check=True, capture_output=True)
    changed = git("status", "--short", at=clone).split()
    assert changed[1::2] == ["egs/commands/RESULTS.md", "egs/commands/learning_curves.png"]
    assert changed[::2] == ["M", "D"]


def test_run_sh_works_from_any_directory(project, tmp_path):
    here = tmp_path / "elsewhere"
    here.mkdir()
    command = ["../the project/run.sh", "--recipe", "toy", "--python", str(project.python)]
    subprocess.run([*command, "--expdir", "mine"], cwd=here, check=True, capture_output=True)
    assert (here / "mine" / "atat" / ".done.6").is_file()
    assert project.modules() == ALL
    project.run("--expdir", here / "mine")
    assert project.modules() == ["report"]


def test_the_end_says_how_to_understand_a_recording(project):
    last = project.run().stdout.splitlines()[-1]
    assert shlex.split(last)[1:] == ["-m", "atat.parse", "--exp", "./egs/toy/exp/atat", "your.wav"]
    assert "atat.parse" not in project.run("--stop_stage", "6").stdout
