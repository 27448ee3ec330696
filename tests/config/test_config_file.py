import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atat.config import config_file
from atat.config.schema import Config, Source


def write(tmp_path, text, name="recipe.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def leaves(schema, prefix=""):
    """Dotted names of all settings, as the dataclasses have them."""
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            yield from leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_base_yaml_explains_every_setting_and_agrees_with_the_types():
    from omegaconf import OmegaConf

    base = OmegaConf.load(config_file.BASE)
    assert sorted(leaves(Config)) == sorted(
        f"{section}.{key}" if isinstance(value, dict) else section
        for section, value in OmegaConf.to_container(base).items()
        for key in (value if isinstance(value, dict) else [""])
    )
    assert config_file.load([]) == Config()


def test_later_parts_win(tmp_path):
    one = write(tmp_path, "seed: 2\ntrain: {num_steps: 25, betas: [0.8, 0.9]}", "one.yaml")
    two = write(tmp_path, "train: {num_steps: 26}", "two.yaml")
    assert config_file.load([one]).train.num_steps == 25
    assert config_file.load([one, two]).train.num_steps == 26
    delta = {"train": {"num_steps": 27}}
    merged = config_file.load([one, two], deltas=[delta])
    assert (merged.seed, merged.train.num_steps, merged.train.betas) == (2, 27, [0.8, 0.9])
    assert config_file.load([one, two], ["train.num_steps=28"], [delta]).train.num_steps == 28


def test_what_an_experiment_has_otherwise_than_a_file_says_is_told(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "include: frozen_whisper.yaml\n"
        "seed: 3\n"
        "train: {num_steps: 800, num_epochs: 5, batch_frames: 9}\n"
        "decode: {runs: {test: {beam: 2}}}\n"
    )
    delta = {"train": {"num_steps": 3000, "num_epochs": 5}, "model": {"width": 8}, "seed": 1}
    delta["decode"] = {"runs": {"test": {"beam": 4, "nbest": 2}, "other": {"beam": 1}}}
    assert config_file.overruled([path], delta) == [
        f"seed: 1 of the experiment, not 3 of {path}",
        f"train.num_steps: 3000 of the experiment, not 800 of {path}",
        f"decode.runs.test.beam: 4 of the experiment, not 2 of {path}",
    ]
    others = ["train={num_steps: 7}", "seed=2", "decode.runs.test.beam=3"]
    assert config_file.overruled([path], delta, others) == []
    assert config_file.overruled([path], {}) == config_file.overruled([], delta) == []


def test_values_have_their_types(tmp_path):
    path = write(tmp_path, "train: {learning_rate: 1e-3, sources: [{split: a, tasks: [slu]}]}")
    loaded = config_file.load([path], ["decode.runs.far.beam=2", "data.voices={train: {piper: 1}}"])
    assert loaded.train.learning_rate == 1e-3  # PyYAML alone reads a string
    assert loaded.train.sources == [Source("a", ["slu"])]
    assert loaded.decode.runs["far"].beam == 2
    assert loaded.data.voices == {"train": {"piper": 1.0}}


def test_a_file_can_include_those_of_conf(tmp_path):
    path = write(tmp_path, "include: base.yaml\nseed: 5")
    assert config_file.load([path]).seed == 5
    with pytest.raises(FileNotFoundError, match=r"nope\.yaml"):
        config_file.load([write(tmp_path, "include: nope.yaml")])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.num_stpes=1", "did you mean 'train.num_steps'?"),
        ("trian.num_steps=1", "did you mean 'train'?"),
        ("zzz=1", "known: seed, data"),
        ("train.sources=[{split: a, tasks: [slu], fractoin: 1}]", "fractoin"),
        ("train.sources=[{split: a}]", "tasks"),
        ("decode.runs.far.bean=1", "bean"),
        ("train.num_steps=many", "'many'"),
        ("train.num_steps=1.5", "'1.5'"),
        ("train.num_steps=null", "int"),
        ("train=3", "train=3"),
        ("train.betas=3", "train.betas"),
        ("data.voices=[a]", "data.voices"),
        ("train.num_steps", "expected key=value"),
        ("train.num_steps=[1", "train.num_steps=[1"),
        ("data.cache=`x`", "data.cache=`x`"),
        ("seed=${nope}", "nope"),
        ("=3", "unknown setting"),
    ],
)
def test_a_mistake_in_an_override_is_a_value_error_that_names_it(override, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config_file.load([], [override])


@pytest.mark.parametrize(
    "content",
    ["- a", "3", "a: [", "train:", "seed: 1\nseed: 2", "a: !!python/object/apply:os.getcwd []"],
)
def test_a_mistake_in_a_file_is_a_value_error_that_names_the_file(tmp_path, content):
    with pytest.raises(ValueError, match=r"recipe\.yaml"):
        config_file.load([write(tmp_path, content)])


def test_a_file_that_is_not_text_is_a_value_error_that_names_the_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"recipe\.yaml"):
        config_file.load([path])


def test_a_mistake_in_an_experiment_says_so():
    with pytest.raises(ValueError, match=r"experiment: .*did you mean 'train'"):
        config_file.load([], deltas=[{"trian": {}}])


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_a_file_that_is_not_there_is_named(tmp_path, path):
    with pytest.raises(FileNotFoundError, match="no such configuration file"):
        config_file.load([tmp_path / path])


