import dataclasses

import pytest

from atat.config import config_file, stage_inputs, unused_settings
from atat.config.schema import Config

TRAINING = stage_inputs.EXPERIMENT_STAGES[4]
HEARD = "train.sources=[{split: train, tasks: [slu, asr]}]"
READ = "train.sources=[{split: train_text, tasks: [nlu]}]"
BOTH = "train.sources=[{split: a, tasks: [slu, asr]}, {split: b, tasks: [nlu]}]"
MASKED = "train.sources=[{split: a, tasks: [mlm]}]"
FROZEN = ("model.frozen_encoder=tiny", "features.kind=whisper")
ABOVE = (*FROZEN, "augment.copies=1")
STARTED = "train.init_from=exp/atat"
PRETRAINED = ("model.text_encoder=pretrained", "model.token_residual=false")


def said(overrides, sections=TRAINING):
    """What is said of settings without effect where a user gives these, over the defaults."""
    settings = config_file.load([], overrides)
    lines = unused_settings.notes(settings, config_file.named([], overrides), sections)
    start = "no effect here: "
    return [line.removeprefix(start) for line in lines if line.startswith(start)]


# A setting, what it is given beside where it has no effect, why; and where it has one.
CASES = [
    ("train.learning_rate=0.1", ["train.schedule=noam"], "train.schedule is noam", []),
    ("train.warmup_fraction=0.1", ["train.schedule=noam"], "train.schedule is noam", []),
    ("train.weight_decay=0.1", ["train.schedule=noam"], "train.schedule is noam", []),
    ("train.noam_factor=2", [], "train.schedule is cosine", ["train.schedule=noam"]),
    ("train.noam_warmup_steps=9", [], "train.schedule is cosine", ["train.schedule=noam"]),
    ("train.sync_every=2", [], "train.sync is gradients", ["train.sync=parameters"]),
    (
        "train.flat_start_fraction=0.5",
        ["model.ctc_weight=0"],
        "there is no CTC: model.ctc_weight is 0",
        [],
    ),
    (
        "train.ctc_first_fraction=0.5",
        ["model.ctc_weight=0"],
        "there is no CTC: model.ctc_weight is 0",
        [],
    ),
    (
        "train.pretrained_schedule=[[5, 0]]",
        [],
        "there is no train.init_from or model.speech_pretrained",
        [STARTED],
    ),
    (
        "train.pretrained_schedule=[[5, 0]]",
        [],
        "there is no train.init_from or model.speech_pretrained",
        ["model.speech_pretrained=tiny"],
    ),
    (
        "train.whisper_factor=0.5",
        [],
        "there is no model.speech_pretrained",
        ["model.speech_pretrained=tiny"],
    ),
    ("train.init_parts=[decoder]", [], "there is no train.init_from", [STARTED]),
    ("train.mlm_share=0.5", [HEARD], "no source has mlm", [MASKED]),
    ("train.mlm_fill=noise", [HEARD], "no source has mlm", [MASKED]),
    ("train.ctm=here", [HEARD], "no source has mlm", [MASKED]),
    ("train.text_batch=8", [HEARD], "no source has nlu", [BOTH]),
    ("train.text_every=1", [HEARD], "the sources are not of speech and text", [BOTH]),
    ("train.text_every=1", [READ], "the sources are not of speech and text", [BOTH]),
    ("augment.text_noise=0.1", [HEARD], "no source has nlu", [BOTH]),
    ("augment.text_noise=0.1", [BOTH, "augment.enabled=false"], "augment.enabled is false", [BOTH]),
    ("augment.noise=0.1", ["augment.enabled=false"], "augment.enabled is false", []),
    ("augment.freq_masks=1", ["augment.enabled=false"], "augment.enabled is false", [HEARD]),
    (
        "augment.noise=0.1",
        [HEARD, *FROZEN],
        "states of model.frozen_encoder are computed once, augment.copies is 0",
        [HEARD, *ABOVE],
    ),
    ("augment.clipped=0.1", [HEARD], "augment.copies is 0", [HEARD, *ABOVE]),
    (
        "model.speech_frozen_layers=2",
        [],
        "model.speech_encoder is conformer",
        ["model.speech_encoder=whisper"],
    ),
    (
        "model.conformer_kernel=7",
        ["model.speech_encoder=transformer"],
        "model.speech_encoder is transformer",
        [],
    ),
    (
        "model.frozen_encoder_width=512",
        [],
        "there is no model.frozen_encoder",
        FROZEN,
    ),
    ("model.utterance_mean=true", FROZEN, "features.kind is whisper", []),
    ("model.front=max", FROZEN, "features.kind is whisper", []),
    ("model.text_pretrained=bert", [], "model.text_encoder is transformer", PRETRAINED),
    ("model.text_frozen=true", [], "model.text_encoder is transformer", PRETRAINED),
    ("model.text_layers=3", PRETRAINED, "model.text_encoder is pretrained", []),
]


