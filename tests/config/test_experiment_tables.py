import re

import pytest

from atat.config import experiment_tables
from atat.config.experiment_tables import Experiment, Row, Subset, Training
from atat.semantics import heldout_pairs, target_sequence

WHOLE = """
experiments:
  c: {about: third, init_from: b}
  atat: {about: "SLU + ASR + NLU, one model", config: {}}
  b: {about: second, init_from: atat}
  e2e:
    about: speech only
    config: {train: {learning_rate: 1e-3, sources: [{split: train, tasks: [slu]}]}}
subsets:
  unseen: {intents: [setTimer, lights]}
table:
  - {row: "E2E", experiment: e2e, run: test, paper: {em_hyp: 99.5, em_full: 99}}
  - {row: "AT-AT", experiment: atat, run: test, subset: unseen, against: e2e, parts: close}
"""
SEEDS = """
experiments:
  scratch: {from_scratch: true}
  base: {seeds: [1, 2]}
  tuned: {init_from: base, seeds: [2, 1], config: {train: {num_steps: 3}}}
  once: {}
  often: {init_from: once, seeds: [7, 8]}
"""


def load(tmp_path, text):
    path = tmp_path / "tables.yaml"
    path.write_text(text, encoding="utf-8")
    return experiment_tables.load(path)


def test_a_file_is_read_with_its_types(tmp_path):
    loaded = load(tmp_path, WHOLE)
    assert list(loaded.experiments) == ["c", "atat", "b", "e2e"]
    assert loaded.experiments["b"] == Experiment("second", {}, "atat")
    assert loaded.experiments["e2e"].config["train"]["learning_rate"] == 1e-3
    assert loaded.subsets == {"unseen": Subset(("setTimer", "lights"))}
    assert loaded.table == (
        Row("E2E", "e2e", "test", paper={"em_hyp": 99.5, "em_full": 99}),
        Row("AT-AT", "atat", "test", subset="unseen", parts="close", against="e2e"),
    )


def test_metrics_are_those_that_are_known(tmp_path):
    assert load(tmp_path, WHOLE).metrics == ()
    asked = load(tmp_path, WHOLE + "metrics: [slu_f1, scenario_accuracy]\n")
    assert asked.metrics == ("slu_f1", "scenario_accuracy")
    with pytest.raises(ValueError, match="'slu_f2' is unknown; did you mean 'slu_f1'"):
        load(tmp_path, WHOLE + "metrics: [slu_f2]\n")
    with pytest.raises(ValueError, match="metrics: got 'slu_f1', expected list"):
        load(tmp_path, WHOLE + "metrics: slu_f1\n")


def test_a_subset_may_be_all_but_the_utterances_in_a_file(tmp_path):
    (tmp_path / "seen.txt").write_text("a-1\nb-2\n", encoding="utf-8")
    rest = load(tmp_path, "experiments: {atat: {}}\nsubsets: {rest: {without: seen.txt}}")
    assert rest.subsets["rest"] == Subset(without=("a-1", "b-2"))
    assert [i for i in ("a-1", "a-2", "b-2") if rest.subsets["rest"].has(i, "go( )go")] == ["a-2"]
    go = Subset(("go",))
    assert go.has("a-1", "go( on )go") and not go.has("a-1", "stop( go )stop")
    assert not go.has("a-1", None) and not go.has("a-1", "go on")


def test_a_subset_may_be_what_has_a_pair_of_values_that_training_has_not(tmp_path):
    held = load(tmp_path, "experiments: {atat: {}}\nsubsets: {held: {pairs: 0.5}}").subsets["held"]
    texts = [f"go( from( {a} )from to( {b} )to )go" for a in "abcd" for b in "abcd"]
    inside = [text for text in texts if held.has("a-1", text)]
    assert inside == [s for s in texts if heldout_pairs.has_held_out(target_sequence.frame(s), 0.5)]
    assert 3 <= len(inside) <= 13
    assert not held.has("a-1", "go( from( a )from )go") and not held.has("a-1", None)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ("{without: gone.txt}", "subset 'rest': without: .*gone.txt"),
        ("{}", "subset 'rest': got 0 keys, expected intents, without or pairs"),
        ("{pairs: 1.0}", "pairs: got 1.0, expected a share below 1"),
        ("{pairs: 0.0}", "pairs: got 0.0, expected a share below 1"),
        ("{without: gone.txt, intents: [a]}", "got 2 keys"),
    ],
)
def test_a_subset_is_of_one_kind(tmp_path, subset, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, f"experiments: {{atat: {{}}}}\nsubsets: {{rest: {subset}}}")


def test_subsets_and_table_can_be_left_out(tmp_path):
    loaded = load(tmp_path, "experiments: {atat: {}}")
    assert (loaded.experiments, loaded.subsets, loaded.table) == ({"atat": Experiment()}, {}, ())


def names(trainings):
    return [training.name for training in trainings]


def test_experiments_come_after_those_they_start_from(tmp_path):
    loaded = load(tmp_path, WHOLE)
    assert names(loaded.order()) == ["atat", "b", "c", "e2e"]
    assert names(loaded.order("b")) == ["atat", "b"]
    assert names(loaded.order("e2e")) == ["e2e"]
    with pytest.raises(ValueError, match="did you mean 'atat'"):
        loaded.order("atta")


