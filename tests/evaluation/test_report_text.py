"""Stage 7 over experiments made up here: what is written, and that it is true."""

import base64
import io
import json
import random
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from scipy.stats import binomtest

from atat import report
from atat.common import cli
from atat.config import experiment_tables
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import (
    hints,
    metrics,
    plots,
    report_page,
    report_publishing,
    report_tables,
    report_text,
    results,
    scoring,
    slot_errors,
)
from atat.evaluation.hints import Hint
from atat.evaluation.report_audio import Recordings
from atat.evaluation.slot_errors import NOTHING, SlotErrors, Taken
from atat.inference import hypotheses
from atat.models import checkpoint
from atat.semantics.target_sequence import Frame, Node, build

ROOMS = ("kitchen", "bedroom", "attic")
TABLES = """
experiments:
  e2e: {about: "SLU only"}
  atat: {about: "SLU + ASR + NLU, one model"}
  atat_zeroshot: {about: "no speech with semantics for 2 intents", config: {}}
  later: {}
subsets: {unseen: {intents: [setTimer, stop]}}
table:
  - {row: E2E, experiment: e2e, run: test, paper: {em_hyp: 91.7, em_full: 83.4}}
  - {row: AT-AT, experiment: atat, run: test, against: e2e, paper: {em_hyp: 99.5, em_full: 99.0}}
  - {row: "AT-AT, transcript", experiment: atat, run: test_asr}
  - {row: E2E on the unseen, experiment: e2e, run: test, subset: unseen}
  - row: "AT-AT zero-shot, <nlu> token | text"
    experiment: atat_zeroshot
    run: test_nlu
    subset: unseen
    against: e2e
  - {row: Not there, experiment: later, run: test}
"""


def sentence(rng: random.Random, intents=("lightsOn", "lightsOff", "setTimer", "stop")) -> str:
    intent = rng.choice(intents)
    if intent == "stop":
        return build(Node("stop", ("please", "stop")))
    if intent == "setTimer":
        minutes = rng.choice(["five", "ten", "twenty"])
        return build(Node("setTimer", ("timer", "for", Node("minutes", (minutes,)))))
    word = "on" if intent == "lightsOn" else "off"
    return build(Node(intent, ("lights", word, "in", "the", Node("room", (rng.choice(ROOMS),)))))


