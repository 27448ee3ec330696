"""Plots of validation against training time, of exact match in noise, and of confidence."""

# N utterances

import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, isfinite
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from atat.evaluation import calibration_metrics, metrics, seed_pooling

# Key of train.jsonl, title of the panel, factor from the log to the axis.
PANELS = (
    ("em_slu", "Exact match, speech to semantics (%)", 100),
    ("em_nlu", "Exact match, text to semantics (%)", 100),
    ("em_asr", "Exact match, speech to words (%)", 100),
    ("em_mlm", "Exact match, masked speech to words (%)", 100),
    ("valid_loss", "Loss on the validation split (nats)", 1),
)
# Okabe and Ito 2008: told apart with any colour vision; the line style and the marker tell them
# apart in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
DPI = 130

Curve = Sequence[dict[str, Any]]  # lines of a train.jsonl


class Line(NamedTuple):
    """A curve to draw: its points, and the band around it."""

    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


def points(curve: Curve, key: str) -> tuple[list[float], list[float]]:
    """Minutes and values of the lines of a `train.jsonl` that have both, as finite numbers.

    >>> points([{"minutes": 1, "acc": 0.5}, {"minutes": 2}, {"minutes": 3, "acc": 0.7}], "acc")
    ([1, 3], [0.5, 0.7])
    """
    lines = _with_number(curve, key)
    return [line["minutes"] for line in lines], [line[key] for line in lines]


def pooled_points(curves: Sequence[Curve], key: str) -> Line:
    """The mean of the curves of several seeds, and their range, at every epoch that all have.

    Minutes are the mean of the seeds' minutes at the end of that epoch. A single curve keeps all
    its points.

    >>> seeds = [[{"epoch": 1, "minutes": 2, "acc": 0.5}], [{"epoch": 1, "minutes": 4, "acc": 0.7}]]
    >>> pooled_points(seeds, "acc")
    Line(x=[3], y=[0.6], low=[0.5], high=[0.7])
    """
    curves = [curve for curve in curves if _with_number(curve, key)]
    if len(curves) < 2:
        x, y = points(curves[0], key) if curves else ([], [])
        return Line(x, y, y, y)
    at = [{line.get("epoch"): line for line in _with_number(curve, key)} for curve in curves]
    shared = [epoch for epoch in at[0] if all(epoch in lines for lines in at)]
    values = [[lines[epoch][key] for lines in at] for epoch in shared]
    minutes = [statistics.mean(lines[epoch]["minutes"] for lines in at) for epoch in shared]
    means = [round(statistics.mean(row), 12) for row in values]
    return Line(minutes, means, [min(row) for row in values], [max(row) for row in values])


def has_points(curve: Curve) -> bool:
    """Whether there is something to draw."""
    return any(_with_number(curve, key) for key, _, _ in PANELS)


def learning_curves(
    curves: Mapping[str, Sequence[Curve]], file: IO[bytes], caption: str = ""
) -> None:
    """Write the PNG: a panel a measure that was logged, a line an experiment.

    Args:
        curves: experiment -> the lines of `train.jsonl` of each of its seeds; those of several are
            drawn as their mean, in a band from the lowest to the highest.
        file: open for writing bytes.
        caption: stands below, after what the band is.

    Raises:
        ValueError: no line has both minutes and one of the measures.
    """
    found = {
        name: there
        for name, seeds in curves.items()
        if (there := [curve for curve in seeds if has_points(curve)])
    }
    panels = [
        panel for panel in PANELS if any(points(c, panel[0])[0] for s in found.values() for c in s)
    ]
    if not panels:
        raise ValueError("got no learning curve, expected 'minutes' and a measure in a train.jsonl")
    num_columns = min(2, len(panels))
    num_rows = ceil(len(panels) / num_columns)
    figure, all_axes = _figure(num_rows, num_columns, 5.2, 3.3, 0.9)
    for number, axes in enumerate(all_axes):
        if number >= len(panels):
            axes.set_axis_off()
            continue
        key, title, factor = panels[number]
        for i, (name, seeds) in enumerate(found.items()):
            num = f" (mean of {len(seeds)} seeds)" if len(seeds) > 1 else ""
            _draw(axes, i, _scaled(pooled_points(seeds, key), factor), name + num)
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_xlabel("training time (minutes)")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0, top=102 if factor == 100 else None)
    band = "band: lowest to highest seed" if any(len(s) > 1 for s in found.values()) else ""
    _finish(figure, _joined([band, caption]), file)


