"""Stage 5 on a toy experiment and split."""

import json
import re
import shutil
import sys
from dataclasses import asdict

import pytest

from atat import decode
from atat.common import cli
from atat.config import config_file, schema
from atat.config.schema import DecodeRun
from atat.data import audio, feature_store, kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import scoring
from atat.inference import (
    confidence,
    decode_by_others,
    decode_inputs,
    decode_runs,
    hypotheses,
    whisper_words,
)
from atat.inference.beam_search import Hypothesis
from atat.inference.predictor import SpeechToSemantics
from atat.models import checkpoint


@pytest.fixture
def exp(toy_experiment, tmp_path):
    return shutil.copytree(toy_experiment, tmp_path / "exp")


def run(monkeypatch, capfd, exp, toy_data, *arguments):
    """(exit code, stdout, lines on stderr)"""
    data, dump = toy_data
    command = ["atat.decode", "--exp", exp, "--data", data, "--dump", dump, *arguments]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    code = 0
    try:
        cli.run(decode.main)
    except SystemExit as e:
        code = e.code
    out, err = capfd.readouterr()
    return code, out, err.splitlines()


def lines_of(directory):
    return [json.loads(line) for line in (directory / "hyp.jsonl").open(encoding="utf-8")]


def test_all_runs_are_decoded_and_can_be_scored(monkeypatch, capfd, exp, toy_data):
    code, out, err = run(monkeypatch, capfd, exp, toy_data)
    assert (code, err) == (0, [])
    assert [line.split()[0] for line in out.splitlines()[2:]] == [
        "test",
        "test_grammar",
        "test_asr",
    ]
    references = kaldi_dir.read(toy_data[0] / "test")
    for name, reference in (
        ("test", references.semantics),
        ("test_grammar", references.semantics),
        ("test_asr", references.text),
    ):
        lines = lines_of(exp / f"decode_{name}")
        assert [line["id"] for line in lines] == references.ids
        assert {line["id"]: line["hypothesis"] for line in lines} == reference
        assert all(line["nbest"][0]["hypothesis"] == line["hypothesis"] for line in lines)
        scores = scoring.score_run(exp / f"decode_{name}", toy_data[0], {})[None]
        assert scores["wer"]["value"] == 0.0
    assert (exp / "decode_test" / "scores.json").is_file()


def test_a_model_without_ctc_has_none_in_its_scores():
    run, settings = DecodeRun(split="test", ctc_weight=0.4), schema.Config()
    assert decode_runs.search_options(run, settings)["ctc_weight"] == 0.4
    settings.model.ctc_weight = 0.0
    assert decode_runs.search_options(run, settings)["ctc_weight"] == 0.0


def test_settings_of_the_search_count_where_confidence_was_fitted_with_others(exp):
    model = SpeechToSemantics.load(exp)
    test = model.settings.decode.runs["test"]
    fitted = asdict(model.options(**decode_runs.search_options(test, model.settings)))
    parts = {"names": ["cost"], "mean": [0.0], "scale": [1.0], "weights": [1.0], "bias": 0.0}
    calibrated = {name: fitted[name] for name in confidence.CALIBRATED}
    model.confidence = confidence.Confidence(calibrated, **parts, threshold=0.5, about={})
    model.settings.decode.beam, model.settings.decode.max_length = 2, 7
    options = model.options(**decode_runs.search_options(test, model.settings))
    assert (options.beam, options.max_length) == (2, 7)


def test_confidence_is_written_where_it_is_asked_for_and_calibrated(
    monkeypatch, capfd, exp, toy_data, toy_wavs
):
    model = SpeechToSemantics.load(exp)
    options = asdict(
        model.options(
            **decode_runs.search_options(model.settings.decode.runs["test"], model.settings)
        )
    )
    parts = {"names": ["cost", "margin"], "mean": [0.0, 0.0], "scale": [1.0, 1.0]}
    calibrated = {name: options[name] for name in confidence.CALIBRATED}
    made = confidence.Confidence(
        calibrated, **parts, weights=[-1.0, 0.3], bias=0.1, threshold=0.5, about={}
    )
    confidence.save(made, exp)
    assert run(monkeypatch, capfd, exp, toy_data)[0] == 0
    plain = {line["id"]: line for line in lines_of(exp / "decode_test")}
    assert not any("confidence" in line for line in plain.values())
    assert run(monkeypatch, capfd, exp, toy_data, "decode.confidence=true")[0] == 0
    found = {line["id"]: line for line in lines_of(exp / "decode_test")}
    model = SpeechToSemantics.load(exp)
    for key, wav in toy_wavs.items():
        assert found[key].pop("confidence") == pytest.approx(model(wav).confidence, abs=1e-3)
        assert found[key] == plain[key]
    (exp / "confidence.json").unlink()
    said = run(monkeypatch, capfd, exp, toy_data, "decode.confidence=true")[1]
    assert f"no confidences: {exp} is not calibrated" in said
    confidence.save(made, exp)
    assert run(monkeypatch, capfd, exp, toy_data, "decode.confidence=true")[0] == 0
    # Not of a run with other options than those that it is calibrated for.
    assert not any("confidence" in line for line in lines_of(exp / "decode_test_grammar"))


