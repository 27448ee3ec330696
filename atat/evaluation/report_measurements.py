"""Tables of other commands' measurements of the model that an experiment has now.

Those are `atat.conditions`, `atat.noise_curve`, `atat.calibrate` and `atat.few_shot`.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atat.evaluation import seed_pooling
from atat.evaluation.report_tables import Table, number, p_value, percent
from atat.evaluation.results import Results

# Columns of what was measured; left out are utterances that could not be read.
_MADE_BY = ("split", "left out", "seed", "commit")


def all_tables(results: Results) -> list[Table]:
    """Those for which there is something to show, in the report's order."""
    found = [
        conditions_table(results),
        nothing_said_table(results),
        noise_table(results),
        confidence_table(results),
        few_shot_table(results),
    ]
    return [table for table in found if table is not None]


def conditions_table(results: Results) -> Table | None:
    """What `atat.conditions` measured of speech; None where it was not run."""
    header = ["Experiment", "condition", "EM Hyp", "understood", "understood, and wrong", "n"]
    rows, names = [], ("em_hyp", "understood", "understood_wrong")
    for name, experiment in results.experiments.items():
        for line in experiment.conditions.get("scores", []):
            cells = [percent(line[metric]) for metric in names]
            rows.append([name, line["condition"], *cells, str(line["em_hyp"]["n"])])
    note = (
        "EM Hyp is of the best hypothesis, accepted or not; understood is what is accepted "
        "(atat.calibrate)."
    )
    header += ["run", *_MADE_BY]
    return Table("Conditions", header, _made(rows, results), note) if rows else None


def nothing_said_table(results: Results) -> Table | None:
    """What `atat.conditions` measured of sound in which nothing is said; None where it was not
    run."""
    rows = [
        [name, line["condition"], percent(line["refused"]), str(line["refused"]["n"])]
        for name, experiment in results.experiments.items()
        for line in experiment.conditions.get("nothing_said", [])
    ]
    header = ["Experiment", "sound", "refused", "n", "run", *_MADE_BY]
    return Table("Nothing said", header, _made(rows, results)) if rows else None


def _made(rows: list[list[str]], results: Results) -> list[list[str]]:
    """Rows of `atat.conditions` with what was run."""
    about = {name: e.conditions for name, e in results.experiments.items()}
    return [[*row, about[row[0]]["run"] or "as parse", *_made_by(about[row[0]])] for row in rows]


def _made_by(record: dict[str, Any]) -> list[str]:
    """The cells of _MADE_BY; "" what a record of before 0.2 does not say."""
    about = (record.get(name, "") for name in ("split", "num_left_out", "seed", "commit"))
    split, left_out, seed, commit = map(str, about)
    return [split, left_out, seed, commit[:12]]


def noise_table(results: Results) -> Table | None:
    """What `atat.noise_curve` measured: a row for each kind; None where it was not run."""
    found = {name: e.noise for name, e in results.experiments.items() if e.noise}
    known = {line["snr_db"] for record in found.values() for line in record["scores"]} - {None}
    if not known:
        return None
    ratios = sorted(known, reverse=True)
    header = ["Experiment", "run", "noise", "clean", "mean in noise"]
    header += [*(f"{ratio:g} dB" for ratio in ratios), "n", *_MADE_BY]
    rows = []
    for name, record in found.items():
        rows += _noise_rows(name, [record], ratios, _made_by(record))
    several = {name: [e.noise for e in seeds if e.noise] for name, seeds in results.trained.items()}
    other = []
    for name, records in several.items():
        if not are_alike(records):
            other.append(name)
        elif len(records) > 1:
            about = [*_made_by(records[0])[:-1], ""]
            rows += _noise_rows(f"{name}: mean of {len(records)} seeds", records, ratios, about)
    note = (
        "EM Hyp, by the ratio of speech to noise (of their loudest frames); the mean is of those "
        "shown."
    )
    if any(" seeds" in row[0] for row in rows):
        note += " In brackets beside a mean of seeds: the lowest and the highest."
    for name in other:
        note += f" No mean of the seeds of {name}: they were measured on different noise or splits."
    return Table("Noise", header, rows, note)


def are_alike(records: Sequence[dict[str, Any]]) -> bool:
    """Whether what `atat.noise_curve` wrote of several seeds is of one noise and one split."""
    found = {(r.get("split"), r.get("num_left_out", 0), r.get("seed")) for r in records}
    return len(found) <= 1


