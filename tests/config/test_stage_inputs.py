import dataclasses

import pytest

from atat import inputs
from atat.config import config_file, experiment_tables, stage_inputs
from atat.config.experiment_tables import Experiment, Subset
from atat.config.schema import Config


def keys(lines):
    """stage -> names of the settings that it depends on."""
    stages = {}
    for line in lines:
        stage, _, setting = line.split(" ", 2)
        stages.setdefault(stage, []).append(setting.partition("=")[0])
    return stages


def table(**experiment):
    subsets = {"unseen": Subset(("a", "b"))}
    return experiment_tables.Tables({"tuned": Experiment(**experiment)}, subsets, ())


def test_every_setting_belongs_to_a_stage():
    lines = [
        *stage_inputs.of_data(Config(), None, None),
        *stage_inputs.of_experiment("tuned", Config(), table()),
    ]
    found = {key for stage in keys(lines).values() for key in stage}
    assert {f.name for f in dataclasses.fields(Config)} <= {key.split(".")[0] for key in found}
    assert set(keys(lines)) == set("123456")


def test_what_is_trained_does_not_depend_on_the_machine_unless_parameters_are_exchanged():
    def lines(*changes):
        settings = config_file.load([], ["train.num_workers=2", *changes])
        return list(stage_inputs.of_experiment("tuned", settings, table()))

    apart = "train.sync=parameters"
    for name in stage_inputs.OF_THE_MACHINE:
        other = f"train.{name}=3"
        assert lines() == lines(other)
        if name != "num_gpus":  # which exchange gradients alone
            assert set(lines(apart, other)) - set(lines(apart)) == {f"4 tuned {other}"}


def test_values_are_whole_and_on_one_line():
    settings = config_file.load([], ["data.cache=a b", "train.sources=[{split: ü, tasks: [slu]}]"])
    assert '1 - data.cache="a b"' in list(stage_inputs.of_data(settings, None, None))
    (line,) = (
        x for x in stage_inputs.of_experiment("tuned", settings, table()) if ".sources=" in x
    )
    assert line.startswith('4 tuned train.sources=[{"split": "ü", "tasks": ["slu"]')


def test_a_grammar_counts_by_content_and_a_corpus_by_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "same"):
        (tmp_path / name).write_text("two" if name == "two" else "one")
    one, two, same = (
        list(stage_inputs.of_data(Config(), None, name)) for name in ("one", "two", "same")
    )
    assert one == same != two
    relative, absolute = (
        list(stage_inputs.of_data(Config(), x, None)) for x in ("one", tmp_path / "one")
    )
    assert relative == absolute != list(stage_inputs.of_data(Config(), "two", None))
    with pytest.raises(FileNotFoundError, match="no such grammar"):
        list(stage_inputs.of_data(Config(), None, "none"))


def test_a_grammar_counts_with_its_lists(tmp_path, monkeypatch, capsys):
    base = str(config_file.BASE)
    (tmp_path / "t.yaml").write_text("experiments: {x: {}}\n")
    (tmp_path / "slots/a").mkdir(parents=True)
    lists = {name: tmp_path / "slots" / name for name in ("colors", "a/dark", "unused")}
    texts = {"colors": "red\n$a/dark\n", "a/dark": "black\n", "unused": "x\n"}
    for name, path in lists.items():
        path.write_text(texts[name])
    grammar = tmp_path / "home"

    def line():
        command = [
            "inputs",
            "--config",
            base,
            "--tables",
            str(tmp_path / "t.yaml"),
            "--expdir",
            "e",
        ]
        monkeypatch.setattr("sys.argv", [*command, "--grammar", str(grammar)])
        inputs.main()
        (found,) = (x for x in capsys.readouterr().out.splitlines() if " grammar=" in x)
        return found

    for text, others in (
        ("[A]\nmake it $colors {color} $missing\n", {"colors", "a/dark"}),
        ("context: {expressions: {a: [go $colors:x]}, slots: {colors: [red]}}\n", set()),
    ):
        grammar.write_text(text)
        before = line()
        assert (before in list(stage_inputs.of_data(Config(), None, str(grammar)))) == (not others)
        for name, path in lists.items():
            path.write_text("blue\n")
            assert (line() != before) == (name in others), name
            path.write_text(texts[name])
        assert line() == before


