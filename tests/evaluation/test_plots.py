"""Plots: what they draw, and what their captions say."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from atat.evaluation import metrics, plots


@pytest.fixture
def drawn(monkeypatch):
    """Draws with a function of plots; returns the figure whose PNG it wrote."""
    saved = []
    save = Figure.savefig

    def savefig(self, *arguments, **options):
        saved.append(self)
        save(self, *arguments, **options)

    def drawn(function, *arguments) -> Figure:
        file = io.BytesIO()
        monkeypatch.setattr(Figure, "savefig", savefig)
        at = 3 if function is plots.coverage else 1  # where the file stands
        function(*arguments[:at], file, *arguments[at:])
        assert file.getvalue().startswith(b"\x89PNG")
        return saved[-1]

    return drawn


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def measured(values: dict[tuple[str, float | None], int], seed=1, n=60, run="test") -> dict:
    """What atat.noise_curve writes."""
    scores = [
        {"noise": kind, "snr_db": ratio, "runs": {run: metrics.proportion(k, n)}}
        for (kind, ratio), k in values.items()
    ]
    return {"scores": scores, "split": "test", "seed": seed, "commit": "0123456789abcdef"}


NOISE = {("clean", None): 60, ("fan", 24): 57, ("fan", 21): 54, ("fan", 6): 30, ("street", 0): 12}


def test_ticks_of_noise_stand_where_it_was_measured(drawn):
    figure = drawn(plots.noise_curves, {"atat": [measured(NOISE)]})
    fan, street = figure.axes
    assert fan.get_xticks().tolist() == [6, 21, 24] and street.get_xticks().tolist() == [0]
    assert [text.get_text() for text in fan.get_xticklabels()] == ["6", "21", "24"]
    assert fan.get_title(loc="left") == "fan" and fan.xaxis_inverted()
    ((x, y),) = ([*line.get_data()] for line in fan.lines if len(line.get_xdata()) == 3)
    assert list(x) == [6, 21, 24] and list(y) == pytest.approx([50, 90, 95])


def test_a_noise_plot_has_labels_units_n_interval_seed_and_commit(drawn):
    figure = drawn(plots.noise_curves, {"atat": [measured(NOISE, seed=3)]})
    assert "(dB" in figure.axes[0].get_xlabel() and "(%)" in figure.axes[0].get_ylabel()
    assert labels(figure) == ["test"]
    for said in (
        "n = 60 utterances of test",
        "95 % interval",
        "noise seed 3",
        "commit 0123456789ab",
    ):
        assert said in caption(figure)


def test_noise_curves_of_several_seeds_are_their_mean_and_range(drawn):
    worse = {key: k - 12 for key, k in NOISE.items()}
    figure = drawn(plots.noise_curves, {"atat": [measured(NOISE), measured(worse)]})
    assert labels(figure) == ["test (mean of 2 seeds)"]
    assert "lowest to highest" in caption(figure) and "Wilson" not in caption(figure)
    fan = figure.axes[0]
    (line,) = (line for line in fan.lines if len(line.get_xdata()) == 3)
    assert list(line.get_ydata()) == pytest.approx([40, 80, 85])
    (band,) = fan.collections
    corners = band.get_paths()[0].vertices
    assert {round(y) for x, y in corners if x == 6} == {30, 50}


def curve(values: list[float], minutes=1.0) -> list[dict]:
    return [
        {"epoch": i, "minutes": minutes * i, "em_slu": value}
        for i, value in enumerate(values, start=1)
    ]


def test_learning_curves_of_several_seeds_are_their_mean_and_range(drawn):
    curves = {
        "atat": [curve([0.2, 0.6, 0.8]), curve([0.4, 0.8], minutes=3)],
        "e2e": [curve([0.1])],
    }
    figure = drawn(plots.learning_curves, curves, "seed 1, 2; commit 0123")
    assert labels(figure) == ["atat (mean of 2 seeds)", "e2e"]
    line = figure.axes[0].lines[0]
    # The third epoch is there of one seed alone.
    assert list(line.get_xdata()) == [2, 4] and list(line.get_ydata()) == pytest.approx([30, 70])
    assert caption(figure) == "band: lowest to highest seed; seed 1, 2; commit 0123"
    assert "(minutes)" in figure.axes[0].get_xlabel()
    assert "band" not in caption(drawn(plots.learning_curves, {"e2e": [curve([0.1])]}))


def test_learning_curves_are_a_png_and_missing_values_are_no_crash(tmp_path):
    curves = {
        "one": [
            [
                {"epoch": 1},
                {"minutes": 1.0, "em_slu": None, "valid_loss": float("nan")},
                {"minutes": 2.0, "em_slu": 0.5, "valid_loss": 1.0},
            ]
        ],
        "empty": [[]],
    }
    with (tmp_path / "curves.png").open("wb") as file:
        plots.learning_curves(curves, file)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no learning curve"):
        plots.learning_curves({"empty": [[]]}, (tmp_path / "none.png").open("wb"))


def test_legend_and_caption_stand_in_no_panel_and_not_in_one_another(drawn):
    names = [f"an experiment with a long name {i}" for i in range(6)]
    curves = {name: [curve([0.1, 0.5])] for name in names}
    figure = drawn(plots.learning_curves, curves, "seed 1; commit 0123456789ab; " * 6)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes += [figure.legends[0].get_window_extent(renderer)]
    boxes += [figure._supxlabel.get_window_extent(renderer)]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_the_coverage_has_its_threshold_n_and_intervals(drawn):
    p_N = np.linspace(0.05, 0.95, 19)
    figure = drawn(plots.coverage, p_N, p_N > 0.49, 0.49, "seed 1; commit 0123")
    assert labels(figure) == ["threshold 0.49 accepts 52.6 %", "perfectly calibrated"]
    assert caption(figure).startswith("n = 19 utterances; 10 bins")
    assert caption(figure).endswith("95 % interval (Wilson); seed 1; commit 0123")
    reliability = figure.axes[1]
    bars = [line for line in reliability.lines if len(set(line.get_xdata())) == 1]
    assert len(bars) == len(reliability.collections[0].get_offsets())
    low, high = sorted(bars[0].get_ydata())
    expected = metrics.proportion(0, 1)  # 0.05 is the only one in its bin
    assert (low, high) == pytest.approx((100 * expected["low"], 100 * expected["high"]))
