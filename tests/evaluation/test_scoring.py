"""Stage 6 on split directories and hypotheses written here."""

import json
import shutil
import subprocess
import sys
from importlib import import_module

import jiwer
import pytest

from atat import score
from atat.common import cli
from atat.config.experiment_tables import Subset
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import scoring, seed_pooling
from atat.inference import confidence
from atat.inference.predictor import SpeechToSemantics
from atat.semantics import target_sequence
from tests.toy_calibration import toy_confidence

SEMANTICS = {
    "anna-1": "play( play song( jazz )song )play",
    "anna-2": "setTimer( set it to minutes( five )minutes )setTimer",
    "bert-1": "stop( stop )stop",
}
TEXT = {"anna-1": "play jazz", "anna-2": "set it to five", "bert-1": "stop"}
HYPOTHESES = {
    "anna-1": "play( play some song( jazz )song )play",
    "anna-2": "setTimer( set it to minutes( nine )minutes )setTimer",
    "bert-1": "stop( stop",
}


def write_split(data, split="test", **files):
    files = files or {"text": TEXT, "semantics": SEMANTICS}
    ids = next(iter(files.values()))
    kaldi_dir.write(data / split, DataDir(utt2spk={i: i.split("-")[0] for i in ids}, **files))


def write_run(experiment, run="test", hypotheses=HYPOTHESES, task="slu", split="test"):
    directory = experiment / f"decode_{run}"
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps({"run": run, "split": split, "task": task}))
    with (directory / "hyp.jsonl").open("w") as file:
        for id_, text in hypotheses.items():
            line = {"id": id_, "hypothesis": text, "score": -1.5, "nbest": [], "task": task}
            file.write(json.dumps(line) + "\n")
    return directory


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["atat.score", *map(str, arguments)])
    score.main()


def lines_of(directory):
    return {line["id"]: line for line in map(json.loads, (directory / "hyp.jsonl").open())}


def test_a_spoken_run_gets_semantic_scores_and_wer(tmp_path):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp")
    scoring.score_run(directory, tmp_path / "data", {})
    scores = json.loads((directory / "scores.json").read_text())
    assert list(scores) == [
        *("em_hyp", "em_hyp_macro", "em_full", "intent_accuracy", "slot_f1", "semer", "wer"),
        "tree_valid",
    ]
    assert (scores["em_hyp"]["k"], scores["em_hyp"]["n"]) == (1, 3)
    assert scores["em_hyp_macro"]["value"] == pytest.approx(1 / 3)
    assert scores["em_full"]["k"] == 0
    assert scores["intent_accuracy"]["k"] == 2
    assert scores["slot_f1"]["value"] == 0.5
    assert scores["semer"]["value"] == pytest.approx(2 / 5)  # 0 of 2, 1 of 2, all 1 of 1
    words = ["play some jazz", "set it to nine", "stop"]
    assert scores["wer"]["value"] == pytest.approx(jiwer.wer(list(TEXT.values()), words))
    assert all(s["low"] <= s["value"] <= s["high"] and s["n"] == 3 for s in scores.values())


def test_wer_of_semantics_is_of_their_own_words_as_in_the_report(tmp_path):
    sequence = "setTimer( set it to minutes( 5 )minutes )setTimer"
    spoken = {"a-1": "uh set it to five"}
    write_split(tmp_path / "data", text=spoken, semantics={"a-1": sequence})
    directory = write_run(tmp_path / "exp", hypotheses={"a-1": sequence})
    (scores,) = scoring.score_run(directory, tmp_path / "data", {}).values()
    assert scores["wer"]["value"] == 0 == scores["semer"]["value"]
    counts = seed_pooling.counts(list(lines_of(directory).values()), target_sequence.frame)
    assert seed_pooling.scores([counts])["wer"]["value"] == 0


