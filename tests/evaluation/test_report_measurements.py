"""Tables of what other commands measured."""

import base64
import json
import re
import shutil

import pytest

from atat.evaluation import metrics
from atat.models import checkpoint
from tests.made_up_recipe import make_recipe, run_report, table_rows


def test_what_other_commands_measured_stands_there_while_the_model_is_that_one(
    tmp_path, monkeypatch, capsys
):
    paths = make_recipe(tmp_path)
    exp = paths["expdir"] / "atat"
    about = {"model": checkpoint.digest(exp), "seed": 3, "commit": "fedcba987654321"}
    about |= {"split": "test_far", "num_left_out": 4}

    def right(num: int) -> dict:
        return {"test": metrics.proportion(num, 60)}

    noise = [
        {"noise": "clean", "snr_db": None, "runs": right(57)},
        {"noise": "fan", "snr_db": 12, "runs": right(54)},
        {"noise": "fan", "snr_db": 6, "runs": right(48)},
        {"noise": "noises/kitchen", "snr_db": 6, "runs": right(30)},
    ]
    shots = [
        {"shots": num, "run": "test", "em_hyp": metrics.proportion(50 + num, 60), "p": 0.25}
        for num in (0, 5)
    ]
    metrics_of = ("em_hyp", "understood", "understood_wrong")
    heard = [
        {
            "condition": name,
            **dict(zip(metrics_of, (right(n)["test"] for n in numbers), strict=True)),
        }
        for name, numbers in {"as it is": (57, 54, 3), "8 kHz": (30, 6, 0)}.items()
    ]
    silence = [{"condition": "hum", "refused": metrics.proportion(19, 20)}]
    for name, content in (("noise", noise), ("few_shot", shots), ("conditions", heard)):
        (exp / name).mkdir()
        record = about | {"folds": 2, "scores": content, "run": None, "nothing_said": silence}
        (exp / name / "scores.json").write_text(json.dumps(record))
    (exp / "coverage.png").write_bytes(b"a picture")
    measured = {
        "threshold": 0.25,
        "accepted": metrics.proportion(19, 20),
        "exact_match_accepted": metrics.proportion(19, 19),
        "false_accepts": {"value": 2.0, "low": 0.2, "high": 7.2, "hours": 1.0},
        "ece": 0.0125,
    }
    fitted = {"seed": 3, "commit": "fedcba987654321", "measured_on_the_other_half": measured}
    fitted |= {"false_accepts_per_hour": 2.0, "accept": 0.95}
    (exp / "confidence.json").write_text(json.dumps(about | {"about": fitted}))

    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    assert "| Experiment | run | noise | clean | mean in noise | 12 dB | 6 dB | n |" in text
    fan, kitchen = (line for line in text.splitlines() if line.startswith("| atat | test | "))
    assert "| fan | 95.0 %" in fan and ") | 85.0 % | 90.0 %" in fan
    assert "| kitchen | 95.0 %" in kitchen and ") | 50.0 % |  | 50.0 %" in kitchen
    assert fan.endswith(" | 60 | test_far | 4 | 3 | fedcba987654 |")
    assert "| atat | met | 0.25 | 95.0 %" in text and "MISSED" not in text
    assert "2.0 (0.2\u20137.2) | 1.00 | 0.013 |" in text
    as_it_is, narrow = table_rows(text, "Conditions")[1:]
    assert as_it_is[:2] == ["atat", "as it is"] and narrow[1] == "8 kHz"
    assert [cell.split()[0] for cell in as_it_is[2:5]] == ["95.0", "90.0", "5.0"]
    assert as_it_is[5:] == ["60", "as parse", "test_far", "4", "3", "fedcba987654"]
    (hum,) = table_rows(text, "Nothing said")[1:]
    assert hum[1] == "hum" and hum[2].startswith("95.0 % (") and hum[3] == "20"
    assert "| atat | 0 | test | 83.3 %" in text and "| atat | 5 | test | 91.7 %" in text
    assert table_rows(text, "A few recordings")[1][-3:] == ["test_far", "3", "fedcba987654"]
    page = (paths["out"] / "report.html").read_text()
    assert base64.b64encode(b"a picture").decode() in page
    assert re.search('alt="Noise: atat" src="data:image/png;base64,iVBOR', page)

    (exp / "model.pth").write_bytes(b"trained again")
    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    titles = ("Noise", "Confidence", "A few recordings", "Conditions", "Nothing said")
    assert not any(f"## {title}" in text for title in titles)


