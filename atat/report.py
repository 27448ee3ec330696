"""Stage 7: the results of a recipe, written so that a stranger can judge them.

Reads the scores of the experiments that `tables.yaml` names and writes `RESULTS.md` (numbers with
intervals, the paper's beside ours, paired tests, what was run where), `learning_curves.png`, and
`report.html`, one file with the same and the errors to read and to listen to. Prints the table.
"""

import io
import os
import re
import statistics
import textwrap
from dataclasses import dataclass
from pathlib import Path

from atat import cli, metrics, plots, tables
from atat.files import atomic_write
from atat.metrics import Metric
from atat.results import SIGNIFICANT, STAND_IN, Comparison, Experiment, Place, Result, Results

CURVES = "learning_curves.png"


@dataclass(frozen=True)
class Table:
    """A header and rows of plain text; `note` stands below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


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
        header.append(
            f"different from {others.copy().pop()}?" if len(others) == 1 else "different?"
        )
    rows = []
    for result in results.rows:
        cells = [result.row.row]
        for name in shown:
            cells.append(_percent(result.scores[name]) if name in result.scores else "")
            if name in paper:
                figure = result.row.paper.get(name)
                cells.append("" if figure is None else f"{figure} %")
        cells.append("" if result.num_utterances is None else str(result.num_utterances))
        cells.append("" if result.missing else results.seeds_of(result.row))
        if others:
            cells.append(_verdict(result.comparison, name_it=len(others) > 1))
        if result.missing:
            cells[1] = result.missing
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
        cells = [result.row.row, _other(comparison, result)]
        for name in names:
            change = comparison.differences.get(name)
            cells += [_points(change), _p(change["p"]).removeprefix("= ")] if change else ["", ""]
        rows.append(cells)
    note = (
        "Row minus the other, on the same utterances. p: McNemar's exact test for EM Hyp where "
        "each side was trained with one seed, else (and for SemER and WER) paired bootstrap over "
        f"utterances; below {SIGNIFICANT} counts as different. No correction is made for the "
        "number of rows."
    )
    return Table("Differences", header, rows, note)


def experiments_table(results: Results, out: Path) -> Table:
    """How each experiment was trained, with a link to its whole configuration."""
    header = ["Experiment", "What", "seed", "config", "commit", "steps", "training min"]
    header += ["CPU min", "parameters", "machine"]
    rows = []
    for name, experiment in results.experiments.items():
        env = experiment.env
        config = experiment.directory / "config.yaml"
        parameters = env.get("num_parameters")
        rows.append(
            [
                name,
                experiment.about,
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


def markdown(results: Results, sections: list[Table], title: str, has_curves: bool) -> str:
    """The text of `RESULTS.md`."""
    parts = [
        f"# Results: {title}",
        "Written by `python -m atat.report` (stage 7): run it again instead of editing this.",
    ]
    if results.speech:
        parts.append(_escape(results.speech))
    for section in sections:
        lines = [section.header, ["---"] * len(section.header), *section.rows]
        parts.append(f"## {section.title}")
        parts.append("\n".join("| " + " | ".join(map(_escape, cells)) + " |" for cells in lines))
        if section.note:
            parts.append(section.note)
    if has_curves:
        parts.append(f"## Learning curves\n\n![Exact match and loss against minutes]({CURVES})")
    parts.append("Errors to read and to listen to: `report.html`, beside this file.")
    return "\n\n".join(parts) + "\n"


def terminal(results: Results) -> str:
    """The scores for a terminal: a value, and its interval on the line below."""
    shown = results.shown
    titles = [metrics.TITLES[name] for name in shown]
    width = max(11, *map(len, titles)) if titles else 11
    corner = "% (95 % interval)"
    first = max([len(corner), *(len(r.row.row) for r in results.rows)])
    lines = ["  ".join([corner.ljust(first), *(t.rjust(width) for t in titles), "n".rjust(6)])]
    lines.append("-" * len(lines[0]))
    for result in results.rows:
        label = result.row.row.ljust(first)
        if result.missing:
            lines.append(f"{label}  {result.missing}")
        else:
            scores = [result.scores.get(name) for name in shown]
            values = [f"{100 * s['value']:.1f}" if s else "" for s in scores]
            bounds = [f"{100 * s['low']:.1f}-{100 * s['high']:.1f}" if s else "" for s in scores]
            cells = [value.rjust(width) for value in values]
            lines.append("  ".join([label, *cells, str(result.num_utterances).rjust(6)]))
            cells = [bound.rjust(width) for bound in bounds]
            lines.append("  ".join([" " * first, *cells]).rstrip())
        if result.row.paper:
            cells = [
                f"{result.row.paper[n]}".rjust(width) if n in result.row.paper else " " * width
                for n in shown
            ]
            lines.append("  ".join(["  paper".ljust(first), *cells]).rstrip())
        if result.seeds:
            main = next(iter(result.scores))
            values = ", ".join(f"{100 * v[main]:.1f}" for v in result.seeds.values())
            lines.append(f"  seeds {', '.join(result.seeds)}: {values}")
        if result.comparison is not None:
            verdict = _verdict(result.comparison, name_it=False)
            lines.append(f"  different from {_other(result.comparison, result)}? {verdict}")
    if (results.speech or "").startswith(STAND_IN):
        lines.append("\n" + textwrap.fill(STAND_IN, 100))
    return "\n".join(lines)


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


def _verdict(comparison: Comparison | None, name_it: bool) -> str:
    if comparison is None:
        return ""
    prefix = f"{comparison.against}: " if name_it else ""
    if comparison.problem:
        return f"{prefix}cannot tell: {comparison.against} {comparison.problem}"
    _, change = comparison.main
    word = "yes" if comparison.is_real else "no"
    return f"{prefix}{word}, {_points(change, ' points')}, p {_p(change['p'])}"


def _other(comparison: Comparison, result: Result) -> str:
    """The other experiment, with its run where that is not the row's own."""
    is_same = comparison.run == result.row.run
    return comparison.against if is_same else f"{comparison.against} ({comparison.run})"


