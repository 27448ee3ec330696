"""Tables of a report, as plain text: what stage 6 scored, and how that came about."""

import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atat.evaluation import intents, metrics, missing_results
from atat.evaluation.metrics import Metric
from atat.evaluation.missing_results import Hint
from atat.evaluation.results import SIGNIFICANT, Comparison, Result, Results
from atat.semantics import target_sequence


@dataclass(frozen=True)
class Table:
    """A header and rows of plain text; `note` stands below, `hints` say what is not there yet."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    hints: tuple[Hint, ...] = ()


def percent(metric: Metric) -> str:
    """A share with its interval, as `91.4 % (88.6\u201393.6)`."""
    low, high = 100 * metric["low"], 100 * metric["high"]
    return f"{100 * metric['value']:.1f} % ({low:.1f}\u2013{high:.1f})"


def points(change: Metric, unit: str = "") -> str:
    """A difference of shares with its interval, in points.

    >>> points({"value": 0.05, "low": -0.01, "high": 0.11})
    '+5.0 (-1.0 to +11.0)'
    """
    value, low, high = (100 * change[key] for key in ("value", "low", "high"))
    return f"{value:+.1f}{unit} ({low:+.1f} to {high:+.1f})"


def p_value(p: float) -> str:
    """`= 0.012`, or that it is below 0.001."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def number(value: float | None, form: str) -> str:
    """In a format; "" where there is none."""
    return "" if value is None else format(value, form)


def of_scores(results: Results) -> list[Table]:
    """Scores, seeds, differences, intents, hearing: those for which there is something to show."""
    found = [
        scores_table(results),
        seeds_table(results),
        differences_table(results),
        intents_table(results),
        hearing_table(results),
    ]
    return [table for table in found if table is not None]


def of_origins(results: Results, out: Path) -> list[Table]:
    """How experiments were trained and runs decoded, as far as there are any.

    Args:
        results: the rows, and the records of their runs and experiments.
        out: the directory of the report, which links are relative to.
    """
    found = [experiments_table(results, out), decoding_table(results)]
    return [table for table in found if table is not None]


def scores_table(results: Results) -> Table:
    """The rows of `tables.yaml` in their order, ours and the paper's numbers side by side."""
    shown = results.shown
    paper = [name for name in shown if any(name in r.row.paper for r in results.there)]
    others = {r.row.against for r in results.there if r.comparison}
    header = ["Row"]
    for name in shown:
        header += [metrics.TITLES[name], *(["paper"] if name in paper else [])]
    header += ["n", "seed(s)"]
    if others:
        main = {r.comparison.main[0] for r in results.there if r.comparison and r.comparison.main}
        by = f" by {metrics.TITLES[main.pop()]}" if len(main) == 1 else ""
        other = f" from {others.copy().pop()}" if len(others) == 1 else ""
        header.append(f"different{other}{by}?")
    rows = []
    for result in results.there:
        cells = [result.row.row]
        for name in shown:
            cells.append(percent(result.scores[name]) if name in result.scores else "")
            if name in paper:
                figure = result.row.paper.get(name, "")
                cells.append(figure if isinstance(figure, str) else f"{figure} %")
        cells.append("" if result.num_utterances is None else str(result.num_utterances))
        cells.append(results.seeds_of(result.row))
        if others:
            cells.append(verdict(result.comparison, name_it=len(others) > 1))
        if result.row.experiment is None:
            cells[1] = "\u2013"
        rows.append(cells)
    if not rows:
        return Table("Scores", header, rows, hints=tuple(missing_results.of(results)))
    note = (
        "In brackets 95 % intervals: Wilson's for shares of the n utterances, bootstrap over "
        f"utterances (over speakers, where {metrics.MIN_SPEAKERS} or more are known) for F1, SemER "
        "and WER. SemER and WER: lower is better."
    )
    if "em_hyp_macro" in shown:
        note += " Macro EM: the mean of EM Hyp over intents, each as much as any other."
    if any(result.seeds for result in results.there):
        note += (
            " Of several seeds: the mean, with a bootstrap, for shares too, over utterances (over "
            "speakers, as above), each with the mean of its seeds; the seeds' own values are below."
        )
    if any(len(results.places_of(result.row)) > 1 for result in results.there):
        note += " Parts of the corpus (folds) are pooled: n counts the utterances of all."
    return Table("Scores", header, rows, note, tuple(missing_results.of(results)))