def noise_curves(
    records: Mapping[str, Sequence[dict[str, Any]]], file: IO[bytes], caption: str = ""
) -> None:
    """Write the PNG: exact match against the ratio of speech to noise, a panel a kind of noise.

    Ticks stand where something was measured, and nowhere else.

    Args:
        records: experiment -> what `atat.noise_curve` wrote (scores.json) of each of its seeds:
            `scores`, a list of {"noise", "snr_db", "runs": {name: metric}}, ratios in dB; exactly
            one is clean, with `snr_db` None. Several seeds are drawn as their mean, in a band from
            the lowest to the highest; a single one in its 95 % interval.
        file: open for writing bytes.
        caption: stands below, after n and what the band is.
    """
    lines: dict[str, dict[str, Line]] = {}
    clean: dict[str, float] = {}
    for name, seeds in records.items():
        found = seed_pooling.in_noise([record["scores"] for record in seeds])
        for (kind, run), measured in found.items():
            line = Line(*map(list, zip(*measured, strict=True)))
            label = run if len(records) == 1 else f"{name}: {run}"
            if len(seeds) > 1:
                label += f" (mean of {len(seeds)} seeds)"
            if kind is None:
                clean[label] = line.y[0]
            else:
                lines.setdefault(kind, {})[label] = line
    num = max(len(lines), 1)
    figure, all_axes = _figure(1, num, 3.7 if num > 1 else 5.2, 3.4, 1.0, sharey=True)
    for axes, (kind, curves) in zip(all_axes, lines.items(), strict=False):
        for i, (label, whole) in enumerate(clean.items()):
            axes.axhline(100 * whole, color=COLOURS[i % len(COLOURS)], linewidth=0.9, linestyle=":")
            if label in curves:
                _draw(axes, i, _scaled(curves[label], 100), label)
        ratios = sorted({ratio for line in curves.values() for ratio in line.x})
        axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axes.tick_params(axis="x", labelrotation=0 if len(ratios) < 10 else 90)
        axes.set_title(Path(kind).name, fontsize=11, loc="left")
        axes.set_xlabel("speech to noise (dB, loudest frames)")
        axes.set_ylim(0, 102)
        axes.invert_xaxis()
    figure.axes[0].set_ylabel("exact match, EM Hyp (%)")
    several = any(len(seeds) > 1 for seeds in records.values())
    single = any(len(seeds) == 1 for seeds in records.values())
    about = [
        noise_about([record for seeds in records.values() for record in seeds]),
        "band: 95 % interval (Wilson)" if single else "",
        "band of a mean: lowest to highest seed" if several else "",
        "dotted: without noise",
        caption,
    ]
    _finish(figure, _joined(about), file)


def noise_about(records: Sequence[dict[str, Any]]) -> str:
    """n, split, seed of the noise and commit, as they stand in scores.json.

    >>> clean = {"noise": "clean", "snr_db": None, "runs": {"test": {"n": 60}}}
    >>> noise_about([{"split": "test", "seed": 1, "commit": "0123456789abcdef", "scores": [clean]}])
    'n = 60 utterances of test a point; noise seed 1; commit 0123456789ab'
    """
    sizes = {m["n"] for record in records for s in record["scores"] for m in s["runs"].values()}
    split = listed(record.get("split") for record in records)
    return _joined(
        [
            f"n = {listed(sizes)} utterances{f' of {split}' if split else ''} a point",
            f"noise seed {listed(record.get('seed') for record in records)}",
            f"commit {listed(str(record.get('commit', ''))[:12] for record in records)}",
        ]
    )


