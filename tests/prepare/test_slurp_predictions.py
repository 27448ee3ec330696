"""SLURP's format of predictions: runs written in it, and scores of it, SLURP's own among them."""

import json
from pathlib import Path

import pytest

from atat.config.experiment_tables import METRICS
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import metrics, scoring
from atat.prepare import slurp_predictions
from atat.semantics import target_sequence

TEXTS = Path(__file__).parents[3] / "shared" / "corpora" / "slurp-text"
# What SLURP's own scorer says of three published systems (micro), in the order of COLUMNS.
COLUMNS = (
    *("scenario_accuracy", "action_accuracy", "intent_accuracy", "slot_f1"),
    *("word_distance_f1", "char_distance_f1", "slu_f1"),
)
PUBLISHED = {
    "gold_hermit": (0.90148, 0.86987, 0.84835, 0.78191, 0.81088, 0.81678, 0.81382),
    "multi_hermit": (0.83735, 0.79705, 0.76677, 0.62695, 0.67778, 0.71378, 0.69531),
    "google_hermit": (0.81675, 0.76584, 0.73412, 0.57999, 0.64012, 0.68117, 0.66001),
}
PREDICTED = {"gold_hermit": (2974, 2974), "multi_hermit": (13077, 13078)}
PREDICTED["google_hermit"] = (12393, 13078)


@pytest.mark.skipif(not TEXTS.is_dir(), reason="SLURP's predictions are not on this machine")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_predictions_have_the_scores_of_slurps_own_scorer(
    name, tmp_path, command, monkeypatch
):
    monkeypatch.setattr(metrics, "NUM_RESAMPLES", 20)  # of intervals, which are tested elsewhere
    predictions = TEXTS / "predictions" / f"{name}.jsonl"
    given = ["--predictions", predictions, "--gold", TEXTS / "test.jsonl"]
    code, out, _ = command(slurp_predictions.main, *given, "--out", tmp_path / "scores.json")
    num, expected = PREDICTED[name]
    assert code == 0 and f"{num} of {expected} predicted" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {scores[column]["n"] for column in COLUMNS} == {num}
    for column, value in zip(COLUMNS, PUBLISHED[name], strict=True):
        assert scores[column]["value"] == pytest.approx(value, abs=2e-5), column


GOLD = [
    ("5", "alarm", "set", "wake me at five o'clock today 's", [("time", 3, 6)], ["audio-5.flac"]),
    ("6", "audio", "volume_mute", "hush", [], ["audio--6.flac", "audio--6-headset.flac"]),
    ("7", "play", "music", "put on jazz", [("music_genre", 2, 2)], ["audio-7.flac"]),
]
HYPOTHESES = {
    "FE-1-audio-5": "alarm_set( wake me at time( at five o'clock today's )time )alarm_set",
    "FE-1-audio--6": "audio_volume_mute( hush )audio_volume_mute",
    "FE-1-audio--6-headset": "audio_volume_up( hush )audio_volume_up",
    "FE-1-audio-7": "play_music( put on music_genre( jazz",
}


