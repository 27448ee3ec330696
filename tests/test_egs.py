"""The recipes from corpus to report, on toy corpora rendered here: seconds of training."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from atat.config import config_file, experiment_tables
from atat.data.tokenizer import Tokenizer
from atat.prepare import toy_corpus
from tests import slurm_cluster

# Whole runs, each of a few trainings: minutes on a busy machine.
pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).resolve().parent.parent
GRAMMAR = """
context:
  expressions:
    turnOn:
      - "(please) turn on the [light, lamp] in the $room:room"
      - "(please) switch on the $room:room [light, lamp]"
    turnOff:
      - "(please) turn off the [light, lamp] in the $room:room"
  slots:
    room: [kitchen, bedroom, office, garage, hallway, bathroom]
"""
TINY = """
data: {num_train: 24, num_train_text: 24, num_valid: 6, num_test: 6, num_pseudo_speakers: 2,
       num_asr: 6, num_foreign: 6}
model: {width: 32, num_heads: 2, speech_layers: 1, speech_ffn: 64, text_layers: 1, text_ffn: 64,
        decoder_layers: 1, decoder_ffn: 64, front_channels: 4}
train: {num_steps: 12, num_epochs: 2, num_processes: 1, num_workers: 0, num_valid: 6}
decode: {negative_hours: 0.01, beam: 2, max_length: 20}  # what knows nothing finds no end
"""


def run(*arguments: object, expected: int = 0, env: dict[str, str] | None = None) -> str:
    # More processes would each import torch, for a handful of utterances.
    command = [ROOT / "run.sh", "--python", sys.executable, "--nj", "1", *arguments]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | (env or {}),
    )  # fmt: skip
    assert done.returncode == expected, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A toy grammar, from sentences to RESULTS.md; the options of the run."""
    root = tmp_path_factory.mktemp("egs")
    (root / "grammar.yaml").write_text(GRAMMAR)
    (root / "tiny.yaml").write_text(TINY)
    exp = root / "exp"
    options = ["--grammar", root / "grammar.yaml", "--expdir", exp, "--config", root / "tiny.yaml"]
    options += ["--set", f"data.cache={root / 'cache'}"]
    return exp, options, run(*options)


