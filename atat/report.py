"""Stage 7: the results of a recipe, written so that a stranger can judge them.

Reads the scores of the experiments that `tables.yaml` names and writes `RESULTS.md` (numbers with
intervals, the paper's beside ours, paired tests, what was run where), `learning_curves.png`, and
`report.html`, one file with the same and the errors to read and to listen to. Prints the table.
What `atat.conditions`, `atat.noise_curve`, `atat.calibrate` and `atat.few_shot` measured is there
too. `--command` is the driver's, of which hints and title are made. `--publish DIR` writes
`RESULTS.md` and the picture there too, unless rows of the one that is there would be lost.
"""

import io
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from atat import cli, hints, metrics, plots, report_measured, report_tables, tables
from atat.files import atomic_write
from atat.hints import Driver, Hint
from atat.report_cells import Table
from atat.report_tables import other_run, verdict
from atat.results import STAND_IN, Experiment, Place, Result, Results

CURVES = "learning_curves.png"


def markdown(
    results: Results, sections: list[Table], title: str, has_curves: bool, page: str = "report.html"
) -> str:
    """The text of `RESULTS.md`.

    Args:
        page: path of `report.html`, relative to the directory of the text.
    """
    parts = [
        f"# Results: {title}",
        f"Written by stage 7 of `{results.driver}`: run it again instead of editing this.",
    ]
    if results.speech:
        parts.append(_escape(results.speech))
    parts += [f"**{_escape(text)}**" for text in report_measured.warnings(results)]
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


def lost_rows(old: str, new: str) -> list[tuple[str, str]]:
    """Rows, and the picture, of one `RESULTS.md` that another does not have.

    A row without a number, as that of what is not trained, cannot be lost.

    Args:
        old: its text. new: the text of the other.

    Returns:
        (heading, first cell), in their order.

    >>> lost_rows("## Scores\\n\\n| Row | EM | n |\\n| --- | --- | --- |\\n| E2E | 91 % | 60 |", "")
    [('Scores', 'E2E')]
    """
    return list((Counter(_rows(old)) - Counter(_rows(new))).elements())


def _rows(text: str) -> Iterator[tuple[str, str]]:
    heading, is_table = "", False
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("!["):
            yield heading, "picture"
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if is_table and any(set(cell) - {"-"} for cell in cells[2:]):
            yield heading, cells[0]
        is_table = line.startswith("|")  # its first line is the header


def terminal(results: Results) -> str:
    """The scores for a terminal: a value, and its interval on the line below; what is missing."""
    there, lines = results.there, []
    if there:
        lines += _scores(results)
    missing = hints.summary(results)
    if missing is not None:
        lines.append(("\nnot there yet: " if there else "nothing is scored yet: ") + str(missing))
    lines += [f"\n{textwrap.fill(text, 100)}" for text in report_measured.warnings(results)]
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


def of_grammar(found: tables.Tables) -> tables.Tables:
    """The same rows of a grammar of one's own: others' numbers are of another corpus."""
    rows = (replace(row, paper={}) for row in found.table if row.experiment is not None)
    return replace(found, table=tuple(rows))


def write(directory: Path, text: str, picture: bytes | None, page: str | None = None) -> list[Path]:
    """Write `RESULTS.md`, its picture and (not where it is published) `report.html`."""
    files = {CURVES: picture, "report.html": page and page.encode(), "RESULTS.md": text.encode()}
    for name, content in files.items():
        if content is not None:
            with atomic_write(directory / name, "wb") as file:
                file.write(content)
    if picture is None:  # nor may an older one stand there
        (directory / CURVES).unlink(missing_ok=True)
    return [directory / name for name in ("RESULTS.md", "report.html") if files[name] is not None]


def check_published(published: Path, text: str, driver: Driver) -> None:
    """Raises ValueError where a text would replace one that has more rows."""
    old = published.read_text(encoding="utf-8") if published.is_file() else ""
    lost = lost_rows(old, text)
    if lost:
        heading, row = lost[0]
        command = driver.with_options("--stage", "7", "--publish", "true", "--overwrite", "true")
        raise ValueError(
            f"{published} would lose {len(lost)} rows, the first '{row}' of '{heading}', "
            f"expected all of them: run what makes them, or to lose them: {command}"
        )


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
    parser.add_argument(
        "--command",
        default="./run.sh",
        help="that was run, with its options: what hints begin with",
    )
    parser.add_argument("--publish", type=Path, metavar="DIR", help="where to write it too")
    parser.add_argument(
        "--overwrite", type=cli.boolean, default=False, help="publish, though rows get lost"
    )
    args = parser.parse_args()
    from atat import report_page

    if args.part:
        places = [Place(path / "exp", path / "data", path.name) for path in args.part]
    elif args.expdir and args.data:
        places = [Place(args.expdir, args.data)]
    else:
        parser.error("got neither --part nor --expdir and --data, expected some of them")
    driver, found = Driver.of(args.command), tables.load(args.tables)
    title = args.tables.resolve().parent.name
    if driver.grammar is not None:
        found, title = of_grammar(found), driver.grammar.stem
    results = Results(found, places, driver)
    if not results.rows:
        raise ValueError(f"{args.tables}: has no rows under 'table', expected at least one")
    sections = report_tables.all_tables(results, args.out)
    picture = learning_curves(results.experiments)
    has_curves = picture is not None
    published = None
    if args.publish is not None:
        there = report_tables.all_tables(results, args.publish)
        page = os.path.relpath(args.out / "report.html", args.publish)
        published = markdown(results, there, title, has_curves, page)
        if not args.overwrite:
            check_published(args.publish / "RESULTS.md", published, driver)
    pictures = {"Learning curves": picture} if has_curves else {}
    pictures |= measured_pictures(results.experiments)
    page = report_page.render(results, sections, title, pictures, args.out, args.max_errors)
    written = write(args.out, markdown(results, sections, title, has_curves), picture, page)
    if published is not None:
        written += write(args.publish, published, picture)
    print(terminal(results))
    print(f"\nwritten: {', '.join(map(str, written))}")


if __name__ == "__main__":
    cli.run(main)