def test_runs_of_other_data_go_elsewhere_and_are_scored_there(
    monkeypatch, capfd, exp, toy_data, tmp_path
):
    assert run(monkeypatch, capfd, exp, toy_data, "--run", "test")[0] == 0
    own = (exp / "decode_test" / "hyp.jsonl").read_bytes()
    data, dump = tmp_path / "mine", tmp_path / "dump"
    held = kaldi_dir.read(toy_data[0] / "test")
    two = held.ids[:2]
    columns = (held.wav_scp, held.text, held.semantics, held.utt2spk)
    kaldi_dir.write(data / "test", DataDir(*({i: one[i] for i in two} for one in columns)))
    settings = config_file.load_resolved(exp / "config.yaml").features
    feature_store.write_split(data / "test", dump / "test", settings, 1)
    code, _, err = run(monkeypatch, capfd, exp, (data, dump), "--run", "test")
    assert code == 2 and len(err) == 1 and "expected --out DIR" in err[0]
    (exp / "about.json").write_text('{"hypothesis": "frame"}')
    code, _, err = run(monkeypatch, capfd, exp, (data, dump), "--out", str(tmp_path / "out"))
    assert (code, err) == (0, [])
    runs = sorted((tmp_path / "out").glob("decode_*"))
    scored = {path.name: scoring.score_run(path, data, {}) for path in runs}
    assert (tmp_path / "out" / "about.json").is_file()  # says what was compared
    assert scored["decode_test"][None]["em_hyp"]["n"] == 2 and len(scored) == 3
    assert (exp / "decode_test" / "hyp.jsonl").read_bytes() == own
    assert not (exp / "decode_test_asr").exists()


def test_run_json_says_what_was_done(monkeypatch, capfd, exp, toy_data):
    run(monkeypatch, capfd, exp, toy_data, "--run", "test_grammar")
    about = json.loads((exp / "decode_test_grammar" / "run.json").read_text())
    assert {k: about[k] for k in ("run", "split", "task", "beam", "constraint", "ctc_weight")} == {
        "run": "test_grammar",
        "split": "test",
        "task": "slu",
        "beam": 2,
        "constraint": "grammar",
        "ctc_weight": 0.3,
    }
    assert about["num_utterances"] == 4 and about["num_dropped"] == 0
    assert about["audio_seconds"] == pytest.approx(1.6 + 3.0 + 2.4 + 2.0, abs=0.1)
    assert about["seconds"] > 0 and about["cpu_seconds"] > 0 and about["commit"]
    assert about["model"] == checkpoint.digest(exp)
    assert not (exp / "decode_test").exists()


def test_decoding_again_takes_old_scores_away(monkeypatch, capfd, exp, toy_data):
    run(monkeypatch, capfd, exp, toy_data, "--run", "test")
    first = lines_of(exp / "decode_test")
    (exp / "decode_test" / "scores.json").write_text("{}")
    run(monkeypatch, capfd, exp, toy_data, "--run", "test")
    assert lines_of(exp / "decode_test") == first
    assert sorted(p.name for p in (exp / "decode_test").iterdir()) == ["hyp.jsonl", "run.json"]


def test_references_are_not_opened(monkeypatch, capfd, exp, toy_data, tmp_path):
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    for name in ("text", "semantics"):
        (data / "test" / name).write_bytes(b"\xff not to be read")
    code, _, err = run(monkeypatch, capfd, exp, (data, toy_data[1]))
    assert (code, err) == (0, [])