def test_a_table_may_ask_for_further_metrics(tmp_path):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp")
    plain = scoring.score_run(directory, tmp_path / "data", {})[None]
    subsets = {"timers": Subset(intents=("setTimer",))}
    asked = ("slu_f1", "action_accuracy")
    scores = scoring.score_run(directory, tmp_path / "data", subsets, asked)
    assert {name: scores[None][name] for name in plain} == plain
    assert set(scores[None]) - set(plain) == set(asked)
    # "jazz" is found; "nine" is off by the whole of "five", or by two letters of four.
    assert scores[None]["slu_f1"]["value"] == pytest.approx(8 / (8 + 2 * 1.0 + 2 * 0.5))
    assert scores["timers"]["slu_f1"]["value"] == pytest.approx(4 / (4 + 2 * 1.0 + 2 * 0.5))
    assert json.loads((directory / "scores.json").read_text()) == scores[None]
    heard = write_run(tmp_path / "exp", "asr", TEXT, task="asr")
    assert list(scoring.score_run(heard, tmp_path / "data", {}, asked)[None]) == ["wer"]


def test_the_command_takes_them_from_the_tables(tmp_path, monkeypatch, capsys):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp")
    (tmp_path / "tables.yaml").write_text("experiments: {atat: {}}\nmetrics: [slu_f1]\n")
    given = ["--exp", tmp_path / "exp", "--data", tmp_path / "data"]
    run_main(monkeypatch, *given, "--tables", tmp_path / "tables.yaml")
    assert "SLU-F1" in capsys.readouterr().out
    assert "slu_f1" in json.loads((directory / "scores.json").read_text())
    run_main(monkeypatch, *given)
    assert "SLU-F1" not in capsys.readouterr().out


def test_every_hypothesis_gets_its_reference_and_verdict_and_keeps_the_rest(tmp_path):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp")
    for _ in range(2):  # scoring twice is scoring once
        scoring.score_run(directory, tmp_path / "data", {})
        lines = lines_of(directory)
        assert {id_: line["reference"] for id_, line in lines.items()} == SEMANTICS
        assert lines["anna-1"] == {
            "id": "anna-1",
            "task": "slu",
            "reference": SEMANTICS["anna-1"],
            "hypothesis": HYPOTHESES["anna-1"],
            "em_hyp": True,
            "em_full": False,
            "reason": None,
            "score": -1.5,
            "nbest": [],
        }
        assert lines["anna-2"]["reason"] == "minutes 'nine', expected 'five'"
        assert lines["bert-1"]["reason"] == "malformed: 'stop(' is never closed"
    assert sorted(p.name for p in directory.iterdir()) == ["hyp.jsonl", "run.json", "scores.json"]


def test_the_reason_of_stage_5_for_an_empty_hypothesis_is_kept(tmp_path):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp")
    lines = lines_of(directory)
    lines["anna-1"] |= {"hypothesis": "", "reason": "no features: stage 2 dropped it"}
    lines["anna-2"] |= {"reason": "of an earlier scoring"}
    path = directory / "hyp.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines.values()))
    for _ in range(2):
        scoring.score_run(directory, tmp_path / "data", {})
        assert lines_of(directory)["anna-1"]["reason"] == "no features: stage 2 dropped it"
        assert lines_of(directory)["anna-2"]["reason"] == "minutes 'nine', expected 'five'"


def test_a_transcription_run_has_wer_only(tmp_path):
    write_split(tmp_path / "data")
    heard = {"anna-1": "play jazz", "anna-2": "set to nine", "bert-1": ""}
    directory = write_run(tmp_path / "exp", "asr", heard, task="asr")
    (scores,) = scoring.score_run(directory, tmp_path / "data", {}).values()
    assert list(scores) == ["wer"]
    assert scores["wer"]["value"] == pytest.approx(
        jiwer.wer(list(TEXT.values()), list(heard.values()))
    )
    assert lines_of(directory)["bert-1"]["reference"] == "stop"
    assert "em_hyp" not in lines_of(directory)["bert-1"]


def test_references_without_carrier_words_have_no_full_match_and_no_wer(tmp_path):
    bare = {
        "x-1": "order( size( large )size drink( latte )drink )order",
        "x-2": "order( drink( mocha )drink )order",
    }
    write_split(tmp_path / "data", semantics=bare)
    hypotheses = {
        "x-1": "order( a drink( latte )drink that is size( large )size )order",
        "x-2": "order( a drink( latte )drink )order",
    }
    directory = write_run(tmp_path / "exp", hypotheses=hypotheses)
    (scores,) = scoring.score_run(directory, tmp_path / "data", {}).values()
    assert list(scores) == ["em_hyp", "intent_accuracy", "slot_f1", "semer", "tree_valid"]
    assert scores["em_hyp"]["k"] == 1
    assert lines_of(directory)["x-1"]["em_full"] is None


