"""Pooled scores of several runs: of the parts (folds) of a corpus, of the seeds of an experiment.

Every metric is a ratio of sums over utterances, so runs are pooled by their counts: those of parts
one after the other, those of seeds by their mean for each utterance. A single run pooled has the
scores that stage 6 gives it.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np

from atat.evaluation import entity_metrics, intents, metrics
from atat.evaluation.metrics import Metric, Overlap
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame

# 0 or 1 an utterance.
SHARES = (
    *("em_hyp", "em_full", "intent_accuracy", "tree_valid"),
    *entity_metrics.SHARES,
)
ERROR_RATES = ("semer", "wer")  # lower is better, and they may exceed 1

# Metric -> numerators and denominators, float (n,) each, one an utterance.
Counts = dict[str, tuple[np.ndarray, np.ndarray]]


def counts(
    lines: Sequence[dict[str, Any]], key: Callable[[str], Frame], names: Collection[str] = ()
) -> Counts:
    """What the metrics sum over, from scored lines of `hyp.jsonl`.

    Args:
        lines: of one run (or of its parts), at least one.
        key: what EM Hyp compares, see `metrics.judge`.
        names: of metrics that the table asks for.

    Returns:
        The metrics that apply, in the order of `metrics.TITLES`.
    """
    references = [line["reference"] for line in lines]
    hypotheses = [line["hypothesis"] for line in lines]
    if "em_hyp" not in lines[0]:
        return {"wer": metrics.word_error_counts(references, hypotheses)}
    outcomes = [metrics.judge(a, b, key) for a, b in zip(references, hypotheses, strict=True)]
    ones = np.ones(len(lines))
    found = {
        "em_hyp": (_array(line["em_hyp"] for line in lines), ones),
        "intent_accuracy": (_array(o.intent for o in outcomes), ones),
        "tree_valid": (_array(o.well_formed for o in outcomes), ones),
        "semer": metrics.semer_counts(outcomes),
    }
    if macro := intents.counts(outcomes):
        found["em_hyp_macro"] = macro
    found |= entity_metrics.of_sequences(references, hypotheses, key, names)
    if any(o.slots.reference for o in outcomes):
        found["slot_f1"] = _overlaps([o.slots for o in outcomes])["f1"]
    if lines[0]["em_full"] is not None:  # the references have carrier words
        found["em_full"] = _array(line["em_full"] for line in lines), ones
        words = [[target_sequence.words(s) for s in side] for side in (references, hypotheses)]
        found["wer"] = metrics.word_error_counts(*words)
        if any(o.nested for o in outcomes):
            brackets = _overlaps([o.brackets for o in outcomes])
            found |= {f"tree_{name}": pair for name, pair in brackets.items()}
    return {name: found[name] for name in metrics.TITLES if name in found}


def mean(runs: Sequence[Counts], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of a metric: the mean of runs of the same utterances."""
    pairs = [run[name] for run in runs]
    numerators, denominators = (np.mean(side, axis=0) for side in zip(*pairs, strict=True))
    return numerators, denominators


def scores(runs: Sequence[Counts], speakers: Sequence[Hashable] | None = None) -> dict[str, Metric]:
    """Metrics of runs of the same utterances, one a seed.

    Shares of a single run have Wilson's interval, the mean over intents has `intents.macro`'s. All
    else is resampled over utterances (over speakers, as `metrics.ratio` does), each with the mean
    of its runs. Such an interval covers other utterances, not other seeds; `value` by seed says
    that.

    Args:
        runs: counts of each, at least one.
        speakers: as for `metrics.ratio`.
    """
    found = {}
    for name in runs[0]:
        numerators, denominators = mean(runs, name)
        if name in SHARES and len(runs) == 1:
            found[name] = metrics.proportion(int(numerators.sum()), len(numerators))
        elif name == "em_hyp_macro":
            found[name] = intents.macro(numerators, denominators)
        elif denominators.any():
            found[name] = metrics.ratio(numerators, denominators, speakers, _highest(name))
    return found


