"""Rows with their scores and comparisons, over experiments made up here."""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from atat.config import experiment_tables
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import (
    metrics,
    missing_results,
    report_page,
    report_text,
    results,
    scoring,
)
from atat.evaluation.missing_results import Driver
from atat.inference import hypotheses
from atat.models import checkpoint
from tests.made_up_recipe import (
    Page,
    load,
    make_experiment,
    make_recipe,
    make_run,
    run_report,
    sentence,
    table_rows,
    words,
)


def test_hypotheses_decoded_again_after_scoring_count_as_not_scored(tmp_path):
    paths = make_recipe(tmp_path)
    path = paths["expdir"] / "atat" / "decode_test" / "hyp.jsonl"
    lines = [json.loads(line) for line in path.open()]
    fresh = ({key: line[key] for key in ("id", "hypothesis", "score")} for line in lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in fresh))
    assert str(load(paths).rows[1].missing) == "not scored: ./run.sh --experiment atat --stage 6"


def test_hypotheses_of_an_earlier_model_count_as_not_decoded(tmp_path):
    paths = make_recipe(tmp_path)
    exp = paths["expdir"] / "e2e"
    record = exp / "decode_test" / "run.json"
    about = json.loads(record.read_text())
    record.write_text(json.dumps(about | {"model": checkpoint.digest(exp)}))
    assert load(paths).rows[0].missing is None
    (exp / "model.pth").write_bytes(b"trained anew")
    again = "decoded by an earlier model: ./run.sh --experiment e2e --stage 5"
    assert str(load(paths).rows[0].missing) == again
    assert load(paths).rows[1].comparison is None  # nor is anything compared with it
    record.write_text(json.dumps(about))  # of before it named its model
    assert load(paths).rows[0].missing is None
    trained = (exp / "model.pth").stat().st_mtime
    os.utime(record, (trained - 1, trained - 1))
    assert str(load(paths).rows[0].missing) == again


def test_a_subset_that_is_another_now_counts_as_not_scored(tmp_path):
    paths = make_recipe(tmp_path)
    assert load(paths).rows[3].missing is None
    text = paths["tables"].read_text()
    paths["tables"].write_text(text.replace("[setTimer, stop]", "[setTimer]"))
    missing = str(load(paths).rows[3].missing)
    assert missing == "scored when 'unseen' was another: ./run.sh --experiment e2e --stage 6"


def test_the_comparison_is_mcnemars_on_the_same_utterances(tmp_path):
    recipe = make_recipe(tmp_path)
    of_speakers = load(recipe).rows[1].comparison.differences
    for name in ("utt2spk", "spk2utt"):
        (recipe["data"] / "test" / name).unlink()
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
    # Of 12 speakers, p is theirs, as the interval is.
    assert of_speakers["em_hyp"]["value"] == change["value"]
    assert of_speakers["em_hyp"]["p"] != pytest.approx(change["p"])


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


def test_of_splits_of_ones_own_the_settings_do_not_know_who_speaks(tmp_path):
    paths = make_recipe(tmp_path)
    (paths["data"] / "about.json").unlink()
    (paths["expdir"] / "atat" / "config.yaml").write_text(
        "data: {voices: {test: {espeak: 1}}}\ndecode: {runs: {}}\n"
    )
    place = results.Place(paths["expdir"], paths["data"])
    tables, own = experiment_tables.load(paths["tables"]), Driver(has_own_splits=True)
    assert results.Results(tables, [place]).speech is not None
    assert results.Results(tables, [place], own).speech is None


def test_a_test_whose_speaker_is_not_on_record_is_not_said_to_be_rendered(tmp_path):
    paths = make_recipe(tmp_path)
    (paths["data"] / "about.json").unlink()
    (paths["expdir"] / "atat" / "config.yaml").write_text(
        "data: {voices: {train: {espeak: 1}}}\ndecode: {runs: {}}\n"
    )
    assert load(paths).speech == (
        "Speech: rendered by synthesisers: train by espeak; it is not on record who speaks in test."
    )


def test_it_is_said_how_many_test_sentences_stand_in_training(tmp_path):
    paths = make_recipe(tmp_path)
    assert load(paths).met_in_training == []  # nothing is known of their training
    texts = kaldi_dir.read(paths["data"] / "test").text
    first = min(texts.values())
    met = {"train": {"a-1": first, "a-2": "nobody says this"}, "written": texts}
    for split, some in met.items():
        renamed = {f"other-{i}": text for i, text in some.items()}
        kaldi_dir.write(paths["data"] / split, DataDir(text=renamed))
    for name, split in (("atat", "train"), ("e2e", "gone"), ("atat_zeroshot", "written")):
        sources = f"[{{split: {split}, tasks: [slu]}}, {{split: test, tasks: [asr]}}]"
        (paths["expdir"] / name / "config.yaml").write_text(
            f"train: {{sources: {sources}}}\ndecode: {{runs: {{}}}}\n"
        )
    num = sum(text == first for text in texts.values())
    said = f"of the 60 utterances of test, the words of {num} in train, 60 in written."
    assert load(paths).met_in_training == [f"Met in training: {said}"]
    page = report_page.render(load(paths), [], "commands", {}, tmp_path, 1, 1)
    text = report_text.markdown(load(paths), [], "commands", has_curves=False)
    assert said in page and said in " ".join(text.split())


def test_tree_scores_are_columns_where_there_are_trees():
    class Fake(results.Results):
        def __init__(self, scores):
            row = experiment_tables.Row("row", "atat", "test")
            self.rows = [results.Result(row, scores, None, [], None)]

    score = metrics.proportion(1, 2)
    flat = {"em_hyp": score, "tree_valid": score}
    assert Fake(flat).shown == ["em_hyp"]
    assert Fake(flat | {"tree_f1": score}).shown == ["em_hyp", "tree_f1", "tree_valid"]


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
    audio = [a["src"] for tag, a in page.elements if tag == "audio" and "src" in a]
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
    assert [str(hint) for hint in missing_results.of(of_parts(root))] == [
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
    config_file.write_text("data: {stand_in: true}\ndecode: {runs: {}}\n")
    run_report(paths, monkeypatch)
    assert "The corpus is a stand-in" in capsys.readouterr().out
    text = " ".join((paths["out"] / "RESULTS.md").read_text().split())
    assert results.STAND_IN in text
    assert load(paths).speech == f"{results.STAND_IN} Speech: " + json.loads(
        (paths["data"] / "about.json").read_text()
    ).get("speech")