def corrupt(rng: random.Random, sequence: str) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return sequence[: len(sequence) // 2].rsplit(" ", 1)[0]
    if kind == 1:
        return sequence.replace("lightsOn", "lightsOff").replace(" on ", " off ")
    return re.sub("|".join(ROOMS), "cellar", sequence).replace("ten", "tin")


def make_experiment(directory: Path, minutes=10.0, epochs=8, level=0.9, tasks=("slu",)):
    directory.mkdir(parents=True)
    (directory / "model.pth").write_bytes(b"")
    (directory / "config.yaml").write_text("seed: 1\n")
    env = {"seed": 1, "commit": "0123456789abcdef", "command": "python -m atat.train", "torch": "2"}
    env |= {"cpu": "Imaginary CPU", "machine": "Linux x86_64", "num_parameters": 2_200_000}
    (directory / "env.json").write_text(json.dumps(env))
    with (directory / "train.jsonl").open("w") as file:
        for epoch in range(1, epochs + 1):
            done = epoch / epochs
            line = {"epoch": epoch, "minutes": minutes * done, "cpu_minutes": 0.9 * minutes * done}
            line |= {"step": 1234 * epoch // epochs}
            line |= {"train_loss": 4 - 3 * done, "valid_loss": 0.3 + 3 * np.exp(-4 * done)}
            line |= {f"em_{t}": level * (1 - np.exp(-5 * max(0, done - 0.1))) for t in tasks}
            file.write(json.dumps(line) + "\n")


def make_run(directory: Path, references: dict[str, str], errors: float, task="slu", seed=0):
    rng = random.Random(seed)
    directory.mkdir(parents=True)
    record = {"run": directory.name, "split": "test", "task": task, "beam": 4, "seconds": 50.0}
    record |= {"constraint": "none", "ctc_weight": 0.0, "num_utterances": len(references)}
    record |= {"source": "speech", "audio_seconds": 200.0}
    (directory / "run.json").write_text(json.dumps(record))
    with (directory / "hyp.jsonl").open("w") as file:
        for id_, reference in references.items():
            wrong = rng.random() < errors
            line = {"id": id_, "hypothesis": corrupt(rng, reference) if wrong else reference}
            file.write(json.dumps(line | {"score": -1.0, "nbest": [], "task": task}) + "\n")


def make_recipe(root: Path, num_utterances=60) -> dict[str, Path]:
    """A recipe with three trained experiments of four; returns the arguments of atat.report."""
    rng = random.Random(5)
    references = {f"s{i % 12:02d}-{i:04d}": sentence(rng) for i in range(num_utterances)}
    text = {id_: words(sequence) for id_, sequence in references.items()}
    write = {"text": text, "semantics": references}
    wavs = {id_: str(root / "wav" / f"{id_} 100%.wav") for id_ in references}
    speakers = {id_: id_.split("-")[0] for id_ in references}
    kaldi_dir.write(root / "data" / "test", DataDir(wav_scp=wavs, utt2spk=speakers, **write))
    (root / "data" / "about.json").write_text(
        json.dumps({"speech": "rendered by espeak; test voices: <flite> & others."})
    )
    exp = root / "exp"
    make_experiment(exp / "e2e", 11, level=0.7)
    make_experiment(exp / "atat", 12, level=0.93, tasks=("slu", "nlu", "asr"))
    make_experiment(exp / "atat_zeroshot", 9, level=0.8, tasks=("slu", "nlu"))
    make_run(exp / "e2e" / "decode_test", references, 0.5, seed=1)
    make_run(exp / "atat" / "decode_test", references, 0.1, seed=2)
    make_run(exp / "atat" / "decode_test_asr", text, 0.1, task="asr", seed=3)
    make_run(exp / "atat_zeroshot" / "decode_test_nlu", references, 0.4, task="nlu", seed=4)
    (root / "tables.yaml").write_text(TABLES)
    for experiment in ("e2e", "atat", "atat_zeroshot"):
        rescore(root, experiment)
    return {
        "tables": root / "tables.yaml", "expdir": exp, "data": root / "data", "out": root / "out"
    }  # fmt: skip


def words(sequence: str) -> str:
    return " ".join(token for token in sequence.split() if "(" not in token and ")" not in token)


def rescore(root: Path, experiment: str):
    subsets = experiment_tables.load(root / "tables.yaml").subsets
    for directory in scoring.run_directories(root / "exp" / experiment):
        scoring.score_run(directory, root / "data", subsets)


def run_report(paths: dict[str, Path], monkeypatch, *more: str):
    arguments = [text for key, path in paths.items() for text in (f"--{key}", str(path))]
    monkeypatch.setattr(sys, "argv", ["atat.report", *arguments, *more])
    report.main()


def load(paths: dict[str, Path]) -> results.Results:
    place = results.Place(paths["expdir"], paths["data"])
    return results.Results(experiment_tables.load(paths["tables"]), [place])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> dict[str, Path]:
    """Read only: a test that changes files makes its own."""
    return make_recipe(tmp_path_factory.mktemp("recipe") / "commands")


@pytest.fixture(scope="module")
def written(recipe) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        run_report(recipe, patch)
    return recipe


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text of table cells."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data


def table_rows(text: str, title: str) -> list[list[str]]:
    """Cells of the Markdown table below a heading."""
    block = text.split(f"## {title}\n\n")[1].split("\n\n")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
    return [[cell.strip() for cell in row] for row in rows if "---" not in row[0]]


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
    assert "<title>Results: my own</title>" in (paths["out"] / "report.html").read_text()


@pytest.mark.parametrize("command", ["", "./run.sh --grammar 'mine"])
def test_a_command_that_is_none_is_one_line(recipe, monkeypatch, capsys, command):
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: run_report(recipe, monkeypatch, "--command", command))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "--command: got" in error and error.count("\n") == 1


def test_hypotheses_decoded_again_after_scoring_count_as_not_scored(tmp_path):
    paths = make_recipe(tmp_path)
    path = paths["expdir"] / "atat" / "decode_test" / "hyp.jsonl"
    lines = [json.loads(line) for line in path.open()]
    fresh = ({key: line[key] for key in ("id", "hypothesis", "score")} for line in lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in fresh))
    assert str(load(paths).rows[1].missing) == "not scored: ./run.sh --experiment atat --stage 6"


def test_a_subset_that_is_another_now_counts_as_not_scored(tmp_path):
    paths = make_recipe(tmp_path)
    assert load(paths).rows[3].missing is None
    text = paths["tables"].read_text()
    paths["tables"].write_text(text.replace("[setTimer, stop]", "[setTimer]"))
    missing = str(load(paths).rows[3].missing)
    assert missing == "scored when 'unseen' was another: ./run.sh --experiment e2e --stage 6"


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