@pytest.fixture
def gold(tmp_path):
    """A list of SLURP."""
    path = tmp_path / "test.jsonl"
    lines = [
        {
            "slurp_id": int(number),
            "scenario": scenario,
            "action": action,
            "tokens": [{"surface": word} for word in words.split()],
            "entities": [{"type": t, "span": list(range(a, b + 1))} for t, a, b in entities],
            "recordings": [{"file": name} for name in files],
        }
        for number, scenario, action, words, entities, files in GOLD
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def run(tmp_path, gold):
    """Splits of that list, and two decoded runs: of speech and of text; (experiment, data)."""
    exp, data = tmp_path / "exp", tmp_path / "data"
    sentences = slurp_predictions.slurp.read_list(gold)
    of_file = {f"FE-1-{Path(name).stem}": (s, name) for s in sentences for name in s.files}
    spoken = DataDir(
        {id_: f"/audio/{name}" for id_, (_, name) in of_file.items()},
        {id_: s.text for id_, (s, _) in of_file.items()},
        {id_: s.semantics for id_, (s, _) in of_file.items()},
        dict.fromkeys(of_file, "FE-1"),
    )
    kaldi_dir.write(data / "test", spoken)
    texts = {s.id: s.semantics for s in sentences}
    words = {id_: target_sequence.words(s) for id_, s in texts.items()}
    kaldi_dir.write(data / "test_text", DataDir(None, words, texts))
    for name, split, hypotheses in (("test", "test", HYPOTHESES), ("text", "test_text", texts)):
        directory = exp / f"decode_{name}"
        directory.mkdir(parents=True)
        about = {"split": split, "task": "slu" if name == "test" else "nlu"}
        (directory / "run.json").write_text(json.dumps(about))
        lines = [{"id": id_, "hypothesis": text} for id_, text in hypotheses.items()]
        (directory / "hyp.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return exp, data


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_is_written_by_recording_and_its_file_has_the_scores_of_stage_6(
    run, gold, tmp_path, command
):
    exp, data = run
    out = tmp_path / "predictions.jsonl"
    code, said, _ = command(slurp_predictions.main, "--exp", exp, "--data", data, "--out", out)
    assert code == 0 and "4 predictions" in said
    assert lines_of(out) == [
        {
            "scenario": "alarm",
            "action": "set",
            "entities": [{"type": "time", "filler": "at five o'clock today 's"}],
            "file": "audio-5.flac",
        },
        {"scenario": "audio", "action": "volume_mute", "entities": [], "file": "audio--6.flac"},
        {
            "scenario": "audio",
            "action": "volume_up",
            "entities": [],
            "file": "audio--6-headset.flac",
        },
        {"scenario": "", "action": "", "entities": [], "file": "audio-7.flac"},  # malformed
    ]
    given = ["--predictions", out, "--gold", gold, "--out", tmp_path / "scores.json"]
    code, said, _ = command(slurp_predictions.main, *given)
    assert code == 0 and "4 of 4 predicted" in said and "SLU-F1" in said
    theirs = json.loads((tmp_path / "scores.json").read_text())
    ours = scoring.score_run(exp / "decode_test", data, {}, METRICS)[None]
    assert {name: ours[name] for name in theirs} == theirs
    assert list(theirs) == ["intent_accuracy", "slot_f1", *METRICS]
    # One entity found, off by one token of four, or by 3 characters of 24; one missing.
    assert theirs["slu_f1"]["value"] == pytest.approx(4 / (4 + 2 / 4 + 2 * 3 / 24 + 2))


def test_a_run_of_text_is_written_by_sentence(run, gold, tmp_path, command):
    exp, data = run
    out = tmp_path / "predictions.jsonl"
    given = ["--exp", exp, "--data", data, "--run", "text", "--out", out]
    assert command(slurp_predictions.main, *given)[0] == 0
    assert [line["slurp_id"] for line in lines_of(out)] == ["5", "6", "7"]
    code, said, _ = command(slurp_predictions.main, "--predictions", out, "--gold", gold)
    assert code == 0 and "3 of 3 predicted" in said and said.count("100.0") >= 7


def test_what_is_not_predicted_is_named_and_left_out(run, gold, tmp_path, command):
    exp, data = run
    out = tmp_path / "predictions.jsonl"
    command(slurp_predictions.main, "--exp", exp, "--data", data, "--out", out)
    few = [*lines_of(out)[:2], lines_of(out)[0] | {"file": "audio-99.flac"}]
    out.write_text("".join(json.dumps(line) + "\n" for line in few))
    code, said, _ = command(slurp_predictions.main, "--predictions", out, "--gold", gold)
    assert code == 0 and "2 of 4 predicted; the others are left out" in said
    assert "audio-7.flac" in said and "1 predictions are of none of them" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"scenario": "a", "action": "b", "entities": []}', "p.jsonl:1: expected scenario"),
        ('{"scenario": "a", "action": "b", "entities": [{"type": "x"}], "file": "y"}', "KeyError"),
        ('{"scenario": "a", "action": "b", "entities": 3, "file": "y"}', "TypeError"),
        ("no", "p.jsonl:1: not JSON"),
        (
            '{"scenario": "a", "action": "b", "entities": [], "file": "y"}\n' * 2,
            "p.jsonl:2: a second prediction of y",
        ),
        (
            '{"scenario": "a", "action": "b", "entities": [], "file": "y"}\n'
            '{"scenario": "a", "action": "b", "entities": [], "slurp_id": "5"}\n',
            "p.jsonl:2: has 'slurp_id'",
        ),
        ('{"scenario": "a", "action": "b", "entities": [], "file": "y"}', "no prediction is of"),
    ],
)
def test_a_mistake_in_predictions_is_one_line(gold, tmp_path, command, content, said):
    (tmp_path / "p.jsonl").write_text(content)
    given = ["--predictions", tmp_path / "p.jsonl", "--gold", gold]
    code, _, err = command(slurp_predictions.main, *given)
    assert code == 2 and said in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--exp", "e"],
        ["--predictions", "p"],
        ["--exp", "e", "--predictions", "p", "--gold", "g"],
    ],
)
def test_either_writing_or_scoring_is_asked_for(options, command):
    code, _, err = command(slurp_predictions.main, *options)
    assert code == 2 and "expected --exp, --data and --out to write, or" in err


def test_a_run_of_words_alone_has_no_predictions(run, tmp_path, command):
    exp, data = run
    about = {"split": "test", "task": "asr"}
    (exp / "decode_test" / "run.json").write_text(json.dumps(about))
    given = ["--exp", exp, "--data", data, "--out", tmp_path / "p.jsonl"]
    code, _, err = command(slurp_predictions.main, *given)
    assert code == 2 and "a run of task 'asr' has no semantics" in err
    assert not (tmp_path / "p.jsonl").exists()
