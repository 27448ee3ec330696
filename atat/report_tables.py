"""The tables of a report, as plain text: what stage 6 scored, and what other commands measured.

Those are `atat.noise_curve`, `atat.calibrate` and `atat.few_shot`: what they wrote of the model
that an experiment has now.
"""

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from atat import metrics, semantics
from atat.metrics import Metric
from atat.results import SIGNIFICANT, Comparison, Result, Results


@dataclass(frozen=True)
class Table:
    """A header and rows of plain text; `note` stands below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


def all_tables(results: Results, out: Path) -> list[Table]:
    """Those for which there is something to show, in the report's order.

    Args:
        out: the directory of the report, which links are relative to.
    """
    found = [
        scores_table(results),
        seeds_table(results),
        differences_table(results),
        hearing_table(results),
        noise_table(results),
        confidence_table(results),
        few_shot_table(results),
        experiments_table(results, out),
        decoding_table(results),
    ]
    return [table for table in found if table is not None]


def scores_table(results: Results) -> Table:
    """The rows of `tables.yaml` in their order, ours and the paper's numbers side by side."""
    shown = results.shown
    paper = [name for name in shown if any(name in r.row.paper for r in results.rows)]
    others = {r.row.against for r in results.rows if r.row.against}
    header = ["Row"]
    for name in shown:
        header += [metrics.TITLES[name], *(["paper"] if name in paper else [])]
    header += ["n", "seed(s)"]
    if others:
        by = {r.comparison.main[0] for r in results.rows if r.comparison and r.comparison.main}
        by = f" by {metrics.TITLES[by.pop()]}" if len(by) == 1 else ""
        other = f" from {others.copy().pop()}" if len(others) == 1 else ""
        header.append(f"different{other}{by}?")
    rows = []
    for result in results.rows:
        cells = [result.row.row]
        for name in shown:
            cells.append(_percent(result.scores[name]) if name in result.scores else "")
            if name in paper:
                figure = result.row.paper.get(name, "")
                cells.append(figure if isinstance(figure, str) else f"{figure} %")
        cells.append("" if result.num_utterances is None else str(result.num_utterances))
        cells.append("" if result.missing else results.seeds_of(result.row))
        if others:
            cells.append(verdict(result.comparison, name_it=len(others) > 1))
        if result.missing:
            cells[1] = result.missing
        elif result.row.experiment is None:
            cells[1] = "\u2013"
        rows.append(cells)
    note = (
        "In brackets 95 % intervals: Wilson's for shares of the n utterances, bootstrap over "
        f"utterances (over speakers, where {metrics.MIN_SPEAKERS} or more are known) for F1, SemER "
        "and WER. SemER and WER: lower is better."
    )
    if any(result.seeds for result in results.rows):
        note += (
            " Of several seeds: the mean, with a bootstrap over utterances of each one's mean; the "
            "seeds' own values are below."
        )
    if any(len(results.places_of(result.row)) > 1 for result in results.rows):
        note += " Parts of the corpus (folds) are pooled: n counts the utterances of all."
    return Table("Scores", header, rows, note)


def seeds_table(results: Results) -> Table | None:
    """The values of each seed and their spread; None where no row has several."""
    rows = []
    for result in results.rows:
        for seed, values in result.seeds.items():
            rows.append([result.row.row, seed, *_values(values, results.shown)])
        if result.seeds:
            spread = {
                name: statistics.stdev(values[name] for values in result.seeds.values())
                for name in result.scores
            }
            rows.append([result.row.row, "deviation", *_values(spread, results.shown)])
    header = ["Row", "seed", *(metrics.TITLES[name] for name in results.shown)]
    note = "Deviation: the standard deviation of a seed, estimated from these."
    return Table("Seeds", header, rows, note) if rows else None


