"""The wings of atat/: what may import what, who knows a dataset, and how thin a command is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# A wing imports from those before it alone; commands (atat/*.py) from all.
WINGS = (
    *("common", "semantics", "config", "grammar", "data", "synthesis", "models", "inference"),
    *("serving", "deployment", "training", "evaluation", "prepare"),
)
COMMANDS = (
    *(
        "features",
        "tokenizer",
        "train",
        "decode",
        "score",
        "report",
        "restore",
        "serve",
        "run_stages",
        "run_job",
        "align",
        "adapt",
        "few_shot",
    ),
    *(
        "export",
        "web",
        "calibrate",
        "noise_curve",
        "conditions",
        "evaluate",
        "parse",
        "crf",
        "synth",
        "toy_corpus",
        "inputs",
    ),
    "wyoming",
)
MAX_COMMAND_LINES = 125
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 60  # without its docstring
LONG = {"search"}  # one loop, which reads better whole
# As prose and file names have them. `commands` is the name of a recipe, and a word.
DATASETS = re.compile(
    r"fluent[_ ]speech|\bsnips|\bslurp|librispeech|barista|music_lowres|top_(zeroshot|corpus)|topv2"
    r"|(?-i:\bTOP\b|\bSTOP\b)",
    re.IGNORECASE,
)


def modules(root: Path) -> dict[str, Path]:
    """Name -> file, of the package below `root`."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in (root / "atat").rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """Modules of ours that one imports anywhere: in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return found & known.keys()


def wing_of(name: str) -> int:
    """Its height: the number of a wing, or above all of them for a command."""
    parts = name.split(".")
    return WINGS.index(parts[1]) if len(parts) > 1 and parts[1] in WINGS else len(WINGS)


def upward(root: Path) -> list[str]:
    known = modules(root)
    return [
        f"{name} imports {other}"
        for name in sorted(known)
        for other in sorted(imports(name, known))
        if wing_of(other) > wing_of(name)
    ]


