"""tools/install.sh with a stub interpreter that logs what pip is asked for; tools/check_install.py
on the environment that the tests run in.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
TRACKERS = {"wandb", "mlflow-skinny"}  # of experiments, for those who use one
LOCKS = ("requirements-3.11.lock.txt", "requirements-3.12.lock.txt")

# Makes "environments" that hold a copy of itself; says that it is Python $VERSION.
STUB = f"""#!{sys.executable} -IS
import os, pathlib, shutil, sys
here, arguments = pathlib.Path(__file__).absolute(), sys.argv[1:]
version = here.with_name("version").read_text() if here.with_name("version").exists() else "3.11"
if arguments[0] == "-VV":
    print("Python", version)
elif arguments[0] == "-c":
    sys.version_info = tuple(map(int, version.split(".")))
    exec(arguments[1])
elif arguments[:2] == ["-m", "venv"]:
    (pathlib.Path(arguments[2]) / "bin").mkdir(parents=True)
    shutil.copy(here, pathlib.Path(arguments[2]) / "bin" / "python")
else:
    what = " ".join(arguments)
    with open(os.environ["STUB_LOG"], "a") as log:
        print(what, file=log)
    if os.environ.get("STUB_FAIL", "nothing") in what:
        print("WARNING: noise\\nERROR: no such package")
        sys.exit(1)
"""


class Installer:
    def __init__(self, root: Path):
        self.root, self.log = root, root / "stub.log"
        for name in ("tools", *LOCKS, "pyproject.toml"):
            copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
            copy(REPO / name, root / name)
        self.path = root / "path with spaces"
        self.path.mkdir()
        self.add(self.path / "python3.11")

    def add(self, python: Path, version: str = "3.11") -> Path:
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(STUB)
        python.chmod(0o755)
        python.with_name("version").write_text(version)
        return python

    def run(self, *arguments: object, code: int = 0, **env: object) -> subprocess.CompletedProcess:
        hidden = ("VIRTUAL_ENV", "TORCH_INDEX_URL")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        environment |= {"PATH": f"{self.path}:/usr/bin:/bin", "STUB_LOG": self.log} | env
        result = subprocess.run(
            [self.root / "tools" / "install.sh", *map(str, arguments)], cwd=self.root,
            env={k: str(v) for k, v in environment.items()},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.returncode == code, result.stdout + result.stderr
        return result

    def calls(self) -> list[str]:
        """What the environment's interpreter was asked to do since the last time."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        options = "-m pip install --disable-pip-version-check --no-input --no-compile "
        return [line.replace(options, "install ") for line in lines]


@pytest.fixture
def installer(tmp_path):
    return Installer(tmp_path)


PINNED = "install --no-deps --requirement requirements-3.11.lock.txt"
TORCH = "install torch==2.13.0"
PROJECT = "install --no-deps --no-build-isolation --editable ."
CHECK = "tools/check_install.py"


def test_an_environment_is_made_and_a_second_run_does_nothing(installer):
    result = installer.run()
    assert installer.calls() == [PINNED, TORCH, PROJECT, CHECK]
    assert "is complete" in result.stdout and "WARNING" not in result.stdout + result.stderr
    assert installer.run().stdout == f"environment: {installer.root}/.venv is complete\n"
    assert installer.calls() == []


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_each_python_gets_the_lock_file_that_the_check_reads(installer, check, version):
    python = installer.add(installer.root / "other" / "python", version)
    installer.run("--python", python)
    assert installer.calls()[0] == f"install --no-deps --requirement {check.LOCKS[version]}"


@pytest.mark.parametrize("name", ["requirements-3.11.lock.txt", "pyproject.toml"])
def test_what_changed_is_installed(installer, name):
    installer.run()
    installer.calls()
    with open(installer.root / name, "a") as file:
        file.write("# changed\n")
    installer.run()
    assert installer.calls() == [PINNED, TORCH, PROJECT, CHECK]


def test_torch_alone_comes_from_the_index_that_is_given(installer):
    installer.run()
    installer.calls()
    index = "file:///wheels/cpu"
    installer.run(TORCH_INDEX_URL=index)
    assert installer.calls() == [
        PINNED,
        "-m pip uninstall --yes torch",
        f"install --index-url {index} torch==2.13.0",
        PROJECT,
        CHECK,
    ]


@pytest.mark.parametrize("step", ["requirements-3.11.lock.txt", "torch==", "--editable", CHECK])
def test_a_failure_says_what_failed_and_the_next_run_goes_on(installer, step):
    result = installer.run(code=1, STUB_FAIL=step)
    assert result.stderr.splitlines()[-1].startswith("tools/install.sh: error: ")
    if step != CHECK:
        assert "ERROR: no such package" in result.stderr
        assert "WARNING" not in result.stderr
        assert str(installer.root / ".venv" / "install.log") in result.stderr
    installer.calls()
    installer.run()
    assert installer.calls()[-1] == CHECK


