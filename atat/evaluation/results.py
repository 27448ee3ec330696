"""The result table of a recipe as data: each row with its scores and its comparison."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from atat.common import json_file, stage_files
from atat.config.experiment_tables import Row, Tables, Training
from atat.data import ctm, kaldi_dir, split_overlap
from atat.evaluation import metrics, scoring, seed_pooling
from atat.evaluation.experiment_records import Experiment
from atat.evaluation.metrics import Metric
from atat.evaluation.missing_results import NOT_TRAINED, Driver, Hint
from atat.evaluation.seed_pooling import Counts
from atat.inference import hypotheses
from atat.models.checkpoint import is_trained
from atat.models.experiment_files import ABOUT

SIGNIFICANT = 0.05
STAND_IN = (
    "The corpus is a stand-in, rendered here by synthesisers from sentences of our own "
    "(atat/toy_corpus.py): no number is about the corpus that the recipe is named after."
)


# Name of a training, run, subset, and parts.
_PoolKey = tuple[str, str, str | None, tuple[str | None, ...]]


@dataclass(frozen=True)
class Place:
    """Where a recipe's experiments and data are; those of one part, if its corpus has parts."""

    expdir: Path
    data: Path
    part: str | None = None

    @property
    def has_own_splits(self) -> bool:
        """Whether somebody wrote the splits: stage 1 leaves `about.json` and a marker."""
        left = self.data / ABOUT, Path(stage_files.done(str(self.data), 1))
        return self.data.is_dir() and not any(path.is_file() for path in left)

    def name(self, what: str) -> str:
        """A name of an experiment or utterance that no other part has."""
        return what if self.part is None else f"{self.part}/{what}"


@dataclass(frozen=True)
class Pool:
    """One training's hypotheses of the utterances of a row, those of all its parts together."""

    lines: list[dict[str, Any]]  # of hyp.jsonl, each `id` with its part before it
    speakers: list[str] | None  # None where they are not known
    counts: Counts


@dataclass(frozen=True)
class Comparison:
    """A row against another experiment on the same utterances.

    Attributes:
        against: the other experiment.
        run: of the other experiment.
        differences: metric name -> this row minus the other one, with interval and p (fractions);
            empty where `problem` says why the two cannot be compared.
    """

    against: str
    run: str
    differences: dict[str, Metric] = field(default_factory=dict)
    problem: str | None = None

    @property
    def main(self) -> tuple[str, Metric] | None:
        """The difference that decides: of the exact match that the paper has, or of EM Hyp, or of
        WER where there are only words."""
        return next(iter(self.differences.items()), None)

    @property
    def is_real(self) -> bool:
        """Whether the main difference is significant (p below SIGNIFICANT)."""
        return self.main is not None and self.main[1]["p"] < SIGNIFICANT


@dataclass(frozen=True)
class Result:
    """One row: what was scored, or what is missing and how to get it."""

    row: Row
    scores: dict[str, Metric]
    missing: Hint | None
    lines: list[dict[str, Any]]  # of hyp.jsonl, those of the row's subset; of the first seed
    comparison: Comparison | None
    seeds: dict[str, dict[str, float]] = field(default_factory=dict)  # seed -> metric -> value

    @property
    def num_utterances(self) -> int | None:
        """n of its scores; None without any."""
        return next((int(score["n"]) for score in self.scores.values()), None)