def test_the_comparison_is_mcnemars_on_the_same_utterances(recipe):
    comparison = load(recipe).rows[1].comparison
    right = []
    for experiment in ("atat", "e2e"):
        path = recipe["expdir"] / experiment / "decode_test" / "hyp.jsonl"
        right.append({line["id"]: line["em_hyp"] for line in map(json.loads, path.open())})
    wins = sum(right[0][id_] and not right[1][id_] for id_ in right[0])
    losses = sum(right[1][id_] and not right[0][id_] for id_ in right[0])
    change = comparison.differences["em_hyp"]
    assert change["p"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
    assert change["value"] == pytest.approx((wins - losses) / 60)
    assert change["low"] <= change["value"] <= change["high"]
    assert comparison.is_real == (change["p"] < 0.05)
    scores = [
        json.loads((recipe["expdir"] / e / "decode_test" / "scores.json").read_text())["semer"]
        for e in ("atat", "e2e")
    ]
    assert comparison.differences["semer"]["value"] == pytest.approx(
        scores[0]["value"] - scores[1]["value"]
    )


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


def test_a_run_that_the_other_lacks_is_compared_with_the_one_the_table_shows_of_it(recipe):
    result = load(recipe).rows[4]
    assert (result.comparison.against, result.comparison.run) == ("e2e", "test")
    unseen = json.loads(
        (recipe["expdir"] / "e2e" / "decode_test" / "scores.unseen.json").read_text()
    )
    assert result.comparison.differences["em_hyp"]["n"] == unseen["em_hyp"]["n"]
    assert result.comparison.differences["em_hyp"]["value"] == pytest.approx(
        result.scores["em_hyp"]["value"] - unseen["em_hyp"]["value"]
    )


def test_other_utterances_are_not_compared(tmp_path):
    paths = make_recipe(tmp_path)
    path = paths["expdir"] / "e2e" / "decode_test" / "hyp.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    comparison = load(paths).rows[1].comparison
    assert comparison.problem == "was scored on other utterances"
    assert not comparison.is_real and comparison.main is None


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


def test_rendered_speech_is_said_from_the_settings_too(tmp_path):
    paths = make_recipe(tmp_path)
    (paths["data"] / "about.json").unlink()
    assert load(paths).speech is None
    (paths["expdir"] / "atat" / "config.yaml").write_text(
        "data: {voices: {train: {hibari: 0.5, espeak: 0.5}, test: {nanotts: 1.0}}}\n"
        "decode: {runs: {}}\n"
    )
    assert load(paths).speech == (
        "Speech: rendered by synthesisers, not recorded: test by nanotts; train by espeak, hibari."
    )


def test_a_test_whose_speaker_is_not_on_record_is_not_said_to_be_rendered(tmp_path):
    paths = make_recipe(tmp_path)
    (paths["data"] / "about.json").unlink()
    (paths["expdir"] / "atat" / "config.yaml").write_text(
        "data: {voices: {train: {espeak: 1}}}\ndecode: {runs: {}}\n"
    )
    assert load(paths).speech == (
        "Speech: rendered by synthesisers: train by espeak; it is not on record who speaks in test."
    )


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
    assert report_publishing.lost_rows(old, header) == [
        ("Scores", r"a \| b"),
        ("Scores", "picture"),
    ]
    assert report_publishing.lost_rows(old, old.replace("1", "3")) == []


def test_the_same_files_give_the_same_report(written, monkeypatch, tmp_path):
    again = written | {"out": written["out"].parent / "again"}
    run_report(again, monkeypatch)
    for name in ("RESULTS.md", "report.html"):
        assert (again["out"] / name).read_text() == (written["out"] / name).read_text()


def test_the_terminal_shows_every_row_there_is_and_no_line_is_wider_than_a_screen(recipe):
    text = report_text.terminal(load(recipe))
    for row in experiment_tables.load(recipe["tables"]).table[:-1]:
        assert f"\n{row.row}" in text
    assert text.endswith("not there yet: 1 row (not trained): ./run.sh --experiment later")
    assert "different from e2e? yes" in text and "different from e2e (test)? " in text
    assert max(map(len, text.splitlines())) <= 132
    assert text.isascii()


def test_the_page_is_one_file_and_escapes_what_it_shows(written):
    text = (written["out"] / "report.html").read_text()
    page = Page(text)
    names = {tag for tag, _ in page.elements}
    assert names.isdisjoint({"script", "link", "iframe", "flite", "nlu"})
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert "AT-AT zero-shot, <nlu> token | text" in [cell.strip() for cell in page.cells]
    assert "&lt;flite&gt; &amp; others" in text


def test_tables_and_commands_scroll_in_boxes_of_their_own(written):
    text = (written["out"] / "report.html").read_text()
    assert text.count("<table") == text.count('<div class="wide"><table')
    assert re.search(r'<div class="wide[^>]*>[^<]*<code class="whole">./run.sh</code>', text)
    assert "minmax(0, 1fr)" in text  # else a long word makes the page wider than a telephone


def test_script_in_data_stays_text(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path)
    path = paths["expdir"] / "e2e" / "decode_test" / "hyp.jsonl"
    lines = [json.loads(line) for line in path.open()]
    for line in lines:
        line |= {"hypothesis": "<script>alert(1)</script>", "em_hyp": False, "reason": "<b>"}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_report(paths, monkeypatch)
    page = Page((paths["out"] / "report.html").read_text())
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "b"})