def differences_table(results: Results) -> Table | None:
    """Paired comparisons in points; None where no row can be compared."""
    compared = [r for r in results.rows if r.comparison is not None and r.comparison.main]
    if not compared:
        return None
    names = [n for n in metrics.TITLES if any(n in r.comparison.differences for r in compared)]
    header = ["Row", "against"]
    for name in names:
        header += [f"{metrics.TITLES[name]}, points", "p"]
    rows = []
    for result in compared:
        comparison = result.comparison
        cells = [result.row.row, other_run(comparison, result)]
        for name in names:
            change = comparison.differences.get(name)
            cells += [_points(change), _p(change["p"]).removeprefix("= ")] if change else ["", ""]
        rows.append(cells)
    note = (
        "Row minus the other, on the same utterances. p: McNemar's exact test for exact match "
        "where each side was trained with one seed, else (and for all other metrics) paired "
        f"bootstrap over utterances (or speakers, as above); below {SIGNIFICANT} counts as "
        "different. No correction is made for the number of metrics and rows."
    )
    return Table("Differences", header, rows, note)


def hearing_table(results: Results) -> Table | None:
    """How often every word was got right, and what then was understood; None where no row has
    words and semantics."""
    header = ["Row", "all words right", "EM Hyp there", "n", "EM Hyp elsewhere", "n"]
    rows = []
    for result in results.rows:
        if not {"em_full", "wer"} <= result.scores.keys():
            continue
        understood: dict[bool, list[bool]] = {True: [], False: []}  # by whether all was heard
        for line in result.lines:
            said, heard = (semantics.words(line[key]) for key in ("reference", "hypothesis"))
            understood[said == heard].append(line["em_hyp"])
        cells = [_percent(metrics.proportion(len(understood[True]), len(result.lines)))]
        for part in understood.values():
            cells += [_percent(metrics.proportion(sum(part), len(part))) if part else "\u2013"]
            cells += [str(len(part))]
        rows.append([result.row.row, *cells])
    note = (
        "Words: the sequence without its tags. Rows differ in the utterances that they have all "
        "words of, and those are the easier ones."
    )
    if any(result.seeds for result in results.rows):
        note += " Of several seeds: the first."
    return Table("Hearing and understanding", header, rows, note) if rows else None


def experiments_table(results: Results, out: Path) -> Table:
    """How each experiment was trained, with a link to its whole configuration."""
    header = ["Experiment", "What", "init_from", "seed", "config", "commit", "steps"]
    header += ["training min", "CPU min", "parameters", "machine"]
    rows = []
    for name, experiment in results.experiments.items():
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
                _number(experiment.last("step"), ",d"),
                _number(experiment.last("minutes"), ".1f"),
                _number(experiment.last("cpu_minutes"), ".1f"),
                _number(parameters, ",d") if isinstance(parameters, int) else "",
                _machine(env),
            ]
        )
    return Table("Experiments", header, rows)


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
                _number(record.get("ctc_weight"), "g"),
                _number(num, ",d"),
                _number(num / seconds if num and seconds else None, ".3g"),
                _number(seconds / audio_seconds if seconds and audio_seconds else None, ".4f"),
            ]
        )
    note = "Real-time factor: seconds of computing a second of audio, features not counted."
    return Table("Decoding", header, rows, note) if rows else None


def noise_table(results: Results) -> Table | None:
    """What `atat.noise_curve` measured: a row for each kind; None where it was not run."""
    found = {name: e.noise for name, e in results.experiments.items() if e.noise}
    ratios = {line["snr_db"] for record in found.values() for line in record["scores"]} - {None}
    if not ratios:
        return None
    ratios = sorted(ratios, reverse=True)
    header = ["Experiment", "run", "noise", "clean", "mean in noise"]
    header += [*(f"{ratio:g} dB" for ratio in ratios), "n", "seed", "commit"]
    rows = []
    for name, record in found.items():
        at = {(line["noise"], line["snr_db"]): line["runs"] for line in record["scores"]}
        (clean,) = (runs for (_, ratio), runs in at.items() if ratio is None)
        kinds = list(dict.fromkeys(kind for kind, ratio in at if ratio is not None))
        for run, whole in clean.items():
            for kind in kinds:
                scores = [at[kind, ratio][run] if (kind, ratio) in at else None for ratio in ratios]
                values = [score["value"] for score in scores if score]
                rows.append(
                    [
                        *(name, run, Path(kind).name, _percent(whole)),
                        f"{100 * statistics.mean(values):.1f} %",
                        *(_percent(score) if score else "" for score in scores),
                        *(str(whole["n"]), str(record["seed"]), record["commit"][:12]),
                    ]
                )
    note = (
        "EM Hyp, by the ratio of speech to noise (of their loudest frames); the mean is of those "
        "shown."
    )
    return Table("Noise", header, rows, note)