def test_labels_without_the_words_of_their_text_have_no_wer_either(tmp_path):
    bare = {"x-1": "order( size( large )size )order", "x-2": "order( drink( mocha )drink )order"}
    said = {"x-1": "can i have a large one please", "x-2": "one mocha please"}
    hypotheses = {
        "x-1": "order( can i have a size( large )size one please )order",
        "x-2": "order( one drink( mocha )drink please )order",
    }
    directory = write_run(tmp_path / "exp", hypotheses=hypotheses)
    write_split(tmp_path / "data", text=said, semantics=bare)
    (scores,) = scoring.score_run(directory, tmp_path / "data", {}).values()
    assert scores["em_hyp"]["value"] == 1.0 and not {"wer", "em_full"} & scores.keys()
    # Where one of them has its words, they are known.
    write_split(tmp_path / "data", text=said, semantics=bare | {"x-2": hypotheses["x-2"]})
    (scores,) = scoring.score_run(directory, tmp_path / "data", {}).values()
    assert {"wer", "em_full"} < scores.keys()


def test_about_json_says_what_exact_match_compares(tmp_path):
    said = {"x-1": "Activate( Object( lamp )Object on )Activate"}
    hypotheses = {"x-1": "Activate( Lamp( switch it on )Lamp )Activate"}
    data = tmp_path / "data"
    write_split(data, text={"x-1": "lamp on"}, semantics=said)
    directory = write_run(tmp_path / "exp", hypotheses=hypotheses)
    right = {}
    for name in ("frame", "triple"):
        (data / "about.json").write_text(json.dumps({"hypothesis": name}))
        right[name] = scoring.score_run(directory, data, {})[None]["em_hyp"]["k"]
    assert right == {"frame": 0, "triple": 1}
    (data / "about.json").write_text('{"hypothesis": "guess"}')
    with pytest.raises(ValueError, match=r"about.json: hypothesis is 'guess', expected one of"):
        scoring.score_run(directory, data, {})


@pytest.mark.parametrize("name", ["evaluate", "conditions", "noise_curve", "few_shot", "calibrate"])
def test_what_is_compared_is_the_experiments_where_recordings_are_a_users_own(
    name, command, toy_experiment, toy_data, tmp_path
):
    exp, mine = shutil.copytree(toy_experiment, tmp_path / "exp"), tmp_path / "mine"
    (exp / "about.json").write_text('{"hypothesis": "guess"}')
    held = kaldi_dir.read(toy_data[0] / "test")
    held.utt2spk = {i: i for i in held.ids}
    kaldi_dir.write(mine / "test", held)
    options = {
        "evaluate": ["--recordings", mine / "test"],
        "conditions": ["--data", mine, "--out", tmp_path / "out"],
        "noise_curve": ["--data", mine, "--out", tmp_path / "out"],
        "few_shot": ["--data", mine, "--dump", toy_data[1], "--shots", 1],
        "calibrate": ["--evaluate_in", mine / "test"],
    }[name]
    if name == "calibrate":
        confidence.save(toy_confidence(SpeechToSemantics.load(exp)), exp)
    code, _, error = command(import_module(f"atat.{name}").main, "--exp", exp, *options)
    assert code == 2 and error.count("\n") == 1
    assert f"{exp / 'about.json'}: hypothesis is 'guess', expected one of" in error


def test_results_elsewhere_are_scored_as_the_experiments_own(tmp_path):
    write_split(tmp_path / "mine", semantics={"x-1": "Activate( Object( lamp )Object )Activate"})
    hypotheses = {"x-1": "Activate( Lamp( switch it on )Lamp )Activate"}
    directory = write_run(tmp_path / "out", hypotheses=hypotheses)
    assert scoring.score_run(directory, tmp_path / "mine", {})[None]["em_hyp"]["k"] == 0
    (tmp_path / "out" / "about.json").write_text('{"hypothesis": "triple"}')
    assert scoring.score_run(directory, tmp_path / "mine", {})[None]["em_hyp"]["k"] == 1