def seeds_table(results: Results) -> Table | None:
    """The values of each seed and their spread; None where no row has several."""
    rows = []
    for result in results.rows:
        for seed, values in result.seeds.items():
            rows.append([result.row.row, seed, *_values(values, results.shown)])
        if result.seeds:
            of_name = {
                name: [values[name] for values in result.seeds.values() if name in values]
                for name in result.scores
            }
            spread = {
                name: statistics.stdev(values)
                for name, values in of_name.items()
                if len(values) > 1
            }
            rows.append([result.row.row, "deviation", *_values(spread, results.shown)])
    header = ["Row", "seed", *(metrics.TITLES[name] for name in results.shown)]
    note = "Deviation: the standard deviation of a seed, estimated from these."
    return Table("Seeds", header, rows, note) if rows else None


def differences_table(results: Results) -> Table | None:
    """Paired comparisons in points; None where no row can be compared."""
    compared = [(r, r.comparison) for r in results.rows if r.comparison and r.comparison.main]
    if not compared:
        return None
    names = [n for n in metrics.TITLES if any(n in c.differences for _, c in compared)]
    header = ["Row", "against"]
    for name in names:
        header += [f"{metrics.TITLES[name]}, points", "p"]
    rows = []
    for result, comparison in compared:
        cells = [result.row.row, other_run(comparison, result)]
        for name in names:
            change = comparison.differences.get(name)
            cells += (
                [points(change), p_value(change["p"]).removeprefix("= ")] if change else ["", ""]
            )
        rows.append(cells)
    note = (
        "Row minus the other, on the same utterances. p, as the interval: a paired bootstrap over "
        "utterances (or speakers, as above); of exact match, where each side was trained with one "
        f"seed and fewer than {metrics.MIN_SPEAKERS} speakers are known, McNemar's exact test. "
        f"Below {SIGNIFICANT} counts as different. No correction is made for the number of metrics "
        "and rows."
    )
    return Table("Differences", header, rows, note)


def intents_table(results: Results) -> Table | None:
    """A row an intent, the worst first, of the best row of the whole split; None where there is
    none of flat sequences, with 2 to intents.MAX_INTENTS intents."""
    whole = [r for r in results.there if "em_hyp_macro" in r.scores and r.row.subset is None]
    if not whole:
        return None
    best = max(whole, key=lambda result: result.scores["em_hyp"]["value"])
    rows = []
    for intent in intents.by_intent(best.lines):
        taken = f"{intent.taken_for} ({intent.num_taken})" if intent.num_taken else ""
        scores = percent(intent.em_hyp), percent(intent.accuracy)
        rows.append([intent.name, str(intent.em_hyp["n"]), *scores, taken])
    header = ["Intent", "n", metrics.TITLES["em_hyp"], metrics.TITLES["intent_accuracy"]]
    note = f"Of the row \u201c{best.row.row}\u201d, the worst first."
    if len(whole) > 1:
        note = f"Of the row \u201c{best.row.row}\u201d, whose EM Hyp is the highest; worst first."
    if best.seeds:
        note += " Of several seeds: the first."
    return Table("By intent", [*header, "most often taken for"], rows, note)


def hearing_table(results: Results) -> Table | None:
    """Share of utterances with every word right, and EM Hyp of these and of the others; None where
    no row has words and semantics."""
    header = ["Row", "all words right", "EM Hyp there", "n", "EM Hyp elsewhere", "n"]
    rows = []
    for result in results.rows:
        if not {"em_full", "wer"} <= result.scores.keys():
            continue
        understood: dict[bool, list[bool]] = {True: [], False: []}  # by whether all words are right
        for line in result.lines:
            said, heard = (target_sequence.words(line[key]) for key in ("reference", "hypothesis"))
            understood[said == heard].append(line["em_hyp"])
        cells = [percent(metrics.proportion(len(understood[True]), len(result.lines)))]
        for part in understood.values():
            cells += [percent(metrics.proportion(sum(part), len(part))) if part else "\u2013"]
            cells += [str(len(part))]
        rows.append([result.row.row, *cells])
    note = (
        "Words: the sequence without its tags. Rows differ in the utterances that they have all "
        "words of, and those are the easier ones."
    )
    if any(result.seeds for result in results.rows):
        note += " Of several seeds: the first."
    return Table("Hearing and understanding", header, rows, note) if rows else None


