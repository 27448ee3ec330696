"""Experiment trackers beside TensorBoard, each an extra: Weights & Biases and MLflow.

Both take their place, project and account from their own environment variables (docs/develop.md).
"""

import contextlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

PROJECT = "atat"
PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny"}
# The run that a resumed training goes on with.
WANDB_ID, MLFLOW_ID = "wandb.id", "mlflow.id"


def check(trackers: Iterable[str]) -> None:
    """Raises: ValueError: a tracker's package is not installed."""
    for name in trackers:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"train.trackers: {name} is not installed; pip install {PACKAGES[name]}, or leave "
                f"'{name}' out"
            )


def wandb_options(exp: Path) -> dict[str, object]:
    """ESPnet's options for its own Weights & Biases hook, which logs what TensorBoard gets."""
    path = exp / WANDB_ID
    if not path.is_file():
        path.write_text(os.urandom(8).hex())
    return {
        "use_wandb": True,
        "wandb_project": os.environ.get("WANDB_PROJECT", PROJECT),
        "wandb_name": exp.name,
        "wandb_id": path.read_text(),
        "wandb_allow_val_change": True,  # ESPnet 202611: a resumed one may differ
    }


@contextlib.contextmanager
def mlflow_run(exp: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A run of MLflow, which ESPnet has no hook for.

    Without MLFLOW_TRACKING_URI it is kept in `mlruns` beside the experiments.

    Args:
        exp: directory of the experiment; its config.yaml is kept with the run.

    Yields:
        what logs a line of train.jsonl, with its epoch as the step.
    """
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri((exp.parent / "mlruns").absolute().as_uri())
    if "MLFLOW_EXPERIMENT_NAME" not in os.environ and "MLFLOW_EXPERIMENT_ID" not in os.environ:
        mlflow.set_experiment(PROJECT)
    path = exp / MLFLOW_ID
    run_id = path.read_text() if path.is_file() else None
    with mlflow.start_run(run_id=run_id, run_name=None if run_id else exp.name) as run:
        path.write_text(run.info.run_id)
        if run_id is None:
            mlflow.log_artifact(str(exp / "config.yaml"))

        def log(line: dict[str, Any]) -> None:
            numbers = {k: v for k, v in line.items() if isinstance(v, float) and math.isfinite(v)}
            mlflow.log_metrics(numbers, step=line["epoch"])

        yield log
