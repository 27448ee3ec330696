"""What is on record of one experiment: settings, training, runs and other measurements."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atat.common import json_file
from atat.config import config_file, schema
from atat.models.checkpoint import digest, is_trained
from atat.models.experiment_files import CONFIDENCE
from atat.training import train_log


@dataclass(frozen=True)
class Experiment:
    """What is known of one experiment: its directory's records, each empty if it is not there."""

    name: str
    directory: Path
    about: str = ""

    @cached_property
    def env(self) -> dict[str, Any]:
        """`env.json` of stage 4: commit, versions, machine, seed."""
        path = self.directory / "env.json"
        return json_file.read_json(path) if path.is_file() else {}

    @cached_property
    def settings(self) -> schema.Config | None:
        """None where they are not there, or are another version's."""
        try:
            return config_file.load_resolved(self.directory / "config.yaml")
        except (FileNotFoundError, ValueError):
            return None

    @cached_property
    def curve(self) -> list[dict[str, Any]]:
        """The lines of `train.jsonl`."""
        return train_log.read(self.directory / "train.jsonl")

    @cached_property
    def noise(self) -> dict[str, Any]:
        """What `atat.noise_curve` wrote of the model that is there now."""
        return self._of_this_model("noise/scores.json")

    @cached_property
    def confidence(self) -> dict[str, Any]:
        """What `atat.calibrate` wrote of the model that is there now."""
        return self._of_this_model(CONFIDENCE)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What `atat.conditions` wrote of the model that is there now."""
        return self._of_this_model("conditions/scores.json")

    @cached_property
    def few_shot(self) -> dict[str, Any]:
        """What `atat.few_shot` wrote of the model that is there now."""
        return self._of_this_model("few_shot/scores.json")

    @cached_property
    def model(self) -> str | None:
        """Digest of the model that is there now; None where there is none."""
        return digest(self.directory) if is_trained(self.directory) else None

    def _of_this_model(self, name: str) -> dict[str, Any]:
        path = self.directory / name
        record = json_file.read_json(path) if path.is_file() else {}
        return record if record and record.get("model") == self.model else {}

    def last(self, key: str) -> float | None:
        """The newest number of that name in `train.jsonl`."""
        values = (line.get(key) for line in reversed(self.curve))
        return next((v for v in values if v is not None and np.isfinite(v)), None)

    def run(self, name: str) -> dict[str, Any]:
        """`run.json` of a decoding run."""
        path = self.directory / f"decode_{name}" / "run.json"
        return json_file.read_json(path) if path.is_file() else {}
