"""Scoring: hypotheses of decoded runs against their references, and the files of scores."""

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from atat.common.advice import rerun
from atat.common.files import atomic_write
from atat.common.json_file import read_json
from atat.common.text_table import align
from atat.config import experiment_tables
from atat.config.tasks import TAGGED_TASKS, WORD_TASKS
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import entity_metrics, intents, metrics
from atat.evaluation.metrics import Metric
from atat.inference.hypotheses import read_hypotheses
from atat.models.checkpoint import models_below
from atat.models.experiment_files import ABOUT
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame

FIRST_KEYS = ("id", "task", "reference", "hypothesis", "em_hyp", "em_full", "reason")


def run_directories(experiment: Path, run: str | None = None) -> list[Path]:
    """The decoded runs of an experiment, `decode_<run>/`, sorted by name.

    Raises:
        FileNotFoundError: nothing is decoded there, or not the run that is asked for.
    """
    if run is not None:
        directories = [experiment / f"decode_{run}"]
    else:
        directories = sorted(path for path in experiment.glob("decode_*") if path.is_dir())
    if not directories:
        hint = models_below(experiment) or rerun(5, "run")
        raise FileNotFoundError(f"{experiment}: no decode_<run>/hyp.jsonl here; {hint}")
    for directory in directories:
        if not (directory / "hyp.jsonl").is_file():
            raise FileNotFoundError(f"{directory / 'hyp.jsonl'}: no such file; {rerun(5, 'run')}")
    return directories


class NoReference(ValueError):
    """A split has nothing that a run's task could be compared with."""


def hypothesis_key(*places: Path) -> Callable[[str], Frame]:
    """What EM Hyp compares: as the first `about.json` says, else intent and slots.

    Args:
        places: directories that may have one: an experiment (or an exported model), splits. A
            user's own recordings have none, and are judged as the experiment's data are.

    Raises:
        ValueError: about.json names something else.
    """
    path = next((path for p in places if (path := p / ABOUT).is_file()), None)
    name = "frame" if path is None else read_json(path).get("hypothesis", "frame")
    if not isinstance(name, str) or name not in metrics.HYPOTHESES:
        known = ", ".join(metrics.HYPOTHESES)
        raise ValueError(f"{path}: hypothesis is {name!r}, expected one of {known}; {rerun(1)}")
    return metrics.HYPOTHESES[name]


def score_run(
    directory: Path,
    data: Path,
    subsets: dict[str, experiment_tables.Subset],
    names: Collection[str] = (),
) -> dict[str | None, dict[str, Metric]]:
    """Score one run and write what is found beside its hypotheses; the rest as in `compare`."""
    lines, scores = compare(directory, data, subsets, names)
    write(directory, lines, scores)
    return scores


def compare(
    directory: Path,
    data: Path,
    subsets: dict[str, experiment_tables.Subset],
    names: Collection[str] = (),
) -> tuple[list[dict[str, Any]], dict[str | None, dict[str, Metric]]]:
    """Score one run, and write nothing.

    Args:
        directory: has `hyp.jsonl` and `run.json` of stage 5.
        data: the splits of stage 1.
        subsets: name -> what belongs to it.
        names: of further metrics, of `experiment_tables.METRICS`.

    Returns:
        The lines of `hyp.jsonl` with references and verdicts, and scores by subset, None for the
        whole split. A subset without utterances here is left out.

    Raises:
        NoReference: the split lacks what the run's task is compared with.
        ValueError: hypotheses and references are not of the same utterances.
    """
    path = directory / "hyp.jsonl"
    run, lines = read_json(directory / "run.json"), read_hypotheses(path)
    for what in ("split", "task"):
        if not isinstance(run.get(what), str):
            raise ValueError(f"{directory / 'run.json'}: '{what}' is missing; {rerun(5)}")
    split = data / run["split"]
    references = with_known_words(kaldi_dir.read(split), run["task"])
    _check_same_ids(path, [line["id"] for line in lines], split, references.ids)
    key = hypothesis_key(data, directory.parent)
    outcomes = judge(lines, run["task"], references, split, key)

    sequences = references.semantics or {}
    parts: dict[str | None, list[int]] = {None: list(range(len(lines)))}
    for name, subset in subsets.items():
        chosen = [
            i for i, line in enumerate(lines) if subset.has(line["id"], sequences.get(line["id"]))
        ]
        if chosen:
            parts[name] = chosen
    scores = {}
    for part, chosen in parts.items():
        some = [lines[i] for i in chosen]
        found = scores_of(some, [outcomes[i] for i in chosen], references)
        if outcomes[0] is not None:
            found |= _asked_for(some, references, key, names)
        scores[part] = {name: found[name] for name in metrics.TITLES if name in found}
    return lines, scores


def with_known_words(references: DataDir, task: str) -> DataDir:
    """References without their text where it is compared with semantics that lack its words.

    Labels may be intents and slots alone (`turnOnLight( room( kitchen )room )turnOnLight`), of
    whatever was said: the words around the slots would all count as errors.
    """
    if task not in TAGGED_TASKS or references.text is None or references.semantics is None:
        return references
    for id_, sequence in references.semantics.items():
        bare = target_sequence.build(target_sequence.frame(sequence))
        if bare != sequence or target_sequence.words(sequence) == references.text[id_]:
            return references
    return replace(references, text=None)