def experiments_table(results: Results, out: Path) -> Table | None:
    """How each experiment was trained, with its whole configuration; None where none was."""
    header = ["Experiment", "What", "init_from", "seed", "config", "commit", "steps"]
    header += ["training min", "CPU min", "parameters", "machine"]
    rows = []
    for name, experiment in results.experiments.items():
        if not experiment.directory.is_dir():
            continue
        env = experiment.env
        config = experiment.directory / "config.yaml"
        parameters = env.get("num_parameters")
        rows.append(
            [
                name,
                experiment.about,
                _start(env, experiment.directory),
                str(env.get("seed", "")),
                os.path.relpath(config, out) if config.is_file() else "",
                str(env.get("commit", ""))[:12],
                number(experiment.last("step"), ",d"),
                number(experiment.last("minutes"), ".1f"),
                number(experiment.last("cpu_minutes"), ".1f"),
                number(parameters, ",d") if isinstance(parameters, int) else "",
                _machine(env),
            ]
        )
    return Table("Experiments", header, rows) if rows else None


def decoding_table(results: Results) -> Table | None:
    """How each run of the table was decoded and how fast; None where nothing is decoded."""
    header = ["Run", "split", "source", "task token", "beam", "constraint", "CTC weight"]
    header += ["utterances", "utterances/s", "real-time factor"]
    rows = []
    found = {name: record for r in results.rows for name, record in results.runs_of(r.row)}
    for name, record in found.items():
        if not record:
            continue
        num, seconds = record.get("num_utterances"), record.get("seconds")
        audio_seconds = record.get("audio_seconds")
        rows.append(
            [
                name,
                str(record.get("split", "")),
                " ".join(str(record[key]) for key in ("source", "input") if record.get(key)),
                str(record.get("task", "")),
                str(record.get("beam", "")),
                str(record.get("constraint", "")),
                number(record.get("ctc_weight"), "g"),
                number(num, ",d"),
                number(num / seconds if num and seconds else None, ".3g"),
                number(seconds / audio_seconds if seconds and audio_seconds else None, ".4f"),
            ]
        )
    note = "Real-time factor: seconds of computing a second of audio, features not counted."
    return Table("Decoding", header, rows, note) if rows else None


def _values(values: dict[str, float], names: list[str]) -> list[str]:
    return [f"{100 * values[name]:.1f}" if name in values else "" for name in names]


def verdict(comparison: Comparison | None, name_it: bool) -> str:
    """Whether a row differs from another experiment (named, if wished), by how much, and p."""
    if comparison is None:
        return ""
    prefix = f"{comparison.against}: " if name_it else ""
    if comparison.problem:
        return f"{prefix}cannot tell: {comparison.against} {comparison.problem}"
    assert comparison.main is not None  # else a problem says why
    _, change = comparison.main
    word = "yes" if comparison.is_real else "no"
    return f"{prefix}{word}, {points(change, ' points')}, p {p_value(change['p'])}"


def other_run(comparison: Comparison, result: Result) -> str:
    """The other experiment, with its run where that is not the row's own."""
    is_same = comparison.run == result.row.run
    return comparison.against if is_same else f"{comparison.against} ({comparison.run})"


def _start(env: dict[str, Any], directory: Path) -> str:
    """The experiment it started from: one beside it by name, another by the end of its path."""
    if "init_from" not in env:
        return "none" if env else ""
    start = Path(env["init_from"]["experiment"])
    beside = start.resolve().parent == directory.resolve().parent
    return start.name if beside else "/".join(start.relative_to(start.anchor).parts[-3:])


def _machine(env: dict[str, Any]) -> str:
    parts = [str(env[key]) for key in ("cpu", "machine") if env.get(key)]
    parts += [f"{key} {env[key]}" for key in ("torch", "espnet", "python") if env.get(key)]
    return ", ".join(parts)