def test_decoding_settings_can_change_and_others_cannot(monkeypatch, capfd, exp, toy_data):
    arguments = ["--run", "test", "decode.nbest=3", "decode.beam=5", "model.width=32"]
    assert run(monkeypatch, capfd, exp, toy_data, *arguments)[0] == 0  # the width it has
    assert all(1 < len(line["nbest"]) <= 3 for line in lines_of(exp / "decode_test"))
    assert json.loads((exp / "decode_test" / "run.json").read_text())["beam"] == 5
    for override, message in (
        ("train.num_steps=70", "'train' was settled in training"),
        ("decode.bean=3", "did you mean 'decode.beam'"),
        ("beam", "expected key=value"),
    ):
        code, _, err = run(monkeypatch, capfd, exp, toy_data, override)
        assert code == 2 and len(err) == 1 and message in err[0]


def test_runs_given_as_a_whole_replace_those_of_training(monkeypatch, capfd, exp, toy_data):
    override = 'decode.runs={"test": {"split": "test", "task": "nlu"}}'
    assert run(monkeypatch, capfd, exp, toy_data, override)[0] == 0
    assert [path.name for path in exp.glob("decode_*")] == ["decode_test"]
    assert json.loads((exp / "decode_test" / "run.json").read_text())["task"] == "nlu"


def test_a_run_may_read_the_text_of_a_split(toy_experiment, toy_data, tmp_path):
    from atat.inference.predictor import SpeechToSemantics

    data, dump = toy_data
    run = DecodeRun(split="test", source="text", task="nlu")
    model = SpeechToSemantics.load(toy_experiment)
    inputs = decode_inputs.open_inputs(run, data, dump, toy_experiment)
    about = decode_runs.decode_run(
        model, "written", run, model.options(task="nlu"), inputs, tmp_path / "decode_written"
    )
    assert (about["source"], about["audio_seconds"]) == ("text", None)
    references = kaldi_dir.read(data / "test").semantics
    lines = lines_of(tmp_path / "decode_written")
    assert {line["id"]: line["hypothesis"] for line in lines} == references
    assert decode_runs.table([about]).splitlines()[2].split()[0] == "written"


def test_several_processes_find_what_one_finds(monkeypatch, capfd, exp, toy_data):
    monkeypatch.setattr(decode_runs, "MIN_FRAMES_EACH", 1)
    found = []
    for number in ("1", "2"):
        assert run(monkeypatch, capfd, exp, toy_data, "--nj", number)[0] == 0
        found.append([lines_of(path) for path in sorted(exp.glob("decode_*"))])
    assert found[0] == found[1] and len(found[0]) > 1


def test_words_of_a_split_or_a_run_are_understood_as_training_has_them(tmp_path, toy_experiment):
    """What a user types is joined ("mom's"); "'s" alone is a word of the corpora."""
    texts = {"a-1": "mom 's birthday at 6 am"}
    kaldi_dir.write(tmp_path / "test", kaldi_dir.DataDir(text=texts))
    (tmp_path / "decode_heard").mkdir()
    (tmp_path / "decode_heard" / "hyp.jsonl").write_text(
        json.dumps({"id": "a-1", "task": "asr", "hypothesis": f"play( {texts['a-1']}"}) + "\n"
    )
    taken = []

    class Model:
        settings = config_file.load_resolved(toy_experiment / "config.yaml")

        def search_texts(self, sentences, options):
            taken.extend(sentences)
            return [[] for _ in sentences]

    of_text = DecodeRun(split="test", source="text", task="nlu")
    of_run = DecodeRun(split="test", source="hypotheses", input="heard", task="nlu")
    for run_ in (of_text, of_run):
        inputs = decode_inputs.open_inputs(run_, tmp_path, tmp_path, tmp_path)
        list(decode_runs.decoded(Model(), inputs, None))
    assert taken == [texts["a-1"]] * 2