def test_the_settings_name_the_grammar_if_none_is_given():
    settings = config_file.load([], ["data.grammar=conf/base.yaml"])
    (line,) = (x for x in stage_inputs.of_data(settings, None, None) if " grammar=" in x)
    assert line in list(stage_inputs.of_data(Config(), None, str(config_file.BASE)))


def starts(table, init_from=None):
    """experiment -> what it starts from."""
    lines = [
        x
        for t in table.order()
        for x in stage_inputs.of_experiment(t.name, Config(), table, init_from)
    ]
    found = [line.split(" ", 2)[1:] for line in lines if line.startswith("4 ")]
    return {name: s.partition("=")[2] for name, s in found if s.startswith("init_from=")}


RECIPES = config_file.ROOT / "egs"


def of_recipe(command, recipe, *options):
    """(exit code, error) of `atat.inputs` for the experiments of a recipe."""
    given = ["--config", RECIPES / recipe / "conf" / "recipe.yaml"]
    given += ["--tables", RECIPES / recipe / "tables.yaml", "--expdir", "none", *options]
    return command(inputs.main, *given)[::2]


def test_parts_of_another_experiment_need_one(command, tmp_path):
    code, said = of_recipe(command, "snips_audio", "--experiment", "e2e_encoder")
    assert code == 2 and "'e2e_encoder' takes speech_encoder, ctc of a trained one" in said
    code, said = of_recipe(command, "snips_audio", "--init_from", tmp_path)
    assert code == 2 and "nothing is trained here" in said
    (tmp_path / "model.pth").touch()
    assert of_recipe(command, "snips_audio", "--init_from", tmp_path)[0] == 0
    assert of_recipe(command, "snips_audio", "--experiment", "e2e")[0] == 0


def test_a_table_leaves_out_what_takes_parts_of_a_start_that_is_not_given(command, tmp_path):
    def trained(*options):
        given = ["--config", RECIPES / "snips_audio" / "conf" / "recipe.yaml", "--expdir", "none"]
        given += ["--tables", RECIPES / "snips_audio" / "tables.yaml", *options]
        code, lines, said = command(inputs.main, *given)
        assert code == 0
        return [x.split()[1] for x in lines.splitlines() if x.startswith("train ")], said

    names, said = trained()
    assert names == ["atat", "e2e"]
    assert said.startswith("left out: experiment 'e2e_encoder' takes speech_encoder")
    (tmp_path / "model.pth").touch()
    assert trained("--init_from", tmp_path) == (["atat", "e2e", "e2e_encoder"], "")


def test_what_the_trainings_lack_is_said_where_they_are_due(command):
    one = ("train.num_processes=1", "train.sync=gradients")
    gpus = ("--experiment", "e2e", "train.num_gpus=999", *one)
    for training in ((), ("--training", "no"), ("--training", "elsewhere")):
        assert of_recipe(command, "snips_audio", *training, *gpus) == (0, "")
    code, said = of_recipe(command, "snips_audio", "--training", "here", *gpus)
    assert code == 2 and "train.num_gpus: got 999" in said and said.count("\n") == 1
    bert = ("--experiment", "e2e", "model.text_encoder=pretrained", "model.text_pretrained=./none")
    assert of_recipe(command, "snips_audio", *bert) == (0, "")
    assert of_recipe(command, "snips_audio", "--training", "elsewhere", *bert)[0] == 2


def test_another_metric_is_scored_again_and_nothing_else():
    plain, asked = (
        experiment_tables.Tables({"atat": Experiment()}, {}, (), metrics)
        for metrics in ((), ("slu_f1",))
    )
    lines = [list(stage_inputs.of_experiment("atat", Config(), t)) for t in (plain, asked)]
    assert lines[1][:-1] == lines[0] and lines[1][-1] == '6 atat metrics=["slu_f1"]'


