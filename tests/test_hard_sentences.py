"""The hard sentences of the commands, and what counts them."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from atat.grammar.grammar import Grammar
from atat.inference.result import Result
from atat.semantics import target_sequence

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "egs" / "commands" / "grammar.yaml"


@pytest.fixture(scope="module")
def bench():
    path = ROOT / "tools" / "bench" / "hard_sentences.py"
    spec = importlib.util.spec_from_file_location("hard_sentences", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["hard_sentences"] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_200_and_the_grammar_can_say_what_they_want(bench):
    sentences, grammar = bench.load(bench.SENTENCES), Grammar.load(COMMANDS)
    assert len({sentence for _, sentence, _ in sentences}) == len(sentences) == 200
    kinds = Counter(kind for kind, _, _ in sentences)
    assert set(kinds) == {"written", "filler", "paraphrase", "restart", "negation", "near_miss"}
    assert min(kinds.values()) >= 25
    for kind, sentence, wanted in sentences:
        if wanted is None:
            assert not grammar.parse(sentence), sentence
        else:
            frame = target_sequence.Frame(wanted[0], tuple(wanted[1].items()))
            assert grammar.with_meaning(frame) is not None, sentence
        assert (wanted is None) or kind not in ("negation", "near_miss")


def test_by_the_grammar_none_is_wrong_and_what_differs_in_writing_is_right(
    bench, command, tmp_path
):
    out = tmp_path / "out.json"
    code, text, err = command(bench.main, "--grammar", COMMANDS, "--out", out)
    assert (code, err) == (0, "")
    counts = {row.split()[0]: list(map(int, row.split()[1:])) for row in text.splitlines()[2:]}
    assert counts["written"] == [30, 30, 0, 0] and counts["filler"] == [35, 35, 0, 0]
    assert counts["negation"][1:] == counts["near_miss"][1:] == [0, 30, 0]
    assert counts["all"][0] == 200 and counts["all"][3] == 0
    assert len(json.loads(out.read_text())) == 200


@pytest.mark.parametrize(
    ("wanted", "understood", "outcome"),
    [
        (("go", {"to": "oslo"}), ("go", {"to": "oslo"}), "right"),
        (("go", {"to": "oslo"}), ("go", {"to": "rome"}), "wrong"),
        (("go", {"to": "oslo"}), (None, {}), "refused"),
        (None, (None, {}), "refused"),
        (None, ("go", {}), "wrong"),
    ],
)
def test_what_is_right_refused_and_wrong(bench, wanted, understood, outcome):
    assert bench.outcome(wanted, Result(*understood, "", None)) == outcome


def test_what_is_acted_on_wrongly_is_shown(bench, command, toy_experiment, tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text(
        "kind\tsentence\twanted\n"
        'a\tturn on the kitchen light\t{"intent": "turnOn", "slots": {"room": "kitchen"}}\n'
        "b\tturn on the kitchen lights\trefuse\n"
    )
    code, out, err = command(
        bench.main, "--exp", toy_experiment, "--sentences", path, "--show", "true"
    )
    assert code == 0 and err == "b: 'turn on the kitchen lights' -> turnOn {'room': 'kitchen'}\n"
    assert [row.split() for row in out.splitlines()[2:]] == [
        ["a", "1", "1", "0", "0"],
        ["b", "1", "0", "0", "1"],
        ["all", "2", "1", "0", "1"],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ":1: expected the columns kind, sentence, wanted"),
        ("kind\tsentence\twanted\na\tb\n", ":2: expected kind, sentence, and refuse"),
        ("kind\tsentence\twanted\na\tb\t{}\n", ":2: expected kind"),
        ("kind\tsentence\twanted\na\tb\tno\n", ":2: expected kind"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_line(bench, command, tmp_path, content, message):
    path = tmp_path / "own.tsv"
    path.write_text(content)
    code, _, err = command(bench.main, "--grammar", COMMANDS, "--sentences", path)
    assert code == 2 and f"{path}{message}" in err and len(err.splitlines()) == 1


def test_an_experiment_or_a_grammar_is_asked_for(bench, command):
    code, _, err = command(bench.main)
    assert code == 2 and "expected one of --exp and --grammar" in err
