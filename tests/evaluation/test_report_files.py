"""Where a report is written, and what publishing may lose."""

import re
import shutil
from pathlib import Path

import pytest

from atat.common import cli
from atat.evaluation import report_files
from tests.made_up_recipe import make_recipe, run_report


def published(paths: dict[str, Path]) -> str:
    return (paths["tables"].parent / "RESULTS.md").read_text()


def links(directory: Path) -> list[Path]:
    """What a RESULTS.md points to: settings, its picture and the page."""
    text = (directory / "RESULTS.md").read_text()
    found = re.findall(r"(?<=\]\()[^)]+|[\w./]+/config\.yaml|[\w./]*report\.html", text)
    return [directory / one for one in found]


def test_links_hold_in_the_directory_of_a_run_and_where_it_is_published(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path)
    paths["out"] = paths["expdir"]
    run_report(paths, monkeypatch, "--publish", str(tmp_path))
    for directory in (tmp_path, paths["out"]):
        found = links(directory)
        assert all(link.is_file() for link in found)
        assert sorted(link.name for link in found) == [
            *["config.yaml"] * 3, "learning_curves.png", "report.html"
        ]  # fmt: skip
    assert not (tmp_path / "report.html").exists()


def test_rows_that_are_published_are_not_lost_unless_that_is_asked_for(
    tmp_path, monkeypatch, capsys
):
    paths = make_recipe(tmp_path)
    options = ["--publish", str(tmp_path)]
    run_report(paths, monkeypatch, *options)
    run_report(paths, monkeypatch, *options)  # the same rows
    shutil.rmtree(paths["expdir"] / "e2e")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: run_report(paths, monkeypatch, *options))
    (error,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert "RESULTS.md would lose 8 rows, the first 'E2E' of 'Scores'" in error
    assert error.endswith("./run.sh --stage 7 --publish true --overwrite true")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    run_report(paths, monkeypatch, *options, "--overwrite", "true")
    assert "- 3 rows: not trained" in published(paths)


def test_a_row_without_numbers_is_none_that_could_be_lost():
    header = "## Scores\n\n| Row | EM | n |\n| --- | --- | --- |\n"
    old = header + "| a \\| b | 1 | 2 |\n| c | none |  |\n\n![Curves](learning_curves.png)\n"
    assert report_files.lost_rows(old, header) == [
        ("Scores", r"a \| b"),
        ("Scores", "picture"),
    ]
    assert report_files.lost_rows(old, old.replace("1", "3")) == []


def test_the_same_files_give_the_same_report(written, monkeypatch, tmp_path):
    again = written | {"out": written["out"].parent / "again"}
    run_report(again, monkeypatch)
    for name in ("RESULTS.md", "report.html"):
        assert (again["out"] / name).read_text() == (written["out"] / name).read_text()