def _machine(env: dict) -> str:
    parts = [str(env[key]) for key in ("cpu", "machine") if env.get(key)]
    parts += [f"{key} {env[key]}" for key in ("torch", "espnet", "python") if env.get(key)]
    return ", ".join(parts)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _escape(text: str) -> str:
    """Text as it shall read in Markdown: `<nlu>` is no HTML tag, `|` no border."""
    text = re.sub(r"&(?=[\w#]+;)", "&amp;", text)
    text = re.sub(r"<(?=\S)", "&lt;", text)
    return re.sub(r"[|*`\[\]\\]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def learning_curves(experiments: dict[str, Experiment]) -> bytes | None:
    """The picture, or None where nothing was logged."""
    curves = {name: experiment.curve for name, experiment in experiments.items()}
    if not any(map(plots.has_points, curves.values())):
        return None
    picture = io.BytesIO()
    plots.learning_curves(curves, picture)
    return picture.getvalue()


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--tables", required=True, type=Path, metavar="YAML", help="the rows")
    parser.add_argument("--expdir", type=Path, metavar="DIR", help="experiments")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the splits")
    parser.add_argument(
        "--part",
        type=Path,
        action="append",
        metavar="DIR",
        help="of a corpus in parts: has exp and data of one (may be given again)",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where to write")
    parser.add_argument(
        "--max_errors", type=cli.positive_int, default=50, help="errors a row in report.html"
    )
    args = parser.parse_args()
    from atat import report_page

    if args.part:
        places = [Place(path / "exp", path / "data", path.name) for path in args.part]
    elif args.expdir and args.data:
        places = [Place(args.expdir, args.data)]
    else:
        parser.error("got neither --part nor --expdir and --data, expected some of them")
    results = Results(tables.load(args.tables), places)
    if not results.rows:
        raise ValueError(f"{args.tables}: has no rows under 'table', expected at least one")
    sections = [
        scores_table(results),
        seeds_table(results),
        differences_table(results),
        experiments_table(results, args.out),
        decoding_table(results),
    ]
    sections = [section for section in sections if section is not None]
    title = args.tables.resolve().parent.name
    picture = learning_curves(results.experiments)
    if picture is not None:
        with atomic_write(args.out / CURVES, "wb") as file:
            file.write(picture)
    page = report_page.render(results, sections, title, picture, args.out, args.max_errors)
    with atomic_write(args.out / "report.html") as file:
        file.write(page)
    with atomic_write(args.out / "RESULTS.md") as file:
        file.write(markdown(results, sections, title, picture is not None))
    print(terminal(results))
    print(f"\nwritten: {args.out / 'RESULTS.md'}, {args.out / 'report.html'}")


if __name__ == "__main__":
    cli.run(main)
