"""Further training with recordings, on a toy experiment; and what a few of them add."""

import json
import shutil

import numpy as np
import pytest

from atat import adapt
from atat import few_shot as verb
from atat.config import config_file
from atat.config.schema import Source
from atat.data import kaldi_dir
from atat.data.feature_store import write_cmvn, write_split
from atat.data.kaldi_dir import DataDir
from atat.evaluation import few_shot
from atat.inference.predictor import SpeechToSemantics
from atat.models import exported_model
from atat.semantics import target_sequence
from atat.training import adaptation
from tests.conftest import GRAMMAR, SEQUENCES, toy_settings

SHORT = ("train.num_steps=2", "train.num_epochs=1", "train.num_workers=0")


@pytest.fixture
def trained(toy_experiment, toy_wavs, tmp_path):
    """(exp, data, dump) as stages 1 to 4 leave them; `test` has a speaker for every recording."""
    exp = shutil.copytree(toy_experiment, tmp_path / "exp")
    settings = toy_settings()
    settings.train.sources = [Source("train", ["slu", "asr"])]
    settings.train.learning_rate = 1e-3
    config_file.save(settings, exp / "config.yaml")
    data, dump = tmp_path / "data", tmp_path / "dump"
    wavs = {i: str(path) for i, path in toy_wavs.items()}
    labels = dict(zip(wavs, SEQUENCES, strict=True))
    texts = {i: target_sequence.words(s) for i, s in labels.items()}
    for split in ("train", "valid"):
        kaldi_dir.write(data / split, DataDir(wavs, texts, labels, dict.fromkeys(wavs, "anna")))
    test = {
        i: target_sequence.build(target_sequence.frame(s)) for i, s in labels.items()
    }  # no words known
    kaldi_dir.write(data / "test", DataDir(wavs, None, test, {i: i for i in wavs}))
    done = {s: write_split(data / s, dump / s, settings.features, 1) for s in ("train", "valid")}
    write_cmvn(dump, {"train": done["train"][0]}, "kaldi")
    shutil.copytree(exp / "tokenizer", data / "tokenizer")
    (data / "grammar.yaml").write_text(GRAMMAR)
    return exp, data, dump


def test_recordings_get_the_sentence_that_means_their_label(trained, toy_wavs):
    exp, data, _ = trained
    model = SpeechToSemantics.load(exp)
    recordings = kaldi_dir.read(data / "test")
    found, left_out = adaptation.with_sentences(model, recordings)
    assert left_out == []
    assert found.semantics == dict(zip(toy_wavs, SEQUENCES, strict=True))
    assert found.text == {i: target_sequence.words(s) for i, s in found.semantics.items()}

    # Whatever is heard, what is meant is what the label says.
    recordings.semantics["anna-0"] = "turnOn( room( living room )room )turnOn"
    recordings.semantics["anna-1"] = "turnOn( room( cellar )room )turnOn"
    found, left_out = adaptation.with_sentences(model, recordings)
    assert target_sequence.frame(found.semantics["anna-0"]).slots == (("room", "living room"),)
    assert "anna-1" not in found.semantics and "anna-1" not in found.wav_scp
    (line,) = left_out
    assert "anna-1" in line and "has no sentence that means turnOn( room( cellar" in line


def test_an_experiment_is_trained_further_with_recordings(trained, command, tmp_path):
    exp, data, dump = trained
    options = ["--exp", exp, "--recordings", data / "test", "--data", data, "--dump", dump]
    options += ["--out", tmp_path / "adapted", *SHORT]
    code, out, err = command(adapt.main, *options, "--share", "0.5")
    assert code == 0, err
    assert "4 recordings, each 1 times beside 4 utterances" in out
    settings = config_file.load_resolved(tmp_path / "adapted" / "config.yaml")
    assert settings.train.sources[-1] == Source("adapt_adapted", ["slu", "asr"])
    assert settings.train.sources[:-1] == [Source("train", ["slu", "asr"])]
    assert (settings.train.num_steps, settings.train.learning_rate) == (2, 0.5e-3)
    assert kaldi_dir.read(data / "adapt_adapted").semantics["anna-2"] == SEQUENCES[2]
    before, after = (
        SpeechToSemantics.load(d).model.state_dict() for d in (exp, tmp_path / "adapted")
    )
    names = [name for name in before if name.startswith("decoder.") and ".norm" in name]
    moved = [float((after[name] - before[name]).abs().max()) for name in names]
    assert 0 < np.max(moved) < 0.01

    code, _, err = command(adapt.main, *options)
    assert code == 2 and "holds a trained model; expected another directory" in err