def test_recordings_are_linked_relative_to_the_page(written):
    from urllib.parse import unquote

    page = Page((written["out"] / "report.html").read_text())
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "audio"]
    assert sources
    # They are not there, so they cannot be part of the page.
    wavs = set(kaldi_dir.read(written["data"] / "test").wav_scp.values())
    for source in sources:
        assert re.fullmatch(r"[\w./%-]+", source)
        path = (written["out"] / unquote(source)).resolve()
        assert str(path) in {str(Path(wav).resolve()) for wav in wavs}


def test_recordings_are_part_of_the_page_so_that_it_can_be_moved(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path / "recipe")
    wavs = kaldi_dir.read(paths["data"] / "test").wav_scp
    time = np.arange(16000) / 16000
    for number, wav in enumerate(wavs.values()):
        Path(wav).parent.mkdir(exist_ok=True)
        soundfile.write(wav, 0.3 * np.sin(2 * np.pi * (200 + 10 * number) * time), 16000)
    run_report(paths, monkeypatch)
    page = Page((paths["out"] / "report.html").read_text())
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "audio"]
    assert sources and all(source.startswith("data:audio/mpeg;base64,") for source in sources)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sources[0].partition(",")[2])))
    assert rate == 16000 and 16000 <= len(samples) < 20000
    assert abs(samples[4000:12000]).max() == pytest.approx(0.3, abs=0.03)


def test_what_the_page_has_no_room_for_is_linked_and_that_is_said(tmp_path, monkeypatch):
    paths = [str(tmp_path / f"{i}.wav") for i in range(3)]
    for path in paths:
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    one = len(Recordings(tmp_path).address(paths[0]))
    recordings = Recordings(tmp_path / "out", int(2.5 * one))
    kinds = [recordings.address(path)[:10] for path in paths]
    assert kinds == ["data:audio", "data:audio", "../2.wav"] and recordings.num_linked == 1
    assert Recordings(tmp_path).address(str(tmp_path / "none.wav")) == "none.wav"
    paths = make_recipe(tmp_path / "recipe")
    for number in (0, 7):
        monkeypatch.setattr(Recordings, "num_linked", number, raising=False)
        monkeypatch.setattr(Recordings, "__init__", lambda self, out: None)
        monkeypatch.setattr(Recordings, "address", lambda self, path: "x")
        run_report(paths, monkeypatch)
        text = (paths["out"] / "report.html").read_text()
        assert ("no more recordings: 7 are links" in text) == bool(number)


def test_what_was_expected_is_marked_as_right_and_what_was_understood_as_wrong(written):
    page = Page((written["out"] / "report.html").read_text())
    marks = [(tag, a) for tag, a in page.elements if tag in ("mark", "del", "ins")]
    assert {tag for tag, _ in marks} == {"mark"}
    text = (written["out"] / "report.html").read_text()
    style = text[text.index("<style>") : text.index("</style>")]
    assert re.search(r"\.expected \{[^}]*--right", style)
    assert re.search(r"\.wrong \{[^}]*--wrong", style)
    for error in re.findall(r'<dl class="error">.*?</dl>', text, re.DOTALL):
        expected, understood = error.split("<dt>understood</dt>")
        assert 'class="wrong' not in expected and 'class="expected' not in understood


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


def test_errors_are_limited_evenly_and_the_true_number_is_told(recipe):
    result = load(recipe).rows[0]
    every = report_page.section_of(result, {}, Recordings(recipe["out"]), 1000)
    some = report_page.section_of(result, {}, Recordings(recipe["out"]), 5)
    assert len(every.errors) == every.num_errors == some.num_errors
    assert every.num_errors == 60 - result.scores["em_hyp"]["k"]
    ids = [error.id for error in every.errors]
    chosen = [ids.index(error.id) for error in some.errors]
    assert len(chosen) == 5 and chosen[0] == 0 and chosen[-1] >= 0.7 * len(ids)


