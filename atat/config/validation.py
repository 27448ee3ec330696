"""Which values settings may have: ranges and choices, checked as soon as settings are read.

A value that no stage could use is a mistake that should be said before the first stage, and before
anything that an earlier training left is removed.
"""

import math
from typing import Any

from atat.config.schema import Config
from atat.config.tasks import TASKS

CONSTRAINTS = ("none", "well_formed", "grammar")

CHOICES = {
    "features.kind": ("kaldi", "whisper"),
    "model.front": ("max", "stride"),
    "model.subsampling": (4, 8),
    "model.speech_encoder": ("conformer", "transformer", "whisper"),
    "model.text_encoder": ("transformer", "pretrained"),
    "model.decoder": ("transformer", "whisper"),
    "train.mlm_fill": ("zero", "noise"),
    "train.tasks_per_utterance": ("all", "one"),
    "train.schedule": ("cosine", "noam"),
    "train.num_gpus": (0, 1),
}
AT_LEAST_1 = (
    "data.num_pseudo_speakers",
    "data.num_folds",
    "data.renderings",
    "features.num_mel_bins",
    "features.sample_rate_hz",
    "tokenizer.vocab_size",
    "model.width",
    "model.num_heads",
    "model.front_channels",
    "model.speech_base_width",
    "model.speech_base_layers",
    "model.speech_layers",
    "model.speech_ffn",
    "model.conformer_kernel",
    "model.text_layers",
    "model.text_ffn",
    "model.decoder_layers",
    "model.decoder_ffn",
    "augment.babble_voices",
    "train.num_steps",
    "train.num_epochs",
    "train.batch_frames",
    "train.text_every",
    "train.noam_warmup_steps",
    "train.average_checkpoints",
    "train.num_processes",
    "train.sync_every",
    "train.num_threads",
    "decode.beam",
    "decode.nbest",
    "decode.max_length",
    "decode.batch_frames",
)
AT_LEAST_0 = (
    "data.num_train",
    "data.num_train_text",
    "data.num_valid",
    "data.num_test",
    "data.num_spoken",
    "data.num_asr",
    "data.num_foreign",
    "features.min_duration_s",
    "model.speech_frozen_layers",
    "model.ctc_weight",
    "augment.equaliser_db",
    "augment.padding_s",
    "augment.long_padding_s",
    "augment.freq_masks",
    "augment.freq_mask_bins",
    "augment.time_masks",
    "augment.copies",
    "train.num_valid",
    "train.text_batch",
    "train.weight_decay",
    "train.num_workers",
)
ABOVE_0 = (
    "features.frame_length_ms",
    "features.frame_shift_ms",
    "features.max_duration_s",
    "train.learning_rate",
    "train.noam_factor",
    "train.grad_clip",
    "decode.negative_hours",
)
SHARES = (
    "data.max_missing",
    "augment.mild_fraction",
    "augment.smooth",
    "augment.band_limit",
    "augment.reverb",
    "augment.noise",
    "augment.knocks",
    "augment.babble",
    "augment.clipped",
    "augment.long_padding",
    "augment.time_mask_fraction",
    "train.flat_start_fraction",
    "train.ctc_first_fraction",
    "train.warmup_fraction",
)
BELOW_1 = (
    "model.dropout",
    "augment.sway",
    "train.label_smoothing",
)
RANGES_ABOVE_0 = (
    "data.rate_range",
    "data.pitch_range",
    "augment.tempo",
    "augment.warp",
)
RANGES = (
    "augment.snr_db",
    "augment.babble_db",
)


