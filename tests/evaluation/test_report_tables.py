"""Tables of what stage 6 scored, against the files it left."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest

from atat.config import experiment_tables
from atat.evaluation import metrics, report_tables, results
from atat.evaluation.missing_results import Hint
from atat.inference import hypotheses
from tests.made_up_recipe import TABLES, make_experiment, make_recipe, run_report, table_rows


def test_rows_stand_in_the_order_of_tables_yaml_with_scores_interval_n_and_paper(written):
    text = (written["out"] / "RESULTS.md").read_text()
    header, *rows = table_rows(text, "Scores")
    assert header[:6] == ["Row", "EM Hyp", "paper", "Macro EM", "EM Full", "paper"]
    assert header[6:] == [
        "Intent acc", "Slot F1", "SemER", "WER", "n", "seed(s)", "different from e2e by EM Hyp?"
    ]  # fmt: skip
    assert rows[1][-2] == "1"
    assert [row[0] for row in rows] == [
        "E2E",
        "AT-AT",
        "AT-AT, transcript",
        "E2E on the unseen",
        r"AT-AT zero-shot, &lt;nlu> token \| text",
    ]
    assert "Not there yet:\n\n- Not there: not trained: `./run.sh --experiment later`\n" in text
    assert all(len(row) == len(header) for row in rows)
    scores = json.loads((written["expdir"] / "atat/decode_test/scores.json").read_text())["em_hyp"]
    interval = binomtest(scores["k"], 60).proportion_ci(method="wilson")
    assert rows[1][1] == (
        f"{100 * scores['k'] / 60:.1f} % ({100 * interval.low:.1f}\u2013{100 * interval.high:.1f})"
    )
    assert rows[1][2] == "99.5 %" and rows[1][5] == "99.0 %" and rows[1][10] == "60"
    assert rows[2][1] == "" and rows[2][9] != ""  # a transcript has WER only


def test_the_number_that_the_paper_has_decides(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path / "recipe")
    paths["tables"].write_text(TABLES.replace("em_hyp: 91.7, ", "").replace("em_hyp: 99.5, ", ""))
    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    assert table_rows(text, "Scores")[0][-1] == "different from e2e by EM Full?"
    assert "EM Full, points" in table_rows(text, "Differences")[0]


def test_what_an_experiment_started_from_is_shown(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path / "recipe")
    make_experiment(paths["expdir"] / "later")
    elsewhere = Path("/", "egs", "librispeech", "exp", "atat")
    starts = {"atat": paths["expdir"] / "e2e", "atat_zeroshot": elsewhere, "later": "/exp/atat"}
    for name, start in starts.items():
        env = paths["expdir"] / name / "env.json"
        about = json.loads(env.read_text()) | {"init_from": {"experiment": str(start)}}
        env.write_text(json.dumps(about))
    run_report(paths, monkeypatch)
    header, *rows = table_rows((paths["out"] / "RESULTS.md").read_text(), "Experiments")
    column = header.index("init_from")
    assert {row[0]: row[column] for row in rows} == {
        "e2e": "none", "atat": "e2e", "atat_zeroshot": "librispeech/exp/atat", "later": "exp/atat"
    }  # fmt: skip


def test_what_was_heard_is_told_from_what_was_understood():
    def line(hypothesis, em_hyp, em_full=False):
        reference = "play( some song( jazz )song )play"
        both = {"reference": reference, "hypothesis": hypothesis}
        return both | {"em_hyp": em_hyp, "em_full": em_full}

    lines = [
        line("play( some song( jazz )song )play", True, em_full=True),
        line("play( song( some jazz )song )play", False),  # all words, another tree
        line("stop( some song( jazz )song )stop", False),
        line("play( any song( jazz )song )play", True),  # a carrier word alone
        line("play( some song( jazz", False),  # malformed, and yet all words
    ]
    scores = dict.fromkeys(("em_hyp", "em_full", "wer"), metrics.proportion(1, 2))
    rows = [
        results.Result(experiment_tables.Row("speech", "atat", "test"), scores, None, lines, None),
        results.Result(
            experiment_tables.Row("missing", "atat", "test"), {}, Hint("not trained"), [], None
        ),
        results.Result(
            experiment_tables.Row("transcripts", "atat", "test_asr"),
            {"wer": scores["wer"]},
            None,
            [{"reference": "some jazz", "hypothesis": "some jazz"}],
            None,
        ),
    ]
    (cells,) = report_tables.hearing_table(SimpleNamespace(rows=rows)).rows
    assert cells[0] == "speech" and cells[1].startswith("80.0 % (")
    assert cells[2].startswith("25.0 % (") and cells[3] == "4"
    assert cells[4].startswith("100.0 % (") and cells[5] == "1"
    assert report_tables.hearing_table(SimpleNamespace(rows=rows[1:])) is None


def test_what_was_run_where_is_on_record(written):
    text = (written["out"] / "RESULTS.md").read_text()
    rows = {row[0]: row for row in table_rows(text, "Experiments")}
    for found in (
        "1",
        "0123456789ab",
        "1,234",
        "12.0",
        "10.8",
        "2,200,000",
        "../exp/atat/config.yaml",
    ):
        assert found in rows["atat"]
    assert "Imaginary CPU" in rows["atat"][-1]
    runs = {row[0]: row for row in table_rows(text, "Decoding")}
    assert runs["atat_zeroshot/decode_test_nlu"][1:4] == ["test", "speech", "nlu"]
    assert runs["e2e/decode_test"][-2:] == ["1.2", "0.2500"]
    assert "rendered by espeak; test voices: &lt;flite> & others." in text


def test_the_best_row_has_its_scores_by_intent_the_worst_first(written):
    text = (written["out"] / "RESULTS.md").read_text()
    header, *rows = table_rows(text, "By intent")
    assert header == ["Intent", "n", "EM Hyp", "Intent acc", "most often taken for"]
    lines = hypotheses.read_hypotheses(written["expdir"] / "atat" / "decode_test" / "hyp.jsonl")
    right: dict[str, list[bool]] = {}
    for line in lines:
        right.setdefault(line["reference"].partition("(")[0], []).append(line["em_hyp"])
    shares = sorted((sum(r) / len(r), name, len(r)) for name, r in right.items())
    assert [(row[0], row[1]) for row in rows] == [(name, str(n)) for _, name, n in shares]
    assert rows[0][2].startswith(f"{100 * shares[0][0]:.1f} % (")
    assert "Of the row \u201cAT-AT\u201d, whose EM Hyp is the highest" in text
    scores = json.loads((written["expdir"] / "atat/decode_test/scores.json").read_text())
    assert scores["em_hyp_macro"]["value"] == pytest.approx(np.mean([s for s, *_ in shares]))


def test_scores_of_before_there_was_a_macro_average_are_read(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path)
    for path in paths["expdir"].rglob("scores*.json"):
        scores = json.loads(path.read_text())
        scores.pop("em_hyp_macro", None)
        path.write_text(json.dumps(scores))
    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    assert "Macro EM" not in text and "By intent" not in text
    assert len(table_rows(text, "Scores")) == 6


def test_a_seed_without_anything_to_count_has_an_empty_cell_and_no_part_in_the_deviation():
    seeds = {"1": {"em_hyp": 0.0}, "2": {"em_hyp": 0.5, "tree_precision": 0.5}}
    seeds["3"] = {"em_hyp": 1.0, "tree_precision": 0.75}
    scores = dict.fromkeys(("em_hyp", "tree_precision"), metrics.proportion(1, 2))
    rows = [results.Result(experiment_tables.Row("x", "atat", "test"), scores, None, [], None)]
    for left_out, deviation in ((), "17.7"), (("3",), ""):
        rows = [replace(rows[0], seeds={k: v for k, v in seeds.items() if k not in left_out})]
        table = report_tables.seeds_table(SimpleNamespace(rows=rows, shown=list(scores)))
        assert table.rows[0] == ["x", "1", "0.0", ""]
        assert table.rows[-1][3] == deviation