def coverage(
    probability_N: np.ndarray,
    right_N: np.ndarray,
    threshold: float,
    file: IO[bytes],
    caption: str = "",
) -> None:
    """Write a PNG: exact match against the share accepted, and the reliability diagram.

    Args:
        probability_N: of N utterances, float, 0 to 1.
        right_N: bool, in the same order.
        threshold: least probability that is accepted, 0 to 1.
        file: open for writing bytes.
        caption: stands below, after n.

    Raises:
        ValueError: there are no utterances.
    """
    if not len(probability_N):
        raise ValueError("got no utterances, expected some to draw their coverage")
    figure, (left, right) = _figure(1, 2, 5.2, 3.7, 0.9)
    covered_N, exact_N = calibration_metrics.coverage(probability_N, right_N)
    left.step(100 * covered_N, 100 * exact_N, color=COLOURS[0], where="post")
    accepted = (probability_N >= threshold).mean()
    left.axvline(
        100 * accepted,
        color=COLOURS[1],
        linestyle="--",
        label=f"threshold {threshold:.2f} accepts {100 * accepted:.1f} %",
    )
    left.set(xlabel="accepted (% of utterances)", ylabel="right, of what is accepted (%)")
    left.set(xlim=(0, 102), ylim=(0, 102))
    left.set_title("Coverage", fontsize=11, loc="left")
    _reliability(right, probability_N, right_N)
    about = [
        f"n = {len(probability_N)} utterances",
        f"{calibration_metrics.NUM_BINS} bins of equal width",
        "area of a dot: its share of the utterances",
        "bars: 95 % interval (Wilson)",
        caption,
    ]
    _finish(figure, _joined(about), file)


def _reliability(axes: Any, probability_N: np.ndarray, right_N: np.ndarray) -> None:
    """What share is right against confidence, a dot a bin, with its interval."""
    found = calibration_metrics.bins(probability_N, right_N)
    axes.plot([0, 100], [0, 100], color="grey", linestyle=":", label="perfectly calibrated")
    for one in found:
        num = round(one.share * len(probability_N))
        score = metrics.proportion(round(one.right * num), num)
        axes.plot(
            [100 * one.probability] * 2,
            [100 * score["low"], 100 * score["high"]],
            color=COLOURS[0],
            linewidth=1.2,
        )
    axes.scatter(
        [100 * b.probability for b in found],
        [100 * b.right for b in found],
        [20 + 400 * b.share for b in found],
        color=COLOURS[0],
        alpha=0.8,
    )
    axes.set(xlabel="confidence (%, mean of the bin)", ylabel="right (%)")
    axes.set(xlim=(-3, 103), ylim=(-3, 103))
    axes.set_title("Reliability", fontsize=11, loc="left")


def _with_number(curve: Curve, key: str) -> list[dict[str, Any]]:
    return [x for x in curve if _is_number(x.get("minutes")) and _is_number(x.get(key))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _scaled(line: Line, factor: float) -> Line:
    return Line(line.x, *([factor * value for value in column] for column in line[1:]))


def _figure(
    num_rows: int, num_columns: int, width: float, height: float, below: float, **more: Any
) -> tuple[Any, list[Any]]:
    """A figure of panels, sizes in inches, with room for legend and caption below; no screen."""
    from matplotlib.figure import Figure

    size = (width * num_columns + 0.3, height * num_rows + below)
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(num_rows, num_columns, squeeze=False, **more).flat)


def _draw(axes: Any, number: int, line: Line, label: str) -> None:
    """One curve with its band, in the colour, style and marker of its number."""
    colour = COLOURS[number % len(COLOURS)]
    if line.low != line.high:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        line.x,
        line.y,
        label=label,
        color=colour,
        linestyle=STYLES[number % len(STYLES)],
        linewidth=1.8,
        marker=MARKERS[number % len(MARKERS)],
        markersize=3.5,
    )


def _finish(figure: Any, caption: str, file: IO[bytes]) -> None:
    """Grid, one legend of all panels' labels, the caption; then the PNG."""
    labelled: dict[str, Any] = {}
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        labelled |= dict(zip(labels, handles, strict=True))
    per_inch = 15  # characters of the caption
    figure.supxlabel(
        textwrap.fill(caption, round(per_inch * figure.get_figwidth())),
        fontsize=8,
        color="#555555",
        x=0.01,
        ha="left",
    )
    if labelled:
        each = 0.7 + 0.075 * max(map(len, labelled))  # inches: the line, and its label
        columns = max(1, min(int(figure.get_figwidth() / each), len(labelled)))
        figure.legend(
            labelled.values(),
            labelled.keys(),
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            fontsize=9,
        )
    figure.savefig(file, format="png", dpi=DPI)


def listed(values: Iterable[object]) -> str:
    """Each once, in order; "" for none.

    >>> listed([2, 1, 2, None])
    '2, 1'
    """
    return ", ".join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _joined(parts: Iterable[str]) -> str:
    return "; ".join(part for part in parts if part)
