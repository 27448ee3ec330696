"""The documentation: its tutorial runs, its links and citations lead somewhere, the site builds."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "docs" / "own_commands.md"
# Seconds of training instead of minutes: nothing is understood, all of it runs.
TOY = """
data: {num_train: 30, num_train_text: 30, num_valid: 4, num_test: 2, num_pseudo_speakers: 1,
       num_foreign: 4}
model: {width: 32, num_heads: 2, speech_layers: 1, speech_ffn: 64, text_layers: 1, text_ffn: 64,
        decoder_layers: 1, decoder_ffn: 64, front_channels: 4}
augment: {copies: 0}
train: {num_steps: 8, num_epochs: 2, num_processes: 1, num_workers: 0, num_valid: 4}
decode: {negative_hours: 0.01, beam: 1, max_length: 8}
"""
# Other settings would write to a directory named after them, and the cache is the repository's.
ELSEWHERE = '--nj 1 --expdir egs/commands/exp_mine --set "data.cache=$PWD/cache"'
# A comment before a fenced block says how the test runs it (CONTRIBUTING.md, "Documentation").
BLOCK = re.compile(
    r"(?:<!-- test: (?P<told>.*?) -->\n)?^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[(?:[^][]|\[[^][]*\])*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# What is cited: a path from the top of the repository, or a page by its name alone.
CITED = re.compile(
    r"(?<![\w./{}<>*-])(?:(?:docs|egs|atat|conf|utils|tools|tests)/[\w./-]*\.(?:md|py|sh|yaml|tsv|txt)"
    r"|[A-Za-z_]+\.md)(?![\w{}*-])"
)
WRITTEN = {"RESULTS.md"}  # by a run
STANDS_FOR_MANY = re.compile(r"NAME|\b(?:test_)?x\.")
CITING = {".py", ".sh", ".md", ".yaml", ".yml", ".toml", ".in", ".cff", ".html", ".tsv"}


def repository_files() -> list[Path]:
    """All files of the repository, tracked or about to be."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(git, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here to say which files the repository has")
    paths = (ROOT / os.fsdecode(name) for name in names if name)
    return [path for path in paths if path.is_file()]


def pages() -> list[Path]:
    tops = [path for path in repository_files() if path.suffix == ".md"]
    return [path for path in tops if path.name != "RESULTS.md"]


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page may say after `#`."""
    text = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", h.replace("`", "")).strip().lower() for h in headings)
    return {heading.replace(" ", "-") for heading in plain}


# The tutorial


@pytest.fixture
def checkout(tmp_path):
    """A place like the repository's top, for what a reader's commands leave behind."""
    for name in ("conf", "utils", "egs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("exp*"))
    shutil.copy(ROOT / "run.sh", tmp_path)
    (tmp_path / "atat").symlink_to(ROOT / "atat")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "toy.yaml").write_text(TOY)
    return tmp_path


def script_of(page: Path, place: Path) -> str:
    """The page's commands as one script; what the page has as a file is written to `place`."""
    lines = ["set -euo pipefail"]
    for block in BLOCK.finditer(page.read_text("utf-8")):
        told, text = block["told"] or "", block["text"]
        if told == "skip":
            continue
        if block["title"]:
            (place / block["title"]).write_text(text)
        elif block["language"] == "python":
            lines += [f".venv/bin/python - <<'END'\n{text}END"]
        elif block["language"] == "bash":
            more = f" {told} {ELSEWHERE}" if told else ""
            lines += [line + more * line.startswith("./run.sh") for line in text.splitlines()]
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(1800)
def test_the_tutorials_commands_give_a_model_that_answers(checkout):
    script = script_of(TUTORIAL, checkout)
    assert script.count("./run.sh") == 2 and script.count("atat.parse") == 2
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        ["bash", "-x", "-c", script],
        cwd=checkout,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    answers = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    assert len(answers) == 2 and all('"is_understood"' in line for line in answers)
    # Typed text is the grammar's, so that the toy model answers too.
    assert '"orderDrink"' in answers[0] and "oat milk" in answers[0]
    assert "True askPrice {'size': 'small', 'drink': 'tea'} None" in done.stdout
    assert (checkout / "egs" / "commands" / "exp_mine" / "atat" / "config.yaml").is_file()


# Links and citations


