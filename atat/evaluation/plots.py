"""Plots: validation against minutes of training, exact match against noise and coverage."""

from collections.abc import Sequence
from math import ceil, isfinite
from pathlib import Path
from typing import IO, Any

import numpy as np

from atat.evaluation import calibration_metrics

# Key of train.jsonl, title of the panel, factor from the log to the axis.
PANELS = (
    ("em_slu", "Exact match, speech to semantics (%)", 100),
    ("em_nlu", "Exact match, text to semantics (%)", 100),
    ("em_asr", "Exact match, speech to words (%)", 100),
    ("em_mlm", "Exact match, masked speech to words (%)", 100),
    ("valid_loss", "Loss on the validation split", 1),
)
# Okabe and Ito 2008: told apart with any colour vision; the line style tells them apart in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")


def points(curve: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Minutes and values of the lines of a `train.jsonl` that have both, as finite numbers.

    >>> points([{"minutes": 1, "acc": 0.5}, {"minutes": 2}, {"minutes": 3, "acc": 0.7}], "acc")
    ([1, 3], [0.5, 0.7])
    """
    pairs = [(line.get("minutes"), line.get(key)) for line in curve]
    pairs = [(x, y) for x, y in pairs if _is_number(x) and _is_number(y)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def has_points(curve: Sequence[dict[str, Any]]) -> bool:
    """Whether there is something to draw."""
    return any(points(curve, key)[0] for key, _, _ in PANELS)


def learning_curves(curves: dict[str, list[dict[str, Any]]], file: IO[bytes]) -> None:
    """Write the PNG: a panel a measure that was logged, a line style an experiment.

    Args:
        curves: experiment name -> lines of its `train.jsonl`.
        file: open for writing bytes.

    Raises:
        ValueError: no line has both minutes and one of the measures.
    """
    from matplotlib.figure import Figure

    curves = {name: curve for name, curve in curves.items() if has_points(curve)}
    panels = [panel for panel in PANELS if any(points(c, panel[0])[0] for c in curves.values())]
    if not panels:
        raise ValueError("got no learning curve, expected 'minutes' and a measure in a train.jsonl")
    num_columns = min(2, len(panels))
    num_rows = ceil(len(panels) / num_columns)
    figure = Figure(figsize=(5.2 * num_columns, 3.5 * num_rows + 0.5), layout="constrained")
    all_axes = figure.subplots(num_rows, num_columns, squeeze=False).flat
    for number, axes in enumerate(all_axes):
        if number >= len(panels):
            axes.set_axis_off()
            continue
        key, title, factor = panels[number]
        for i, (name, curve) in enumerate(curves.items()):
            minutes, values = points(curve, key)
            axes.plot(
                minutes,
                [factor * value for value in values],
                label=name,
                color=COLOURS[i % len(COLOURS)],
                linestyle=STYLES[i % len(STYLES)],
                linewidth=1.8,
                marker="o",
                markersize=3,
            )
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_xlabel("training minutes")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0, top=100 if factor == 100 else None)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False
    )
    figure.savefig(file, format="png", dpi=130)


def noise_curves(scores: Sequence[dict[str, Any]], file: IO[bytes]) -> None:
    """Write the PNG: exact match against the ratio of speech to noise, a panel a kind of noise.

    Args:
        scores: {"noise", "snr_db", "runs": {name: metric}} each, ratios in dB; exactly one is
            clean, with `snr_db` None.
        file: open for writing bytes.
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(s["noise"] for s in scores if s["snr_db"] is not None))
    (clean,) = (s for s in scores if s["snr_db"] is None)
    figure = Figure(figsize=(3.6 * max(len(kinds), 1) + 0.6, 3.8), layout="constrained")
    for axes, kind in zip(
        figure.subplots(1, max(len(kinds), 1), sharey=True, squeeze=False).flat, kinds, strict=False
    ):
        lines = sorted((s for s in scores if s["noise"] == kind), key=lambda s: s["snr_db"])
        ratios = [line["snr_db"] for line in lines]
        for i, (run, whole) in enumerate(clean["runs"].items()):
            values = [
                [100 * line["runs"][run][k] for line in lines] for k in ("value", "low", "high")
            ]
            colour = COLOURS[i % len(COLOURS)]
            axes.fill_between(ratios, values[1], values[2], color=colour, alpha=0.15, linewidth=0)
            axes.plot(
                ratios,
                values[0],
                label=run,
                color=colour,
                linestyle=STYLES[i % len(STYLES)],
                linewidth=1.8,
                marker="o",
                markersize=3,
            )
            axes.axhline(100 * whole["value"], color=colour, linewidth=0.8, linestyle=":")
        axes.set_title(Path(kind).name, fontsize=11, loc="left")
        axes.set_xlabel("SNR (dB, loudest frame)")
        axes.set_ylim(0, 100)
        axes.invert_xaxis()
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("exact match (%); dotted: clean")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, format="png", dpi=130)


def coverage(
    probability_N: np.ndarray, right_N: np.ndarray, threshold: float, file: IO[bytes]
) -> None:
    """Write a PNG: exact match against the share accepted, and the reliability diagram.

    Args:
        probability_N, right_N: of N utterances, float and bool.
        threshold: least probability that is accepted, 0 to 1.
        file: open for writing bytes.

    Raises:
        ValueError: there are no utterances.
    """
    from matplotlib.figure import Figure

    if not len(probability_N):
        raise ValueError("got no utterances, expected some to draw their coverage")
    figure = Figure(figsize=(10.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    covered_N, exact_N = calibration_metrics.coverage(probability_N, right_N)
    left.plot(100 * covered_N, 100 * exact_N, color=COLOURS[0])
    accepted = (probability_N >= threshold).mean()
    left.axvline(100 * accepted, color=COLOURS[1], linestyle="--", label="threshold")
    left.set(xlabel="accepted (%)", ylabel="exact match of what is accepted (%)")
    left.legend(frameon=False)
    found = calibration_metrics.bins(probability_N, right_N)
    right.plot([0, 100], [0, 100], color="grey", linestyle=":")
    # The area of a dot says how many utterances it stands for.
    right.scatter(
        [100 * b.probability for b in found],
        [100 * b.right for b in found],
        [20 + 400 * b.share for b in found],
        color=COLOURS[0],
    )
    right.set(xlabel="confidence (%)", ylabel="right (%)", xlim=(-3, 103), ylim=(-3, 103))
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="png", dpi=130)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)