@pytest.mark.parametrize(
    ("spoil", "override", "message"),
    [
        (lambda exp, data: (exp / "grammar.yaml").unlink(), "", "model without grammar"),
        (
            lambda exp, data: (data / "test" / "semantics").unlink(),
            *("", "expected wav.scp and semantics"),
        ),
        (lambda exp, data: shutil.rmtree(data / "test"), "", "--recordings: "),
        (lambda exp, data: shutil.rmtree(data / "train"), "", "train: no such split"),
        (lambda exp, data: shutil.rmtree(data / "valid"), "", "valid: no such split"),
        (lambda exp, data: shutil.rmtree(data / "tokenizer"), "", "tokenizer: is not there"),
        (lambda exp, data: exported_model.write_index(exp, {}), "", "which cannot be trained"),
        (lambda exp, data: None, "train.num_stepz=3", "did you mean 'train.num_steps'?"),
        (lambda exp, data: None, "train.learning_rate=-1", "train.learning_rate"),
        (lambda exp, data: None, "train.valid_splits=[other]", "other: no such data directory"),
    ],
)
def test_a_mistake_of_adapt_is_one_line_and_changes_nothing(
    spoil, override, message, trained, command, tmp_path
):
    exp, data, dump = trained
    spoil(exp, data)
    before = sorted(path for path in tmp_path.rglob("*") if ".tokens" not in path.parts)
    options = ["--exp", exp, "--recordings", data / "test", "--data", data, "--dump", dump]
    options += ["--out", tmp_path / "adapted", *filter(None, [override])]
    code, _, err = command(adapt.main, *options)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert sorted(p for p in tmp_path.rglob("*") if ".tokens" not in p.parts) == before


def test_others_are_counted_as_the_experiment_meets_them(trained):
    _, data, _ = trained
    settings = toy_settings()
    num = len(kaldi_dir.read(data / "train").ids)
    for source, met in (
        ([Source("train", ["slu", "asr"])], num),
        ([Source("train", ["slu"], fraction=0.5), Source("train", ["nlu"])], num // 2),
        ([Source("train", ["slu"], fraction=0.5), Source("train", ["asr"])], num),
        ([Source("train", ["slu"], repeat=3), Source("valid", ["nlu"])], 3 * num),
    ):
        settings.train.sources = source
        assert adaptation.num_spoken(settings, data) == met


def test_parts_keep_speakers_apart_and_shots_are_never_tested():
    ids = {f"s{i % 6}-{i:03d}": f"s{i % 6}" for i in range(60)}
    label = "turnOn( room( kitchen )room )turnOn"
    split = DataDir(dict.fromkeys(ids, "a.wav"), None, dict.fromkeys(ids, label), ids)
    parts = few_shot.parts_of(split, 3, seed=1)
    assert sorted(i for part in parts for i in part) == sorted(ids)
    speakers = [{ids[i] for i in part} for part in parts]
    assert [len(s) for s in speakers] == [2, 2, 2] and len(set.union(*speakers)) == 6
    for tested in parts:
        few, more = (few_shot.shots_of(split, tested, num, seed=1) for num in (5, 40))
        assert len(few.ids) == 5 and len(more.ids) == 40
        assert set(few.ids) < set(more.ids) and not set(more.ids) & set(tested)
    with pytest.raises(ValueError, match="--shots: got 41, expected at most 40"):
        few_shot.shots_of(split, parts[0], 41, seed=1)
    with pytest.raises(ValueError, match="--folds: got 7, expected 2 to 6"):
        few_shot.parts_of(split, 7, seed=1)


def test_each_recording_is_tested_once_for_every_number_of_shots(trained, command):
    exp, data, dump = trained
    options = ["--exp", exp, "--data", data, "--dump", dump, "--run", "test", *SHORT]
    code, _, err = command(verb.main, *options, "--shots", "2")
    assert code == 0, err
    about = json.loads((exp / "few_shot" / "scores.json").read_text())
    assert [(s["shots"], s["em_hyp"]["n"]) for s in about["scores"]] == [(0, 4), (2, 4)]
    assert about["scores"][0]["em_hyp"]["value"] == 1.0
    assert len(kaldi_dir.read(exp / "few_shot" / "recordings" / "test_2_1of2").ids) == 2
    models = sorted(exp.glob("few_shot/*/model.safetensors"))
    assert len(models) == 2
    times = [path.stat().st_mtime_ns for path in models]
    code, again, _ = command(verb.main, *options, "--shots", "2")
    assert code == 0 and again.splitlines()[0].split()[0] == "recordings"
    assert [path.stat().st_mtime_ns for path in models] == times  # nothing is trained twice
    code, _, err = command(verb.main, *options, "train.seed=2", "--shots", "2")
    assert code == 2 and "adapting failed" in err  # other settings: trained again
    assert not models[0].exists()
    # Nor does what was learned from other recordings stay, in the checkpoints that it left.
    assert not (models[0].parent / "checkpoints").exists()
