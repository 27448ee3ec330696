"""The result table of a recipe as data: each row with its scores and its comparison."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atat import config, datadir, metrics, score, semantics, train_log
from atat.metrics import Metric
from atat.tables import Row, Tables

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """A row against another experiment on the same utterances.

    differences: metric name -> this row minus the other one, with interval and p (fractions);
    empty where `problem` says why the two cannot be compared.
    """

    against: str
    run: str
    differences: dict[str, Metric] = field(default_factory=dict)
    problem: str | None = None

    @property
    def main(self) -> tuple[str, Metric] | None:
        """The difference that decides: of exact match, or of WER where there are only words."""
        return next(iter(self.differences.items()), None)

    @property
    def is_real(self) -> bool:
        return self.main is not None and self.main[1]["p"] < SIGNIFICANT


@dataclass(frozen=True)
class Result:
    """One row: what was scored, or what is missing and how to get it."""

    row: Row
    scores: dict[str, Metric]
    missing: str | None
    lines: list[dict[str, Any]]  # of hyp.jsonl, those of the row's subset
    comparison: Comparison | None

    @property
    def num_utterances(self) -> int | None:
        return next((score["n"] for score in self.scores.values()), None)


@dataclass(frozen=True)
class Experiment:
    """What is known of one experiment: its directory's records, each empty if it is not there."""

    name: str
    directory: Path

    @cached_property
    def env(self) -> dict[str, Any]:
        path = self.directory / "env.json"
        return score.read_json(path) if path.is_file() else {}

    @cached_property
    def curve(self) -> list[dict[str, Any]]:
        return train_log.read(self.directory / "train.jsonl")

    def last(self, key: str) -> float | None:
        """The newest number of that name in `train.jsonl`."""
        values = (line.get(key) for line in reversed(self.curve))
        return next((v for v in values if v is not None and np.isfinite(v)), None)

    def run(self, name: str) -> dict[str, Any]:
        path = self.directory / f"decode_{name}" / "run.json"
        return score.read_json(path) if path.is_file() else {}