def test_links_between_files_lead_to_files_and_headings():
    broken = []
    for page in pages():
        for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
            path, _, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            there = (page.parent / path).resolve() if path else page
            name = page.relative_to(ROOT)
            if not there.is_relative_to(ROOT) or not there.exists():
                broken.append(f"{name}: {target}")
            elif anchor and anchor not in anchors(there):
                broken.append(f"{name}: {target} (no such heading)")
    assert not broken


def test_no_file_cites_one_that_is_not_there():
    files = repository_files()
    names = {path.name for path in files} | WRITTEN
    wrong = []
    for path in files:
        relative = path.relative_to(ROOT)
        # Tests name files that they make.
        if relative.parts[0] in ("docs", "tests") or path.suffix not in CITING:
            continue
        # A path may be broken behind a slash.
        text = re.sub(
            r"(?<=\w/)\n[# ]*(?=[\w.]+\.(?:py|md|sh|yaml)\b)", "", path.read_text("utf-8")
        )
        for number, line in enumerate(text.splitlines(), start=1):
            for cited in CITED.findall(line):
                if "/" not in cited:
                    is_there = cited in names
                else:  # from the top, from where it is cited, or of any recipe
                    places = (ROOT, *path.parents, *ROOT.glob("egs/*"))
                    is_there = any((place / cited).exists() for place in places)
                if not is_there and not STANDS_FOR_MANY.search(cited):
                    wrong.append(f"{relative}:{number}: {cited}")
    assert not wrong


def test_what_is_cited_of_a_page_is_a_heading_of_it():
    """As in: docs/paper.md, "Target sequences"."""
    cited = re.compile(r"(docs/\w+\.md)(?: says)?, \"([^\"]+)\"")
    wrong, seen = [], 0
    for path in repository_files():
        if path.suffix in (".py", ".yaml", ".sh") and path != Path(__file__).resolve():
            for page, heading in cited.findall(path.read_text("utf-8")):
                seen += 1
                if f"# {heading}\n" not in (ROOT / page).read_text("utf-8"):
                    wrong.append(f"{path.relative_to(ROOT)}: {page}, {heading}")
    assert seen and not wrong


def test_every_recipe_has_a_page_in_the_site():
    nav = (ROOT / "mkdocs.yml").read_text("utf-8")
    for script in ROOT.glob("egs/*/run.sh"):
        page = script.with_name("README.md")
        assert page.is_file() and f"egs/{script.parent.name}/README.md" in nav
        if (results := script.with_name("RESULTS.md")).is_file():
            assert f"egs/{script.parent.name}/{results.name}" in nav


def test_log_has_headings_with_verdicts_and_lines_of_a_screen():
    text = (ROOT / "docs" / "log.md").read_text("utf-8")
    for heading in re.findall(r"^## .*$", text, re.MULTILINE):
        assert re.fullmatch(r"## \d{4}-\d\d-\d\d(, \w+)?: .+: .+", heading), heading
    for name in ("log.md", "results.md"):
        for line in (ROOT / "docs" / name).read_text("utf-8").splitlines():
            assert len(line) < 120 or line.startswith("|"), line


def test_prose_has_lines_of_a_screen():
    for path in pages():
        code = False
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            code ^= line.startswith("```")
            is_prose = not (code or line.startswith(("|", "    ")))
            assert not is_prose or len(line) <= 120, f"{path.relative_to(ROOT)}:{number}"


def test_the_picture_is_what_the_command_draws():
    drawn = subprocess.run(
        [sys.executable, ROOT / "tools" / "draw_model.py"], capture_output=True, text=True
    )
    assert drawn.stdout == (ROOT / "docs" / "model.svg").read_text("utf-8"), drawn.stderr


def test_the_page_of_what_is_supported_is_what_the_marks_say(tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, ROOT / "tools" / "write_compatibility.py", "--output", page]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
    assert page.read_text("utf-8") == kept, "run tools/write_compatibility.py"


def test_readme_has_the_command_that_continuous_integration_runs():
    assert "`make test`" in (ROOT / "README.md").read_text("utf-8")
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert "run: .ci/run" in workflow


# The site


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
    reason="the extra `docs` is not installed (mkdocs-material, mkdocstrings)",
)
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    loads = re.compile(r'<(?:script|link|img)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"')
    for page in (tmp_path / "site").rglob("*.html"):
        assert not loads.search(page.read_text("utf-8")), page
    api = (tmp_path / "site" / "api.html").read_text("utf-8")
    assert "SpeechToSemantics" in api and "slot_confidence" in api