@pytest.mark.parametrize(("given", "beside", "why", "where_it_has_one"), CASES)
def test_a_setting_without_effect_is_said_with_what_takes_it(given, beside, why, where_it_has_one):
    assert f"{given.partition('=')[0]} ({why})" in said([given, *beside])
    assert not [x for x in said([given, *where_it_has_one]) if given.partition("=")[0] in x]


def test_every_setting_of_the_table_is_one_and_has_a_case():
    names = {f"{s.name}.{f.name}" for s in dataclasses.fields(Config) for f in _fields(s.type)}
    tried = {given.partition("=")[0] for given, *_ in CASES} | {"tokenizer.vocab_size"}
    for condition in unused_settings.CONDITIONS:
        assert names >= set(condition.names)
        assert tried & set(condition.names), condition.names


def _fields(part):
    return dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()


def test_pieces_of_a_start_leave_no_size_of_the_vocabulary():
    size = "tokenizer.vocab_size=9"
    (line,) = said([size, STARTED], stage_inputs.DATA_STAGES[3])
    assert line.startswith("tokenizer.vocab_size (the pieces of words are those of --init_from")
    for fine in ([size], [size, STARTED, "tokenizer.pieces_of_start=false"]):
        assert said(fine, stage_inputs.DATA_STAGES[3]) == []
    # Stage 4 starts from experiments of the same recipe too, which have its vocabulary.
    assert said([size, STARTED]) == []


def test_whispers_pieces_leave_no_size_of_the_vocabulary_and_a_starts_no_whispers():
    size, pieces = "tokenizer.vocab_size=9", "tokenizer.pieces_of=tiny"
    stage = stage_inputs.DATA_STAGES[3]
    assert said([size, pieces], stage) == [
        "tokenizer.vocab_size (words are cut as Whisper does: tokenizer.pieces_of)"
    ]
    (line,) = said([pieces, STARTED], stage)
    assert line.startswith("tokenizer.pieces_of (the pieces of words are those of --init_from")
    assert said([pieces], stage) == []


def test_settings_with_one_reason_share_a_line_and_have_no_other():
    assert said(["augment={clipped: 0.2, noise: 0.1, enabled: false}", *FROZEN, HEARD]) == [
        "augment.noise, augment.clipped (augment.enabled is false)"
    ]


def test_the_default_said_again_and_what_nobody_named_are_no_matter():
    assert said(["train.schedule=noam", "train.learning_rate=2e-3"]) == []
    assert said(["train.schedule=noam"]) == []


def test_what_augments_no_speech_above_a_frozen_encoder_is_said_once():
    def lines(*overrides):
        return list(unused_settings.notes(config_file.load([], overrides), (), TRAINING))

    (line,) = lines(*FROZEN, BOTH)
    assert line == (
        "augment: of the speech only freq_masks and time_masks act, since states of "
        "model.frozen_encoder are computed once; augment.copies makes augmented ones"
    )
    for fine in ([BOTH], [*FROZEN, READ], [*ABOVE, BOTH], [*FROZEN, BOTH, "augment.enabled=false"]):
        assert lines(*fine) == []


ROOT = config_file.ROOT


def test_nothing_is_said_of_what_the_projects_own_files_name():
    files = [*ROOT.glob("egs/*/conf/*.yaml"), *(ROOT / "conf").glob("*.yaml")]
    assert config_file.named(path for path in files if path.stem != "slurm") == set()


def test_a_users_file_names_settings_and_what_it_includes_does_not(tmp_path):
    (tmp_path / "mine.yaml").write_text("include: model_tiny.yaml\ntrain: {noam_factor: 2.0}\n")
    assert config_file.named([tmp_path / "mine.yaml"], ["seed=3"]) == {"train.noam_factor", "seed"}