def test_only_what_differs_is_marked():
    ours, theirs = report_page.compare("a( x y )a".split(), "a( x z w )a".split())  # noqa: SIM905
    assert [token.text for token in ours if token.differs] == ["y"]
    assert [token.text for token in theirs if token.differs] == ["z", "w"]
    assert [token.text for token in ours if token.is_tag] == ["a(", ")a"]


def test_references_without_carrier_words_are_compared_by_what_is_asked_for(recipe):
    line = {
        "id": "x-1",
        "reference": build(Frame("order", (("size", "large"), ("drink", "latte")))),
        "hypothesis": "order( a drink( mocha )drink that is size( large )size )order",
        "em_hyp": False,
        "em_full": None,
        "reason": "drink 'mocha', expected 'latte'",
    }
    row = experiment_tables.Row("row", "atat", "test")
    result = results.Result(row, {}, None, [line], None)
    (error,) = report_page.section_of(result, {}, Recordings(recipe["out"]), 9).errors
    assert [token.text for token in error.reference if token.differs] == ["latte"]
    assert [token.text for token in error.hypothesis if token.differs] == ["mocha"]
    assert error.full == line["hypothesis"]


def test_confusion_counts_intents_and_malformed_ones():
    lines = [
        {"reference": f"{a}( )a".replace(")a", f"){a}"), "hypothesis": b, "em_hyp": False}
        for a, b in [
            ("go", "stop( )stop"),
            ("go", "go("),
            ("go", "go( )go"),
            ("fine", "fine( )fine"),
        ]
    ]
    confusion = report_page.confusion_of(lines)
    assert confusion.rows == ["go"]
    assert confusion.columns == ["go", "stop", report_page.MALFORMED]
    assert confusion.counts == {
        ("go", "stop"): 1,
        ("go", report_page.MALFORMED): 1,
        ("go", "go"): 1,
    }
    assert confusion.shade("go", "stop") == pytest.approx(1 / 3)


def test_slots_are_named_with_what_was_taken_for_what():
    def line(i, reference, hypothesis):
        return {"id": i, "reference": reference, "hypothesis": hypothesis, "em_hyp": False}

    lines = [
        line("a", "go( to( rome )to by( car )by )go", "go( to( oslo )to by( car )by )go"),
        line("b", "go( to( rome )to )go", "stop( to( oslo )to )stop"),
        line("c", "go( to( rome )to to( bonn )to )go", "go( to( bonn )to )go"),
        line("d", "go( by( car )by )go", "go( by( car"),
        line("e", "go( )go", "go( at( noon )at )go"),
        line("f", "go( by( car )by )go", "go( by( car )by )go"),
        {"id": "g", "reference": "some words", "hypothesis": "some"},
    ]
    to, at, by = slot_errors.count(lines)
    assert (to.slot, to.num_said, to.num_wrong) == ("to", 4, 3)
    assert to.taken == [Taken("rome", "oslo", 2, "a"), Taken("rome", NOTHING, 1, "c")]
    assert at == SlotErrors("at", 0, 1, [Taken(NOTHING, "noon", 1, "e")])
    assert by == SlotErrors("by", 3, 1, [Taken("car", NOTHING, 1, "d")])


def test_learning_curves_are_a_png_and_missing_values_are_no_crash(tmp_path):
    curves = {
        "one": [
            {"epoch": 1},
            {"minutes": 1.0, "em_slu": None, "valid_loss": float("nan")},
            {"minutes": 2.0, "em_slu": 0.5, "valid_loss": 1.0},
        ],
        "empty": [],
    }
    with (tmp_path / "curves.png").open("wb") as file:
        plots.learning_curves(curves, file)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no learning curve"):
        plots.learning_curves({"empty": []}, (tmp_path / "none.png").open("wb"))


def test_tree_scores_are_columns_where_there_are_trees():
    class Fake(results.Results):
        def __init__(self, scores):
            row = experiment_tables.Row("row", "atat", "test")
            self.rows = [results.Result(row, scores, None, [], None)]

    score = metrics.proportion(1, 2)
    flat = {"em_hyp": score, "tree_valid": score}
    assert Fake(flat).shown == ["em_hyp"]
    assert Fake(flat | {"tree_f1": score}).shown == ["em_hyp", "tree_f1", "tree_valid"]


