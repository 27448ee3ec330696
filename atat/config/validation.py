"""Whether settings can be used: each within its range, and those that depend on one another."""

import dataclasses
import math
from typing import Any

from atat.config.schema import Config
from atat.config.tasks import TASKS


def check(settings: Config) -> None:
    """Raise ValueError for the first setting that cannot be used: what it is, what was expected.

    A value that no stage could use is a mistake that should be said before the first stage, and
    before anything that an earlier training left is removed.
    """
    _check_each(settings, "")
    for number, source in enumerate(settings.train.sources):
        _check_each(source, f"train.sources[{number}], split '{source.split}': ")
    for name, run in settings.decode.runs.items():
        _check_each(run, f"decode.runs.{name}.")
    _check_together(settings)
    _check_task_weights(settings)


def _check_each(part: Any, prefix: str) -> None:
    """The fields of a settings class, and of those within it."""
    for one in dataclasses.fields(part):
        value, expected = getattr(part, one.name), one.metadata.get("expected")
        if dataclasses.is_dataclass(value):
            _check_each(value, f"{prefix}{one.name}.")
        elif expected and value is not None:
            try:
                fits = bool(expected.fits(value))
            except TypeError:  # of what a list holds, the types alone do not say all
                fits = False
            expect(fits, f"{prefix}{one.name}", value, expected.said)


def _check_parts(settings: Config) -> None:
    """Whether the parts of the model fit together."""
    m = settings.model
    expect(
        m.width % m.num_heads == 0,
        "model.width",
        m.width,
        f"a multiple of model.num_heads, {m.num_heads}",
    )
    expect(
        settings.augment.text_noise == 0 or m.text_encoder == "transformer",
        "augment.text_noise",
        settings.augment.text_noise,
        "0 with a pretrained text encoder, whose tokens are not CTC's",
    )
    expect(
        m.ctc_weight == 0 or not m.transcript_first,
        "model.ctc_weight",
        m.ctc_weight,
        "0 with model.transcript_first: words that are heard once are written twice",
    )
    expect(
        m.text_encoder == "transformer" or not m.transcript_first,
        "model.text_encoder",
        m.text_encoder,
        "transformer with model.transcript_first, which has no text encoder: the decoder reads",
    )


def _check_together(settings: Config) -> None:
    """What depends on more than one setting."""
    f, t = settings.features, settings.train
    _check_parts(settings)
    expect(
        f.max_duration_s > f.min_duration_s,
        "features.max_duration_s",
        f.max_duration_s,
        f"above features.min_duration_s, {f.min_duration_s}",
    )
    expect(
        t.num_epochs <= t.num_steps,
        "train.num_epochs",
        t.num_epochs,
        f"at most train.num_steps, {t.num_steps}",
    )
    expect(
        t.num_processes == 1 or t.num_gpus == 0,
        "train.num_processes",
        t.num_processes,
        "1 with GPUs, each of which has a process: train.num_gpus",
    )
    expect(
        t.sync == "gradients" or t.accum_grad == 1,
        "train.accum_grad",
        t.accum_grad,
        "1 with train.sync: parameters",
    )
    expect(
        t.sync == "gradients" or t.num_gpus <= 1,
        "train.sync",
        t.sync,
        "gradients with several GPUs",
    )


def _check_task_weights(settings: Config) -> None:
    """Weights are of tasks that there are, and every source has something to teach."""
    weights = settings.train.task_weights
    for task, weight in weights.items():
        expect(task in TASKS, "train.task_weights", task, f"one of {', '.join(TASKS)}")
        expect(0 <= weight < math.inf, f"train.task_weights.{task}", weight, "0 or more, finite")
    for source in settings.train.sources:
        # Without the decoder's loss a transcript still teaches CTC.
        for_ctc = source.tasks == ["asr"] and settings.model.ctc_weight > 0
        expect(
            for_ctc or any(weights.get(task, 1.0) > 0 for task in source.tasks),
            "train.task_weights",
            weights,
            f"one above 0 of split '{source.split}': {', '.join(source.tasks)}",
        )


def expect(fits: bool, name: str, got: Any, expected: str) -> None:
    """Raise ValueError in the one form that all mistakes in settings have.

    Args:
        fits: whether the value can be used; nothing is raised then.
        name: of the setting, e.g. `train.num_steps`.
        got: its value.
        expected: which values it may have, in words.
    """
    if not fits:
        shown = f"'{got}'" if isinstance(got, str) else got
        raise ValueError(f"{name}: got {shown}, expected {expected}")