def test_two_stages_understand_the_words_that_were_heard(monkeypatch, capfd, exp, toy_data):
    settings = config_file.load_resolved(exp / "config.yaml")
    # Listed before what it reads.
    two_stage = DecodeRun(source="hypotheses", input="test_asr", task="nlu")
    settings.decode.runs = {"two_stage": two_stage, **settings.decode.runs}
    config_file.save(settings, exp / "config.yaml")
    code, _, err = run(monkeypatch, capfd, exp, toy_data, "--run", "two_stage")
    assert code == 2 and "decode_test_asr/hyp.jsonl: no such file" in err[0]

    assert run(monkeypatch, capfd, exp, toy_data)[0] == 0
    references = kaldi_dir.read(toy_data[0] / "test")
    heard = {line["id"]: line["hypothesis"] for line in lines_of(exp / "decode_test_asr")}
    assert heard == references.text
    understood = {line["id"]: line["hypothesis"] for line in lines_of(exp / "decode_two_stage")}
    assert understood == references.semantics
    about = json.loads((exp / "decode_two_stage" / "run.json").read_text())
    assert (about["source"], about["input"], about["audio_seconds"]) == (
        "hypotheses", "test_asr", None
    )  # fmt: skip

    # What was heard is what is understood, right or wrong; nothing, or endless words, is nothing.
    path = exp / "decode_test_asr" / "hyp.jsonl"
    lines = lines_of(exp / "decode_test_asr")
    words = [lines[1]["hypothesis"], "", "word " * 513, *(line["hypothesis"] for line in lines[3:])]
    wrong = [line | {"hypothesis": w} for line, w in zip(lines, words, strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in wrong))
    code, out, _ = run(monkeypatch, capfd, exp, toy_data, "--run", "two_stage")
    assert code == 0 and "two_stage: 2 of 4 utterances were dropped" in out
    first, second, third, _ = lines_of(exp / "decode_two_stage")
    assert first["hypothesis"] == references.semantics[second["id"]]
    assert (second["hypothesis"], second["reason"]) == ("", "decode_test_asr recognised no words")
    assert third["hypothesis"] == "" and third["reason"].endswith("tokens, expected at most 512")


def test_a_sentence_of_too_many_tokens_has_a_line_that_says_so_and_the_run_goes_on(
    monkeypatch, capfd, exp, toy_data, tmp_path
):
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    split = kaldi_dir.read(data / "test")
    long, *others = split.ids
    split.text[long], split.semantics = " ".join(["light"] * 600), None
    kaldi_dir.write(data / "test", split)
    settings = config_file.load_resolved(exp / "config.yaml")
    settings.decode.runs = {"written": DecodeRun(source="text", task="nlu")}
    config_file.save(settings, exp / "config.yaml")
    code, out, err = run(monkeypatch, capfd, exp, (data, toy_data[1]))
    assert (code, err) == (0, []) and "written: 1 of 4 utterances were dropped" in out
    lines = {line["id"]: line for line in lines_of(exp / "decode_written")}
    assert lines[long]["hypothesis"] == "" and re.fullmatch(
        r"got \d+ tokens, expected at most 512", lines[long]["reason"]
    )
    right = kaldi_dir.read(toy_data[0] / "test").semantics
    assert {i: lines[i]["hypothesis"] for i in others} == {i: right[i] for i in others}


class Whisper:
    """Stands in for the published one: it hears what the references of four files say."""

    def __init__(self, texts: dict[int, str]):
        self.texts, self.words = texts, self

    def features(self, samples_N):
        return samples_N

    def encode(self, samples_N):
        return len(samples_N)

    def search(self, length, beam):
        return [Hypothesis((length,), -float(beam))]

    def decode(self, tokens):
        return self.texts[tokens[0]]


def test_in_a_cascade_another_recogniser_hears_and_the_model_understands(
    monkeypatch, capfd, exp, toy_data
):
    references = kaldi_dir.read(toy_data[0] / "test")
    heard = {len(audio.read(references.wav_scp[i])): references.text[i] for i in references.ids}
    assert len(heard) == 4
    sources = []
    monkeypatch.setattr(whisper_words, "listener", lambda s: sources.append(s) or Whisper(heard))
    settings = config_file.load_resolved(exp / "config.yaml")
    settings.decode.runs = {
        "cascade": DecodeRun(source="hypotheses", input="whisper", task="nlu"),
        "whisper": DecodeRun(task="asr", recognizer="openai/whisper-tiny.en", beam=2),
    }
    config_file.save(settings, exp / "config.yaml")
    code, _, err = run(monkeypatch, capfd, exp, toy_data)
    assert (code, err) == (0, []) and set(sources) == {"openai/whisper-tiny.en"}
    words = {line["id"]: line["hypothesis"] for line in lines_of(exp / "decode_whisper")}
    assert words == references.text
    understood = {line["id"]: line["hypothesis"] for line in lines_of(exp / "decode_cascade")}
    assert understood == references.semantics
    about = json.loads((exp / "decode_whisper" / "run.json").read_text())
    assert (about["recognizer"], about["beam"]) == ("openai/whisper-tiny.en", 2)
    assert about["model"] == checkpoint.digest(exp)
    assert about["audio_seconds"] == pytest.approx(sum(heard) / 16000, abs=0.01)
    assert scoring.score_run(exp / "decode_whisper", toy_data[0], {})[None]["wer"]["value"] == 0.0