def test_an_experiment_without_ctc_finds_no_words(command):
    paper = ["--config", RECIPES.parent / "conf" / "model_paper.yaml"]
    why = "'atat' is to find, which has no CTC"
    code, said = of_recipe(command, "librispeech", *paper, "--experiment", "atat_mlm")
    assert code == 2 and why in said
    code, said = of_recipe(command, "librispeech", *paper)  # the rest of the table is trained
    assert code == 0 and said.startswith("left out: experiment 'atat_mlm'") and why in said
    assert of_recipe(command, "librispeech", *paper, "train.ctm=came") == (0, "")
    assert of_recipe(command, "librispeech") == (0, "")


def test_what_an_experiment_starts_from_comes_first():
    experiments = {"atat": Experiment(), "tuned": Experiment(init_from="atat")}
    whole = experiment_tables.Tables(experiments, {"unseen": Subset(("a", "b"))}, ())
    lines = list(stage_inputs.of_experiment("tuned", Config(), whole))
    assert lines[0] == "4 tuned init_from=atat"
    assert lines[-1] == '6 tuned subsets.unseen={"intents": ["a", "b"]}'


def test_a_given_start_is_for_experiments_without_one_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiments = {
        "scratch": Experiment(from_scratch=True),
        "atat": Experiment(seeds=(1, 2)),
        "tuned": Experiment(init_from="atat", seeds=(1, 2)),
    }
    table = experiment_tables.Tables(experiments, {}, ())
    own = {"tuned.seed1": "atat.seed1", "tuned.seed2": "atat.seed2"}
    assert starts(table) == own
    given = str(tmp_path / "exp" / "atat")
    assert starts(table, "exp/atat") == own | {"atat.seed1": given, "atat.seed2": given}


def test_splits_with_masked_words_are_aligned_by_another_experiment():
    sources = "train.sources=[{split: a, tasks: [asr, mlm]}, {split: b, tasks: [asr]}]"
    settings = config_file.load([], [sources])
    table = experiment_tables.Tables(
        {"atat": Experiment(), "masked": Experiment(align="atat")}, {}, ()
    )
    lines = list(stage_inputs.of_experiment("masked", settings, table))
    assert [line for line in lines if line.startswith("align")] == ["align masked atat a"]
    assert not any("align" in line for line in stage_inputs.of_experiment("atat", settings, table))


def test_a_seed_for_an_experiment_that_has_its_own_is_refused():
    table = experiment_tables.Tables(
        {"atat": Experiment(seeds=(1, 2)), "once": Experiment()}, {}, ()
    )
    stage_inputs.check_seed(table.training("once"), ["seed=3"])
    stage_inputs.check_seed(table.training("atat.seed1"), ["model.width=3"])
    with pytest.raises(ValueError, match="'atat' has seeds of its own"):
        stage_inputs.check_seed(table.training("atat.seed1"), ["model.width=3", "seed=3"])


def test_decoding_is_told_what_differs_from_the_training(tmp_path):
    settings = config_file.load([], ["decode.beam=2", "model.width=8"])
    assert list(stage_inputs.changed_decoding("tuned", settings, tmp_path)) == []
    config_file.save(Config(), tmp_path / "config.yaml")
    assert list(stage_inputs.changed_decoding("tuned", settings, tmp_path)) == [
        "decode tuned decode.beam=2"
    ]
    (tmp_path / "config.yaml").write_text("old_setting: 1")
    assert list(stage_inputs.changed_decoding("tuned", settings, tmp_path)) == []


def test_the_tokenizer_depends_on_the_start_whose_pieces_it_takes(tmp_path):
    lines = set(stage_inputs.of_data(Config(), None, None, str(tmp_path)))
    assert lines - set(stage_inputs.of_data(Config(), None, None)) == {
        f'3 - init_from="{tmp_path}"'
    }
    own = config_file.load([], ["tokenizer.pieces_of_start=false"])
    assert not any("init_from" in line for line in stage_inputs.of_data(own, None, None, "x"))
