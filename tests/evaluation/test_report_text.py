"""The text of a report, over experiments made up here."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat import report
from atat.common import cli
from atat.config import experiment_tables
from atat.evaluation import report_text
from tests.made_up_recipe import TABLES, load, make_recipe, run_report, table_rows


def test_numbers_of_others_alone_make_a_row(tmp_path, monkeypatch, capsys):
    paths = make_recipe(tmp_path / "recipe")
    others = "table:\n  - {row: Others, paper: {em_hyp: 98.8}}"
    paths["tables"].write_text(TABLES.replace("table:", others))
    run_report(paths, monkeypatch)
    (row,) = (
        row
        for row in table_rows((paths["out"] / "RESULTS.md").read_text(), "Scores")
        if row[0] == "Others"
    )
    assert row[1:4] == ["\u2013", "98.8 %", ""] and not any(row[3:])
    assert ["paper", "98.8"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_row_that_the_paper_did_not_see_converge_says_so(tmp_path, monkeypatch, capsys):
    paths = make_recipe(tmp_path / "recipe")
    paths["tables"].write_text(TABLES.replace("em_hyp: 91.7", "em_hyp: no convergence"))
    run_report(paths, monkeypatch)
    rows = table_rows((paths["out"] / "RESULTS.md").read_text(), "Scores")
    (row,) = (row for row in rows if row[0] == "E2E")
    assert row[2] == "no convergence" and row[5] == "83.4 %"
    lines = capsys.readouterr().out.splitlines()
    (paper,) = (line for line in lines if line.split()[:3] == ["paper", "no", "convergence"])
    (header,) = (line for line in lines if "EM Full" in line)
    assert paper.index("83.4") + len("83.4") == header.index("EM Full") + len("EM Full")


def test_nothing_trained_is_a_report_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "tables.yaml").write_text(TABLES)
    paths = {"tables": tmp_path / "tables.yaml"}
    paths |= {key: tmp_path / key for key in ("expdir", "data", "out")}
    run_report(paths, monkeypatch)
    out = capsys.readouterr().out
    assert "nothing is scored yet: 6 rows (not trained): ./run.sh --table true\n" in out
    assert not (tmp_path / "out" / "learning_curves.png").exists()
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "learning_curves" not in text and "|" not in text
    assert "Nothing is scored yet" in (tmp_path / "out" / "report.html").read_text()


def test_the_terminal_shows_every_row_there_is_and_no_line_is_wider_than_a_screen(recipe):
    text = report_text.terminal(load(recipe))
    for row in experiment_tables.load(recipe["tables"]).table[:-1]:
        assert f"\n{row.row}" in text
    assert text.endswith("not there yet: 1 row (not trained): ./run.sh --experiment later")
    assert "different from e2e? yes" in text and "different from e2e (test)? " in text
    assert max(map(len, text.splitlines())) <= 132
    assert text.isascii()


def test_a_table_without_rows_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "tables.yaml").write_text("experiments: {e2e: {}}\n")
    arguments = [f"--{key}={tmp_path}" for key in ("expdir", "data", "out")]
    monkeypatch.setattr(sys, "argv", ["report", f"--tables={tmp_path / 'tables.yaml'}", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(report.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "has no rows under 'table'" in error and error.count("\n") == 1


def test_a_report_of_nothing_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", f"--tables={tmp_path}", f"--out={tmp_path}"])
    with pytest.raises(SystemExit) as stop:
        cli.run(report.main)
    assert stop.value.code == 2 and "got neither --part" in capsys.readouterr().err


def test_no_line_of_prose_is_long_and_the_text_reads_as_before(written, monkeypatch):
    text = (written["out"] / "RESULTS.md").read_text()
    prose = [line for line in text.splitlines() if not line.startswith(("|", "!", "#"))]
    assert max(map(len, prose)) <= report_text.WIDTH
    monkeypatch.setattr(report_text, "WIDTH", 10**6)
    loaded = load(written)
    whole = report_text.markdown(
        loaded, report.all_tables(loaded, written["out"]), "commands", True
    )
    assert max(map(len, whole.splitlines())) > 200
    assert " ".join(text.split()) == " ".join(whole.split())


WORDS = ["a", "-", "+", "1.", "12)", "#", ">", "===", "---", "~~~", "long" * 9, "`x y`"]


@given(st.lists(st.sampled_from(WORDS)))
def test_a_wrapped_paragraph_stays_one_paragraph_with_the_same_words(words):
    markdown_it = pytest.importorskip("markdown_it")
    render = markdown_it.MarkdownIt("commonmark").render
    text = " ".join(["So:", *words])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_text, "WIDTH", 9)
        html = render(report_text.wrap(text))
    assert html.count("<p>") == 1 and html.startswith("<p>") and html.endswith("</p>\n")
    assert " ".join(html.split()) == " ".join(render(text).split())


def test_a_command_is_not_broken():
    command = "./run.sh --grammar 'my own.yaml' " + "--set data.num_train=1 " * 9
    lines = report_text.wrap(f"- not trained: `{command}`", "  ").splitlines()
    assert lines == ["- not trained:", f"  `{command}`"]