def circles(root: Path) -> list[str]:
    """A module each that can be reached from itself, with the way."""
    known = modules(root)
    graph = {name: sorted(imports(name, known)) for name in known}
    found, done = [], set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append(" -> ".join([*way[way.index(name) :], name]))
        elif name not in done:
            for other in graph[name]:
                visit(other, [*way, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def named_datasets(root: Path) -> list[str]:
    """Lines that name a dataset where none should be known."""
    files = [*(root / "atat").rglob("*.*"), *(root / "utils").rglob("*.*")]
    return [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in sorted(files)
        if path.suffix in (".py", ".sh", ".html") and root / "atat" / "prepare" not in path.parents
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DATASETS.search(line)
    ]


def thick_commands(root: Path) -> list[str]:
    found = []
    for path in sorted((root / "atat").glob("*.py")):
        if path.name == "__init__.py":
            continue
        text = path.read_text(encoding="utf-8")
        nodes = ast.parse(text).body
        if any(isinstance(node, ast.ClassDef) for node in nodes):
            found.append(f"{path.name} has a class")
        if not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in nodes):
            found.append(f"{path.name} has no main")
        if len(text.splitlines()) > MAX_COMMAND_LINES:
            found.append(f"{path.name} has more than {MAX_COMMAND_LINES} lines")
    return found


def long_ones(root: Path) -> list[str]:
    """Modules and functions that nobody reads at a glance."""
    found = []
    for path in sorted((root / "atat").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if (num_lines := len(text.splitlines())) > MAX_MODULE_LINES:
            found.append(f"{path.relative_to(root)} has {num_lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in LONG:
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                num_lines = node.end_lineno - first.lineno + 1
                if num_lines > MAX_FUNCTION_LINES:
                    found.append(f"{path.relative_to(root)}: {node.name} has {num_lines} lines")
    return found


def test_no_wing_imports_one_above_it():
    assert not upward(ROOT)


def test_the_page_of_the_code_has_the_wings_in_the_order_of_their_imports():
    text = (ROOT / "docs" / "how_it_works.md").read_text("utf-8")
    assert tuple(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == WINGS[::-1]


def test_modules_and_functions_are_short():
    assert not long_ones(ROOT)


def test_modules_import_one_another_in_no_circle():
    assert not circles(ROOT)


def test_prepare_alone_knows_a_dataset():
    assert not named_datasets(ROOT)


def test_commands_are_thin_and_all_there():
    assert not thick_commands(ROOT)
    assert {path.stem for path in (ROOT / "atat").glob("*.py")} == {
        *("__init__", "__main__"),
        *COMMANDS,
    }


def test_every_wing_is_a_package_that_costs_nothing_to_import():
    found = {path.parent.name for path in (ROOT / "atat").glob("*/__init__.py")}
    assert found == set(WINGS)
    for path in (ROOT / "atat").rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert not any(isinstance(node, ast.ImportFrom) for node in body), path
        names = {
            alias.name for node in body if isinstance(node, ast.Import) for alias in node.names
        }
        assert names <= {"os", "sys"}, path  # which Python has loaded already


def test_tests_stand_where_their_module_does_and_import_no_other_test():
    for path in (ROOT / "tests").rglob("*.py"):
        where = path.relative_to(ROOT / "tests")
        if len(where.parts) == 2 and where.name.startswith("test_"):
            module = ROOT / "atat" / where.parent / where.name.removeprefix("test_")
            assert module.is_file(), f"tests/{where}: there is no {module.relative_to(ROOT)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("test_") for name in names), f"tests/{where}"


SOUND = {
    "atat/__init__.py": "",
    "atat/common/__init__.py": "",
    "atat/common/files.py": "import os",
    "atat/training/launch.py": "from atat.common import files",
    "atat/prepare/snips_audio.py": "from atat.training.launch import run",
    "atat/train.py": "from atat.training import launch\ndef main(): ...",
    "utils/recipe.sh": "echo stop at the top",
}


@pytest.mark.parametrize(
    ("check", "changed", "said"),
    [
        (upward, {}, []),
        (upward, {"atat/common/files.py": "def f():\n  from atat.training import launch"}, 1),
        (upward, {"atat/common/files.py": "import atat.training.launch"}, 1),
        (long_ones, {}, []),
        (long_ones, {"atat/common/files.py": "x = 0\n" * 451}, 1),
        (long_ones, {"atat/common/files.py": "def f():\n" + "  x = 0\n" * 61}, 1),
        (long_ones, {"atat/common/files.py": 'def f():\n  """."""\n' + "  x = 0\n" * 60}, []),
        (upward, {"atat/training/launch.py": "from atat import train"}, 1),
        (circles, {}, []),
        (circles, {"atat/common/files.py": "from atat.common.json import read"}, []),
        (
            circles,
            {
                "atat/common/files.py": "from atat.common.json import read",
                "atat/common/json.py": "if TYPE_CHECKING:\n  from atat.common import files",
            },
            1,
        ),
        (named_datasets, {}, []),
        (named_datasets, {"atat/common/files.py": "# as SNIPS has it"}, 1),
        (named_datasets, {"atat/common/files.py": "# sentences of TOP"}, 1),
        (named_datasets, {"atat/common/files.py": "# SLURP's scorer"}, 1),
        (named_datasets, {"utils/recipe.sh": "[[ $recipe == fluent_speech ]]"}, 1),
        (thick_commands, {}, []),
        (thick_commands, {"atat/train.py": "class Trainer: ..."}, 2),
        (thick_commands, {"atat/train.py": "def main(): ...\n" + "\n" * MAX_COMMAND_LINES}, 1),
    ],
)
def test_what_stands_in_the_wrong_place_is_found(tmp_path, check, changed, said):
    for name, text in {**SOUND, **changed}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = check(tmp_path)
    assert found == said if isinstance(said, list) else len(found) == said
