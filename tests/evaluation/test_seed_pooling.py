"""Scores of parts and seeds together, against stage 6, SciPy and sums by hand."""

import json
import random

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from atat.config import experiment_tables
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import metrics, scoring, seed_pooling
from atat.inference import hypotheses
from atat.semantics import target_sequence

TREES = (
    "go( how far is to( see( the kind( coffee )kind shop )see )to )go",
    "go( how far is to( home )to )go",
    "tell( what is on( tonight )on )tell",
)
WRONG = ("go( how far is to( town )to )go", "go( how far", "tell( what )tell", "")


def answers(seed: int, num: int = 40) -> list[dict]:
    """Lines as stage 5 writes them and the reference."""
    rng = random.Random(seed)
    lines = []
    for i in range(num):
        reference = TREES[i % len(TREES)]
        hypothesis = reference if rng.random() < 0.6 else rng.choice(WRONG)
        lines.append({"id": f"s{i % 12:02d}-{i:02d}", "hypothesis": hypothesis, "r": reference})
    return lines


def scored(root, lines: list[dict], task="slu"):
    """The lines and scores that stage 6 makes of them."""
    run = root / "exp" / "decode_test"
    run.mkdir(parents=True)
    texts = {line["id"]: target_sequence.words(line["r"]) for line in lines}
    speakers = {id_: id_[:3] for id_ in texts}
    sequences = {line["id"]: line["r"] for line in lines}
    kaldi_dir.write(root / "data" / "test", DataDir(None, texts, sequences, speakers))
    (run / "run.json").write_text(json.dumps({"split": "test", "task": task}))
    (run / "hyp.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = scoring.score_run(run, root / "data", {})[None]
    return hypotheses.read_hypotheses(run / "hyp.jsonl"), scores, list(speakers.values())


def counted(root, seed: int) -> seed_pooling.Counts:
    return seed_pooling.counts(scored(root, answers(seed))[0], target_sequence.frame)


@pytest.mark.parametrize("task", ["slu", "asr"])
def test_one_run_pooled_has_the_scores_of_stage_6(tmp_path, task):
    lines, scores, speakers = scored(tmp_path, answers(1), task)
    counts = seed_pooling.counts(lines, target_sequence.frame)
    pooled = seed_pooling.scores([counts], speakers)
    assert list(pooled) == list(scores)
    for name, metric in scores.items():
        common = {key: metric[key] for key in ("value", "n", "low", "high")}
        assert {key: pooled[name][key] for key in common} == pytest.approx(common), name
        assert seed_pooling.value(counts, name) == pytest.approx(metric["value"])


def test_the_mean_over_intents_is_that_of_stage_6_too(tmp_path):
    flat = ("go( to to( rome )to )go", "stop( stop )stop", "go( far )go")
    lines = [line | {"r": flat[i % 3]} for i, line in enumerate(answers(4))]
    for i, line in enumerate(lines):
        line["hypothesis"] = line["r"] if i % 5 else "go( )go"
    lines, scores, speakers = scored(tmp_path, lines)
    counts = seed_pooling.counts(lines, target_sequence.frame)
    assert seed_pooling.scores([counts], speakers)["em_hyp_macro"] == scores["em_hyp_macro"]
    assert seed_pooling.value(counts, "em_hyp_macro") == pytest.approx(
        scores["em_hyp_macro"]["value"]
    )
    assert seed_pooling.scores([counts, counts])["em_hyp_macro"] == pytest.approx(
        scores["em_hyp_macro"]
    )


def test_metrics_that_a_table_asks_for_are_pooled_too(tmp_path):
    flat = ("go_far( to to( rome )to )go_far", "go_near( to( oslo )to )go_near")
    lines = [line | {"r": flat[i % 2]} for i, line in enumerate(answers(4))]
    for i, line in enumerate(lines):
        line["hypothesis"] = line["r"] if i % 5 else "go_near( to( roma )to )go_near"
    lines, _, speakers = scored(tmp_path, lines)
    scores = scoring.score_run(
        tmp_path / "exp" / "decode_test", tmp_path / "data", {}, experiment_tables.METRICS
    )[None]
    counts = seed_pooling.counts(lines, target_sequence.frame, experiment_tables.METRICS)
    pooled = seed_pooling.scores([counts], speakers)
    assert list(pooled) == list(scores)
    for name in experiment_tables.METRICS:
        assert {key: scores[name][key] for key in pooled[name]} == pytest.approx(pooled[name])
    both = seed_pooling.scores([counts, counts], speakers)
    assert both["slu_f1"] == pytest.approx(pooled["slu_f1"])
    published = seed_pooling.differences([counts], [counts], speakers, ["slu_f1"])
    assert published["slu_f1"]["value"] == 0.0 and next(iter(published)) == "em_hyp"


def test_references_without_carrier_words_have_no_scores_of_words():
    line = {"id": "a-1", "reference": "go( to( home )to )go", "hypothesis": "go(", "em_hyp": False}
    names = set(seed_pooling.counts([line | {"em_full": None}], target_sequence.frame))
    assert names == {"em_hyp", "intent_accuracy", "slot_f1", "semer", "tree_valid"}


def test_parts_are_pooled_as_one_run_of_all_their_utterances(tmp_path):
    parts = [answers(1, 30), answers(2, 50)]
    lines = [line for i, part in enumerate(parts) for line in scored(tmp_path / str(i), part)[0]]
    pooled = seed_pooling.scores([seed_pooling.counts(lines, target_sequence.frame)])
    k = sum(line["hypothesis"] == line["r"] for part in parts for line in part)
    interval = binomtest(k, 80).proportion_ci(method="wilson")
    assert pooled["em_full"] == pytest.approx(
        {"value": k / 80, "k": k, "n": 80, "low": interval.low, "high": interval.high}
    )


def test_seeds_are_pooled_by_the_mean_of_each_utterance(tmp_path):
    runs = [counted(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    pooled = seed_pooling.scores(runs)
    by_seed = [seed_pooling.value(run, "em_hyp") for run in runs]
    assert len(set(by_seed)) == 3
    assert pooled["em_hyp"]["value"] == pytest.approx(np.mean(by_seed))
    assert pooled["em_hyp"]["n"] == 40
    means = np.mean([run["em_hyp"][0] for run in runs], axis=0)
    oracle = bootstrap((means,), np.mean, method="percentile", rng=np.random.default_rng(0))
    assert pooled["em_hyp"]["low"] == pytest.approx(oracle.confidence_interval.low, abs=0.02)
    assert pooled["em_hyp"]["high"] == pytest.approx(oracle.confidence_interval.high, abs=0.02)
    # SemER is a ratio of sums: errors over slots and intents, the same references every time.
    assert pooled["semer"]["value"] == pytest.approx(
        np.mean([seed_pooling.value(run, "semer") for run in runs])
    )


def test_runs_of_one_seed_are_compared_by_mcnemar_and_pooled_ones_by_bootstrap(tmp_path):
    a, b, c = (counted(tmp_path / str(seed), seed) for seed in (1, 2, 3))
    right_a, right_b = (run["em_hyp"][0] > 0 for run in (a, b))
    wins, losses = int(sum(right_a & ~right_b)), int(sum(right_b & ~right_a))
    single = seed_pooling.differences([a], [b])["em_hyp"]
    assert single["p"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
    assert single["value"] == pytest.approx((wins - losses) / 40)

    pooled = seed_pooling.differences([a, c], [b])["em_hyp"]
    pairs = (a["em_hyp"][0] + c["em_hyp"][0]) / 2 - b["em_hyp"][0]
    draws = np.random.default_rng(0).choice(pairs, (4000, 40)).mean(axis=1)
    tail = min(np.mean(draws <= 0), np.mean(draws >= 0))
    assert pooled["value"] == pytest.approx(pairs.mean())
    assert pooled["p"] == pytest.approx(2 * tail, abs=0.05)
    assert [pooled["low"], pooled["high"]] == pytest.approx(
        list(np.quantile(draws, [0.025, 0.975])), abs=0.03
    )


@pytest.mark.parametrize(
    ("published", "names"),
    [
        ((), ["em_hyp", "semer"]),
        (("em_hyp", "semer"), ["em_hyp", "semer"]),
        (("em_hyp", "em_full"), ["em_hyp", "semer", "em_full"]),
        (("em_full", "tree_f1", "tree_valid"), ["em_full", "em_hyp", "semer", "tree_f1"]),
    ],
)
def test_what_was_published_is_compared_too(tmp_path, published, names):
    a, b = (counted(tmp_path / str(seed), seed) for seed in (1, 2))
    found = seed_pooling.differences([a], [b], None, published)
    assert list(found) == names
    for name, change in found.items():
        expected = seed_pooling.value(a, name) - seed_pooling.value(b, name)
        assert change["value"] == pytest.approx(expected), name
        assert change["low"] <= expected <= change["high"]
    if "em_full" in found:
        right_a, right_b = (run["em_full"][0] > 0 for run in (a, b))
        wins, losses = int(sum(right_a & ~right_b)), int(sum(right_b & ~right_a))
        assert found["em_full"]["p"] == pytest.approx(binomtest(wins, wins + losses).pvalue)


def test_transcripts_are_compared_by_wer():
    ours, theirs = (
        seed_pooling.counts(
            [{"reference": "turn it on", "hypothesis": text}] * 8, target_sequence.frame
        )
        for text in ("turn it on", "turn off")
    )
    ((name, change),) = seed_pooling.differences([ours], [theirs]).items()
    assert name == "wer" and change["value"] == pytest.approx(-2 / 3) and change["p"] < 0.05


def test_p_of_exact_match_is_over_speakers_where_the_interval_is():
    # Ten speakers of ten utterances: one is right throughout, one wrong, in one system alone.
    right = {"a": np.zeros(100), "b": np.zeros(100)}
    right["a"][:10] = 1
    ones = np.ones(100)
    runs = [{"em_hyp": (right[name], ones), "semer": (right[name], ones)} for name in "ab"]
    speakers = [f"s{i // 10}" for i in range(100)]
    (found,) = (seed_pooling.differences(*([run] for run in runs), s) for s in [speakers])
    assert found["em_hyp"] == metrics.difference(*(run["em_hyp"] for run in runs), speakers)
    assert found["em_hyp"]["low"] <= 0 and found["em_hyp"]["p"] > 0.05
    few = seed_pooling.differences(*([run] for run in runs), ["s0"] * 100)
    assert few["em_hyp"]["p"] == metrics.mcnemar(right["a"], right["b"]) < 0.01


def test_a_difference_of_shares_is_at_most_1():
    ones, zeros = np.ones(8), np.zeros(8)
    runs = [{"em_hyp": (right, ones), "semer": (3 * right, ones)} for right in (ones, zeros)]
    found = seed_pooling.differences(runs[:1], runs[1:])
    assert (found["em_hyp"]["value"], found["em_hyp"]["high"]) == (1.0, 1.0)
    assert found["semer"]["high"] > found["semer"]["value"] == 3.0  # an error rate has no end
    assert seed_pooling.differences(runs[1:], runs[:1])["em_hyp"]["low"] == -1.0


def test_a_metric_without_anything_to_count_has_no_value():
    counts = {"tree_precision": (np.zeros(3), np.zeros(3))}
    assert seed_pooling.value(counts, "tree_precision") is None
