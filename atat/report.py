"""Stage 7: the results of a recipe, written so that a stranger can judge them.

Reads the scores of the experiments that `tables.yaml` names and writes `RESULTS.md` (numbers with
intervals, the paper's beside ours, paired tests, what was run where), `learning_curves.png`, and
`report.html`, one file with the same and the errors to read and to listen to. Prints the table.
What `atat.conditions`, `atat.noise_curve`, `atat.calibrate` and `atat.few_shot` measured is there
too. `--command` is the driver's, of which hints and title are made. `--publish DIR` writes
`RESULTS.md` and the picture there too, unless rows of the one that is there would be lost.
"""

import os
from dataclasses import replace
from pathlib import Path

from atat.common import cli
from atat.config import experiment_tables
from atat.evaluation import report_measurements, report_page, report_tables
from atat.evaluation.missing_results import Driver
from atat.evaluation.report_files import check_published, learning_curves, measured_pictures, write
from atat.evaluation.report_tables import Table
from atat.evaluation.report_text import markdown, terminal
from atat.evaluation.results import Place, Results


def of_own_data(found: experiment_tables.Tables) -> experiment_tables.Tables:
    """The same rows of a grammar or splits of one's own: others' numbers are of another corpus."""
    rows = (replace(row, paper={}) for row in found.table if row.experiment is not None)
    return replace(found, table=tuple(rows))


def all_tables(results: Results, out: Path) -> list[Table]:
    """The report's tables in order; links in them are relative to its directory, `out`."""
    return [
        *report_tables.of_scores(results),
        *report_measurements.all_tables(results),
        *report_tables.of_origins(results, out),
    ]


def arguments() -> cli.Parser:
    """The options."""
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
        "--max_errors", type=cli.positive_int, default=50, help="wrong utterances a row in the page"
    )
    parser.add_argument(
        "--max_right", type=cli.positive_int, default=20, help="right utterances a row in the page"
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
    return parser


def main() -> None:
    """Stage 7: write the report, from the command line."""
    parser = arguments()
    args = parser.parse_args()

    if args.part:
        places = [Place(path / "exp", path / "data", path.name) for path in args.part]
    elif args.expdir and args.data:
        places = [Place(args.expdir, args.data)]
    else:
        parser.error("got neither --part nor --expdir and --data, expected some of them")
    driver, found = Driver.of(args.command), experiment_tables.load(args.tables)
    title = args.tables.resolve().parent.name
    if all(place.has_own_splits for place in places):
        driver, title = replace(driver, has_own_splits=True), places[0].data.resolve().parent.name
    if driver.grammar is not None:
        title = driver.grammar.stem
    if not driver.is_of_recipe:
        found = of_own_data(found)
    results = Results(found, places, driver)
    if not results.rows:
        raise ValueError(f"{args.tables}: has no rows under 'table', expected at least one")
    sections = all_tables(results, args.out)
    picture = learning_curves(results)
    has_curves = picture is not None
    published = None
    if args.publish is not None:
        there = all_tables(results, args.publish)
        page = os.path.relpath(args.out / "report.html", args.publish)
        published = markdown(results, there, title, has_curves, page)
        if not args.overwrite:
            check_published(args.publish / "RESULTS.md", published, driver)
    pictures = {"Learning curves": picture} if picture is not None else {}
    pictures |= measured_pictures(results)
    page = report_page.render(
        results, sections, title, pictures, args.out, args.max_errors, args.max_right
    )
    written = write(args.out, markdown(results, sections, title, has_curves), picture, page)
    if published is not None:
        written += write(args.publish, published, picture)
    print(terminal(results))
    print(f"\nwritten: {', '.join(map(str, written))}")


if __name__ == "__main__":
    cli.run(main)
