"""Settings that a user names and that change nothing, because of what others are: a line each.

A recipe's own files name many that count for some of its experiments alone; nothing is said of
those (`config_file.named`).
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import fields
from typing import Any, NamedTuple

from atat.config.schema import AugmentConfig, Config
from atat.config.tasks import SPEECH_TASKS, TEXT_TASKS

# Of `augment`, what does not change features: it is done to states, to text, or to recordings.
BESIDE_FEATURES = (
    *("freq_masks", "freq_mask_bins", "time_masks", "time_mask_fraction"),
    *("text_noise", "clipped", "copies"),
)
OF_AUGMENT = tuple(field.name for field in fields(AugmentConfig) if field.name != "enabled")


class Condition(NamedTuple):
    """When some settings have an effect.

    Attributes:
        names: of the settings.
        holds: whether they have one.
        otherwise: why they have none; `{c.model.decoder}` stands for the value of a setting.
    """

    names: tuple[str, ...]
    holds: Callable[[Config], bool]
    otherwise: str


CONDITIONS = (
    Condition(
        ("tokenizer.vocab_size",),
        lambda c: c.tokenizer.pieces_of is None,
        "words are cut as Whisper does: tokenizer.pieces_of",
    ),
    Condition(
        ("tokenizer.vocab_size", "tokenizer.pieces_of"),
        lambda c: c.train.init_from is None or not c.tokenizer.pieces_of_start,
        "the pieces of words are those of --init_from: tokenizer.pieces_of_start",
    ),
    Condition(
        ("model.front", "model.front_channels", "model.utterance_mean"),
        lambda c: c.features.kind != "whisper",
        "features.kind is whisper",
    ),
    Condition(
        ("model.conformer_kernel",),
        lambda c: c.model.speech_encoder == "conformer",
        "model.speech_encoder is {c.model.speech_encoder}",
    ),
    Condition(
        ("model.speech_frozen_layers",),
        lambda c: c.model.speech_encoder == "whisper",
        "model.speech_encoder is {c.model.speech_encoder}",
    ),
    Condition(
        ("model.frozen_encoder_width", "model.frozen_encoder_layers"),
        lambda c: c.model.frozen_encoder is not None,
        "there is no model.frozen_encoder",
    ),
    Condition(
        ("model.text_layers", "model.text_ffn"),
        lambda c: c.model.text_encoder == "transformer",
        "model.text_encoder is {c.model.text_encoder}",
    ),
    Condition(
        (
            *("model.text_layers", "model.text_ffn", "model.shared_semantics_token"),
            "augment.text_noise",
        ),
        lambda c: not c.model.transcript_first,
        "model.transcript_first has the decoder read",
    ),
    Condition(
        ("model.text_pretrained", "model.text_frozen"),
        lambda c: c.model.text_encoder == "pretrained",
        "model.text_encoder is {c.model.text_encoder}",
    ),
    Condition(
        tuple(f"augment.{name}" for name in OF_AUGMENT),
        lambda c: c.augment.enabled,
        "augment.enabled is false",
    ),
    Condition(("augment.clipped",), lambda c: c.augment.copies > 0, "augment.copies is 0"),
    Condition(
        tuple(f"augment.{name}" for name in OF_AUGMENT if name not in BESIDE_FEATURES),
        lambda c: not _is_computed_once(c),
        "states of model.frozen_encoder are computed once, augment.copies is 0",
    ),
    Condition(
        ("train.text_batch", "augment.text_noise"),
        lambda c: _has_task(c, TEXT_TASKS),
        "no source has nlu",
    ),
    Condition(
        ("train.text_every",),
        lambda c: _has_task(c, TEXT_TASKS) and _has_task(c, SPEECH_TASKS),
        "the sources are not of speech and text",
    ),
    Condition(
        ("train.mlm_share", "train.mlm_fill", "train.ctm"),
        lambda c: _has_task(c, ("mlm",)),
        "no source has mlm",
    ),
    Condition(
        ("train.flat_start_fraction", "train.ctc_first_fraction"),
        lambda c: c.model.ctc_weight > 0,
        "there is no CTC: model.ctc_weight is 0",
    ),
    Condition(
        ("train.init_parts",),
        lambda c: c.train.init_from is not None,
        "there is no train.init_from",
    ),
    Condition(
        ("train.pretrained_schedule",),
        lambda c: (c.train.init_from or c.model.speech_pretrained) is not None,
        "there is no train.init_from or model.speech_pretrained",
    ),
    Condition(
        ("train.whisper_factor",),
        lambda c: c.model.speech_pretrained is not None,
        "there is no model.speech_pretrained",
    ),
    Condition(
        ("train.learning_rate", "train.warmup_fraction", "train.weight_decay"),
        lambda c: c.train.schedule == "cosine",
        "train.schedule is {c.train.schedule}",
    ),
    Condition(
        ("train.noam_warmup_steps", "train.noam_factor"),
        lambda c: c.train.schedule == "noam",
        "train.schedule is {c.train.schedule}",
    ),
    Condition(
        ("train.sync_every",),
        lambda c: c.train.sync == "parameters",
        "train.sync is {c.train.sync}",
    ),
)


def notes(settings: Config, named: Collection[str], sections: Collection[str]) -> Iterator[str]:
    """Lines about settings without effect that a user has named, and not only with their default;
    of what the user has not, a line where `augment` does not reach the speech.

    Args:
        settings: of the experiment, resolved.
        named: what the user has named (`config_file.named`).
        sections: those that the stage reads.

    >>> c = Config()
    >>> c.train.schedule, c.train.learning_rate = "noam", 0.1
    >>> list(notes(c, ["train.learning_rate"], ["train"]))
    ['no effect here: train.learning_rate (train.schedule is noam)']
    """
    said: set[str] = set()
    for condition in CONDITIONS:
        found = [
            name
            for name in condition.names
            if name in named
            and name not in said
            and name.partition(".")[0] in sections
            and _value(settings, name) != _value(Config(), name)
        ]
        if found and not condition.holds(settings):
            said.update(found)
            yield f"no effect here: {', '.join(found)} ({condition.otherwise.format(c=settings)})"
    if "augment" in sections and settings.augment.enabled and _is_computed_once(settings):
        yield (
            "augment: of the speech only freq_masks and time_masks act, since states of "
            "model.frozen_encoder are computed once; augment.copies makes augmented ones"
        )


def _is_computed_once(settings: Config) -> bool:
    """Whether all that training hears are states of speech as it is."""
    kept = settings.model.frozen_encoder is not None and settings.augment.copies == 0
    return kept and _has_task(settings, SPEECH_TASKS)


def _has_task(settings: Config, tasks: Collection[str]) -> bool:
    return any(set(source.tasks) & set(tasks) for source in settings.train.sources)


def _value(settings: Config, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)