def _noise_rows(
    name: str, records: list[dict[str, Any]], ratios: list[float], about: list[str]
) -> list[list[str]]:
    """A row a run and a kind of noise, of one seed or of several together."""
    curves = seed_pooling.in_noise([record["scores"] for record in records])
    sizes = {score["n"] for line in records[0]["scores"] for score in line["runs"].values()}
    rows = []
    for (kind, run), points in curves.items():
        if kind is None or (None, run) not in curves:
            continue
        (whole,) = curves[None, run]
        at = {point.snr_db: percent(point._asdict()) for point in points}
        mean = statistics.mean(point.value for point in points)
        rows.append(
            [
                *(name, run, Path(kind).name, percent(whole._asdict()), f"{100 * mean:.1f} %"),
                *(at.get(ratio, "") for ratio in ratios),
                *(", ".join(map(str, sorted(sizes))), *about),
            ]
        )
    runs = list(dict.fromkeys(row[1] for row in rows))
    return sorted(rows, key=lambda row: runs.index(row[1]))


def confidence_table(results: Results) -> Table | None:
    """What `atat.calibrate` measured on what it did not fit; None where it was not run."""
    header = ["Experiment", "target", "threshold", "accepted", "of them right", "n"]
    header += ["false accepts an hour", "hours", "calibration error", "seed", "commit"]
    rows = []
    for name, experiment in results.experiments.items():
        about = experiment.confidence.get("about", {})
        measured = about.get("measured_on_the_other_half")
        if not measured:
            continue
        accepted, false = measured.get("accepted"), measured.get("false_accepts")
        missed = missed_targets(about)
        right = measured.get("exact_match_accepted")
        rows.append(
            [
                *(name, "MISSED" if missed else "met", f"{measured['threshold']:.2f}"),
                *(percent(one) if one else "" for one in (accepted, right)),
                str(accepted["n"]) if accepted else "",
                _per_hour(false) if false else "",
                f"{false['hours']:.2f}" if false else "",
                number(measured.get("ece"), ".3f"),
                *(str(about["seed"]), str(about["commit"])[:12]),
            ]
        )
    note = (
        "On the half of validation speech, and of audio that means nothing to the recipe, that the "
        "probabilities were not fitted on. Calibration error: expected, of validation speech."
    )
    return Table("Confidence", header, rows, note) if rows else None


def _per_hour(rate: dict[str, Any]) -> str:
    return f"{rate['value']:.1f} ({rate['low']:.1f}\u2013{rate['high']:.1f})"


def missed_targets(about: dict[str, Any]) -> list[str]:
    """The targets that a calibration misses, on examples that it was not fitted on.

    Args:
        about: of confidence.json.
    """
    measured = about["measured_on_the_other_half"]
    false, accepted = (
        measured.get(name, {}).get("value") for name in ("false_accepts", "accepted")
    )
    wanted, least = about.get("false_accepts_per_hour"), about.get("accept")
    missed = []
    if wanted is not None and false is not None and false > wanted:
        missed.append(f"{false:.1f} false accepts an hour, at most {wanted:g} are wanted")
    if least is not None and accepted is not None and accepted < least:
        missed.append(
            f"{100 * accepted:.1f} % of speech accepted, at least {100 * least:g} % are wanted"
        )
    return missed


def warnings(results: Results) -> list[str]:
    """A sentence for each experiment whose calibration misses its target."""
    about = {name: e.confidence.get("about", {}) for name, e in results.experiments.items()}
    return [
        f"TARGET MISSED by {name}: {'; '.join(missed)}."
        for name, one in about.items()
        if "measured_on_the_other_half" in one and (missed := missed_targets(one))
    ]


def few_shot_table(results: Results) -> Table | None:
    """What `atat.few_shot` measured; None where it was not run."""
    header = ["Experiment", "recordings", "run", "EM Hyp", "p", "n", "parts", "split"]
    header += ["seed", "commit"]
    rows = []
    for name, experiment in results.experiments.items():
        record = experiment.few_shot
        for line in record.get("scores", []):
            score = line["em_hyp"]
            rows.append(
                [
                    *(name, str(line["shots"]), line["run"], percent(score)),
                    p_value(line["p"]).removeprefix("= ") if line["shots"] else "",
                    *(str(score["n"]), str(record["folds"]), record.get("split", "")),
                    *(str(record["seed"]), record["commit"][:12]),
                ]
            )
    note = (
        "Adapted to so many recordings of the other parts of the split; p: McNemar's exact test "
        "against none. One that cannot be used counts as wrong."
    )
    return Table("A few recordings", header, rows, note) if rows else None