class Results:
    """Everything stage 7 shows, read once.

    Args:
        tables: the recipe's rows.
        expdir: has a directory an experiment.
        data: the splits, for speakers and audio files; they are not needed.
    """

    def __init__(self, tables: Tables, expdir: Path, data: Path):
        self.tables, self.expdir, self.data = tables, expdir, data
        self._lines: dict[Path, list[dict[str, Any]]] = {}
        self._splits: dict[str, datadir.DataDir] = {}
        self.experiments = {name: Experiment(name, expdir / name) for name in tables.experiments}
        self.rows = [self._result(row) for row in tables.table]

    @property
    def shown(self) -> list[str]:
        """Names of the metrics that have a number in some row, ours or the paper's, or EM Hyp."""
        known = {name for result in self.rows for name in (*result.scores, *result.row.paper)}
        # Well-formed is a column of trees; for flat sequences EM tells the same.
        hidden = set() if "tree_f1" in known else {"tree_valid"}
        return [name for name in metrics.TITLES if name in known - hidden] or ["em_hyp"]

    @property
    def speech(self) -> str | None:
        """A sentence on where the speech comes from; None where nothing is known of it.

        Stage 1 may leave it in `about.json` (`speech`); else the voices are in the settings.
        """
        about = self.data / "about.json"
        if about.is_file() and (said := score.read_json(about).get("speech")):
            return f"Speech: {said}"
        for experiment in self.experiments.values():
            path = experiment.directory / "config.yaml"
            voices = config.load_resolved(path).data.voices if path.is_file() else {}
            if voices:
                parts = (
                    f"{split} by {', '.join(sorted(v))}" for split, v in sorted(voices.items())
                )
                return f"Speech: rendered by synthesisers, not recorded: {'; '.join(parts)}."
        return None

    def split(self, name: str | None) -> datadir.DataDir:
        """A split's files; all None where the split is not there any more."""
        if name not in self._splits:
            is_there = name is not None and (self.data / name).is_dir()
            self._splits[name] = datadir.read(self.data / name) if is_there else datadir.DataDir()
        return self._splits[name]

    def _result(self, row: Row) -> Result:
        missing = self._missing(row.experiment, row.run, row.subset)
        if missing:
            return Result(row, {}, missing, [], None)
        scores = score.read_json(
            self._directory(row.experiment, row.run) / _scores_name(row.subset)
        )
        lines = self._select(row.experiment, row.run, row.subset)
        comparison = self._compare(row, lines) if row.against else None
        return Result(row, scores, None, lines, comparison)

    def _directory(self, experiment: str, run: str) -> Path:
        return self.expdir / experiment / f"decode_{run}"

    def _missing(self, experiment: str, run: str, subset: str | None) -> str | None:
        """What is not there yet, and the command that makes it; None if all is there."""
        command = f"./run.sh --experiment {experiment}"
        directory = self._directory(experiment, run)
        if not (self.expdir / experiment / "model.pth").is_file():
            begun = (self.expdir / experiment / "train.jsonl").is_file()
            return f"{'training not finished' if begun else 'not trained'}: {command}"
        if not (directory / "hyp.jsonl").is_file():
            return f"not decoded: {command} --stage 5"
        is_scored = (directory / _scores_name(subset)).is_file()
        if not is_scored or any("reference" not in line for line in self._read(directory)):
            return f"not scored: {command} --stage 6"
        return None

    def _read(self, directory: Path) -> list[dict[str, Any]]:
        if directory not in self._lines:
            self._lines[directory] = score.read_hypotheses(directory / "hyp.jsonl")
        return self._lines[directory]

    def _select(self, experiment: str, run: str, subset: str | None) -> list[dict[str, Any]]:
        lines = self._read(self._directory(experiment, run))
        if subset is None:
            return lines
        split = self.split(self.experiments[experiment].run(run).get("split"))
        intents = self.tables.subsets[subset].intents
        sequences = split.semantics or {line["id"]: line["reference"] for line in lines}
        return [line for line in lines if _intent(sequences.get(line["id"], "")) in intents]

    def _compare(self, row: Row, lines: list[dict[str, Any]]) -> Comparison:
        other = self._run_against(row)
        # The other run's own subset scores are not needed: the lines are chosen here.
        if self._missing(row.against, other, None):
            return Comparison(row.against, other, problem="is not scored")
        ours = {line["id"]: line for line in lines}
        theirs = {line["id"]: line for line in self._select(row.against, other, row.subset)}
        if ours.keys() != theirs.keys() or not ours:
            return Comparison(row.against, other, problem="was scored on other utterances")
        ids = sorted(ours)
        speaker_of = self.split(self.experiments[row.experiment].run(row.run).get("split")).utt2spk
        known = speaker_of is not None and all(id_ in speaker_of for id_ in ids)
        speakers = [speaker_of[id_] for id_ in ids] if known else None
        pair = [[lines[id_] for id_ in ids] for lines in (ours, theirs)]
        if any(a["reference"] != b["reference"] for a, b in zip(*pair, strict=True)):
            return Comparison(row.against, other, problem="was scored against other references")
        return Comparison(row.against, other, differences(*pair, speakers))

    def _run_against(self, row: Row) -> str:
        """The run of the other experiment: the same, or else the one that the table shows of it.

        A model without text input, say, has no `test_nlu`; its spoken run is what to compare with.
        """
        if (self._directory(row.against, row.run) / "hyp.jsonl").is_file():
            return row.run
        others = [other for other in self.tables.table if other.experiment == row.against]
        others.sort(key=lambda other: other.subset != row.subset)
        return others[0].run if others else row.run


def differences(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]], speakers: list[str] | None = None
) -> dict[str, Metric]:
    """Differences of scored lines of the same utterances, ours minus theirs, the main one first.

    Exact match has McNemar's p and SemER (or WER, for transcripts) that of the paired bootstrap.
    """
    if "em_hyp" not in ours[0]:
        counts = [
            metrics.word_error_counts(*_columns(lines, "reference", "hypothesis"))
            for lines in (ours, theirs)
        ]
        return {"wer": metrics.difference(*counts, speakers)}
    right = [[line["em_hyp"] for line in lines] for lines in (ours, theirs)]
    ones = np.ones(len(ours))
    exact = metrics.difference(*((np.array(r, dtype=float), ones) for r in right), speakers)
    counts = [
        metrics.semer_counts(
            [metrics.judge(line["reference"], line["hypothesis"]) for line in lines]
        )
        for lines in (ours, theirs)
    ]
    return {
        "em_hyp": exact | {"p": metrics.mcnemar(*right)},
        "semer": metrics.difference(*counts, speakers),
    }


def _columns(lines: list[dict[str, Any]], *keys: str) -> list[list[str]]:
    return [[line[key] for line in lines] for key in keys]


def _scores_name(subset: str | None) -> str:
    return "scores.json" if subset is None else f"scores.{subset}.json"


def _intent(sequence: str) -> str | None:
    try:
        return semantics.parse(sequence).label
    except ValueError:  # a transcript
        return None
