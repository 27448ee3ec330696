"""The files of a report: its pictures, what is written where, and rows that publishing may lose."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from atat.common.files import atomic_write
from atat.evaluation import plots, report_measurements
from atat.evaluation.experiment_records import Experiment
from atat.evaluation.missing_results import Driver
from atat.evaluation.report_text import CURVES
from atat.evaluation.results import Results


def learning_curves(results: Results) -> bytes | None:
    """The picture (PNG), or None where nothing was logged."""
    curves = {
        name: [training.curve for training in seeds] for name, seeds in results.trained.items()
    }
    drawn = [e for e in results.experiments.values() if plots.has_points(e.curve)]
    if not drawn:
        return None
    sizes = {e.settings.train.num_valid for e in drawn if e.settings}
    about = [f"at most {plots.listed(sizes)} utterances of each validation split"] if sizes else []
    about += [f"seed {plots.listed(e.env.get('seed') for e in drawn)}", _commits(drawn)]
    picture = io.BytesIO()
    plots.learning_curves(curves, picture, "; ".join(about))
    return picture.getvalue()


def measured_pictures(results: Results) -> dict[str, bytes]:
    """Title -> PNG, of what other commands measured of the experiments.

    Noise curves of several seeds are drawn as one, if they are of the same noise and utterances.
    """
    found = {}
    for name, seeds in results.trained.items():
        measured = [training for training in seeds if training.noise]
        curves = {name: [training.noise for training in measured]}
        if not report_measurements.are_alike(curves[name]):
            curves = {training.name: [training.noise] for training in measured}
        for title, records in curves.items():
            if records:
                picture = io.BytesIO()
                plots.noise_curves({title: records}, picture)
                found[f"Noise: {title}"] = picture.getvalue()
    for name, experiment in results.experiments.items():
        path = experiment.directory / "coverage.png"
        if experiment.confidence and path.is_file():
            found[f"Confidence: {name}"] = path.read_bytes()
    return found


def _commits(experiments: list[Experiment]) -> str:
    return f"commit {plots.listed(str(e.env.get('commit', ''))[:12] for e in experiments)}"


def lost_rows(old: str, new: str) -> list[tuple[str, str]]:
    """Rows, and the picture, of one `RESULTS.md` that another does not have.

    A row without a number, as that of what is not trained, cannot be lost.

    Args:
        old: its text.
        new: the text of the other.

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


def write(directory: Path, text: str, picture: bytes | None, page: str | None = None) -> list[Path]:
    """Write `RESULTS.md`, its picture and `report.html`.

    Args:
        directory: where to.
        text: of RESULTS.md.
        picture: PNG of the learning curves; None: one that is there is removed.
        page: of report.html; None where the report is published.

    Returns:
        Paths of RESULTS.md and, where it is written, report.html.
    """
    files = {CURVES: picture, "report.html": page and page.encode(), "RESULTS.md": text.encode()}
    for name, content in files.items():
        if content is not None:
            with atomic_write(directory / name, "wb") as file:
                file.write(content)
    if picture is None:  # nor may an older one stand there
        (directory / CURVES).unlink(missing_ok=True)
    return [directory / name for name in ("RESULTS.md", "report.html") if files[name] is not None]


def check_published(published: Path, text: str, driver: Driver) -> None:
    """Raise ValueError where a text would replace one that has more rows.

    Args:
        published: the RESULTS.md that is there, if it is.
        text: that would replace it.
        driver: whose command the message names.
    """
    old = published.read_text(encoding="utf-8") if published.is_file() else ""
    lost = lost_rows(old, text)
    if lost:
        heading, row = lost[0]
        command = driver.with_options("--stage", "7", "--publish", "true", "--overwrite", "true")
        raise ValueError(
            f"{published} would lose {len(lost)} rows, the first '{row}' of '{heading}', "
            f"expected all of them: run what makes them, or to lose them: {command}"
        )