def test_an_empty_file_changes_nothing(tmp_path):
    assert config_file.load([write(tmp_path, "")]) == config_file.load([])


def test_what_is_saved_is_read_back_whole(tmp_path):
    overrides = ["seed=7", "train.sources=[{split: a, tasks: [slu]}]", "decode.runs.far.beam=2"]
    changed = config_file.load([], overrides)
    config_file.save(changed, tmp_path / "exp" / "config.yaml")
    assert config_file.load_resolved(tmp_path / "exp" / "config.yaml") == changed
    # Nothing of today's base.yaml is needed: all that there is, is in the file.
    text = (tmp_path / "exp" / "config.yaml").read_text(encoding="utf-8")
    for name in leaves(Config):
        assert f"{name.rpartition('.')[2]}:" in text


def test_a_saved_file_of_another_version_is_a_value_error(tmp_path):
    path = write(tmp_path, "seed: 1\nold_setting: 2")
    with pytest.raises(ValueError, match="old_setting"):
        config_file.load_resolved(path)


def test_includes_are_files_of_conf_and_end(tmp_path, monkeypatch):
    monkeypatch.setattr(config_file, "BASE", tmp_path / "base.yaml")
    outside = ("../a.yaml", "/etc/passwd", "a" * 300, '"a\\0"', "''")
    for content in ("null", "3", "[a.yaml, 3]", "{a: b}", *outside):
        with pytest.raises(ValueError, match=r"recipe\.yaml: include: got .*, expected files"):
            config_file.load([write(tmp_path, f"include: {content}")])
    for name in ("recipe.yaml", "other.yaml"):
        (tmp_path / "other.yaml").write_text("include: recipe.yaml")
        with pytest.raises(ValueError, match=r"recipe\.yaml: includes itself"):
            config_file.load([write(tmp_path, f"include: {name}")])


def test_a_file_of_any_depth_is_settings_or_a_value_error(tmp_path):
    for content in (
        "a: " + 5000 * "[" + 5000 * "]",
        "".join(i * " " + "a:\n" for i in range(2000)),
    ):
        with pytest.raises(ValueError, match=r"recipe\.yaml"):
            config_file.load([write(tmp_path, content)])


@pytest.mark.parametrize("number", ["9" * 5000, "1" + "0" * 400, "-0b"])
def test_a_number_that_nothing_holds_is_a_value_error(tmp_path, number):
    with pytest.raises(ValueError, match=r"recipe\.yaml"):
        config_file.load([write(tmp_path, f"train: {{learning_rate: {number}}}")])
    with pytest.raises(ValueError, match=r"train\.learning_rate"):
        config_file.load([], [f"train.learning_rate={number}"])


def test_a_list_within_a_range_is_a_value_error(saved):
    text = saved.read_text()
    changed = re.sub(r"snr_db:\n  - 5\.0", "snr_db:\n  - [1]", text)
    assert changed != text
    saved.write_text(changed)
    with pytest.raises(ValueError, match=r"config\.yaml: .*snr_db"):
        config_file.load_resolved(saved)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "exp" / "config.yaml"
    config_file.save(config_file.load([], ["decode.runs.far.beam=2"]), path)
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_heads: 4", "num_heads: 7", "multiple of model.num_heads, 7"),
        ("width: 144", "width: -144", "model.width: got -144"),
        ("decoder_layers: 2", "decoder_layers: 100000000", "expected 1 to 1,000"),
        ("      beam: 2", "      bean: 2", "bean"),
        ("      beam: 2", "      beam: many", "many"),
        ("seed: 1", "seed: ${oc.env:HOME}", "expected values only"),
        ("seed: 1", "seed: ${model.width}", "expected values only"),
        ("seed: 1", "include: base.yaml", "include"),
        ("seed: 1", "seed: [1", "not valid YAML"),
    ],
)
def test_what_somebody_else_has_saved_is_checked_too(saved, old, new, message):
    text = saved.read_text(encoding="utf-8")
    assert old in text
    saved.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        config_file.load_resolved(saved)
    assert str(saved) in str(error.value) and len(str(error.value).splitlines()) <= 8


def test_a_saved_model_reads_no_environment(saved, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    text = saved.read_text(encoding="utf-8").replace(
        "cache: cache/synth", "cache: ${oc.env:SECRET}"
    )
    saved.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="expected values only") as error:
        config_file.load_resolved(saved)
    assert "told" not in str(error.value)


def test_half_a_saved_file_is_none(saved):
    lines = saved.read_text(encoding="utf-8").splitlines(keepends=True)
    for end in range(0, len(lines) - 12, 7):
        saved.write_text("".join(lines[:end]), encoding="utf-8")
        with pytest.raises(ValueError, match="ends early"):
            config_file.load_resolved(saved)


@settings(max_examples=50)
@given(st.text(alphabet="abct.=[]{}:,'\"`$%&*!|>#- 1", max_size=20))
def test_any_override_loads_or_is_a_value_error(override):
    try:
        config_file.load([], [override])
    except ValueError as e:
        assert str(e)
