"""Fitting of confidence on validation speech and negatives, and its figures on held-out ones."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.common import text_table
from atat.common.files import atomic_write, sha256
from atat.common.provenance import commit
from atat.config import config_file, tasks
from atat.config.schema import Config, DecodeRun
from atat.evaluation import calibration_metrics, logistic_regression, metrics, plots, scoring
from atat.evaluation.calibration_data import (
    IN_DOMAIN,
    Example,
    decoded_examples,
    in_domain,
    out_of_domain,
)
from atat.evaluation.metrics import Metric
from atat.synthesis import negatives
from atat.training.adaptation import check_recordings

if TYPE_CHECKING:
    from atat.inference.confidence import Confidence
    from atat.inference.search_options import SearchOptions

ROOT = config_file.ROOT
NEAR_REFUSED = 0.95  # of near misses, where that costs little
WANTED = ("false_accepts_per_hour", "accept")  # options that say what the threshold is to meet


def chosen_run(settings: Config, name: str | None) -> DecodeRun:
    """The run whose options are calibrated: the one named, else the grammar's, else the first.

    Raises:
        ValueError: no run is from speech to semantics, or not the one that is named.
    """
    runs = {
        name: run
        for name, run in settings.decode.runs.items()
        if run.source == "speech" and run.task in tasks.TAGGED_TASKS
    }
    if not runs or (name is not None and name not in runs):
        raise ValueError(
            f"--run: got '{name}', expected a run of decode.runs that gives the semantics of "
            f"speech: {', '.join(sorted(runs)) or 'there is none'}"
        )
    if name is not None:
        return runs[name]
    return min(runs.values(), key=lambda run: run.constraint != "grammar")


def is_calibrated(exp: Path, wanted: dict[str, Any]) -> bool:
    """Whether the model that is there now was calibrated on made negatives, as wanted."""
    from atat.inference import confidence

    try:
        stored = confidence.load(exp)
    except ValueError:  # damaged, or another model's
        return False
    about = (wanted | {"negatives": "made from the seed"}).items()
    return stored is not None and about <= stored.about.items()


def check_split(settings: Config, split: str) -> None:
    """Raise ValueError unless the split is for validation and no test."""
    valid = settings.train.valid_splits
    if split not in valid:
        raise ValueError(
            f"--split: got '{split}', expected one of train.valid_splits ({', '.join(valid)}): "
            "what is calibrated on a test split says nothing about it"
        )


def is_for_fitting(example: Example) -> bool:
    """Whether an example is fitted on; figures come from the rest. Parts of a file go together."""
    return int(sha256("calibrate", _file(example))[:8], 16) % 2 == 0


def halves(examples: list[Example]) -> tuple[list[Example], list[Example]]:
    """The examples that are fitted on, and the rest, as `is_for_fitting` says.

    Where that leaves a half without speech of the domain, without near misses or without other
    negatives (a single long file), these go by turns; if both halves get parts of a file, that is
    said.
    """
    is_fitted_on = [is_for_fitting(example) for example in examples]
    inside, outside = by_domain(examples)
    near = [example for example in examples if example.kind == negatives.NEAR]
    for group in (inside, outside, near):
        ids = {example.id for example in group}
        numbers = [number for number, example in enumerate(examples) if example.id in ids]
        if len({is_fitted_on[number] for number in numbers}) == 1:
            for turn, number in enumerate(numbers):
                is_fitted_on[number] = turn % 2 == 0
    pairs = list(zip(is_fitted_on, examples, strict=True))
    fitted_on, rest = ([e for is_fitted, e in pairs if is_fitted is x] for x in (True, False))
    if shared := {_file(example) for example in fitted_on} & {_file(example) for example in rest}:
        print(
            f"atat.calibrate: WARNING: {', '.join(sorted(shared)[:3])}: parts of it are fitted on "
            "and others measured on, there being too few files: figures of other sounds may be "
            "worse",
            file=sys.stderr,
        )
    return fitted_on, rest


def _file(example: Example) -> str:
    return example.id.partition("#")[0]


def fit(
    examples: list[Example],
    options: "SearchOptions",
    false_accepts_per_hour: float,
    accept: float,
    about: dict[str, Any],
) -> tuple["Confidence", str | None]:
    """Fit and choose the threshold; in-domain speech and negatives weigh the same.

    Args:
        examples: of the domain, negatives and near misses.
        options: of the search that gave them.
        false_accepts_per_hour: most that are wanted, 0 or more.
        accept: least share of in-domain speech that is accepted, 0 to 1.
        about: what the file says of where the figures come from.

    Returns:
        The confidence, and one line on what the threshold does not meet, or None.

    Raises:
        ValueError: there are no negatives or no in-domain speech, or all is right or wrong.
    """
    fitted = _regression(examples, options, about)
    inside, outside = by_domain(examples)
    p_in_N = fitted.probability([e.measures for e in inside])
    threshold, problem = calibration_metrics.choose_threshold(
        p_in_N,
        fitted.probability([e.measures for e in outside]),
        hours_of(outside),
        false_accepts_per_hour,
        accept,
    )
    near = [example.measures for example in examples if example.kind == negatives.NEAR]
    if near and accept < 1:
        # As far as most of them take it, but not beyond a quarter of what need not be accepted.
        given_up = np.quantile(p_in_N, (1 - accept) / 4, method="inverted_cdf")
        wanted = np.quantile(fitted.probability(near), NEAR_REFUSED, method="inverted_cdf")
        threshold = max(threshold, float(min(given_up, np.nextafter(wanted, np.inf))))
    return replace(fitted, threshold=threshold), problem


def _regression(
    examples: list[Example], options: "SearchOptions", about: dict[str, Any]
) -> "Confidence":
    """The logistic regression of `fit`, whose threshold is still 0."""
    from atat.inference import confidence

    known = [example for example in examples if example.measures is not None]
    is_in_N = np.array([example.kind == IN_DOMAIN for example in known], bool)
    if not is_in_N.any() or is_in_N.all():
        raise ValueError(
            f"got {is_in_N.sum()} utterances of the domain and {(~is_in_N).sum()} others to fit "
            "on, expected some of both (more audio, or another split)"
        )
    x_NK = np.array([example.measures for example in known])
    share_N = np.where(is_in_N, 1.0, is_in_N.sum() / (~is_in_N).sum())
    # As it is in the domain: noise is so far off that it would hide the rest.
    mean_K = x_NK[is_in_N].mean(0)
    scale_K = x_NK[is_in_N].std(0).clip(min=confidence.MIN_SCALE)
    z_NK = confidence.standardise(x_NK, mean_K, scale_K)
    weights_K, bias = logistic_regression.fit(z_NK, np.array([e.right for e in known]), share_N)
    return confidence.Confidence(
        options={name: asdict(options)[name] for name in confidence.CALIBRATED},
        names=list(confidence.Measures._fields),
        mean=mean_K.tolist(),
        scale=scale_K.tolist(),
        weights=weights_K.tolist(),
        bias=bias,
        threshold=0.0,
        about=about,
    )


def measure(confidence: "Confidence", examples: list[Example]) -> dict[str, Any]:
    """The figures on examples, by name; each only where there are examples for it.

    Shares have Wilson's interval, false accepts an hour the exact Poisson interval; calibration
    errors (`ece`) are those of `calibration_metrics.expected_error`.
    """
    inside, outside = by_domain(examples)
    near = [example for example in examples if example.kind == negatives.NEAR]
    found: dict[str, Any] = {"threshold": confidence.threshold}
    p_in_N = confidence.probability([e.measures for e in inside])
    p_out_N = confidence.probability([e.measures for e in outside])
    right_N = np.array([e.right for e in inside], bool)
    if inside:
        accepted_N = p_in_N >= confidence.threshold
        found["accepted"] = metrics.proportion(int(accepted_N.sum()), len(inside))
        found["exact_match"] = metrics.proportion(int(right_N.sum()), len(inside))
        if accepted_N.any():
            of_accepted = int(right_N[accepted_N].sum()), int(accepted_N.sum())
            found["exact_match_accepted"] = metrics.proportion(*of_accepted)
        found["ece"] = calibration_metrics.expected_error(p_in_N, right_N)
        pairs = [
            (probability, e.right_slots[name])
            for e in inside
            if e.examined and e.right_slots
            for name, probability in confidence.slot_probabilities(e.examined).items()
        ]
        if pairs:
            slot_M, slot_right_M = (np.array(column) for column in zip(*pairs, strict=True))
            found["slot_ece"] = calibration_metrics.expected_error(slot_M, slot_right_M)
            found["num_slots"] = len(pairs)
    if outside:
        is_accepted_N = p_out_N >= confidence.threshold
        found["false_accepts"] = calibration_metrics.rate(
            int(is_accepted_N.sum()), hours_of(outside)
        )
        found["false_accepts_by_kind"] = {
            kind: calibration_metrics.rate(
                sum(bool(a) for a, e in zip(is_accepted_N, outside, strict=True) if e.kind == kind),
                hours_of([e for e in outside if e.kind == kind]),
            )
            for kind in sorted({e.kind for e in outside})
        }
    if near:
        p_near_N = confidence.probability([e.measures for e in near])
        num_refused = int((p_near_N < confidence.threshold).sum())
        found["near_misses_refused"] = metrics.proportion(num_refused, len(near))
    if inside and outside:
        share_N = np.repeat([1.0, len(inside) / len(outside)], [len(inside), len(outside)])
        found["num_both"] = len(inside) + len(outside)
        found["ece_both"] = calibration_metrics.expected_error(
            np.concatenate([p_in_N, p_out_N]),
            np.concatenate([right_N, np.zeros(len(outside), bool)]),
            share_N,
        )
    return found


def table(measured: dict[str, Any]) -> str:
    """The figures as text, with 95 % intervals."""
    rows = [["measure", "value", "n"], ["threshold", f"{measured['threshold']:.4f}", ""]]
    titles = {
        "exact_match": "exact match, all (%)",
        "accepted": "in domain, accepted (%)",
        "exact_match_accepted": "exact match, accepted (%)",
        "near_misses_refused": "near misses, refused (%)",
    }
    for key, title in titles.items():
        if key in measured:
            rows.append([title, scoring.percent(measured[key]), str(measured[key]["n"])])
    errors = {
        "ece": "expected calibration error, in domain",
        "ece_both": "expected calibration error, half negatives",
        "slot_ece": "expected calibration error, slots",
    }
    sizes = {"slot_ece": measured.get("num_slots", 0), "ece_both": measured.get("num_both", 0)}
    num = measured["accepted"]["n"] if "accepted" in measured else 0
    for key, title in errors.items():
        if key in measured:
            rows.append([title, f"{measured[key]:.3f}", str(sizes.get(key, num))])
    if "false_accepts" in measured:
        rates = {"all": measured["false_accepts"], **measured["false_accepts_by_kind"]}
        for kind, found in rates.items():
            rows.append([f"false accepts an hour, {kind}", _per_hour(found), _of_hours(found)])
    return text_table.align(rows)


def by_domain(examples: list[Example]) -> tuple[list[Example], list[Example]]:
    """Those of the domain, and what is counted by the hour: near misses are of neither."""
    inside = [example for example in examples if example.kind == IN_DOMAIN]
    outside = [e for e in examples if e.kind not in (IN_DOMAIN, negatives.NEAR)]
    return inside, outside


def hours_of(examples: list[Example]) -> float:
    """Hours of their audio."""
    return sum(example.duration_s for example in examples) / 3600


def _per_hour(metric: Metric) -> str:
    return f"{metric['value']:.1f} ({metric['low']:.1f}-{metric['high']:.1f})"


def _of_hours(metric: Metric) -> str:
    return f"{metric['hours']:.2f} h"


def evaluate(exp: Path, inside: Path | None, outside: Path | None) -> None:
    """Print the figures of the stored confidence on given audio.

    Args:
        exp: a calibrated experiment.
        inside: a split of the domain with semantics, or None.
        outside: a directory of negatives, or None.

    Raises:
        ValueError: the experiment is not calibrated, or the audio cannot be used.
    """
    from atat.inference.predictor import SpeechToSemantics

    model = SpeechToSemantics.load(exp)
    if model.confidence is None:
        raise ValueError("the experiment is not calibrated: run this command without --evaluate")
    options = model.options(**model.confidence.options)
    examples = []
    if inside is not None:
        split = check_recordings(inside)
        speech = (
            (id_, heard.feats_TF, heard.duration_s)
            for id_, path in (split.wav_scp or {}).items()
            for heard in [model.extract_features(path)]
        )
        examples += in_domain(model, options, speech, split.semantics, exp, inside.parent)
    if outside is not None:
        examples += out_of_domain(exp, options, negatives.find([outside]))
    print(table(measure(model.confidence, examples)))


def calibrate(
    exp: Path,
    data: Path,
    dump: Path,
    settings: Config,
    *,
    run: str | None,
    wanted: dict[str, Any],
    negative_files: list[Path],
    num_jobs: int,
    must_fit: bool,
) -> None:
    """Decode validation speech and negatives, fit on a half of both, and write what is found.

    Args:
        exp: directory of the experiment, which gets `confidence.json` and `coverage.png`.
        data: directory of the splits.
        dump: that of their features.
        settings: the experiment's, with those of decoding that are wanted now.
        run: whose options are calibrated, as of `chosen_run`.
        wanted: split, hours (of negatives to make), and WANTED.
        negative_files: directories of negatives; none: they are made from the seed.
        num_jobs: processes.
        must_fit: false: where nothing can be fitted, warn and leave all as it is.

    Raises:
        ValueError: the split or the run cannot be calibrated on; `CannotFitError` among them.
    """
    from atat.inference import confidence

    check_split(settings, wanted["split"])
    chosen = chosen_run(settings, run)
    options, examples = decoded_examples(
        exp, data, dump, settings, chosen, wanted, negative_files, num_jobs
    )
    fitted_on, rest = halves(examples)
    named = [str(path) for path in negative_files] or "made from the seed"
    about = wanted | {"negatives": named, "seed": settings.seed} | _amounts(fitted_on)
    targets = {name: wanted[name] for name in WANTED}
    try:
        fitted, problem = fit(fitted_on, options, **targets, about=about)
    except logistic_regression.CannotFitError as e:
        if must_fit:
            raise
        print(f"atat.calibrate: WARNING: not calibrated, nothing is refused: {e}", file=sys.stderr)
        return
    about["measured_on_the_other_half"] = measured = measure(fitted, rest)
    _plot_coverage(exp / "coverage.png", fitted, rest)
    confidence.save(fitted, exp)
    print(table(measured))
    if problem:
        print(f"atat.calibrate: WARNING: the threshold is a compromise: {problem}", file=sys.stderr)
    print(f"python -m atat.parse --exp {exp} FILE has confidences now")


def _amounts(examples: list[Example]) -> dict[str, Any]:
    """How much confidence is fitted on, and by which commit."""
    inside, outside = by_domain(examples)
    return {
        "num_in_domain": len(inside),
        "num_right": sum(example.right for example in inside),
        "num_negatives": len(outside),
        "negative_hours": round(hours_of(outside), 3),
        "commit": commit(),
    }


def _plot_coverage(path: Path, fitted: "Confidence", examples: list[Example]) -> None:
    """Draw the accuracy of what is accepted over its share, of in-domain speech."""
    inside, _ = by_domain(examples)
    p_N = fitted.probability([example.measures for example in inside])
    right_N = np.array([example.right for example in inside], bool)
    with atomic_write(path, "wb") as file:
        caption = f"seed {fitted.about['seed']}; commit {str(fitted.about['commit'])[:12]}"
        plots.coverage(p_N, right_N, fitted.threshold, file, caption)
