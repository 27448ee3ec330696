"""What is missing, and the commands that make it."""

import html
import re
import shutil

import pytest

from atat.common import cli
from tests.made_up_recipe import load, make_recipe, run_report, table_rows


def test_a_row_without_scores_says_which_command_makes_them(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path)
    exp = paths["expdir"]
    (exp / "atat" / "decode_test_asr" / "hyp.jsonl").unlink()
    (exp / "atat_zeroshot" / "decode_test_nlu" / "scores.unseen.json").unlink()
    (exp / "e2e" / "model.pth").unlink()
    missing = [result.missing and str(result.missing) for result in load(paths).rows]
    assert missing == [
        "training not finished: ./run.sh --experiment e2e",
        None,
        "not decoded: ./run.sh --experiment atat --stage 5",
        "training not finished: ./run.sh --experiment e2e",
        "not scored: ./run.sh --experiment atat_zeroshot --stage 6",
        "not trained: ./run.sh --experiment later",
    ]
    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    (row,) = table_rows(text, "Scores")[1:]
    assert row[0] == "AT-AT"
    assert "different" not in "".join(table_rows(text, "Scores")[0])  # nothing to compare with
    said = text.split("Not there yet:\n\n")[1].split("\n\n")[0].splitlines()
    assert said == [
        "- 2 rows: training not finished: `./run.sh --experiment e2e`",
        "- AT-AT, transcript: not decoded: `./run.sh --experiment atat --stage 5`",
        r"- AT-AT zero-shot, &lt;nlu> token \| text: not scored: "
        "`./run.sh --experiment atat_zeroshot --stage 6`",
        "- Not there: not trained: `./run.sh --experiment later`",
    ]


def test_rows_that_are_not_trained_are_one_line(tmp_path, monkeypatch, capsys):
    paths = make_recipe(tmp_path)
    for experiment in ("e2e", "atat_zeroshot"):
        shutil.rmtree(paths["expdir"] / experiment)
    run_report(paths, monkeypatch)
    out = capsys.readouterr().out
    assert "\nnot there yet: 4 rows (not trained): ./run.sh --table true\n" in out
    assert out.count("not trained") == 1
    text = (paths["out"] / "RESULTS.md").read_text()
    assert [row[0] for row in table_rows(text, "Experiments")[1:]] == ["atat"]
    assert "- 4 rows: not trained: `./run.sh --table true`" in text
    page = (paths["out"] / "report.html").read_text()
    assert re.search(
        "4 rows: not trained\\s*<div[^>]*><code[^>]*>./run.sh --table true</code>", page
    )


def test_hints_and_title_are_those_of_the_command_that_was_run(tmp_path, monkeypatch, capsys):
    paths = make_recipe(tmp_path)
    for experiment in ("e2e", "atat_zeroshot"):
        shutil.rmtree(paths["expdir"] / experiment)
    (paths["expdir"] / "atat" / "decode_test_asr" / "hyp.jsonl").unlink()
    command = "./run.sh --grammar 'my own.yaml' --experiment atat --set seed=2 --stop_stage 7"
    run_report(paths, monkeypatch, "--command", command)
    again = "./run.sh --grammar 'my own.yaml' --set seed=2"
    text, out = (paths["out"] / "RESULTS.md").read_text(), capsys.readouterr().out
    assert text.startswith(f"# Results: my own\n\nWritten by stage 7 of `{again}`")
    assert f"\n- AT-AT, transcript: not decoded: `{again} --experiment atat --stage 5`\n" in text
    # What is about intents of the recipe's grammar, and others' numbers, are of another corpus.
    assert f"- 2 rows, of experiments e2e, later: not trained: `{again} --experiment e2e`\n" in text
    # In one line, and since --table would train what this grammar has no intents for, the first.
    summary = "not there yet: 3 rows (2 not trained, 1 not decoded): "
    assert f"\n{summary}{again} --experiment e2e\n" in out
    assert "paper" not in text and "91.7" not in text
    page = (paths["out"] / "report.html").read_text()
    assert "<title>Results: my own</title>" in page
    for setting in ("decode.nbest=5", "decode.confidence=true"):
        wanted = f"{again} --stage 5 --set {setting}"
        assert wanted in html.unescape(page)


@pytest.mark.parametrize("left", ["about.json", ".done.1", ""])
def test_splits_that_somebody_wrote_have_no_numbers_of_others_and_hints_that_use_them(
    tmp_path, monkeypatch, left
):
    paths, is_own = make_recipe(tmp_path / "mine"), not left
    shutil.rmtree(paths["expdir"] / "e2e")
    (paths["expdir"] / "atat" / "decode_test_asr" / "hyp.jsonl").unlink()
    if left != "about.json":
        (paths["data"] / "about.json").unlink()
        (paths["data"] / (left or "notes.txt")).touch()
    command = "./run.sh --recipe commands --expdir mine"
    run_report(paths, monkeypatch, "--command", f"{command} --stage 2")
    text = (paths["out"] / "RESULTS.md").read_text()
    assert ("99.5 %" in text, "| paper |" in text) == (not is_own, not is_own)
    assert f"AT-AT, transcript: not decoded: `{command} --experiment atat --stage 5`" in text
    if is_own:
        assert text.startswith("# Results: mine\n")
        names = "2 rows, of experiments e2e, later: not trained"
        assert f"- {names}: `{command} --experiment e2e --stage 4`" in text
    else:
        assert f"not trained: `{command} --table true`" in text


@pytest.mark.parametrize("command", ["", "./run.sh --grammar 'mine"])
def test_a_command_that_is_none_is_one_line(recipe, monkeypatch, capsys, command):
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: run_report(recipe, monkeypatch, "--command", command))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "--command: got" in error and error.count("\n") == 1