def test_an_experiment_is_trained_once_a_seed_after_the_training_that_it_starts_from(tmp_path):
    loaded = load(tmp_path, SEEDS)
    assert names(loaded.order("tuned")) == [
        "base.seed2",
        "tuned.seed2",
        "base.seed1",
        "tuned.seed1",
    ]
    assert names(loaded.order("tuned.seed1")) == ["base.seed1", "tuned.seed1"]
    assert names(loaded.order("often")) == ["once", "often.seed7", "often.seed8"]
    assert len(names(loaded.order())) == len({*names(loaded.order())}) == 8
    assert names(loaded.trainings("base")) == ["base.seed1", "base.seed2"]
    assert loaded.experiments["scratch"].from_scratch


def test_what_aligns_the_words_is_trained_before_and_is_one_for_all_seeds(tmp_path):
    text = SEEDS + "  masked: {align: base, seeds: [4, 5]}\n"
    loaded = load(tmp_path, text)
    assert names(loaded.order("masked")) == ["base.seed1", "masked.seed4", "masked.seed5"]
    assert {t.align for t in loaded.trainings("masked")} == {"base.seed1"}
    assert names(load(tmp_path, SEEDS + "  z: {align: once, init_from: once}\n").order("z")) == [
        "once",
        "z",
    ]
    with pytest.raises(ValueError, match="base needs masked needs base"):
        load(tmp_path, text.replace("base: {", "base: {align: masked, "))


def test_a_training_is_its_experiment_with_a_seed(tmp_path):
    loaded = load(tmp_path, SEEDS)
    config = {"train": {"num_steps": 3}, "seed": 2}
    assert loaded.training("tuned.seed2") == Training(
        "tuned.seed2", "tuned", config, "base.seed2", None, 2
    )
    assert loaded.training("once") == Training("once", "once", {}, None)
    with pytest.raises(ValueError, match="several seeds, expected one of base"):
        loaded.training("base")
    with pytest.raises(ValueError, match="is unknown"):
        loaded.training("base.seed3")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: [1, 2]", "seeds: []", "seeds: got [], expected different whole numbers"),
        ("seeds: [1, 2]", "seeds: [1, 1]", "got [1, 1]"),
        ("seeds: [1, 2]", "seeds: [1, -1]", "got [1, -1]"),
        ("seeds: [1, 2]", "seeds: [true]", "got [True]"),
        ("seeds: [1, 2]", "seeds: 3", "expected list"),
        ("seeds: [1, 2]", "seeds: [1]", "'base' has the seeds [1], expected the same here"),
        (", seeds: [2, 1]", "", "'base' has the seeds [1, 2], expected the same here"),
        ("train: {num_steps: 3}", "seed: 3", "both 'seeds' and a seed"),
        ("once: {}", "often.seed7: {}\n  once: {}", "seed 7 is 'often.seed7' too"),
        ("from_scratch: true", "from_scratch: true, init_from: once", "expected one of them"),
    ],
)
def test_seeds_that_make_no_sense_are_a_value_error(tmp_path, old, new, message):
    assert old in SEEDS
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path, SEEDS.replace(old, new))


def test_a_row_may_have_the_numbers_of_others_alone(tmp_path):
    text = WHOLE + "  - {row: others, paper: {em_hyp: 98.8}}\n"
    row = load(tmp_path, text).table[-1]
    assert (row.experiment, row.run, row.paper) == (None, None, {"em_hyp": 98.8})
    with pytest.raises(ValueError, match="'run' is unknown"):
        load(tmp_path, text.replace("others, ", "others, run: test, "))


def test_the_paper_may_say_that_a_row_did_not_converge(tmp_path):
    row = load(tmp_path, WHOLE.replace("99.5", "no convergence")).table[0]
    assert row.paper["em_hyp"] == "no convergence"


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
        ("about: second", "config: {features: {trim_db: 3}}", "key 'trim_db' is unknown"),
        ("about: second", "config: {trian: {}}", "did you mean 'train'"),
        ("init_from: atat", "init_from: nope", "'nope' is unknown"),
        ('{about: "SLU', '{init_from: c, about: "SLU', "c needs b needs atat needs c"),
        ("  b: ", "  ../b: ", "'../b'"),
        ("  b: ", "  data: ", "'data'"),
        ("experiment: e2e", "experiment: e3e", "did you mean 'e2e'"),
        ("against: e2e", "against: nope", "'nope' is unknown"),
        ("subset: unseen", "subset: seen", "did you mean 'unseen'"),
        ("run: test,", "rum: test,", "did you mean 'run'"),
        (", run: test, paper", ", paper", "'run' is missing"),
        ("99.5", "high", "em_hyp: got 'high', expected a number (in %) or 'no convergence'"),
        ("99.5", "yes", "got True, expected a number"),
        ("{intents: [setTimer, lights]}", "{}", "got 0 keys, expected intents, without or pairs"),
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
        experiment_tables.load(tmp_path / "tables.yaml")
