"""Stage 7: the results of a recipe, written so that a stranger can judge them.

Reads the scores of the experiments that `tables.yaml` names and writes `RESULTS.md` (numbers with
intervals, the paper's beside ours, paired tests, what was run where), `learning_curves.png`, and
`report.html`, one file with the same and the errors to read and to listen to. Prints the table.
What `atat.noise_curve`, `atat.calibrate` and `atat.few_shot` measured is there too.
"""

import io
import re
import textwrap
from pathlib import Path

from atat import cli, metrics, plots, report_tables, tables
from atat.files import atomic_write
from atat.report_tables import Table, other_run, verdict
from atat.results import STAND_IN, Experiment, Place, Results

CURVES = "learning_curves.png"


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
    published = [str(figure) for r in results.rows for figure in r.row.paper.values()]
    width = max([11, *map(len, titles + published)])
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
            lines.append(
                "  ".join([label, *cells, str(result.num_utterances or "").rjust(6)]).rstrip()
            )
            cells = [bound.rjust(width) for bound in bounds]
            if result.scores:
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
            other = other_run(result.comparison, result)
            lines.append(f"  different from {other}? {verdict(result.comparison, name_it=False)}")
    if (results.speech or "").startswith(STAND_IN):
        lines.append("\n" + textwrap.fill(STAND_IN, 100))
    return "\n".join(lines)


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
    sections = report_tables.all_tables(results, args.out)
    title = args.tables.resolve().parent.name
    picture = learning_curves(results.experiments)
    if picture is not None:
        with atomic_write(args.out / CURVES, "wb") as file:
            file.write(picture)
    pictures = {"Learning curves": picture} if picture is not None else {}
    pictures |= measured_pictures(results.experiments)
    page = report_page.render(results, sections, title, pictures, args.out, args.max_errors)
    with atomic_write(args.out / "report.html") as file:
        file.write(page)
    with atomic_write(args.out / "RESULTS.md") as file:
        file.write(markdown(results, sections, title, picture is not None))
    print(terminal(results))
    print(f"\nwritten: {args.out / 'RESULTS.md'}, {args.out / 'report.html'}")


if __name__ == "__main__":
    cli.run(main)
