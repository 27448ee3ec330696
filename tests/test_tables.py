import re

import pytest

from atat import tables
from atat.tables import Experiment, Row, Subset

WHOLE = """
experiments:
  c: {about: third, after: b}
  atat: {about: "SLU + ASR + NLU, one model", config: {}}
  b: {about: second, after: atat}
  e2e:
    about: speech only
    config: {train: {learning_rate: 1e-3, sources: [{split: train, tasks: [slu]}]}}
subsets:
  unseen: {intents: [setTimer, lights]}
table:
  - {row: "E2E", experiment: e2e, run: test, paper: {em_hyp: 99.5, em_full: 99}}
  - {row: "AT-AT", experiment: atat, run: test, subset: unseen, against: e2e}
"""


def load(tmp_path, text):
    path = tmp_path / "tables.yaml"
    path.write_text(text, encoding="utf-8")
    return tables.load(path)


def test_a_file_is_read_with_its_types(tmp_path):
    loaded = load(tmp_path, WHOLE)
    assert list(loaded.experiments) == ["c", "atat", "b", "e2e"]
    assert loaded.experiments["b"] == Experiment("second", {}, "atat")
    assert loaded.experiments["e2e"].config["train"]["learning_rate"] == 1e-3
    assert loaded.subsets == {"unseen": Subset(("setTimer", "lights"))}
    assert loaded.table == (
        Row("E2E", "e2e", "test", paper={"em_hyp": 99.5, "em_full": 99}),
        Row("AT-AT", "atat", "test", subset="unseen", against="e2e"),
    )


def test_subsets_and_table_can_be_left_out(tmp_path):
    loaded = load(tmp_path, "experiments: {atat: {}}")
    assert (loaded.experiments, loaded.subsets, loaded.table) == ({"atat": Experiment()}, {}, ())


def test_experiments_come_after_those_they_start_from(tmp_path):
    loaded = load(tmp_path, WHOLE)
    assert loaded.order() == ["atat", "b", "c", "e2e"]
    assert loaded.order("b") == ["atat", "b"]
    assert loaded.order("e2e") == ["e2e"]
    with pytest.raises(ValueError, match="did you mean 'atat'"):
        loaded.order("atta")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (WHOLE, "", "expected a mapping"),
        (WHOLE, "3", "expected a mapping"),
        (WHOLE, "- a", "expected a mapping"),
        (WHOLE, "a: [", "flow"),
        (WHOLE, "experiments: {}", "got no experiments"),
        ("subsets:", "subset:", "did you mean 'subsets'"),
        ("about: second", "abuot: second", "did you mean 'about'"),
        ("about: second", "about: [a]", "expected str"),
        ("about: second", "config: {data: {}}", "key 'data' is unknown"),
        ("about: second", "config: {trian: {}}", "did you mean 'train'"),
        ("after: atat", "after: nope", "'nope' is unknown"),
        ('{about: "SLU', '{after: c, about: "SLU', "c after b after atat after c"),
        ("  b: ", "  ../b: ", "'../b'"),
        ("  b: ", "  data: ", "'data'"),
        ("experiment: e2e", "experiment: e3e", "did you mean 'e2e'"),
        ("against: e2e", "against: nope", "'nope' is unknown"),
        ("subset: unseen", "subset: seen", "did you mean 'unseen'"),
        ("run: test,", "rum: test,", "did you mean 'run'"),
        (", run: test, paper", ", paper", "'run' is missing"),
        ("99.5", "high", "expected int or float"),
        ("{intents: [setTimer, lights]}", "{}", "'intents' is missing"),
        ("{intents: [setTimer, lights]}", "{intents: setTimer}", "expected list"),
        ("lights]", "on]", "got True, expected an intent in quotes"),
    ],
)
def test_a_mistake_is_a_value_error_that_names_file_and_place(tmp_path, old, new, message):
    assert old in WHOLE
    with pytest.raises(ValueError, match=re.escape(message)) as e:
        load(tmp_path, WHOLE.replace(old, new))
    assert str(e.value).startswith(str(tmp_path / "tables.yaml"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="experiments"):
        tables.load(tmp_path / "tables.yaml")