def test_the_active_environment_is_used(installer):
    active = installer.root / "active"
    installer.add(active / "bin" / "python", "3.12")
    installer.run(VIRTUAL_ENV=active)
    assert installer.calls() != []
    assert not (installer.root / ".venv").exists()


def test_interpreter_and_place_can_be_given(installer):
    other = installer.add(installer.root / "other" / "python", "3.12")
    installer.run("--python", other, "--venv=my environment")
    assert installer.calls()[-1] == CHECK
    assert (installer.root / "my environment" / ".atat-installed").is_file()
    assert not (installer.root / ".venv").exists()


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_another_version_of_python_is_refused_with_a_word_about_it(installer, version):
    other = installer.add(installer.root / "other" / "python", version)
    for arguments, env in [
        (["--python", other], {}),
        ([], {"VIRTUAL_ENV": installer.add(installer.root / "v/bin/python", version).parents[1]}),
    ]:
        result = installer.run(*arguments, code=2, **env)
        assert re.search(rf"{re.escape(version)}.*expected.* 3\.11, 3\.12 or 3\.13", result.stderr)
        assert len(result.stderr.splitlines()) == 1
    assert installer.calls() == []


def test_without_a_python_that_fits_it_says_what_is_needed(installer):
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        (installer.path / name).write_text("#!/bin/sh\nexit 1\n")
        (installer.path / name).chmod(0o755)
    result = installer.run(code=2)
    assert "found no Python 3.11, 3.12 or 3.13" in result.stderr
    assert "--python PATH" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "got"),
    [(["--nope"], "--nope"), (["x"], "'x'"), (["--python"], "--python"), (["--venv="], "--venv")],
)
def test_a_usage_mistake_is_one_line(installer, arguments, got):
    result = installer.run(*arguments, code=2)
    assert got in result.stderr and len(result.stderr.splitlines()) == 1


def test_help_tells_how_to_choose_torch(installer):
    assert "TORCH_INDEX_URL" in installer.run("--help").stdout


# The lock file and the check of an environment


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_install", REPO / CHECK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pins(check):
    return check.read_lock(check.lock())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_that_is_asked_for_is_pinned_with_hashes(check, name):
    pinned = {normal(name) for name in check.read_lock(REPO / name)} | {"torch"}
    lines = (REPO / "requirements.in").read_text().splitlines()
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    groups = [lines, project["dependencies"], *project["optional-dependencies"].values()]
    asked = [line for group in groups for line in group]
    names = {normal(re.match(r"[\w.-]*", line)[0]) for line in asked}
    # audioop-lts is for Python 3.13 alone, and the lock of that is 3.12's.
    assert names - {"", "audioop-lts", "sounddevice", *TRACKERS} - pinned == set()
    packages = re.split(r"^(?=\w)", (REPO / name).read_text(), flags=re.MULTILINE)[1:]
    assert len(packages) == len(pinned) - 1
    assert [package for package in packages if "--hash=sha256:" not in package] == []


def test_both_lock_files_fit_what_requirements_in_says(check):
    from packaging.requirements import Requirement

    lines = (REPO / "requirements.in").read_text().splitlines()
    asked = [Requirement(line.partition("#")[0]) for line in lines if re.match(r"\w", line)]
    for python, name in check.LOCKS.items():
        pinned = {normal(one): version for one, version in check.read_lock(REPO / name).items()}
        for one in asked:
            if one.marker is None or one.marker.evaluate({"python_version": python}):
                assert one.specifier.contains(pinned[normal(one.name)]), (name, one)


@pytest.mark.supports(
    "Versions", "Python 3.11 with ESPnet 202511", "tools/install.sh, requirements-3.11.lock.txt"
)
@pytest.mark.supports(
    "Versions",
    "Python 3.12 and 3.13 with ESPnet 202611",
    "tools/install.sh --python, requirements-3.12.lock.txt; tested by hand (develop.md)",
)
def test_this_environment_is_the_locked_one(check, pins):
    assert check.check_versions(pins) == []
    assert check.check_requirements([*pins, "torch"]) == []


def test_only_requests_that_are_unmet_are_excused(check, pins, monkeypatch):
    excused = check.UNMET[check.lock().name]
    monkeypatch.setitem(check.UNMET, check.lock().name, set())
    unmet = check.check_requirements([*pins, "torch"])
    assert {line.partition(" is asked for")[0] for line in unmet} == excused


def test_a_version_or_package_that_differs_is_named(check, pins):
    faults = check.check_versions({"numpy": "0.1", "no-such-package": "1.0"})
    assert faults[0].startswith("numpy: got ") and faults[0].endswith(", expected 0.1")
    assert faults[1] == "no-such-package: got nothing, expected 1.0"


def test_a_module_that_does_not_import_is_named_with_the_reason(check):
    assert check.check_imports(["json", "no_such_module"]) == [
        "import no_such_module: ModuleNotFoundError: No module named 'no_such_module'"
    ]
