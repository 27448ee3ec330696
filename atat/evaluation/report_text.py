"""The report as text: `RESULTS.md`, and the scores for a terminal."""

import re
import textwrap

from atat.evaluation import metrics, missing_results, report_measurements
from atat.evaluation.missing_results import Hint
from atat.evaluation.report_tables import Table, other_run, verdict
from atat.evaluation.results import STAND_IN, Result, Results

CURVES = "learning_curves.png"
WIDTH = 120  # characters of a line of prose


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
        wrap(f"Written by stage 7 of `{results.driver}`: run it again instead of editing this."),
    ]
    if results.speech:
        parts.append(wrap(_escape(results.speech)))
    parts += [wrap(_escape(text)) for text in results.met_in_training]
    parts += [wrap(f"**{_escape(text)}**") for text in report_measurements.warnings(results)]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.rows:
            lines = [section.header, ["---"] * len(section.header), *section.rows]
            parts.append("\n".join("| " + " | ".join(map(_escape, row)) + " |" for row in lines))
        if section.note:
            parts.append(wrap(_escape(section.note)))
        if section.hints:
            parts.append("Not there yet:" if section.rows else "Nothing is scored yet:")
            parts.append("\n".join(map(_bullet, section.hints)))
    if has_curves:
        parts.append(f"## Learning curves\n\n![Exact match and loss against minutes]({CURVES})")
    where = f"`{page}`, beside this file" if page == "report.html" else f"`{page}`, after a run"
    parts.append(wrap(f"Utterances to read and to listen to: {where}."))
    return "\n\n".join(parts) + "\n"


def terminal(results: Results) -> str:
    """The scores for a terminal: a value, and its interval on the line below; what is missing."""
    there, lines = results.there, []
    if there:
        lines += _scores(results)
    missing = missing_results.summary(results)
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
    return wrap(f"- {_escape(hint.what)}" + (f": `{hint.command}`" if hint.command else ""), "  ")


def wrap(text: str, indent: str = "") -> str:
    """A paragraph of Markdown in lines of at most WIDTH characters that read as it did.

    A word is never broken, and code between backticks stays in one line, to be pasted. What would
    begin a list, a heading or a quotation at the beginning of a line is escaped there.

    Args:
        text: its words; line ends among them do not count.
        indent: of all lines but the first.

    >>> wrap("word " * 24 + "- five").splitlines()[1]
    '\\\\- five'
    """
    pieces = re.findall(r"(?:`[^`]*`|\S)+", text)
    lines = [""]
    for piece in pieces:
        if not lines[-1]:
            lines[-1] = piece
        elif len(lines[-1]) + 1 + len(piece) <= WIDTH:
            lines[-1] += f" {piece}"
        else:
            lines.append(indent + piece)
    return "\n".join([lines[0], *map(_inline, lines[1:])])


def _inline(line: str) -> str:
    """A line of a paragraph, with a backslash where it would begin a block (CommonMark 0.31, 4)."""
    line = re.sub(r"^(\s*)(?=(?:[-+]+|#{1,6}|=+)(?:\s|$)|>|~~~)", r"\1\\", line)
    return re.sub(r"^(\s*\d{1,9})(?=[.)](?:\s|$))", r"\1\\", line)


def _escape(text: str) -> str:
    """Text as it shall read in Markdown: `<nlu>` is no HTML tag, `|` no border."""
    text = re.sub(r"&(?=[\w#]+;)", "&amp;", text)
    text = re.sub(r"<(?=\S)", "&lt;", text)
    return re.sub(r"[|*`\[\]\\]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
