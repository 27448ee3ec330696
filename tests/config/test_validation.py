import runpy

import pytest

from atat.config import config_file, validation
from atat.config.schema import Config

SOURCES = "train.sources=[{split: train, tasks: [slu]%s}]"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.schedule=linear", "train.schedule: got 'linear', expected one of cosine, noam"),
        ("train.mlm_fill=music", "train.mlm_fill: got 'music', expected one of zero, noise"),
        ("train.mlm_share=0", r"train.mlm_share: got 0\.0, expected above 0"),
        ("train.tasks_per_utterance=two", "got 'two', expected one of all, one"),
        ("train.num_steps=0", "train.num_steps: got 0, expected 1 or more"),
        ("train.num_epochs=2000", "at most train.num_steps, 1000"),
        ("train.text_every=0", "train.text_every: got 0"),
        ("train.text_batch=0", "train.text_batch: got 0, expected 1 or more"),
        (
            "train.task_weights={ars: 0.01}",
            "train.task_weights: got 'ars', expected one of asr, mlm, slu, nlu",
        ),
        ("train.task_weights.asr=-1", r"train.task_weights.asr: got -1\.0, expected 0 or more"),
        ("train.task_weights.asr=.nan", "train.task_weights.asr: got nan, expected 0 or more"),
        ("train.task_weights.asr=.inf", "train.task_weights.asr: got inf, expected 0 or more"),
        ("train.num_gpus=-1", "train.num_gpus: got -1, expected 0 or more"),
        ("train.sync=models", "train.sync: got 'models', expected one of gradients, parameters"),
        ("train.betas=[0.9]", "two numbers"),
        ("train.learning_rate=.nan", "train.learning_rate: got nan, expected above 0"),
        ("train.flat_start_fraction=1.5", "expected 0 to 1"),
        (SOURCES % ", fraction: 0", "split 'train': fraction: got 0.0"),
        (SOURCES % ", repeat: 0", "split 'train': repeat: got 0"),
        (SOURCES % ", exclude_pairs: 1.0", "split 'train': exclude_pairs: got 1.0"),
        ("train.sources=[{split: train, tasks: []}]", "split 'train': tasks"),
        (
            "train.sources=[{split: train, tasks: [sl]}]",
            r"tasks: got \['sl'\], expected some of asr",
        ),
        ("model.num_heads=5", "model.width: got 144, expected a multiple of model.num_heads, 5"),
        ("model.conformer_kernel=14", "model.conformer_kernel: got 14, expected odd"),
        ("model.dropout=1", "model.dropout: got 1.0, expected 0 to below 1"),
        ("model.subsampling=6", "got 6, expected one of 4, 8"),
        ("model.text_encoder=bow", "got 'bow', expected one of transformer, pretrained"),
        ("model.ctc_to_text_share=1.5", r"ctc_to_text_share: got 1\.5, expected 0 to 1"),
        ("augment.tempo=[1.1]", r"augment.tempo: got \[1.1\], expected \[low, high\]"),
        ("augment.frequency_warp=[0, 1]", "both above 0"),
        ("augment.snr_db=[9, 2]", r"augment.snr_db: got \[9.0, 2.0\]"),
        ("features.kind=mfcc", "expected one of kaldi, whisper"),
        ("features.max_duration_s=0.05", "above features.min_duration_s"),
        ("decode.beam=0", "decode.beam: got 0, expected 1 to 10,000"),
        ("model.decoder_layers=100000000", "decoder_layers: got 100000000, expected 1 to 1,000"),
        ("model.width=-144", "model.width: got -144, expected 1 to 65,536"),
        ("model.num_heads=7", "model.width: got 144, expected a multiple of model.num_heads, 7"),
        ("tokenizer.vocab_size=1000000000", "tokenizer.vocab_size: got 1000000000"),
        ("decode.runs.test.task=ner", "decode.runs.test.task: got 'ner'"),
        ("decode.runs.test.constraint=tight", "decode.runs.test.constraint: got 'tight'"),
        ("decode.runs.test.ctc_weight=2", "decode.runs.test.ctc_weight: got 2.0"),
        ("decode.runs.test.beam=0", "decode.runs.test.beam: got 0"),
    ],
)
def test_a_value_that_no_stage_could_use_is_refused_by_name(override, message):
    with pytest.raises(ValueError, match=message):
        config_file.load([], [override])


def test_bounds_themselves_can_be_used():
    fine = [
        "augment.reverb=1",
        "augment.noise=0",
        "augment.snr_db=[-5, -5]",
        "train.num_epochs=1000",
    ]
    config_file.load([], [*fine, "model.dropout=0", SOURCES % ", fraction: 1.0, exclude_pairs: 0"])


def test_every_source_has_a_task_with_a_weight_or_teaches_ctc():
    def load(tasks, *more):
        sources = (
            f"train.sources=[{{split: train, tasks: [slu, asr]}}, {{split: b, tasks: {tasks}}}]"
        )
        return config_file.load([], [sources, "train.task_weights.asr=0", *more])

    load("[asr]")
    nlu = "train.task_weights.nlu=0"
    load("[nlu]")
    with pytest.raises(ValueError, match=r"expected one above 0 of split 'b': asr$"):
        load("[asr]", "model.ctc_weight=0")
    with pytest.raises(ValueError, match=r"train.task_weights: got .*of split 'b': asr, nlu$"):
        load("[asr, nlu]", nlu)
    with pytest.raises(ValueError, match="of split 'train': slu, asr"):
        load("[nlu]", "train.task_weights.slu=0")


def test_a_wrong_type_is_one_line():
    with pytest.raises(ValueError) as e:
        config_file.load([], ["train.num_steps=many"])
    assert "\n" not in str(e.value) and "full_key" not in str(e.value)


def test_base_yaml_and_the_page_of_settings_are_what_the_schema_says():
    tool = runpy.run_path(str(config_file.ROOT / "tools" / "write_settings.py"))
    for path, written in ((config_file.BASE, "reference"), (tool["PAGE"], "page")):
        text = tool[written]()
        assert path.read_text(encoding="utf-8") == text, "run tools/write_settings.py"


def test_the_page_of_settings_has_the_defaults_of_entries_of_lists_too():
    page = config_file.ROOT.joinpath("docs", "settings.md").read_text(encoding="utf-8")
    assert "| `runs`: `constraint` | `none` | of constrained decoding | one of none," in page
    assert "| `sources`: `split` | none, it must be given | its name |" in page
    assert "| `sources`: `exclude_pairs` | `0.0` |" in page


def test_every_default_is_a_value_that_is_expected():
    validation.check(Config())


def test_an_earlier_name_is_read_and_its_new_one_said(tmp_path, capsys):
    path = tmp_path / "old.yaml"
    path.write_text("augment: {sway: 0.3}\nmodel: {bridge: false, speech_base: tiny}\n")
    loaded = config_file.load([path], ["augment.knocks=0.7"])
    assert (loaded.augment.time_warp, loaded.augment.impulse_noise) == (0.3, 0.7)
    assert (loaded.model.token_residual, loaded.model.frozen_encoder) == (False, "tiny")
    said = capsys.readouterr().err.splitlines()
    assert "settings: WARNING: 'augment.sway' is called 'augment.time_warp' now" in said
    assert len(said) == 4
    path.write_text(path.read_text() + "decode: {runs: {}}\n")
    assert config_file.load_resolved(path).augment.time_warp == 0.3
    assert capsys.readouterr().err == ""  # of a saved experiment