def test_nested_references_have_tree_scores(tmp_path):
    nested = {"x-1": "a( to b( c( rome )c )b )a"}
    write_split(tmp_path / "data", text={"x-1": "to rome"}, semantics=nested)
    directory = write_run(tmp_path / "exp", hypotheses=nested)
    (scores,) = scoring.score_run(directory, tmp_path / "data", {}).values()
    assert scores["tree_f1"]["value"] == 1.0


def test_subsets_are_scored_by_the_intent_of_the_reference(tmp_path, monkeypatch, capsys):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp")
    asr = write_run(tmp_path / "exp", "asr", TEXT, task="asr")
    (tmp_path / "tables.yaml").write_text(
        "experiments: {exp: {}}\n"
        "subsets: {unseen: {intents: [setTimer, stop]}, absent: {intents: [fly]}}\n"
    )
    about = {"speech": "rendered, not recorded: 4 voices"}
    (tmp_path / "data" / "about.json").write_text(json.dumps(about))
    arguments = ["--exp", tmp_path / "exp", "--data", tmp_path / "data"]
    run_main(monkeypatch, *arguments, "--tables", tmp_path / "tables.yaml")
    unseen = json.loads((directory / "scores.unseen.json").read_text())
    assert (unseen["em_hyp"]["k"], unseen["em_hyp"]["n"]) == (0, 2)
    assert json.loads((asr / "scores.unseen.json").read_text())["wer"]["n"] == 2
    assert not (directory / "scores.absent.json").exists()
    *notes, speech, title, head, _, asr_all, asr_unseen, test_all, test_unseen = (
        capsys.readouterr().out.splitlines()
    )
    assert notes == [
        "asr: no utterance of subset 'absent' in its split",
        "test: no utterance of subset 'absent' in its split",
    ]
    assert speech == "Speech: rendered, not recorded: 4 voices"  # as the data says
    assert title == f"{tmp_path / 'exp'}: % (95 % interval)"
    assert "EM Hyp" in head and "WER" in head
    rows = [asr_all, asr_unseen, test_all, test_unseen]
    names = ["asr", "asr (unseen)", "test", "test (unseen)"]
    assert [row.split("  ")[0] for row in rows] == names


def test_only_the_run_that_is_asked_for_is_scored(tmp_path, monkeypatch):
    write_split(tmp_path / "data")
    one, two = write_run(tmp_path / "exp"), write_run(tmp_path / "exp", "test_nlu", task="nlu")
    run_main(
        monkeypatch, "--exp", tmp_path / "exp", "--data", tmp_path / "data", "--run", "test_nlu"
    )
    assert (two / "scores.json").exists() and not (one / "scores.json").exists()


def test_a_mistake_in_one_run_leaves_all_as_they_were(tmp_path, monkeypatch, capsys):
    write_split(tmp_path / "data")
    one, two = write_run(tmp_path / "exp"), write_run(tmp_path / "exp", "test_nlu", task="nlu")
    (two / "run.json").write_text("{")
    before = (one / "hyp.jsonl").read_bytes()
    with pytest.raises(ValueError, match="not valid JSON"):
        run_main(monkeypatch, "--exp", tmp_path / "exp", "--data", tmp_path / "data")
    assert (one / "hyp.jsonl").read_bytes() == before and not (one / "scores.json").exists()