def confidence_table(results: Results) -> Table | None:
    """What `atat.calibrate` measured on what it did not fit; None where it was not run."""
    header = ["Experiment", "threshold", "accepted", "of them right", "n", "false accepts an hour"]
    header += ["hours", "calibration error", "seed", "commit"]
    rows = []
    for name, experiment in results.experiments.items():
        about = experiment.confidence.get("about", {})
        measured = about.get("measured_on_the_other_half")
        if not measured:
            continue
        false = measured["false_accepts"]
        rows.append(
            [
                *(name, f"{measured['threshold']:.2f}", _percent(measured["accepted"])),
                _percent(measured["exact_match_accepted"]),
                str(measured["accepted"]["n"]),
                f"{false['value']:.1f} ({false['low']:.1f}\u2013{false['high']:.1f})",
                f"{false['hours']:.2f}",
                f"{measured['ece']:.3f}",
                *(str(about["seed"]), str(about["commit"])[:12]),
            ]
        )
    note = (
        "On the half of validation speech, and of audio that means nothing to the recipe, that the "
        "probabilities were not fitted on. Calibration error: expected, of validation speech."
    )
    return Table("Confidence", header, rows, note) if rows else None


def few_shot_table(results: Results) -> Table | None:
    """What `atat.few_shot` measured; None where it was not run."""
    header = ["Experiment", "recordings", "run", "EM Hyp", "p", "n", "parts", "seed", "commit"]
    rows = []
    for name, experiment in results.experiments.items():
        record = experiment.few_shot
        for line in record.get("scores", []):
            score = line["em_hyp"]
            rows.append(
                [
                    *(name, str(line["shots"]), line["run"], _percent(score)),
                    _p(line["p"]).removeprefix("= ") if line["shots"] else "",
                    *(str(score["n"]), str(record["folds"]), str(record["seed"])),
                    record["commit"][:12],
                ]
            )
    note = (
        "Adapted to so many recordings of the other parts of the split; p: McNemar's exact test "
        "against none."
    )
    return Table("A few recordings", header, rows, note) if rows else None


def _values(values: dict[str, float], names: list[str]) -> list[str]:
    return [f"{100 * values[name]:.1f}" if name in values else "" for name in names]


def _percent(metric: Metric) -> str:
    low, high = 100 * metric["low"], 100 * metric["high"]
    return f"{100 * metric['value']:.1f} % ({low:.1f}\u2013{high:.1f})"


def _points(change: Metric, unit: str = "") -> str:
    value, low, high = (100 * change[key] for key in ("value", "low", "high"))
    return f"{value:+.1f}{unit} ({low:+.1f} to {high:+.1f})"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def verdict(comparison: Comparison | None, name_it: bool) -> str:
    """Whether a row differs from another experiment (named, if wished), by how much, and p."""
    if comparison is None:
        return ""
    prefix = f"{comparison.against}: " if name_it else ""
    if comparison.problem:
        return f"{prefix}cannot tell: {comparison.against} {comparison.problem}"
    _, change = comparison.main
    word = "yes" if comparison.is_real else "no"
    return f"{prefix}{word}, {_points(change, ' points')}, p {_p(change['p'])}"


def other_run(comparison: Comparison, result: Result) -> str:
    """The other experiment, with its run where that is not the row's own."""
    is_same = comparison.run == result.row.run
    return comparison.against if is_same else f"{comparison.against} ({comparison.run})"


def _start(env: dict, directory: Path) -> str:
    """The experiment it started from: one beside it by name, another by the end of its path."""
    if "init_from" not in env:
        return "none" if env else ""
    start = Path(env["init_from"]["experiment"])
    beside = start.resolve().parent == directory.resolve().parent
    return start.name if beside else "/".join(start.relative_to(start.anchor).parts[-3:])


def _machine(env: dict) -> str:
    parts = [str(env[key]) for key in ("cpu", "machine") if env.get(key)]
    parts += [f"{key} {env[key]}" for key in ("torch", "espnet", "python") if env.get(key)]
    return ", ".join(parts)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