@pytest.mark.parametrize(
    ("false", "accepted", "said"),
    [
        (44.0, 19, "44.0 false accepts an hour, at most 2 are wanted"),
        (1.0, 12, "60.0 % of speech accepted, at least 95 % are wanted"),
    ],
)
def test_a_calibration_that_misses_its_target_is_said_loudly(
    tmp_path, monkeypatch, capsys, false, accepted, said
):
    paths = make_recipe(tmp_path)
    exp = paths["expdir"] / "atat"
    measured = {
        "threshold": 0.25,
        "accepted": metrics.proportion(accepted, 20),
        "false_accepts": {"value": false, "low": 0.2, "high": 70.2, "hours": 1.0},
        "ece": 0.0125,
    }
    about = {"seed": 3, "commit": "fed", "measured_on_the_other_half": measured}
    about |= {"false_accepts_per_hour": 2.0, "accept": 0.95}
    content = {"model": checkpoint.digest(exp), "about": about}
    (exp / "confidence.json").write_text(json.dumps(content))
    run_report(paths, monkeypatch)
    line = f"TARGET MISSED by atat: {said}."
    assert line in capsys.readouterr().out
    text = (paths["out"] / "RESULTS.md").read_text()
    assert line in text and table_rows(text, "Confidence")[1][1] == "MISSED"
    assert line in (paths["out"] / "report.html").read_text()


@pytest.mark.parametrize("lacking", [["false_accepts"], ["accepted", "ece"]])
def test_a_calibration_that_had_nothing_to_measure_on_has_empty_cells(
    tmp_path, monkeypatch, lacking
):
    paths = make_recipe(tmp_path)
    exp = paths["expdir"] / "atat"
    measured = {
        "threshold": 0.25,
        "accepted": metrics.proportion(19, 20),
        "false_accepts": {"value": 1.0, "low": 0.2, "high": 70.2, "hours": 1.0},
        "ece": 0.0125,
    }
    measured = {name: one for name, one in measured.items() if name not in lacking}
    about = {"seed": 3, "commit": "fed", "measured_on_the_other_half": measured}
    about |= {"false_accepts_per_hour": 2.0, "accept": 0.95}
    content = {"model": checkpoint.digest(exp), "about": about}
    (exp / "confidence.json").write_text(json.dumps(content))
    run_report(paths, monkeypatch)
    header, row = table_rows((paths["out"] / "RESULTS.md").read_text(), "Confidence")
    empty = {title for title, cell in zip(header, row, strict=True) if not cell}
    assert empty == {"of them right"} | (
        {"false accepts an hour", "hours"}
        if lacking == ["false_accepts"]
        else {"accepted", "n", "calibration error"}
    )


@pytest.mark.parametrize("changed", [{}, {"seed": 2}, {"split": "far"}, {"num_left_out": 3}])
def test_noise_of_several_seeds_has_a_row_of_their_mean_where_they_are_alike(
    tmp_path, monkeypatch, changed
):
    paths = make_recipe(tmp_path)
    paths["tables"].write_text(
        """
experiments: {atat: {seeds: [1, 2]}}
table: [{row: AT-AT, experiment: atat, run: test}]
"""
    )
    for seed, right in ((1, 54), (2, 48)):
        exp = shutil.copytree(paths["expdir"] / "atat", paths["expdir"] / f"atat.seed{seed}")
        (exp / "noise").mkdir()
        scores = [
            {"noise": kind, "snr_db": ratio, "runs": {"test": metrics.proportion(num, 60)}}
            for kind, ratio, num in (("clean", None, 57), ("fan", 12, right), ("fan", 6, 30))
        ]
        record = {"model": checkpoint.digest(exp), "seed": 1, "commit": "fed", "scores": scores}
        record |= {"split": "test", "num_left_out": 0} | (changed if seed == 2 else {})
        (exp / "noise" / "scores.json").write_text(json.dumps(record))
    run_report(paths, monkeypatch)
    text = (paths["out"] / "RESULTS.md").read_text()
    rows = table_rows(text, "Noise")[1:]
    page = (paths["out"] / "report.html").read_text()
    if changed:
        assert [row[0] for row in rows] == ["atat.seed1", "atat.seed2"]
        assert "No mean of the seeds of atat: they were measured on different noise" in page
        assert page.count('alt="Noise: ') == 2
        return
    assert [row[0] for row in rows] == ["atat.seed1", "atat.seed2", "atat: mean of 2 seeds"]
    assert rows[2][3:7] == [
        "95.0 % (95.0\u201395.0)", "67.5 %", "85.0 % (80.0\u201390.0)", "50.0 % (50.0\u201350.0)"
    ]  # fmt: skip
    assert rows[2][7] == "60" and "the lowest and the highest" in text
    assert page.count('alt="Noise: ') == 1  # one picture of both