@pytest.mark.parametrize(
    ("hypotheses", "message"),
    [
        ({"anna-1": "stop( )stop", "anna-2": ""}, r"hyp.jsonl: 1 utterances .* bert-1;"),
        (HYPOTHESES | {"carl-9": "stop( )stop"}, r"data/test: 1 utterances .* carl-9;"),
    ],
)
def test_missing_and_surplus_hypotheses_are_named_and_nothing_is_written(
    tmp_path, hypotheses, message
):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp", hypotheses=hypotheses)
    before = (directory / "hyp.jsonl").read_bytes()
    with pytest.raises(ValueError, match=message):
        scoring.score_run(directory, tmp_path / "data", {})
    assert (directory / "hyp.jsonl").read_bytes() == before
    assert not (directory / "scores.json").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("hyp.jsonl", '{"id": "a", "hypothesis": ""}\nnonsense\n', r"hyp.jsonl:2: not valid JSON"),
        ("hyp.jsonl", '{"id": "a", "hypothesis": null}\n', r"hyp.jsonl:1: .*'hypothesis'"),
        ("hyp.jsonl", "[1]\n", r"hyp.jsonl:1: got \[1\]"),
        ("hyp.jsonl", '{"id": "a", "hypothesis": ""}\n' * 2, r"hyp.jsonl:2: id 'a' is there twice"),
        ("hyp.jsonl", "", "hyp.jsonl: is empty"),
        ("run.json", "{", "run.json: not valid JSON"),
        ("run.json", '{"split": "test"}', "run.json: 'task' is missing"),
        ("run.json", '{"split": "test", "task": "tts"}', "task 'tts', expected slu"),
        ("run.json", '{"split": "nowhere", "task": "slu"}', "nowhere"),
    ],
)
def test_broken_input_is_named(tmp_path, file, content, message):
    write_split(tmp_path / "data")
    directory = write_run(tmp_path / "exp")
    (directory / file).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        scoring.score_run(directory, tmp_path / "data", {})


def test_a_split_without_the_references_of_the_task_is_an_error(tmp_path):
    write_split(tmp_path / "data", "speech", text=TEXT)
    write_split(tmp_path / "data", "labels", semantics=SEMANTICS)
    slu = write_run(tmp_path / "exp", "speech", split="speech")
    asr = write_run(tmp_path / "exp", "labels", TEXT, task="asr", split="labels")
    with pytest.raises(scoring.NoReference, match="has no 'semantics'"):
        scoring.score_run(slu, tmp_path / "data", {})
    with pytest.raises(scoring.NoReference, match="has no 'text'"):
        scoring.score_run(asr, tmp_path / "data", {})


def test_what_another_run_reads_need_not_be_scored_itself(tmp_path, monkeypatch, capsys):
    """Recordings have semantics and no transcripts: what was heard there is read, not scored."""
    write_split(tmp_path / "data", semantics=SEMANTICS)
    two_stages = write_run(tmp_path / "exp")
    heard = write_run(tmp_path / "exp", "heard", TEXT, task="asr")
    arguments = ["--exp", tmp_path / "exp", "--data", tmp_path / "data"]
    run_main(monkeypatch, *arguments)
    said = capsys.readouterr().out
    assert f"heard: not scored; {tmp_path / 'data' / 'test'}: has no 'text'" in said
    assert (two_stages / "scores.json").exists() and not (heard / "scores.json").exists()
    with pytest.raises(scoring.NoReference):
        run_main(monkeypatch, *arguments, "--run", "heard")


def test_nothing_decoded_is_one_line_that_says_what_to_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "exp" / "decode_half").mkdir(parents=True)
    for experiment, message in [("exp", "hyp.jsonl: no such file"), ("none", "no decode_")]:
        monkeypatch.setattr(
            sys, "argv", ["score", "--exp", str(tmp_path / experiment), "--data", str(tmp_path)]
        )
        with pytest.raises(SystemExit) as stop:
            cli.run(score.main)
        error = capsys.readouterr().err
        assert stop.value.code == 2
        assert message in error and "stage 5" in error and error.count("\n") == 1
    (tmp_path / "all" / "atat").mkdir(parents=True)
    (tmp_path / "all" / "atat" / "model.safetensors").touch()
    (tmp_path / "all" / ".previous").mkdir()
    (tmp_path / "all" / ".previous" / "model.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"did you mean \S*/all/atat\?$"):
        scoring.run_directories(tmp_path / "all")


def test_help_needs_neither_torch_nor_espnet_nor_scipy():
    code = (
        "import sys, atat.score, atat.report\n"
        "heavy = {'torch', 'espnet2', 'scipy', 'jiwer', 'matplotlib', 'jinja2'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