def test_a_table_without_rows_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "tables.yaml").write_text("experiments: {e2e: {}}\n")
    arguments = [f"--{key}={tmp_path}" for key in ("expdir", "data", "out")]
    monkeypatch.setattr(sys, "argv", ["report", f"--tables={tmp_path / 'tables.yaml'}", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(report.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "has no rows under 'table'" in error and error.count("\n") == 1


# Parts and seeds

POOLED = """
experiments:
  e2e: {about: "SLU only"}
  atat: {about: "one model", seeds: [1, 2]}
table:
  - {row: E2E near, experiment: e2e, run: test, parts: near}
  - {row: AT-AT near, experiment: atat, run: test, parts: near, against: e2e, paper: {em_hyp: 84.9}}
  - {row: AT-AT far, experiment: atat, run: test, parts: far}
  - {row: AT-AT, experiment: atat, run: test, against: e2e}
"""
PARTS = ("near_1", "near_2", "far_1")


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """A recipe whose corpus has three parts, an experiment with one seed and one with two."""
    root = tmp_path_factory.mktemp("parts") / "snips"
    root.mkdir()
    (root / "tables.yaml").write_text(POOLED)
    for number, part in enumerate(PARTS):
        rng = random.Random(number)
        # The far part has the utterances of the near one, as SNIPS has.
        ids = [f"s{i % 12:02d}-{number % 2}-{i:03d}" for i in range(30)]
        references = {id_: sentence(rng) for id_ in ids}
        texts = {id_: words(sequence) for id_, sequence in references.items()}
        wavs = {id_: str(root / part / f"{id_}.wav") for id_ in ids}
        speakers = {id_: id_.split("-")[0] for id_ in ids}
        place = root / "parts" / part
        (place / "data").mkdir(parents=True)
        about = {"speech": "recorded" if part == "near_2" else "", "hypothesis": "frame"}
        (place / "data" / "about.json").write_text(json.dumps(about))
        kaldi_dir.write(place / "data" / "test", DataDir(wavs, texts, references, speakers))
        for seed, name in enumerate(("e2e", "atat.seed1", "atat.seed2")):
            make_experiment(place / "exp" / name)
            env = json.loads((place / "exp" / name / "env.json").read_text())
            (place / "exp" / name / "env.json").write_text(json.dumps(env | {"seed": max(seed, 1)}))
            errors = 0.6 if name == "e2e" else 0.1 + 0.1 * seed
            make_run(place / "exp" / name / "decode_test", references, errors, seed=seed + number)
            for run in scoring.run_directories(place / "exp" / name):
                scoring.score_run(run, place / "data", {})
    return root


def places(root: Path) -> list[results.Place]:
    at = root / "parts"
    return [results.Place(at / part / "exp", at / part / "data", part) for part in PARTS]


def of_parts(root: Path) -> results.Results:
    return results.Results(experiment_tables.load(root / "tables.yaml"), places(root))


def em(root: Path, part: str, name: str) -> list[bool]:
    path = root / "parts" / part / "exp" / name / "decode_test" / "hyp.jsonl"
    return [line["em_hyp"] for line in hypotheses.read_hypotheses(path)]


def test_rows_pool_the_utterances_of_their_parts_and_the_seeds_of_their_experiment(parts):
    near, seeds, far, everything = of_parts(parts).rows
    right = em(parts, "near_1", "e2e") + em(parts, "near_2", "e2e")
    assert (near.scores["em_hyp"]["k"], near.scores["em_hyp"]["n"]) == (sum(right), 60)
    of_seed = {
        str(seed): np.mean([em(parts, f"near_{i}", f"atat.seed{seed}") for i in (1, 2)])
        for seed in (1, 2)
    }
    assert {seed: v["em_hyp"] for seed, v in seeds.seeds.items()} == pytest.approx(of_seed)
    assert seeds.scores["em_hyp"]["value"] == pytest.approx(np.mean(list(of_seed.values())))
    assert far.num_utterances == 30 and everything.num_utterances == 90
    assert near.seeds == {} and near.comparison is None


def test_pooled_rows_are_compared_utterance_by_utterance(parts):
    rows = of_parts(parts).rows
    change = rows[1].comparison.differences["em_hyp"]
    assert change["value"] == pytest.approx(
        rows[1].scores["em_hyp"]["value"] - rows[0].scores["em_hyp"]["value"]
    )
    assert change["n"] == 60 and rows[1].comparison.is_real
    assert rows[3].comparison.differences["em_hyp"]["n"] == 90


def test_a_report_of_parts_has_all_trainings_all_seeds_and_one_table(parts, monkeypatch, capsys):
    options = [x for part in PARTS for x in ("--part", str(parts / "parts" / part))]
    run_report({"tables": parts / "tables.yaml", "out": parts}, monkeypatch, *options)
    text = (parts / "RESULTS.md").read_text()
    scores = table_rows(text, "Scores")
    assert [row[0] for row in scores[1:]] == ["E2E near", "AT-AT near", "AT-AT far", "AT-AT"]
    column = scores[0].index("seed(s)")
    assert [row[column] for row in scores[1:]] == ["1", "1, 2", "1, 2", "1, 2"]
    seeds = table_rows(text, "Seeds")
    assert [row[:2] for row in seeds[1:4]] == [
        ["AT-AT near", "1"], ["AT-AT near", "2"], ["AT-AT near", "deviation"]
    ]  # fmt: skip
    values = [float(row[2]) for row in seeds[1:4]]
    assert values[2] == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=0.1)
    experiments = [row[0] for row in table_rows(text, "Experiments")[1:]]
    assert experiments == [f"{p}/{e}" for p in PARTS for e in ("e2e", "atat.seed1", "atat.seed2")]
    assert len(table_rows(text, "Decoding")) == 1 + 8  # no row is of e2e on far_1
    out = capsys.readouterr().out
    assert "Speech of near_2: recorded" in text  # the first that says
    table, _, _ = out.partition("\nwritten: ")
    assert "  seeds 1, 2: " in table and max(map(len, table.splitlines())) <= 132
    page = Page((parts / "report.html").read_text())
    audio = [attributes["src"] for tag, attributes in page.elements if tag == "audio"]
    assert any(source.startswith("near_1/") for source in audio)
    assert any(source.startswith("far_1/") for source in audio)


def test_what_is_missing_of_a_pooled_row_is_counted_and_the_first_is_named(parts, tmp_path):
    root = shutil.copytree(parts, tmp_path / "copy")
    (root / "parts" / "near_2" / "exp" / "atat.seed2" / "model.pth").unlink()
    shutil.rmtree(root / "parts" / "far_1" / "exp")
    rows = of_parts(root).rows
    assert rows[0].missing is None
    assert str(rows[1].missing) == (
        "training not finished (1 of 4 runs missing): "
        "./run.sh --experiment atat.seed2 --part near_2"
    )
    assert str(rows[2].missing) == (
        "not trained (2 of 2 runs missing): ./run.sh --experiment atat.seed1 --part far_1"
    )
    assert [str(hint) for hint in hints.of(of_parts(root))] == [
        "AT-AT near: training not finished (1 of 4 runs missing): "
        "./run.sh --experiment atat.seed2 --part near_2",
        "AT-AT far: not trained (2 of 2 runs missing): ./run.sh --experiment atat",
        "AT-AT: training not finished (3 of 6 runs missing): "
        "./run.sh --experiment atat.seed2 --part near_2",
    ]


def test_parts_that_the_corpus_does_not_have_are_an_error(parts, recipe):
    with pytest.raises(ValueError, match="got 'near', expected far"):
        results.Results(experiment_tables.load(parts / "tables.yaml"), places(parts)[2:])
    with pytest.raises(ValueError, match="the corpus has no parts"):
        place = results.Place(recipe["expdir"], recipe["data"])
        results.Results(experiment_tables.load(parts / "tables.yaml"), [place])


def test_a_report_says_where_a_corpus_is_a_stand_in(tmp_path, monkeypatch, capsys):
    paths = make_recipe(tmp_path)
    assert results.STAND_IN not in load(paths).speech
    config_file = paths["expdir"] / "atat" / "config.yaml"
    config_file.write_text("data: {stand_in: true}\n")
    run_report(paths, monkeypatch)
    assert "The corpus is a stand-in" in capsys.readouterr().out
    assert results.STAND_IN in (paths["out"] / "RESULTS.md").read_text()
    assert load(paths).speech == f"{results.STAND_IN} Speech: " + json.loads(
        (paths["data"] / "about.json").read_text()
    ).get("speech")


def test_a_report_of_nothing_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", f"--tables={tmp_path}", f"--out={tmp_path}"])
    with pytest.raises(SystemExit) as stop:
        cli.run(report.main)
    assert stop.value.code == 2 and "got neither --part" in capsys.readouterr().err


def test_what_other_commands_measured_stands_there_while_the_model_is_that_one(
    tmp_path, monkeypatch, capsys
):
    paths = make_recipe(tmp_path)
    exp = paths["expdir"] / "atat"
    about = {"model": checkpoint.digest(exp), "seed": 3, "commit": "fedcba987654321"}

    def right(num: int) -> dict:
        return {"test": metrics.proportion(num, 60)}

    noise = [
        {"noise": "clean", "snr_db": None, "runs": right(57)},
        {"noise": "fan", "snr_db": 12, "runs": right(54)},
        {"noise": "fan", "snr_db": 6, "runs": right(48)},
        {"noise": "noises/kitchen", "snr_db": 6, "runs": right(30)},
    ]
    shots = [
        {"shots": num, "run": "test", "em_hyp": metrics.proportion(50 + num, 60), "p": 0.25}
        for num in (0, 5)
    ]
    metrics_of = ("em_hyp", "understood", "understood_wrong")
    heard = [
        {
            "condition": name,
            **dict(zip(metrics_of, (right(n)["test"] for n in numbers), strict=True)),
        }
        for name, numbers in {"as it is": (57, 54, 3), "8 kHz": (30, 6, 0)}.items()
    ]
    silence = [{"condition": "hum", "refused": metrics.proportion(19, 20)}]
    for name, content in (("noise", noise), ("few_shot", shots), ("conditions", heard)):
        (exp / name).mkdir()
        record = about | {"folds": 2, "scores": content, "run": None, "nothing_said": silence}
        (exp / name / "scores.json").write_text(json.dumps(record))
    (exp / "noise" / "noise.png").write_bytes(b"a picture")
    measured = {
        "threshold": 0.25,
        "accepted": metrics.proportion(19, 20),
        "exact_match_accepted": metrics.proportion(19, 19),
        "false_accepts": {"value": 2.0, "low": 0.2, "high": 7.2, "hours": 1.0},
        "ece": 0.0125,
    }
    fitted = {"seed": 3, "commit": "fedcba987654321", "measured_on_the_other_half": measured}
    fitted |= {"false_accepts_per_hour": 2.0, "accept": 0.95}
    (exp / "confidence.json").write_text(json.dumps(about | {"about": fitted}))

    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    assert "| Experiment | run | noise | clean | mean in noise | 12 dB | 6 dB | n |" in text
    fan, kitchen = (line for line in text.splitlines() if line.startswith("| atat | test | "))
    assert "| fan | 95.0 %" in fan and ") | 85.0 % | 90.0 %" in fan
    assert "| kitchen | 95.0 %" in kitchen and ") | 50.0 % |  | 50.0 %" in kitchen
    assert fan.endswith(" | 60 | 3 | fedcba987654 |")
    assert "| atat | met | 0.25 | 95.0 %" in text and "MISSED" not in text
    assert "2.0 (0.2\u20137.2) | 1.00 | 0.013 |" in text
    as_it_is, narrow = table_rows(text, "Conditions")[1:]
    assert as_it_is[:2] == ["atat", "as it is"] and narrow[1] == "8 kHz"
    assert [cell.split()[0] for cell in as_it_is[2:5]] == ["95.0", "90.0", "5.0"]
    assert as_it_is[5:] == ["60", "as parse", "3", "fedcba987654"]
    (hum,) = table_rows(text, "Nothing said")[1:]
    assert hum[1] == "hum" and hum[2].startswith("95.0 % (") and hum[3] == "20"
    assert "| atat | 0 | test | 83.3 %" in text and "| atat | 5 | test | 91.7 %" in text
    assert base64.b64encode(b"a picture").decode() in (paths["out"] / "report.html").read_text()

    (exp / "model.pth").write_bytes(b"trained again")
    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    titles = ("Noise", "Confidence", "A few recordings", "Conditions", "Nothing said")
    assert not any(f"## {title}" in text for title in titles)


@pytest.mark.parametrize(
    ("false", "accepted", "said"),
    [
        (44.0, 19, "44.0 false accepts an hour, at most 2 are wanted"),
        (1.0, 12, "60.0 % of speech accepted, at least 95 % are wanted"),
    ],
)
def test_a_calibration_that_misses_its_target_is_said_loudly(
    tmp_path, monkeypatch, capsys, false, accepted, said
):
    paths = make_recipe(tmp_path)
    exp = paths["expdir"] / "atat"
    measured = {
        "threshold": 0.25,
        "accepted": metrics.proportion(accepted, 20),
        "false_accepts": {"value": false, "low": 0.2, "high": 70.2, "hours": 1.0},
        "ece": 0.0125,
    }
    about = {"seed": 3, "commit": "fed", "measured_on_the_other_half": measured}
    about |= {"false_accepts_per_hour": 2.0, "accept": 0.95}
    content = {"model": checkpoint.digest(exp), "about": about}
    (exp / "confidence.json").write_text(json.dumps(content))
    run_report(paths, monkeypatch)
    line = f"TARGET MISSED by atat: {said}."
    assert line in capsys.readouterr().out
    text = (paths["out"] / "RESULTS.md").read_text()
    assert line in text and table_rows(text, "Confidence")[1][1] == "MISSED"
    assert line in (paths["out"] / "report.html").read_text()