@pytest.mark.parametrize(
    ("spelled_out", "kept", "words"),
    [
        (False, "", "set x ray to 7 30 pm"),
        (False, "-", "set x-ray to 7 30 pm"),
        (True, "", "set x-ray to seven thirty pm"),  # as a grammar's
    ],
)
def test_another_recognisers_words_are_written_as_the_texts_are(
    monkeypatch, exp, toy_data, spelled_out, kept, words
):
    settings = config_file.load_resolved(exp / "config.yaml")
    settings.data.spelled_out = spelled_out
    settings.decode.runs = {"whisper": DecodeRun(task="asr", recognizer="w")}
    config_file.save(settings, exp / "config.yaml")
    wavs = kaldi_dir.read(toy_data[0] / "test").wav_scp.values()
    heard = {len(audio.read(wav)): "Set X-ray to 7 30 PM!" for wav in wavs}
    monkeypatch.setattr(decode_by_others, "punctuation", lambda tokenizer: kept)
    monkeypatch.setattr(whisper_words, "listener", lambda source: Whisper(heard))
    monkeypatch.setattr(
        sys, "argv", ["", "--exp", str(exp), "--data", str(toy_data[0]), "--dump", str(toy_data[1])]
    )
    decode.main()
    assert {line["hypothesis"] for line in lines_of(exp / "decode_whisper")} == {words}


def test_what_another_recogniser_cannot_read_has_a_line_that_says_so(
    monkeypatch, capfd, exp, toy_data, tmp_path
):
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    split = kaldi_dir.read(data / "test")
    bad, *others = split.ids
    heard = {len(audio.read(split.wav_scp[i])): split.text[i] for i in others}
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    split.wav_scp[bad] = str(tmp_path / "b.wav")
    kaldi_dir.write(data / "test", split)
    monkeypatch.setattr(whisper_words, "listener", lambda source: Whisper(heard))
    settings = config_file.load_resolved(exp / "config.yaml")
    settings.decode.runs = {"whisper": DecodeRun(task="asr", recognizer="w")}
    config_file.save(settings, exp / "config.yaml")
    code, _, err = run(monkeypatch, capfd, exp, (data, toy_data[1]))
    assert (code, err) == (0, [])
    lines = {line["id"]: line for line in lines_of(exp / "decode_whisper")}
    assert {i: lines[i]["hypothesis"] for i in others} == {i: split.text[i] for i in others}
    assert lines[bad]["hypothesis"] == "" and "b.wav" in lines[bad]["reason"]
    about = json.loads((exp / "decode_whisper" / "run.json").read_text())
    assert (about["num_utterances"], about["num_dropped"]) == (4, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recognizer": "w"}, "recognizer: got 'w' for slu of speech, expected asr of speech"),
        ({"recognizer": "w", "task": "asr", "source": "text"}, "for asr of text, expected asr of"),
        ({"source": "smell"}, "source: got 'smell', expected speech or text or hypotheses"),
        ({"source": "hypotheses"}, "input: got 'None', expected a run that gives the words"),
        ({"source": "hypotheses", "input": "slu"}, "input: got 'slu'"),
        ({"source": "hypotheses", "input": "two"}, "of speech: asr"),
        ({"source": "hypotheses", "input": "asr", "split": "dev"}, "expected that of its input"),
        ({"input": "asr"}, "which only the source hypotheses has"),
    ],
)
def test_a_run_whose_source_cannot_be_is_a_value_error(change, message):
    settings = schema.Config()
    runs = {"two": DecodeRun(**change), "asr": DecodeRun(task="asr"), "slu": DecodeRun()}
    settings.decode.runs = runs
    with pytest.raises(ValueError, match=message):
        decode_runs.chosen_runs(settings, "asr")


def test_small_batches_give_the_same_hypotheses(monkeypatch, capfd, exp, toy_data):
    run(monkeypatch, capfd, exp, toy_data, "--run", "test")
    together = lines_of(exp / "decode_test")
    run(monkeypatch, capfd, exp, toy_data, "--run", "test", "decode.batch_frames=1")
    alone = lines_of(exp / "decode_test")
    for a, b in zip(together, alone, strict=True):
        assert a["hypothesis"] == b["hypothesis"]
        assert a["score"] == pytest.approx(b["score"], abs=2e-4)