def test_a_grammar_becomes_a_scored_model_and_a_report(trained):
    exp, _, output = trained
    assert "exact match" in output
    scores = json.loads((exp / "atat" / "decode_test" / "scores.json").read_text())
    assert scores["em_hyp"]["n"] == 6
    assert 0.0 <= scores["em_hyp"]["low"] <= scores["em_hyp"]["high"] <= 1.0
    for line in (exp / "atat" / "decode_test" / "hyp.jsonl").read_text().splitlines():
        assert {"id", "hypothesis", "reference", "em_hyp"} <= set(json.loads(line))
    assert "AT-AT" in (exp / "RESULTS.md").read_text()
    assert (exp / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_test_voices_and_sentences_are_not_in_training(trained):
    exp, _, _ = trained
    texts, engines = {}, {}
    for split in ("train", "train_text", "test"):
        lines = (exp / "data" / split / "text").read_text().splitlines()
        texts[split] = {line.split(" ", 1)[1] for line in lines}
        engines[split] = {line.split("-")[0] for line in lines}
    assert not texts["test"] & (texts["train"] | texts["train_text"])
    assert not engines["test"] & engines["train"]


def test_what_is_done_is_not_done_again_and_a_stage_can_be_ordered(trained):
    _, options, _ = trained
    again = run(*options)
    assert again.count("done already") == 6
    decoded = run(*options, "--stage", 5, "--stop_stage", 6)
    assert "stage 5 decode (atat): done" in decoded and "stage 4" not in decoded


def test_the_model_understands_a_wav(trained):
    exp, _, _ = trained
    wav = (exp / "data" / "test" / "wav.scp").read_text().split("\n")[0].split(" ", 1)[1]
    command = [sys.executable, "-m", "atat.parse", "--exp", exp / "atat"]
    for source in ([wav], ["--text", "turn on the kitchen light"]):
        done = subprocess.run([*command, *source], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert {"intent", "slots", "semantics", "seconds"} <= set(json.loads(done.stdout))


def files(exp: Path) -> dict[str, tuple[bytes, int]]:
    found = [path for path in exp.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize(
    ("stage", "setting"),
    [
        (1, "data.voices.train={nobody: 1}"),
        (2, "features.cmvn_splits=[nowhere]"),
        (3, "tokenizer.splits=[nowhere]"),
        (4, "train.num_gpus=1"),
        (4, "train.sources=[{split: train, tasks: [asr, mlm]}]"),  # found in training
        (5, "decode.beam=0"),
    ],
)
def test_a_mistake_that_a_stage_finds_changes_nothing(trained, stage, setting):
    if torch.cuda.is_available() and "gpus" in setting:
        pytest.skip("there is a GPU")
    exp, options, _ = trained
    before = files(exp)
    output = run(*options, "--set", setting, "--overwrite", "true", expected=2)
    assert "error: " in output.splitlines()[-1]
    assert files(exp) == before
    # Without --overwrite the driver does not come as far.
    if stage < 5:
        assert "atat is trained, and now" in run(*options, "--set", setting, expected=2)
    assert run(*options, "--stop_stage", 6).count("done already") == 6


@pytest.mark.parametrize(
    ("stage", "name", "edited"),
    [
        (2, "test/wav.scp", b"b nowhere.wav\na nowhere.wav\n"),
        (3, "train/text", b"a-1 one\n"),
        (5, "test/wav.scp", b"a-1 nowhere.wav\n"),
        (6, "about.json", b'{"hypothesis": "none"}'),
        (6, "test/semantics", b"a-1 turnOn(\n"),
        (7, "test/text", b"b on\na on\n"),
    ],
)
def test_edited_data_that_a_stage_refuses_are_not_taken_over(trained, stage, name, edited):
    exp, options, _ = trained
    path = exp / "data" / name
    was, when = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(edited)
    before = files(exp)
    output = run(*options, "--stage", stage, "--overwrite", "true", expected=2)
    # What is to be run can be pasted: it has the options of this run.
    pasted = rf"error: .* run: \S*run\.sh .*--expdir {exp} .*--stage [12]$"
    assert re.search(pasted, output.splitlines()[-1])
    assert files(exp) == before
    path.write_bytes(was)
    os.utime(path, ns=(when, when))
    assert run(*options, "--stop_stage", 6).count("done already") == 6


def test_edited_data_that_a_later_stage_refuses_are_not_taken_over(trained):
    exp, options, _ = trained
    path = exp / "data" / "test" / "semantics"
    was, when = path.read_bytes(), path.stat().st_mtime_ns
    before = left_by_stages(exp)
    path.write_bytes(b"a-1 turnOn(\n")
    output = run(*options, "--stage", 5, expected=2)  # decoding reads wav.scp alone
    assert "stage 5 decode (atat): done" in output and "test/semantics" in output
    path.write_bytes(was)
    os.utime(path, ns=(when, when))
    assert run(*options, "--stop_stage", 6).count("done already") == 4
    assert left_by_stages(exp) == before


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def left_by_stages(exp: Path) -> dict[str, bytes]:
    """What the stages of a finished run have left: not the report, what says how long something
    took, and what only a training reads."""
    found = [p for p in exp.rglob("*") if p.is_file() and not p.name.startswith(".")]
    others = {"stage.json", "run.json", "checkpoints", "conditions"}
    return {
        str(path): path.read_bytes()
        for path in found
        if path.parent != exp
        and not others & set(path.parts)
        and not any(
            part.startswith(("base_", ".tokens")) for part in path.parts
        )  # kept to save time
    }


# Of each kind of damage tests/common/test_stages.py has more; a whole run of each is a minute.
@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_whatever_is_damaged_of_a_finished_run_is_made_again(trained, damage):
    """All files at once but the model, of which the others are put back."""
    exp, options, _ = trained
    before = left_by_stages(exp)
    for name in before:
        path = Path(name)
        of_stage_1 = path.is_relative_to(exp / "data") and "tokenizer" not in path.parts
        lost = damage is Path.unlink and before[name]  # what is changed may be wanted so
        if path.name != "model.safetensors" and (lost or not of_stage_1):
            damage(path)
    for path in exp.rglob(".done.[1-6]"):
        damage(path) if damage is not Path.unlink else None
    output = run(*options)
    assert "Traceback" not in output and left_by_stages(exp) == before
    again = run(*options)
    assert again.count("done already") == 6 and ": made again" not in again


@pytest.mark.parametrize("damage", [flip, truncate])
def test_a_damaged_model_is_made_of_its_checkpoints_and_the_command_is_said_without(
    trained, damage, tmp_path
):
    exp, options, _ = trained
    before = left_by_stages(exp)
    model = exp / "atat" / "model.safetensors"
    damage(model)
    assert "put back" in run(*options, "--stop_stage", 6) and left_by_stages(exp) == before
    damage(model)
    checkpoints = shutil.move(exp / "atat" / "checkpoints", tmp_path)
    output = run(*options, "--stop_stage", 6, expected=2)
    assert "to train it anew, run:" in output and output.splitlines()[-1].endswith(
        "--stage 4 --overwrite true"
    )
    shutil.move(checkpoints, exp / "atat" / "checkpoints")
    run(*options, "--stop_stage", 6)
    assert left_by_stages(exp) == before


def test_what_clean_removes_is_not_missed(trained):
    exp, options, _ = trained
    assert "removes" in run(*options, "--clean", "true")
    assert not (exp / "dump").exists() and not (exp / "atat" / "checkpoints").exists()
    test_the_model_understands_a_wav(trained)
    assert run(*options).count("done already") == 6
    before = (exp / "atat" / "model.safetensors").stat().st_mtime_ns
    assert "features: made again" in run(*options, "--stage", 5)
    assert run(*options).count("done already") == 6
    assert (exp / "atat" / "model.safetensors").stat().st_mtime_ns == before


def test_barista_trains_on_its_grammar_and_is_scored_on_recordings(trained, tmp_path):
    exp, _, _ = trained
    corpus = tmp_path / "corpus"
    for part in ("speech/clean", "label", "rhino"):
        (corpus / "data" / part).mkdir(parents=True)
    (corpus / "data" / "rhino" / "coffee_maker.yaml").write_text(GRAMMAR)
    labels = {}
    for number, line in enumerate((exp / "data" / "test" / "wav.scp").read_text().splitlines()[:3]):
        samples, rate = soundfile.read(line.split(" ", 1)[1])
        soundfile.write(corpus / "data" / "speech" / "clean" / f"r{number}.wav", samples, rate)
        labels[f"r{number}.wav"] = {"intent": "turnOn", "slots": {"room": " kitchen"}}
    (corpus / "data" / "label" / "label.json").write_text(json.dumps(labels))
    (tmp_path / "tiny.yaml").write_text(TINY)
    options = ["--recipe", "barista", "--corpus_dir", corpus, "--expdir", tmp_path / "exp"]
    options += ["--config", tmp_path / "tiny.yaml", "--set", f"data.cache={tmp_path / 'cache'}"]
    options += ["--set", "train.num_steps=12"]  # the experiment has its own, after any --config
    run(*options)
    scores = json.loads((tmp_path / "exp" / "atat" / "decode_test" / "scores.json").read_text())
    assert scores["em_hyp"]["n"] == 3 and "em_full" not in scores
    train = (tmp_path / "exp" / "data" / "train" / "wav.scp").read_text()
    assert str(corpus) not in train
    shutil.rmtree(corpus)
    assert "corpus" in run(*options, "--stage", 1, expected=2)


# Recipes of recorded corpora and of trees, on stand-ins in their layouts

# Their own settings ask for more data, memory and time than there is here.
SMALL = """
data: {num_train: 0, num_train_text: 0, num_valid: 0, num_test: 0, num_pseudo_speakers: 2,
       num_asr: 24, asr_texts: null, renderings: 1, low_resource: 0.2}
model: {width: 32, num_heads: 2, speech_layers: 1, speech_ffn: 64, text_layers: 1, text_ffn: 64,
        decoder_layers: 1, decoder_ffn: 64, front_channels: 4}
train: {num_steps: 8, num_epochs: 2, num_processes: 1, num_workers: 0, num_valid: 6,
        pretrained_schedule: [[3, 0], [3, 0.5]], batch_frames: 1500}
decode: {beam: 2, max_length: 20}
"""
CORPORA = {  # recipe: layout of its corpus here
    "librispeech": "librispeech",
    "fluent_speech": "fluent_speech",
    "snips_audio": "snips_audio",
    "slurp": "slurp",
    "top_zeroshot": "top",
    "music_lowres": "topv2",
    "pretrain": "snips_nlu",
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Makes the toy corpus of a layout, once."""
    root = tmp_path_factory.mktemp("corpora")

    def corpus(layout: str) -> Path:
        toy_corpus.make(layout, "small", 1, root / layout, root / "cache", 2)
        return root / layout

    return corpus


@pytest.fixture
def recipe(corpora, tmp_path):
    """Runs a recipe on its toy corpus; all that it writes is in tmp_path/exp."""
    (tmp_path / "small.yaml").write_text(SMALL)

    def run_recipe(name: str, *options: object) -> str:
        return run(
            *("--recipe", name, "--corpus_dir", corpora(CORPORA[name])),
            *("--expdir", tmp_path / "exp", "--config", tmp_path / "small.yaml"),
            *("--set", f"data.cache={corpora('librispeech').parent / 'cache'}", *options),
        )

    return run_recipe


@pytest.fixture(scope="module")
def pretrained(corpora, tmp_path_factory):
    """The directory of a LibriSpeech run, all rows of its table trained."""
    root = tmp_path_factory.mktemp("pretrained")
    (root / "small.yaml").write_text(SMALL)
    options = ["--corpus_dir", corpora("librispeech"), "--config", root / "small.yaml"]
    options += ["--expdir", root / "exp", "--nj", 2]
    run("--recipe", "librispeech", *options, "--table", "true")
    return root / "exp"


def scores(run_directory: Path) -> dict:
    return json.loads((run_directory / "scores.json").read_text())


def results(exp: Path) -> str:
    """RESULTS.md, all rows of which must have been scored."""
    text = (exp / "RESULTS.md").read_text()
    assert "Not there yet" not in text and "Nothing is scored yet" not in text, text
    return text


@pytest.mark.parametrize("name", CORPORA)
def test_check_says_what_a_corpus_has_beside_what_was_published(name, recipe, tmp_path):
    output = recipe(name, "--check", "true")
    assert "found" in output and "published" in output
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("name", CORPORA)
def test_a_directory_without_the_corpus_is_one_line_and_exit_code_2(name, tmp_path):
    (tmp_path / "corpus").mkdir()
    options = ["--recipe", name, "--corpus_dir", tmp_path / "corpus", "--check", "true"]
    output = run(*options, "--expdir", tmp_path / "exp", expected=2)
    assert len(output.splitlines()) == 1 and "error: " in output


@pytest.mark.parametrize("name", CORPORA)
def test_every_row_of_a_recipe_has_a_run_that_its_settings_decode(name):
    recipe_dir = ROOT / "egs" / name
    table = experiment_tables.load(recipe_dir / "tables.yaml")
    # What differs for some of the rows (a recorded test) is in files beside recipe.yaml.
    files = sorted((recipe_dir / "conf").glob("*.yaml"), key=lambda f: f.stem != "recipe")
    assert table.table and files[0].stem == "recipe"
    for row in table.table:
        for training in table.trainings(row.experiment) if row.experiment else ():
            assert row.run in config_file.load(files, (), [training.config]).decode.runs, row


def test_librispeech_learns_words_then_masked_ones(pretrained):
    for experiment in ("atat", "atat_mlm"):
        assert scores(pretrained / experiment / "decode_test")["wer"]["n"] == 8
    assert (pretrained / "data" / "train" / "ctm").is_file()
    assert "ASR + MLM" in results(pretrained)


def test_fluent_speech_gives_the_papers_table_from_a_pretrained_start(recipe, pretrained, tmp_path):
    recipe("fluent_speech", "--table", "true", "--init_from", pretrained / "atat")
    exp = tmp_path / "exp"
    assert json.loads((exp / "data" / "about.json").read_text())["hypothesis"] == "triple"
    assert scores(exp / "atat" / "decode_test")["em_hyp"]["n"] == 31
    text = results(exp)
    assert "99.5 %" in text and "E2E, 10 %" in text
    settings = {e: (exp / e / "config.yaml").read_text() for e in ("atat", "e2e")}
    assert str(pretrained / "atat") in settings["atat"]
    assert str(pretrained) not in settings["e2e"]  # from scratch, whatever is given


def test_snips_audio_trains_a_fold_by_itself_and_pools_those_it_has(recipe, pretrained, tmp_path):
    options = ["--init_from", pretrained / "atat", "--experiment", "e2e_encoder"]
    recipe("snips_audio", *options, "--part", "close_1", "--set", "data.stand_in=true")
    part = tmp_path / "exp" / "parts" / "close_1"
    n = scores(part / "exp" / "e2e_encoder" / "decode_test")["em_hyp"]["n"]
    assert n == len((part / "data" / "test" / "text").read_text().splitlines())
    text = (tmp_path / "exp" / "RESULTS.md").read_text()
    assert "(4 of 5 runs missing)" in text and "(5 of 5 runs missing)" in text
    # What was given is a stand-in, which is said everywhere.
    assert "rendered" in json.loads((part / "data" / "about.json").read_text())["speech"]
    assert "The corpus is a stand-in" in text
    # The other folds are prepared apart, with other speakers in their tests.
    recipe("snips_audio", "--part", "close_2", "--stop_stage", "1")
    speakers = [
        {line.split()[1] for line in (path / "data/test/utt2spk").read_text().splitlines()}
        for path in (part, part.with_name("close_2"))
    ]
    assert speakers[0] and speakers[1] and not speakers[0] & speakers[1]


def test_slurp_has_the_metrics_that_are_published_and_writes_predictions_in_its_format(
    recipe, corpora, tmp_path
):
    output = recipe("slurp", "--experiment", "atat", "--set", "data.part=headset")
    assert "SLU-F1" in output and "Scenario acc" in output
    exp = tmp_path / "exp"
    found = scores(exp / "atat" / "decode_test")
    assert found["slu_f1"]["n"] == found["scenario_accuracy"]["n"] == found["em_hyp"]["n"] > 10
    assert scores(exp / "atat" / "decode_test_text")["char_distance_f1"]["n"] == 12
    text = (exp / "RESULTS.md").read_text()
    assert "| SLU-F1 | paper |" in text and "82.27 %" in text and "AT-AT, of the sentence" in text
    assert all("-headset" in line for line in (exp / "data/test/wav.scp").read_text().splitlines())
    # Its predictions, and what a scorer of SLURP's format says of them.
    command = [sys.executable, "-m", "atat.prepare.slurp_predictions"]
    predictions = tmp_path / "predictions.jsonl"
    write = ["--exp", exp / "atat", "--data", exp / "data", "--out", predictions]
    gold = corpora("slurp") / "dataset" / "slurp" / "test.jsonl"
    score = ["--predictions", predictions, "--gold", gold, "--out", tmp_path / "scores.json"]
    for options in (write, score):
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    assert f"{found['em_hyp']['n']} of 24 predicted" in done.stdout
    theirs = json.loads((tmp_path / "scores.json").read_text())
    assert {n: s["value"] for n, s in theirs.items()} == {n: found[n]["value"] for n in theirs}


def test_top_zeroshot_learns_trees_and_is_tested_on_rendered_and_recorded_speech(
    recipe, corpora, tmp_path
):
    recorded = ["--config", ROOT / "egs" / "top_zeroshot" / "conf" / "recorded.yaml"]
    recorded += ["--set", f"data.recorded={corpora('stop')}"]
    recipe("top_zeroshot", *recorded, "--table", "true")
    exp = tmp_path / "exp"
    assert json.loads((exp / "data" / "about.json").read_text())["hypothesis"] == "tree"
    # Rows that need --init_from are left out of a table without it.
    text = (exp / "RESULTS.md").read_text()
    assert "- 6 rows: not trained" in text
    assert "80.37 %" in text and "recorded test: AT-AT, text only" in text
    assert len((exp / "data" / "test_real" / "text").read_text().splitlines()) == 4


# Whisper is too large for a test.
FROM_NOTHING = """
features: {kind: kaldi}
data: {num_valid: 6, num_recombined: 3, num_word_lists: 2}
model: {frozen_encoder: null, speech_pretrained: null, utterance_mean: true, subsampling: 8,
        speech_encoder: conformer, decoder: transformer}
"""


def test_a_pretrained_model_is_what_trees_start_from(recipe, tmp_path):
    (tmp_path / "sentences.txt").write_text("Is it late?\nread me the news\n")
    (tmp_path / "nothing.yaml").write_text(FROM_NOTHING)
    options = ["--config", tmp_path / "nothing.yaml"]
    texts = f"data.asr_texts={tmp_path / 'sentences.txt'}"
    recipe("pretrain", *options, "--set", texts)
    start = (tmp_path / "exp").rename(tmp_path / "start") / "atat"
    assert scores(start / "decode_test_asr")["wer"]["n"] > 0
    spoken = (start.parent / "data" / "asr" / "text").read_text()
    assert "is it late" in spoken and "read me the news" in spoken
    assert "words-000001" in spoken and "words-000002" not in spoken
    assert "recombined-000002" in (start.parent / "data" / "train_text" / "text").read_text()

    said = recipe("top_zeroshot", *options, "--init_from", start, "--stop_stage", "4")
    here, there = (Tokenizer.load(d / "tokenizer") for d in (tmp_path / "exp" / "atat", start))
    assert set(here.symbols) - set(here.tags) == set(there.symbols) - set(there.tags)
    assert f"starts from {start}" in said and set(here.tags) != set(there.tags)


def test_music_lowres_learns_from_few_labels_and_much_speech(recipe, tmp_path):
    # The experiments say how many steps they take, after any --config.
    few = ["--set", "train.num_steps=8", "--set", "train.num_epochs=2"]
    recipe("music_lowres", "--experiment", "atat_10_tuned.seed2", *few)
    exp = tmp_path / "exp"
    low, rest = (
        {line.split(" ", 1)[1] for line in (exp / "data" / s / "text").read_text().splitlines()}
        for s in ("train_low", "train_rest")
    )
    assert low and rest and not low & rest
    trained = sorted(path.parent.name for path in exp.glob("*/model.safetensors"))
    assert trained == ["atat_10.seed2", "atat_10_tuned.seed2"]
    assert "(2 of 3 runs missing)" in (exp / "RESULTS.md").read_text()
    # Two stages: what was heard is understood by our own NLU, and by a CRF.
    recipe("music_lowres", "--experiment", "two_stage.seed1", *few)
    heard, *understood = (
        (exp / "two_stage.seed1" / f"decode_{run}") for run in ("test", "test_nlu", "test_crf")
    )
    assert set(scores(heard)) == {"wer"}
    assert [scores(directory)["em_hyp"]["n"] for directory in understood] == [24, 24]


# A cluster


@pytest.mark.slurm
def test_a_recipe_through_slurm_ends_with_the_scores_of_a_local_run(trained, tmp_path):
    if lacking := slurm_cluster.load_tool().missing():
        pytest.skip(f"{', '.join(lacking)} not installed (tools/install.sh --slurm)")
    local, options, _ = trained
    exp, settings = tmp_path / "exp", tmp_path / "slurm.yaml"
    settings.write_text("all: {time: '60', memory: 1G}\nprepare: {jobs: 2}\ndecode: {jobs: 2}\n")
    options = [exp if option == local else option for option in options]
    running = slurm_cluster.Cluster()
    try:
        said = run(*options, "--cmd", "slurm", "--cmd_config", settings, env=running.environment)
    finally:
        running.stop()
    assert said.count(": done in ") == 6 and said.count(".shares submitted") == 3
    for name in ("decode_test/hyp.jsonl", "decode_test/scores.json"):
        one, other = (root / "atat" / name for root in (local, exp))
        assert one.read_bytes() == other.read_bytes(), name
    one, other = (load_file(root / "atat" / "model.safetensors") for root in (local, exp))
    assert all(torch.equal(one[name], other[name]) for name in one | other)
    logs = [path.read_text() for path in (exp / "logs").glob("*.log")]
    assert len(logs) == 6 + 2 + 2 + 4 + 2 and all("exit code 0" in log for log in logs)