def value(run: Counts, name: str) -> float | None:
    """A metric of one run, without interval; None where it has nothing to count: precision where
    nothing was found."""
    numerators, denominators = run[name]
    return float(numerators.sum() / denominators.sum()) if denominators.any() else None


def differences(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    speakers: Sequence[Hashable] | None = None,
    published: Collection[str] = (),
) -> dict[str, Metric]:
    """Ours minus theirs on the same utterances, the main metric first, each with interval and p.

    Exact match of one run a side has McNemar's p, unless the interval is over speakers: utterances
    of one speaker are not independent. All else, and exact match where seeds are pooled, has that
    of the paired bootstrap (`metrics.difference`).

    Args:
        ours: one a seed.
        theirs: one a seed, of the same utterances in the same order.
        speakers: as for `metrics.ratio`.
        published: metrics that the table has the paper's numbers of; SLU-F1, EM Full and the F1 of
            trees are compared too where they are among them, and EM Full is the main one where
            EM Hyp is not.
    """
    names = ["em_hyp", "semer"] if "em_hyp" in ours[0] else ["wer"]
    further = ("slu_f1", "em_full", "tree_f1")
    names += [name for name in further if name in published and name in ours[0]]
    if "em_full" in names and "em_hyp" not in published:
        names.sort(key=lambda name: name != "em_full")
    found = {
        name: metrics.difference(mean(ours, name), mean(theirs, name), speakers, _highest(name))
        for name in names
    }
    is_over_speakers = speakers is not None and len(set(speakers)) >= metrics.MIN_SPEAKERS
    for name in ("em_hyp", "em_full"):
        if name in found and len(ours) == len(theirs) == 1 and not is_over_speakers:
            right = [run[name][0] > 0 for run in (*ours, *theirs)]
            found[name]["p"] = metrics.mcnemar(*right)
    return found


class InNoise(NamedTuple):
    """Exact match at one ratio of speech to noise, fractions.

    Attributes:
        snr_db: 0 of clean speech, which has none.
        value: of one seed, or the mean of several.
        low, high: the interval of one seed; of several the lowest and the highest.
    """

    snr_db: float
    value: float
    low: float
    high: float


def in_noise(
    seeds: Sequence[Sequence[dict[str, Any]]],
) -> dict[tuple[str | None, str], list[InNoise]]:
    """Exact match in noise, pooled over seeds.

    Args:
        seeds: the `scores` that `atat.noise_curve` wrote of each, one or more.

    Returns:
        (kind of noise or None for clean speech, run) -> its points by ascending ratio, those where
        all seeds were measured.

    >>> clean = {"noise": "clean", "snr_db": None}
    >>> seeds = [[clean | {"runs": {"test": {"value": value}}}] for value in (0.5, 1.0)]
    >>> in_noise(seeds)[None, "test"]
    [InNoise(snr_db=0.0, value=0.75, low=0.5, high=1.0)]
    """
    measured = [
        {(s["noise"], s["snr_db"], run): score for s in one for run, score in s["runs"].items()}
        for one in seeds
    ]
    found: dict[tuple[str | None, str], list[InNoise]] = {}
    for kind, ratio, run in measured[0]:
        if not all((kind, ratio, run) in one for one in measured):
            continue
        scores = [one[kind, ratio, run] for one in measured]
        values = [score["value"] for score in scores]
        band = (min(values), max(values))
        if len(scores) == 1:
            band = scores[0]["low"], scores[0]["high"]
        point = InNoise(ratio or 0.0, float(np.mean(values)), *band)
        found.setdefault((None if ratio is None else kind, run), []).append(point)
    return {key: sorted(line) for key, line in found.items()}


def _highest(name: str) -> float:
    """The largest value of a metric."""
    return inf if name in ERROR_RATES else 1.0


def _array(values: Iterable[float]) -> np.ndarray:
    return np.fromiter(map(float, values), float)


def _overlaps(overlaps: Sequence[Overlap]) -> Counts:
    matched, reference, hypothesis = np.array(overlaps, dtype=float).T
    return {
        "f1": (2 * matched, reference + hypothesis),
        "precision": (matched, hypothesis),
        "recall": (matched, reference),
    }