class Results:
    """Everything stage 7 shows, read once.

    Args:
        tables: the recipe's rows.
        places: of the parts of its corpus; one where it has none. Each has a directory an
            experiment, and the splits, for speakers and audio files; those are not needed.
        driver: the command that makes what is missing.

    Raises:
        ValueError: a row of parts that are not there.
    """

    def __init__(self, tables: Tables, places: Sequence[Place], driver: Driver = Driver()) -> None:  # noqa: B008
        self.tables, self.places, self.driver = tables, list(places), driver
        self._lines: dict[Path, list[dict[str, Any]]] = {}
        self._splits: dict[Path, kaldi_dir.DataDir] = {}
        self._pools: dict[_PoolKey, Pool] = {}
        self.experiments = {
            place.name(training.name): Experiment(
                place.name(training.name), place.expdir / training.name, what.about
            )
            for place in self.places
            for name, what in tables.experiments.items()
            for training in tables.trainings(name)
        }
        self.rows = [self._result(row) for row in tables.table]

    @property
    def trained(self) -> dict[str, list[Experiment]]:
        """Experiment (with its part) -> its trainings, one a seed."""
        return {
            place.name(name): [self._experiment(place, one) for one in self.tables.trainings(name)]
            for place in self.places
            for name in self.tables.experiments
        }

    @property
    def there(self) -> list[Result]:
        """The rows that have scores, or others' numbers."""
        return [result for result in self.rows if not result.missing]

    @property
    def shown(self) -> list[str]:
        """Names of the metrics that have a number in some row, ours or the paper's, or EM Hyp."""
        known = {name for result in self.there for name in (*result.scores, *result.row.paper)}
        # Well-formed is a column of trees; for flat sequences EM tells the same.
        hidden = set() if "tree_f1" in known else {"tree_valid"}
        return [name for name in metrics.TITLES if name in known - hidden] or ["em_hyp"]

    @property
    def speech(self) -> str | None:
        """A sentence on where the speech comes from; None where nothing is known of it.

        Stage 1 leaves it in `about.json` (`speech`); else the voices are in the settings, those of
        the splits that are rendered: a test that has none there may be recorded, and so may
        splits of one's own.
        """
        parts: list[str] = []
        for place in self.places:
            about = place.data / ABOUT
            if not parts and about.is_file() and (said := json_file.read_json(about).get("speech")):
                parts = [f"Speech{f' of {place.part}' if place.part else ''}: {said}"]
        settings = [e.settings.data for e in self.experiments.values() if e.settings]
        voices = next((data.voices for data in settings if data.voices), None)
        if not parts and voices and not self.driver.has_own_splits:
            by = "; ".join(f"{s} by {', '.join(sorted(v))}" for s, v in sorted(voices.items()))
            runs = (run for row in self.tables.table for _, run in self.runs_of(row))
            unknown = sorted({run["split"] for run in runs if "split" in run} - voices.keys())
            parts = [f"Speech: rendered by synthesisers, not recorded: {by}."]
            if unknown:
                parts = [
                    f"Speech: rendered by synthesisers: {by}; it is not on record who speaks in "
                    f"{', '.join(unknown)}."
                ]
        if any(data.stand_in for data in settings):
            parts.insert(0, STAND_IN)
        return " ".join(parts) or None

    @cached_property
    def met_in_training(self) -> list[str]:
        """A sentence for each test: how many of its utterances have the words of one in a split
        that an experiment was trained on, of the splits whose texts are there."""
        trained: dict[tuple[str, Path], dict[str, None]] = {}
        for row in (result.row for result in self.there):
            for place in self.places_of(row):
                for training in self._trainings_of(row):
                    experiment = self._experiment(place, training)
                    test = experiment.run(_run_of(row)).get("split")
                    if test is not None and experiment.settings is not None:
                        sources = experiment.settings.train.sources
                        names = dict.fromkeys(source.split for source in sources)
                        trained.setdefault((test, place.data), {}).update(names)
        num: Counter[str] = Counter()
        met: dict[str, Counter[str]] = {}
        for (test, data), names in trained.items():
            splits = [s for s in names if s != test and (data / s / "text").is_file()]
            num_here, met_here = split_overlap.num_met(data / test, [data / s for s in splits])
            num[test] += num_here
            met.setdefault(test, Counter()).update(dict(zip(splits, met_here, strict=True)))
        return [
            f"Met in training: {split_overlap.said(test, num[test], counts)}."
            for test, counts in met.items()
            if num[test] and counts
        ]

    def places_of(self, row: Row) -> list[Place]:
        """The places whose utterances a row pools.

        Raises:
            ValueError: there are none.
        """
        if row.parts is None:
            return self.places
        places = [p for p in self.places if p.part and p.part.rpartition("_")[0] == row.parts]
        if not places:
            known = {p.part.rpartition("_")[0] for p in self.places if p.part}
            raise ValueError(
                f"table row '{row.row}': parts: got '{row.parts}', expected "
                f"{' or '.join(sorted(known)) or 'none: the corpus has no parts'}"
            )
        return places

    def runs_of(self, row: Row) -> list[tuple[str, dict[str, Any]]]:
        """The runs of a row: its directory's name for people, and its `run.json` ({} if none)."""
        return [
            (
                place.name(f"{training.name}/decode_{row.run}"),
                self._experiment(place, training).run(_run_of(row)),
            )
            for place in self.places_of(row)
            for training in self._trainings_of(row)
        ]

    def seeds_of(self, row: Row) -> str:
        """The seeds of a row's trainings, e.g. `1, 2, 3`."""
        seeds = [
            training.seed
            if training.seed is not None
            else self._experiment(place, training).env.get("seed")
            for place in self.places_of(row)
            for training in self._trainings_of(row)
        ]
        return ", ".join(str(seed) for seed in dict.fromkeys(seeds) if seed is not None)

    def audio(self, row: Row) -> dict[str, str]:
        """Utterance (with its part) -> path of its recording, as far as they are there."""
        return {
            place.name(id_): path
            for training in self._trainings_of(row)[:1]
            for place in self.places_of(row)
            for id_, path in (self._split_of(place, training, _run_of(row)).wav_scp or {}).items()
        }

    def alignments(self, row: Row) -> dict[str, list[ctm.Word]]:
        """Utterance (with its part) -> its words in time, where a run of `atat.align` left them.

        Raises:
            ValueError: a `ctm` of the row's splits is not one, or is of another text.
        """
        found: dict[str, list[ctm.Word]] = {}
        for training in self._trainings_of(row)[:1]:
            for place in self.places_of(row):
                split = self._experiment(place, training).run(_run_of(row)).get("split")
                path = place.data / f"{split}/ctm"
                held = self._split_of(place, training, _run_of(row))
                if held.text and path.is_file():
                    found |= {place.name(id_): words for id_, words in ctm.read(path, held.text)}
        return found

    def _experiment(self, place: Place, training: Training) -> Experiment:
        return self.experiments[place.name(training.name)]

    def _split_of(self, place: Place, training: Training, run: str) -> kaldi_dir.DataDir:
        """The split of a run; all None where it is not there any more."""
        name = self._experiment(place, training).run(run).get("split")
        path = place.data / str(name)
        if path not in self._splits:
            is_there = name is not None and path.is_dir()
            self._splits[path] = kaldi_dir.read(path) if is_there else kaldi_dir.DataDir()
        return self._splits[path]

    def _trainings_of(self, row: Row) -> list[Training]:
        return [] if row.experiment is None else self.tables.trainings(row.experiment)

    def _result(self, row: Row) -> Result:
        if row.experiment is None:
            return Result(row, {}, None, [], None)
        places, run = self.places_of(row), _run_of(row)
        missing = self._missing(row.experiment, run, row.subset, places)
        if missing:
            return Result(row, {}, missing, [], None)
        trainings = self.tables.trainings(row.experiment)
        pools = self._pooled(row.experiment, run, row.subset, places)
        comparison = self._compare(row, row.against, pools) if row.against else None
        if len(pools) == len(places) == 1:
            path = self._directory(places[0], trainings[0], run) / _scores_name(row.subset)
            return Result(row, json_file.read_json(path), None, pools[0].lines, comparison)
        counts = [pool.counts for pool in pools]
        scores = seed_pooling.scores(counts, pools[0].speakers)
        seeds = {
            str(training.seed): {
                name: value
                for name in scores
                if (value := seed_pooling.value(one, name)) is not None
            }
            for training, one in zip(trainings, counts, strict=True)
            if len(trainings) > 1
        }
        return Result(row, scores, None, pools[0].lines, comparison, seeds)

    def _directory(self, place: Place, training: Training, run: str) -> Path:
        return place.expdir / training.name / f"decode_{run}"

    def _missing(
        self, experiment: str, run: str, subset: str | None, places: list[Place]
    ) -> Hint | None:
        """What is not there yet, and the command that makes it; None if all is there."""
        wanted = [(p, t) for p in places for t in self.tables.trainings(experiment)]
        missing = [m for p, t in wanted if (m := self._missing_of(p, t, run, subset))]
        if len(wanted) == 1 or not missing:
            return next(iter(missing), None)
        what = f"{missing[0].what} ({len(missing)} of {len(wanted)} runs missing)"
        return Hint(what, missing[0].command)

    def _missing_of(
        self, place: Place, training: Training, run: str, subset: str | None
    ) -> Hint | None:
        def hint(what: str, *stage: str) -> Hint:
            options = [
                "--experiment",
                training.name,
                *(["--part", place.part] if place.part else []),
            ]
            return Hint(what, self.driver.with_options(*options, *stage))

        directory, exp = self._directory(place, training, run), place.expdir / training.name
        if not is_trained(exp):
            begun = (exp / "train.jsonl").is_file()
            return hint("training not finished" if begun else NOT_TRAINED)
        if not (directory / "hyp.jsonl").is_file():
            return hint("not decoded", "--stage", "5")
        if hypotheses.is_outdated(directory, exp, self._experiment(place, training).model):
            return hint("decoded by an earlier model", "--stage", "5")
        is_scored = (directory / _scores_name(subset)).is_file()
        is_whole = subset is not None and (directory / _scores_name(None)).is_file()
        if not is_scored or any("reference" not in line for line in self._read(directory)):
            if is_whole and not self._select(place, training, run, subset):
                return Hint("none of these utterances is in the split")
            return hint("not scored", "--stage", "6")
        if subset is not None:
            scores = json_file.read_json(directory / _scores_name(subset))
            num = len(self._select(place, training, run, subset))
            if any(part["n"] != num for part in scores.values()):
                return hint(f"scored when '{subset}' was another", "--stage", "6")
        return None

    def _read(self, directory: Path) -> list[dict[str, Any]]:
        if directory not in self._lines:
            self._lines[directory] = hypotheses.read_hypotheses(directory / "hyp.jsonl")
        return self._lines[directory]

    def _pooled(
        self, experiment: str, run: str, subset: str | None, places: list[Place]
    ) -> list[Pool]:
        """The hypotheses of each training of an experiment in a run, all places together."""
        pools = []
        for training in self.tables.trainings(experiment):
            key = training.name, run, subset, tuple(place.part for place in places)
            if key not in self._pools:
                self._pools[key] = self._pool(training, run, subset, places)
            pools.append(self._pools[key])
        return pools

    def _pool(self, training: Training, run: str, subset: str | None, places: list[Place]) -> Pool:
        lines: list[dict[str, Any]] = []
        speakers: list[str | None] = []
        for place in places:
            chosen = self._select(place, training, run, subset)
            utt2spk = self._split_of(place, training, run).utt2spk or {}
            speakers += [utt2spk.get(line["id"]) for line in chosen]
            lines += [line | {"id": place.name(line["id"])} for line in chosen]
        key = scoring.hypothesis_key(places[0].data)
        known = [speaker for speaker in speakers if speaker is not None]
        counts = seed_pooling.counts(lines, key, self.tables.metrics) if lines else {}
        return Pool(lines, known if len(known) == len(speakers) else None, counts)

    def _select(
        self, place: Place, training: Training, run: str, subset: str | None
    ) -> list[dict[str, Any]]:
        """The lines of a run, sorted by utterance, those of a subset."""
        lines = sorted(
            self._read(self._directory(place, training, run)), key=lambda line: line["id"]
        )
        if subset is None:
            return lines
        split = self._split_of(place, training, run)
        part = self.tables.subsets[subset]
        sequences = split.semantics or {line["id"]: line["reference"] for line in lines}
        return [line for line in lines if part.has(line["id"], sequences.get(line["id"]))]

    def _compare(self, row: Row, against: str, ours: list[Pool]) -> Comparison | None:
        """None where the other experiment is not scored, which its own row says."""
        places, other = self.places_of(row), self._run_against(row, against)
        # The other run's own subset scores are not needed: the lines are chosen here.
        if self._missing(against, other, None, places):
            return None
        theirs = self._pooled(against, other, row.subset, places)
        lines = [pool.lines for pool in (*ours, *theirs)]
        if not lines[0] or any(_column(x, "id") != _column(lines[0], "id") for x in lines):
            return Comparison(against, other, problem="was scored on other utterances")
        if any(_column(x, "reference") != _column(lines[0], "reference") for x in lines):
            return Comparison(against, other, problem="was scored against other references")
        one, another = ([pool.counts for pool in pools] for pools in (ours, theirs))
        published = {name for line in self.tables.table for name in line.paper}
        changes = seed_pooling.differences(one, another, ours[0].speakers, published)
        return Comparison(against, other, changes)

    def _run_against(self, row: Row, against: str) -> str:
        """The run of the other experiment: the same, or else the one that the table shows of it.

        A model without text input, say, has no `test_nlu`; its spoken run is what to compare with.
        """
        place, training = self.places_of(row)[0], self.tables.trainings(against)[0]
        if (self._directory(place, training, _run_of(row)) / "hyp.jsonl").is_file():
            return _run_of(row)
        others = [other for other in self.tables.table if other.experiment == against]
        others.sort(key=lambda other: other.subset != row.subset)
        return _run_of(others[0] if others else row)


def _run_of(row: Row) -> str:
    assert row.run is not None  # a row of an experiment has one: `experiment_tables.load`
    return row.run


def _column(lines: list[dict[str, Any]], key: str) -> list[str]:
    return [line[key] for line in lines]


def _scores_name(subset: str | None) -> str:
    return "scores.json" if subset is None else f"scores.{subset}.json"