def test_what_stage_2_dropped_counts_as_wrong(
    monkeypatch, capfd, exp, toy_data, toy_wavs, tmp_path
):
    import soundfile

    soundfile.write(tmp_path / "short.wav", [0.0] * 500, 16000)
    wav_scp = {i: str(path) for i, path in toy_wavs.items()} | {
        "bert-1": str(tmp_path / "short.wav")
    }
    data, dump = tmp_path / "data", tmp_path / "dump"
    labels = dict.fromkeys(wav_scp, "turnOn( light )turnOn")
    text = dict.fromkeys(wav_scp, "light")
    speakers = {i: i.partition("-")[0] for i in wav_scp}
    kaldi_dir.write(data / "test", DataDir(wav_scp, text, labels, speakers))
    settings = config_file.load_resolved(exp / "config.yaml").features
    settings.allow_drops = True
    feature_store.write_split(data / "test", dump / "test", settings, 1)
    shutil.copytree(exp / "tokenizer", data / "tokenizer")
    code, out, _ = run(monkeypatch, capfd, exp, (data, dump), "--run", "test")
    assert code == 0 and "test: 1 of 5 utterances were dropped" in out
    last = lines_of(exp / "decode_test")[-1]
    assert (last["id"], last["hypothesis"], last["nbest"]) == ("bert-1", "", [])
    assert "dropped by stage 2" in last["reason"] and "0.031 s long" in last["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "tset"], "--run: got 'tset', expected one of test, test_asr, test_grammar"),
        (["decode.runs.test.split=dev"], "dev"),
        (["decode.runs.test.task=sing"], "task: got 'sing'"),
        (["decode.runs.test.constraint=x"], "constraint: got 'x'"),
        (["decode.runs.test.ctc_weight=2"], "ctc_weight: got 2.0"),
    ],
)
def test_mistakes_are_one_line_and_found_before_decoding(
    monkeypatch, capfd, exp, toy_data, arguments, message
):
    code, _, err = run(monkeypatch, capfd, exp, toy_data, *arguments)
    assert code == 2 and len(err) == 1 and message in err[0]
    assert not list(exp.glob("decode_*"))


def test_other_features_than_the_split_are_refused(monkeypatch, capfd, exp, toy_data, tmp_path):
    data = shutil.copytree(toy_data[0], tmp_path / "data")
    path = data / "test" / "wav.scp"
    path.write_text("".join(path.open().readlines()[:-1]))
    code, _, err = run(monkeypatch, capfd, exp, (data, toy_data[1]))
    assert code == 2 and "its utterances are not those of" in err[0]


def test_a_full_disk_leaves_nothing_behind(monkeypatch, capfd, exp, toy_data):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hypotheses.json, "dumps", full)
    code, _, err = run(monkeypatch, capfd, exp, toy_data, "--run", "test")
    assert code == 1 and "disk full" in err[0]
    assert not [p for p in exp.iterdir() if "decode" in p.name]


def test_shares_of_several_jobs_become_what_one_job_finds(monkeypatch, capfd, exp, toy_data):
    assert run(monkeypatch, capfd, exp, toy_data, "decode.batch_frames=100")[0] == 0
    before = {p.parent.name: p.read_bytes() for p in exp.glob("decode_*/hyp.jsonl")}
    for number in (1, 2):
        monkeypatch.setenv("ATAT_SHARE", f"{number}/2")
        assert run(monkeypatch, capfd, exp, toy_data, "decode.batch_frames=100")[0] == 0
    assert len(list((exp / ".shares").iterdir())) == 2 * len(before)
    monkeypatch.delenv("ATAT_SHARE")
    with monkeypatch.context() as patch:
        patch.setattr(decode_runs, "_find", lambda *a, **k: pytest.fail("decoded again"))
        code = run(monkeypatch, capfd, exp, toy_data, "decode.batch_frames=100")[0]
    assert code == 0 and not (exp / ".shares").exists()
    assert {p.parent.name: p.read_bytes() for p in exp.glob("decode_*/hyp.jsonl")} == before


def test_shares_of_another_search_do_not_count(monkeypatch, capfd, exp, toy_data):
    monkeypatch.setenv("ATAT_SHARE", "1/1")
    run(monkeypatch, capfd, exp, toy_data, "decode.beam=1")
    monkeypatch.delenv("ATAT_SHARE")
    decoded = []
    find = decode_runs._find
    monkeypatch.setattr(decode_runs, "_find", lambda *a, **k: decoded.append(1) or find(*a, **k))
    assert run(monkeypatch, capfd, exp, toy_data, "decode.beam=2")[0] == 0 and decoded
