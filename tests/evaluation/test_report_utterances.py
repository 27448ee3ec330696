"""What the page shows of single utterances."""

import json
from math import exp
from types import SimpleNamespace

import pytest

from atat.config.experiment_tables import Row
from atat.evaluation import report_utterances
from atat.evaluation.report_utterances import Answers, is_right
from atat.evaluation.results import Result
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame, build
from tests.made_up_recipe import load


def answers(*rows: list[dict], splits=None) -> Answers:
    """Rows of an experiment each, made of their lines."""
    splits = splits or ["test"] * len(rows)
    found = [
        Result(Row(str(number), f"exp{number}", "test"), {}, None, lines, None)
        for number, lines in enumerate(rows)
    ]
    runs = {row.row.row: [("", {"split": split})] for row, split in zip(found, splits, strict=True)}
    return Answers(SimpleNamespace(rows=found, runs_of=lambda row: runs[row.row]))


def lines(right: str, key: str = "u") -> list[dict]:
    """One utterance a letter: r right, w wrong."""
    return [
        {"id": f"{key}{i:03d}", "reference": "go( )go", "em_hyp": letter == "r", "em_full": None}
        | {"hypothesis": "go( )go" if letter == "r" else "no( )no", "score": -1.0}
        for i, letter in enumerate(right)
    ]


def test_too_many_errors_are_shown_evenly_spaced(recipe):
    found = Answers(load(recipe))
    every, some = found.chosen(0, 1000, 0), found.chosen(0, 5, 0)
    assert not any(map(is_right, every)) and len(every) == sum(
        not line["em_hyp"] for line in found.rows[0].lines
    )
    ids = [line["id"] for line in every]
    places = [ids.index(line["id"]) for line in some]
    assert len(places) == 5 and places[0] == 0 and places[-1] >= 0.7 * len(ids)


def test_of_the_right_ones_those_come_first_that_another_row_has_wrong():
    found = answers(lines("r" * 20), lines("r" * 15 + "w" * 5))
    assert [line["id"] for line in found.chosen(0, 9, 5)] == [f"u{i:03d}" for i in range(15, 20)]
    assert len(found.chosen(0, 9, 8)) == 8
    assert {f"u{i:03d}" for i in range(15, 20)} < {x["id"] for x in found.chosen(0, 9, 8)}


def test_two_rows_are_counted_on_the_utterances_of_both(recipe):
    found = Answers(load(recipe))
    ours, theirs = (
        {line["id"]: line["em_hyp"] for line in map(json.loads, path.open())}
        for name in ("atat", "e2e")
        for path in [recipe["expdir"] / name / "decode_test" / "hyp.jsonl"]
    )
    (pair,) = (pair for pair in found.pairs(1) if pair.row == 0)
    cases = [(ours[i], theirs[i]) for i in ours]
    counts = [cases.count(case) for case in ((1, 1), (1, 0), (0, 1), (0, 0))]
    assert [pair.both, pair.alone, pair.other_alone, pair.neither] == counts
    # Row 3 is the same run on a part of the utterances: no other.
    assert 3 not in {pair.row for pair in found.pairs(0)}
    # The transcript (row 2) is compared with words, and so with no other row.
    assert found.pairs(2) == []


def test_utterances_of_another_split_or_reference_are_others():
    other = [line | {"reference": "stop( )stop"} for line in lines("rr")]
    assert answers(lines("rr"), other).pairs(0) == []
    assert answers(lines("rr"), lines("rr"), splits=["test", "test_real"]).pairs(0) == []


def test_rows_with_the_same_hypothesis_stand_together():
    found = answers(lines("w"), lines("r"), lines("w"), lines("r"))
    utterance = found.utterance(0, found.rows[0].lines[0], target_sequence.frame)
    assert [(other.text, other.rows) for other in utterance.others] == [
        ("go( )go", [1, 3]), ("no( )no", [2])
    ]  # fmt: skip
    assert (utterance.right_in, utterance.wrong_in) == ([1, 3], [2])


def test_the_n_best_have_their_rank_and_share():
    (line,) = lines("w")
    texts = ["no( )no", "go(", "go( )go"]
    line["nbest"] = [{"hypothesis": text, "score": -i} for i, text in enumerate(texts, 1)]
    utterance = answers([line]).utterance(0, line, target_sequence.frame)
    assert [one.is_right for one in utterance.nbest] == [False, False, True]
    assert utterance.rank == 3 and not utterance.is_right
    total = sum(exp(-i) for i in (1, 2, 3))
    assert [one.share for one in utterance.nbest] == pytest.approx(
        [exp(-i) / total for i in (1, 2, 3)]
    )
    line["nbest"] = line["nbest"][:1]
    assert answers([line]).utterance(0, line, target_sequence.frame).nbest == []


def test_a_hypothesis_without_end_is_cut_and_its_length_told():
    (line,) = lines("w")
    line |= {"hypothesis": "word " * 100_000, "em_full": False}
    utterance = answers([line]).utterance(0, line, target_sequence.frame)
    assert utterance.num_characters < 100_000
    assert [token.text for token in utterance.hypothesis][-2:] == ["(500000", "characters)"]


def test_only_what_differs_is_marked():
    ours, theirs = report_utterances.compare("a( x y )a".split(), "a( x z w )a".split())  # noqa: SIM905
    assert [token.text for token in ours if token.differs] == ["y"]
    assert [token.text for token in theirs if token.differs] == ["z", "w"]
    assert [token.text for token in ours if token.is_tag] == ["a(", ")a"]


def test_references_without_carrier_words_are_compared_by_what_is_asked_for():
    line = {
        "id": "x-1",
        "reference": build(Frame("order", (("size", "large"), ("drink", "latte")))),
        "hypothesis": "order( a drink( mocha )drink that is size( large )size )order",
        "em_hyp": False,
        "em_full": None,
        "reason": "drink 'mocha', expected 'latte'",
    }
    found = answers([line])
    utterance = found.utterance(0, line, target_sequence.frame)
    assert [token.text for token in utterance.reference if token.differs] == ["latte"]
    assert [token.text for token in utterance.hypothesis if token.differs] == ["mocha"]
    assert utterance.full == line["hypothesis"]