def check(settings: Config) -> None:
    """Raise ValueError for the first setting that cannot be used: what it is, what was expected."""
    for name, known in CHOICES.items():
        _choice(name, _value(settings, name), known)
    for names, low, high, said in (
        (AT_LEAST_1, 1, math.inf, "1 or more"),
        (AT_LEAST_0, 0, math.inf, "0 or more"),
        (SHARES, 0, 1, "0 to 1"),
    ):
        for name in names:
            _expect(low <= _value(settings, name) <= high, name, _value(settings, name), said)
    for name in ABOVE_0:
        _expect(0 < _value(settings, name) < math.inf, name, _value(settings, name), "above 0")
    for name in BELOW_1:
        _expect(0 <= _value(settings, name) < 1, name, _value(settings, name), "0 to below 1")
    for name in RANGES_ABOVE_0 + RANGES:
        _range(name, _value(settings, name), above_0=name in RANGES_ABOVE_0)
    _together(settings)
    for source in settings.train.sources:
        _source(source)
    for name, run in settings.decode.runs.items():
        _choice(f"decode.runs.{name}.task", run.task, TASKS)
        _choice(f"decode.runs.{name}.constraint", run.constraint, CONSTRAINTS)
        _expect(
            0 <= run.ctc_weight <= 1, f"decode.runs.{name}.ctc_weight", run.ctc_weight, "0 to 1"
        )
        _expect(
            run.beam is None or run.beam >= 1, f"decode.runs.{name}.beam", run.beam, "1 or more"
        )


def _together(settings: Config) -> None:
    """What depends on more than one setting."""
    m, t = settings.model, settings.train
    _expect(
        m.width % m.num_heads == 0,
        "model.width",
        m.width,
        f"a multiple of model.num_heads, {m.num_heads}",
    )
    _expect(m.conformer_kernel % 2 == 1, "model.conformer_kernel", m.conformer_kernel, "odd")
    _expect(
        settings.features.max_duration_s > settings.features.min_duration_s,
        "features.max_duration_s",
        settings.features.max_duration_s,
        f"above features.min_duration_s, {settings.features.min_duration_s}",
    )
    _expect(
        t.num_epochs <= t.num_steps,
        "train.num_epochs",
        t.num_epochs,
        f"at most train.num_steps, {t.num_steps}",
    )
    level_db = settings.features.level_db
    _expect(level_db is None or level_db <= 0, "features.level_db", level_db, "0 or less, or null")
    _expect(0 < t.mlm_share <= 1, "train.mlm_share", t.mlm_share, "above 0 and up to 1")
    _expect(
        len(t.betas) == 2 and all(0 <= beta < 1 for beta in t.betas),
        "train.betas",
        t.betas,
        "two numbers of 0 to below 1",
    )
    _expect(
        t.num_processes == 1 or t.num_gpus == 0,
        "train.num_processes",
        t.num_processes,
        "1 with a GPU",
    )


def _source(source: Any) -> None:
    where = f"train.sources, split '{source.split}'"
    _expect(len(source.tasks) > 0, f"{where}: tasks", source.tasks, f"some of {', '.join(TASKS)}")
    for task in source.tasks:
        _choice(f"{where}: task", task, TASKS)
    _expect(0 < source.fraction <= 1, f"{where}: fraction", source.fraction, "above 0 and up to 1")
    _expect(
        0 <= source.exclude_pairs < 1,
        f"{where}: exclude_pairs",
        source.exclude_pairs,
        "0 to below 1",
    )
    _expect(source.repeat >= 1, f"{where}: repeat", source.repeat, "1 or more")


def _range(name: str, value: list[float], above_0: bool) -> None:
    fits = len(value) == 2 and value[0] <= value[1] and (not above_0 or value[0] > 0)
    _expect(fits, name, value, "[low, high]" + (", both above 0" if above_0 else ""))


def _choice(name: str, value: Any, known: tuple) -> None:
    _expect(value in known, name, f"'{value}'", f"one of {', '.join(map(str, known))}")


def _expect(fits: bool, name: str, got: Any, expected: str) -> None:
    if not fits:  # NaN fits nowhere
        raise ValueError(f"{name}: got {got}, expected {expected}")


def _value(settings: Config, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(settings, section), key)
