"""The report as Markdown, as text for a terminal, and its pictures."""

import io
import re
import textwrap
from dataclasses import replace

from atat.config import experiment_tables
from atat.evaluation import hints, metrics, plots, report_measurements
from atat.evaluation.hints import Hint
from atat.evaluation.report_cells import Table
from atat.evaluation.report_tables import other_run, verdict
from atat.evaluation.results import STAND_IN, Experiment, Result, Results

CURVES = "learning_curves.png"


def markdown(
    results: Results, sections: list[Table], title: str, has_curves: bool, page: str = "report.html"
) -> str:
    """The text of `RESULTS.md`.

    Args:
        results: the rows.
        sections: the tables, in order.
        title: of the page.
        has_curves: whether there is a picture of learning curves.
        page: path of `report.html`, relative to the directory of the text.
    """
    parts = [
        f"# Results: {title}",
        f"Written by stage 7 of `{results.driver}`: run it again instead of editing this.",
    ]
    if results.speech:
        parts.append(_escape(results.speech))
    parts += [f"**{_escape(text)}**" for text in report_measurements.warnings(results)]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.rows:
            lines = [section.header, ["---"] * len(section.header), *section.rows]
            parts.append("\n".join("| " + " | ".join(map(_escape, row)) + " |" for row in lines))
        if section.note:
            parts.append(_escape(section.note))
        if section.hints:
            parts.append("Not there yet:" if section.rows else "Nothing is scored yet:")
            parts.append("\n".join(map(_bullet, section.hints)))
    if has_curves:
        parts.append(f"## Learning curves\n\n![Exact match and loss against minutes]({CURVES})")
    where = f"`{page}`, beside this file" if page == "report.html" else f"`{page}`, after a run"
    parts.append(f"Errors to read and to listen to: {where}.")
    return "\n\n".join(parts) + "\n"


def terminal(results: Results) -> str:
    """The scores for a terminal: a value, and its interval on the line below; what is missing."""
    there, lines = results.there, []
    if there:
        lines += _scores(results)
    missing = hints.summary(results)
    if missing is not None:
        lines.append(("\nnot there yet: " if there else "nothing is scored yet: ") + str(missing))
    lines += [f"\n{textwrap.fill(text, 100)}" for text in report_measurements.warnings(results)]
    if (results.speech or "").startswith(STAND_IN):
        lines.append("\n" + textwrap.fill(STAND_IN, 100))
    return "\n".join(lines)


def _scores(results: Results) -> list[str]:
    shown, there = results.shown, results.there
    cells = {name: [_lines(result, name) for result in there] for name in shown}
    widths = {
        name: max(len(metrics.TITLES[name]), *(len(text) for lines in column for text in lines))
        for name, column in cells.items()
    }
    corner = "% (95 % interval)"
    first = max([len(corner), *(len(result.row.row) for result in there)])
    titles = [metrics.TITLES[name].rjust(widths[name]) for name in shown]
    lines = ["  ".join([corner.ljust(first), *titles, "n".rjust(6)])]
    lines.append("-" * len(lines[0]))
    for number, result in enumerate(there):
        for at, label in enumerate((result.row.row, "", "  paper")):
            row = [cells[name][number][at].rjust(widths[name]) for name in shown]
            row.append(str(result.num_utterances or "").rjust(6) if at == 0 else "")
            if at == 0 or any(text.strip() for text in row):
                lines.append("  ".join([label.ljust(first), *row]).rstrip())
        if result.seeds:
            main = next(iter(result.scores))
            values = ", ".join(f"{100 * v[main]:.1f}" for v in result.seeds.values())
            lines.append(f"  seeds {', '.join(result.seeds)}: {values}")
        if result.comparison is not None:
            other = other_run(result.comparison, result)
            lines.append(f"  different from {other}? {verdict(result.comparison, name_it=False)}")
    return lines


def _lines(result: Result, name: str) -> tuple[str, str, str]:
    """Value, interval and the paper's number of a metric, as far as they are there."""
    score, paper = result.scores.get(name), str(result.row.paper.get(name, ""))
    if score is None:
        return "", "", paper
    return (
        f"{100 * score['value']:.1f}",
        f"{100 * score['low']:.1f}-{100 * score['high']:.1f}",
        paper,
    )


def _bullet(hint: Hint) -> str:
    return f"- {_escape(hint.what)}" + (f": `{hint.command}`" if hint.command else "")


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


def measured_pictures(experiments: dict[str, Experiment]) -> dict[str, bytes]:
    """Title -> PNG, of what other commands measured of the experiments."""
    return {
        f"{title}: {name}": path.read_bytes()
        for name, experiment in experiments.items()
        for title, record, path in (
            ("Noise", experiment.noise, experiment.directory / "noise" / "noise.png"),
            ("Confidence", experiment.confidence, experiment.directory / "coverage.png"),
        )
        if record and path.is_file()
    }


def of_grammar(found: experiment_tables.Tables) -> experiment_tables.Tables:
    """The same rows of a grammar of one's own: others' numbers are of another corpus."""
    rows = (replace(row, paper={}) for row in found.table if row.experiment is not None)
    return replace(found, table=tuple(rows))