def write(
    directory: Path, lines: list[dict[str, Any]], scores: dict[str | None, dict[str, Metric]]
) -> None:
    """Write what `compare` has found beside the hypotheses."""
    with atomic_write(directory / "hyp.jsonl") as file:
        for line in lines:
            ordered = {key: line[key] for key in FIRST_KEYS if key in line} | line
            file.write(json.dumps(ordered, ensure_ascii=False) + "\n")
    for name, part in scores.items():
        suffix = "" if name is None else f".{name}"
        with atomic_write(directory / f"scores{suffix}.json") as file:
            file.write(json.dumps(part, indent=2) + "\n")


def percent(metric: Metric) -> str:
    """Value and interval, in percent.

    >>> percent({"value": 0.912, "n": 500, "low": 0.884, "high": 0.934})
    '91.2 (88.4-93.4)'
    """
    return f"{100 * metric['value']:.1f} ({100 * metric['low']:.1f}-{100 * metric['high']:.1f})"


def _check_same_ids(path: Path, got: Iterable[str], split: Path, expected: Iterable[str]) -> None:
    got, expected = set(got), set(expected)
    for ids, where, lacking in ((expected - got, split, path), (got - expected, path, split)):
        if ids:
            shown = ", ".join(sorted(ids)[:5]) + (", ..." if len(ids) > 5 else "")
            raise ValueError(
                f"{lacking}: {len(ids)} utterances of {where} are not in it: {shown}; "
                f"decode the data that are scored; {rerun(5)}"
            )


def judge(
    lines: list[dict[str, Any]],
    task: str,
    references: DataDir,
    split: Path,
    key: Callable[[str], Frame],
) -> list[metrics.Outcome | None]:
    """Add the reference and the verdict to each line, and give its outcome.

    Args:
        lines: as of `hyp.jsonl`.
        task: of the run.
        references: as `with_known_words` leaves them.
        split: their directory, for messages.
        key: what EM Hyp compares, see `metrics.judge`.

    Returns:
        An outcome a line; None for those of a text task.

    Raises:
        NoReference: the split lacks what the task is compared with.
    """
    if task in WORD_TASKS:
        if references.text is None:
            raise NoReference(f"{split}: has no 'text', which an '{task}' run is scored against")
        for line in lines:
            line["reference"] = references.text[line["id"]]
        return [None] * len(lines)
    if task not in TAGGED_TASKS:
        raise ValueError(f"got a run of task '{task}', expected slu, nlu, asr or mlm")
    if references.semantics is None:
        raise NoReference(f"{split}: has no 'semantics', which an '{task}' run is scored against")
    outcomes: list[metrics.Outcome | None] = []
    for line in lines:
        line["reference"] = references.semantics[line["id"]]
        outcome = metrics.judge(line["reference"], line["hypothesis"], key)
        line["em_hyp"] = outcome.em_hyp
        # Without `text` the references have no carrier words: the whole sequence says nothing.
        line["em_full"] = None if references.text is None else outcome.em_full
        # Stage 5 knows better why there is no hypothesis at all.
        said = line.get("reason") if not line["hypothesis"] else None
        line["reason"] = said or outcome.reason
        outcomes.append(outcome)
    return outcomes


def scores_of(
    lines: list[dict[str, Any]], outcomes: list[metrics.Outcome | None], references: DataDir
) -> dict[str, Metric]:
    """The metrics of every recipe over some lines, of what `judge` gave."""
    ids = [line["id"] for line in lines]
    speakers = [references.utt2spk[id_] for id_ in ids] if references.utt2spk else None
    is_semantic = outcomes[0] is not None
    judged = [outcome for outcome in outcomes if outcome is not None]
    scores = metrics.semantic_scores(judged, speakers) if is_semantic else {}
    if is_semantic and (macro := intents.counts(judged)):
        scores["em_hyp_macro"] = intents.macro(*macro)
    if references.text is None:
        # These look at carrier words.
        for name in ("em_full", "tree_precision", "tree_recall", "tree_f1"):
            scores.pop(name, None)
    else:
        # Of semantics without their tags on both sides: the text may have fillers, and numbers in
        # words (`data.spelled_out`), which no target has.
        right, found = ([line[side] for line in lines] for side in ("reference", "hypothesis"))
        if is_semantic:
            right, found = (list(map(target_sequence.words, side)) for side in (right, found))
        scores["wer"] = metrics.word_error_rate(right, found, speakers)
    return scores


def _asked_for(
    lines: list[dict[str, Any]],
    references: DataDir,
    key: Callable[[str], Frame],
    names: Collection[str],
) -> dict[str, Metric]:
    """The metrics that a table asks for beside those of every recipe."""
    speakers = [references.utt2spk[line["id"]] for line in lines] if references.utt2spk else None
    said, understood = ([line[side] for line in lines] for side in ("reference", "hypothesis"))
    found = entity_metrics.of_sequences(said, understood, key, names)
    return entity_metrics.scores(found, speakers)


def table(rows: list[tuple[str, dict[str, Metric]]]) -> str:
    """(run, its scores) of each row as text, in %, with intervals."""
    shown = [name for name in metrics.TITLES if any(name in scores for _, scores in rows)]
    cells = [["run", *(metrics.TITLES[name] for name in shown), "n"]]
    for run, scores in rows:
        values = [percent(scores[name]) if name in scores else "" for name in shown]
        cells.append([run, *values, str(next(iter(scores.values()))["n"])])
    return align(cells)
