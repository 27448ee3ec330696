"""Which parts of a trained experiment a training can start from, as far as settings tell.

`start_check` asks before the first stage, without torch; `warm_start` where it takes the weights.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from atat.config.schema import Config, ModelConfig
from atat.config.tasks import SPEECH_TASKS, TASKS, TEXT_TASKS
from atat.models import exported_model
from atat.models.checkpoint import check_experiment

PARTS = ("speech_encoder", "text_encoder", "decoder", "ctc")
TRAINED_BY = {"speech_encoder": SPEECH_TASKS, "ctc": SPEECH_TASKS, "text_encoder": TEXT_TASKS}

# Settings without which the same weights, of the same shapes, compute something else.
MEANING = {
    "speech_encoder": ("num_heads", "front", "utterance_mean", "frozen_encoder"),
    "text_encoder": ("num_heads",),
    "decoder": ("num_heads", "decoder"),
    "ctc": (),
}
FEATURES = ("kind", "num_mel_bins", "frame_length_ms", "frame_shift_ms", "sample_rate_hz")
MAY_DIFFER = (
    *("dropout", "text_frozen", "speech_frozen_layers", "speech_pretrained"),
    *("ctc_weight", "token_residual"),
)


def check_directory(exp: Path) -> None:
    """Look whether it is a trained experiment, which an exported model is not: it has no settings.

    Raises:
        FileNotFoundError, ValueError: it is not one, or damaged.
    """
    if exported_model.is_exported(exp):
        raise ValueError(
            f"{exp}: is an exported model, expected the experiment that it was made of"
        )
    check_experiment(exp)


def tasks_of(there: Config) -> set[str]:
    """The tasks that the experiment with these settings was trained on."""
    return {task for source in there.train.sources for task in source.tasks} or set(TASKS)


def trained_parts(asked: list[str], there: Config, exp: Path) -> list[str]:
    """The parts to load, of `train.init_parts`, in the order of PARTS.

    Args:
        asked: names of parts, or "all".
        there: settings of the experiment.
        exp: its directory.

    Raises:
        ValueError: a part that there is none of, or that was not trained there.
    """
    unknown = [part for part in asked if part not in ("all", *PARTS)]
    if unknown or not asked:
        raise ValueError(
            f"train.init_parts: got {unknown or asked}, expected some of all, {', '.join(PARTS)}"
        )
    tasks = tasks_of(there)
    trained = [part for part in PARTS if tasks & _training_tasks(part, tasks, there)]
    for part in asked:
        if part not in ("all", *trained):
            raise ValueError(
                f"train.init_parts: got {part}, which {exp} has not trained (its tasks are "
                f"{', '.join(sorted(tasks))}); expected some of all, {', '.join(trained)}"
            )
    return trained if "all" in asked else [part for part in PARTS if part in asked]


def differing(here: Config, there: Config) -> dict[str, tuple[object, object]]:
    """Title -> value there and here, of settings of the model and its features that differ and
    may not where a part is taken whole."""
    sections = [(f"model.{f.name}", "model", f.name) for f in fields(ModelConfig)]
    sections += [(f"features.{name}", "features", name) for name in FEATURES]
    pairs = {
        title: (getattr(getattr(there, section), name), getattr(getattr(here, section), name))
        for title, section, name in sections
        if name not in MAY_DIFFER
    }
    return {title: (old, new) for title, (old, new) in pairs.items() if old != new}


def meaning(part: str, here: Config) -> set[str]:
    """Titles of the settings without which a part's weights compute something else."""
    found = {f"model.{name}" for name in MEANING[part]}
    if here.model.frozen_encoder is not None:  # these are below it, where nothing of ours is
        found -= {"model.front", "model.utterance_mean"}
    if part == "speech_encoder":
        found |= {f"features.{name}" for name in FEATURES}
    return found


def another(part: str, differs: Mapping[str, tuple[object, object]], exp: Path) -> str:
    """The message for a part that is another function in the experiment `exp`."""
    said = [f"{title} is {old} there, {new} here" for title, (old, new) in differs.items()]
    return (
        f"train.init_from: {exp} has another {part}: {'; '.join(said)}; set them alike, or name "
        "the parts that fit in train.init_parts"
    )


def _training_tasks(part: str, tasks: set[str], there: Config) -> set[str]:
    """The tasks that train a part of the model `there`."""
    by = set(TRAINED_BY.get(part, tasks))
    if part == "text_encoder" and there.model.ctc_to_text_share > 0:
        by |= set(SPEECH_TASKS)  # it reads what CTC hears
    return by
