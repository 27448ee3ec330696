"""Stage 7: the results of a recipe, written so that a stranger can judge them.

Reads the scores of the experiments that `tables.yaml` names and writes `RESULTS.md` (numbers with
intervals, the paper's beside ours, paired tests, what was run where), `learning_curves.png`, and
`report.html`, one file with the same and the errors to read and to listen to. Prints the table.
What `atat.conditions`, `atat.noise_curve`, `atat.calibrate` and `atat.few_shot` measured is there
too. `--command` is the driver's, of which hints and title are made.
"""

from pathlib import Path

from atat.common import cli
from atat.common.files import atomic_write
from atat.config import experiment_tables
from atat.evaluation import report_page, report_tables
from atat.evaluation.hints import Driver
from atat.evaluation.report_output import (
    CURVES,
    learning_curves,
    markdown,
    measured_pictures,
    of_grammar,
    terminal,
)
from atat.evaluation.results import Place, Results


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
    args = parser.parse_args()

    if args.part:
        places = [Place(path / "exp", path / "data", path.name) for path in args.part]
    elif args.expdir and args.data:
        places = [Place(args.expdir, args.data)]
    else:
        parser.error("got neither --part nor --expdir and --data, expected some of them")
    driver, found = Driver.of(args.command), experiment_tables.load(args.tables)
    title = args.tables.resolve().parent.name
    if driver.grammar is not None:
        found, title = of_grammar(found), driver.grammar.stem
    results = Results(found, places, driver)
    if not results.rows:
        raise ValueError(f"{args.tables}: has no rows under 'table', expected at least one")
    sections = report_tables.all_tables(results, args.out)
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
