import argparse
import itertools
import json

import numpy as np
import pytest
import torch

from atat import train
from atat.common.seeds import rng
from atat.config import config_file, schema
from atat.data import feature_store, kaldi_dir
from atat.data.feature_archive import FeatureReader
from atat.data.tokenizer import Tokenizer
from atat.models import whisper, whisper_checkpoint
from atat.models.espnet_model import build
from atat.training import frozen_states, launch, run_directory, word_masking
from atat.training.batching import Batches
from atat.training.espnet_task import AtatTask
from atat.training.training_data import TrainingData
from tests import tones, toy
from tests.tiny_training import lines, weights
from tests.tiny_training import settings as tiny

WIDTH, NUM_LAYERS = 64, 2


@pytest.fixture
def encoder(monkeypatch):
    """A Whisper encoder of random weights, which every checkpoint's name finds."""
    torch.manual_seed(0)
    made = whisper.FrozenEncoder(80, WIDTH, NUM_LAYERS)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    given = {
        name.replace("encoder.", "speech_encoder.", 1): value
        for name, value in made.state_dict().items()
    }
    decoder = {"decoder.layers.0.ffn.0.weight": torch.ones(2, WIDTH)}
    checkpoint = whisper_checkpoint.Checkpoint("tiny", given | decoder, [])
    monkeypatch.setattr(whisper_checkpoint, "load", lambda source: checkpoint)
    frozen_states.encoder_of.cache_clear()
    frozen_states._reader.cache_clear()
    return made


def settings() -> schema.Config:
    c = tiny()
    c.features.kind = "whisper"
    c.model.frozen_encoder, c.model.frozen_encoder_width = "tiny", WIDTH
    c.model.frozen_encoder_layers = NUM_LAYERS
    return c


@pytest.fixture
def corpus(tmp_path):
    data, dump = toy.write(tmp_path)
    for split in ("train", "valid"):
        (dump / split / "stage.json").write_text(json.dumps({"inputs": split}))
    return data, dump


def test_a_state_is_the_mean_of_two_of_whispers_whatever_is_beside_it(encoder):
    speech_BTF = torch.randn(3, 23, 80)
    lengths_B = torch.tensor([23, 21, 16])
    speech_BTF[1, 21:] = speech_BTF[2, 16:] = 0.0
    states_BSD, sizes_B = encoder(speech_BTF, lengths_B)
    assert sizes_B.tolist() == [6, 6, 4]
    for speech_TF, length, states_SD, size in zip(
        speech_BTF, lengths_B, states_BSD, sizes_B, strict=True
    ):
        alone_TF = whisper.normalize(speech_TF[None, :length], length[None])
        theirs_SD = encoder.encoder(alone_TF, length[None])[0][0]
        means = [theirs_SD[i : i + 2].mean(dim=0) for i in range(0, len(theirs_SD), 2)]
        torch.testing.assert_close(states_SD[:size], torch.stack(means), atol=1e-4, rtol=1e-4)
        assert (states_SD[size:] == 0).all()


def test_the_model_takes_features_and_states_alike(encoder, corpus):
    data, dump = corpus
    c, tokenizer = settings(), Tokenizer.load(data / "tokenizer")
    directory = frozen_states.cached_states(data, dump, c, ["train"], num_jobs=1)
    model = build(c, tokenizer).eval()
    whisper.start_base(model.frozen_encoder, "tiny")
    features, kept = FeatureReader(dump / "train"), FeatureReader(directory / "train")
    assert list(kept.ids) == list(features.ids)
    for key in features.ids:
        outcomes = [
            model.encode_speech(torch.from_numpy(x)[None], torch.tensor([len(x)]))
            for x in (features[key], kept[key])
        ]
        for from_features, from_states in zip(*outcomes, strict=True):
            torch.testing.assert_close(from_features, from_states)


def test_states_are_made_once_for_the_features_and_weights_that_they_are_of(
    encoder, corpus, monkeypatch
):
    data, dump = corpus
    directory = frozen_states.cached_states(
        data, dump, settings(), ["train", "written"], num_jobs=1
    )
    assert not (directory / "written").exists()
    np.testing.assert_array_equal(
        np.load(directory / "cmvn.npz")["mean"], np.load(dump / "cmvn.npz")["mean"]
    )
    monkeypatch.setattr(frozen_states, "_states_of", lambda *_, **__: pytest.fail("made again"))
    assert frozen_states.cached_states(data, dump, settings(), ["train"], num_jobs=1) == directory
    (dump / "train" / "stage.json").write_text(json.dumps({"inputs": "other audio"}))
    with pytest.raises(pytest.fail.Exception, match="made again"):
        frozen_states.cached_states(data, dump, settings(), ["train"], num_jobs=1)
    with torch.no_grad():
        whisper_checkpoint.load("tiny").weights["speech_encoder.norm.bias"] += 1.0
    frozen_states.encoder_of.cache_clear()
    with pytest.raises(pytest.fail.Exception, match="made again"):
        frozen_states.cached_states(data, dump, settings(), ["train"], num_jobs=1)


def test_training_on_states_learns_and_leaves_what_is_frozen(encoder, corpus, tmp_path):
    data, dump = corpus
    c, exp = settings(), tmp_path / "exp"
    c.train.num_steps = 150
    directory = frozen_states.cached_states(data, dump, c, ["train", "valid"], num_jobs=1)
    run_directory.prepare_experiment(c, data, exp, resume=True)
    launch.train(c, data, directory, exp)
    first, *_, last = lines(exp)
    assert last["valid_loss"] < first["valid_loss"] / 3 and last["em_slu"] >= 0.75
    learned = weights(exp)
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(learned[f"frozen_encoder.{name}"], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"frozen_encoder_width": 128},
            r"frozen_encoder: tiny has \(64,\) for .*_width=64 ",
        ),
        (
            {"frozen_encoder_layers": 1},
            r"the model nothing; expected the .*_encoder_layers=2$",
        ),
        ({"speech_encoder": "whisper"}, "expected conformer or transformer above it"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_before_anything_is_lost(
    encoder, corpus, tmp_path, change, message
):
    data, _ = corpus
    exp = tmp_path / "exp"
    exp.mkdir()
    (exp / "model.pth").write_text("trained for hours")
    c = settings()
    for name, value in change.items():
        setattr(c.model, name, value)
    with pytest.raises(ValueError, match=message):
        run_directory.prepare_experiment(c, data, exp, resume=True)
    assert (exp / "model.pth").read_text() == "trained for hours"


def test_batches_count_the_frames_behind_the_states_and_mask_in_training(encoder, corpus):
    data, dump = corpus
    c, tokenizer = settings(), Tokenizer.load(data / "tokenizer")
    directory = frozen_states.cached_states(data, dump, c, ["train"], num_jobs=1)
    c.augment.enabled, c.augment.time_mask_fraction = True, 0.5
    examples = TrainingData([schema.Source("train", ["asr"])], data, directory, tokenizer)
    kept = FeatureReader(directory / "train")
    for training in (True, False):
        batches = Batches(examples, c, tokenizer, training=training)
        sizes = [4 * kept.num_frames[key] for key in kept.ids]
        assert batches.sampler.speech_frames.tolist() == sizes
        for key, u in zip(kept.ids, range(len(sizes)), strict=True):
            _, batch = batches.collate(20, [u], [])
            assert batch["active"].tolist() == [[0.0, sizes[u]]]
            assert batch["speech_lengths"].tolist() == [len(kept[key])]
            same = torch.equal(batch["speech"][0], torch.from_numpy(kept[key]))
            assert same == (not training)


def test_augmented_copies_are_kept_once_and_heard_in_training_alone(encoder, corpus, monkeypatch):
    data, dump = corpus
    c, tokenizer = settings(), Tokenizer.load(data / "tokenizer")
    c.augment.enabled, c.augment.copies, c.augment.low_strength_fraction = True, 2, 0.5
    c.augment.time_masks = c.augment.freq_masks = 0
    directory = frozen_states.cached_states(
        data, dump, c, ["train", "valid"], 1, training=["train"]
    )
    readers = [FeatureReader(directory / "train")]
    readers += [FeatureReader(frozen_states.copy_of(directory, n) / "train") for n in range(2)]
    assert not (frozen_states.copy_of(directory, 0) / "valid").exists()
    key = readers[0].ids[0]
    assert all(list(reader.ids) == list(readers[0].ids) for reader in readers)
    versions = [reader[key] for reader in readers]
    for a, b in itertools.combinations(versions, 2):
        assert a.shape != b.shape or not np.allclose(a, b)

    examples = TrainingData(
        [schema.Source("train", ["asr"])], data, directory, tokenizer, num_copies=2
    )
    batches = Batches(examples, c, tokenizer, training=True)
    heard = set()
    for step in range(c.train.num_steps):
        states_SD = batches.collate(step, [0], [])[1]["speech"][0].numpy()
        which = [i for i, v in enumerate(versions) if np.array_equal(v, states_SD)]
        assert len(which) == 1 and (which == [0] or step >= 0.5 * c.train.num_steps)
        heard.update(which)
    assert heard == {0, 1, 2}

    made = []
    monkeypatch.setattr(
        frozen_states, "_write_states", lambda directory, *_: made.append(directory)
    )
    # How many there are, when they are first taken, and stripes, which states get at every step,
    # change none of them.
    c.augment.low_strength_fraction, c.augment.copies = 0.1, 1
    c.augment.time_masks = c.augment.freq_masks = 3
    assert (
        frozen_states.cached_states(data, dump, c, ["train", "valid"], 1, training=["train"])
        == directory
    )
    assert made == []
    c.augment.reverb, c.augment.copies = 1.0, 2
    frozen_states.cached_states(data, dump, c, ["train", "valid"], 1, training=["train"])
    assert made == [frozen_states.copy_of(directory, n) / "train" for n in range(2)]


def test_the_command_makes_copies_of_training_speech_and_trains_on_them(
    encoder, corpus, tmp_path, monkeypatch, command
):
    data, dump = corpus
    monkeypatch.setattr(
        frozen_states.parallel, "run", lambda function, ids, *_, **__: map(function, ids)
    )
    monkeypatch.setattr(feature_store, "of_kind", lambda *_: dump)
    given = []
    monkeypatch.setattr(launch, "train", lambda *arguments: given.append(arguments))
    c, exp = settings(), tmp_path / "exp"
    c.augment.enabled, c.augment.copies = True, 2
    config_file.save(c, tmp_path / "resolved.yaml")
    where = ["--data", data, "--dump", dump, "--exp", exp]
    code, _, err = command(train.main, "--config", tmp_path / "resolved.yaml", *where)
    assert code == 0, err
    ((_, _, directory, _),) = given
    found = {path.parent.relative_to(directory).as_posix() for path in directory.rglob("feats.ark")}
    assert found == {"train", "valid", "copy0/train", "copy1/train"}
    args = argparse.Namespace(experiment_dir=exp, data_dir=data, dump_dir=directory, rank=0)
    for mode, num_copies in (("train", 2), ("valid", 0)):
        factory = AtatTask.build_task_iter_factory(args, None, mode)
        (part,) = factory.batches.collate.examples.speech
        assert len(part.copies) == num_copies


def test_copies_are_augmented_in_groups_and_each_is_kept_as_its_utterances(
    encoder, tmp_path, monkeypatch
):
    c = settings()
    tones.write(tmp_path, c.features)
    data, dump = tmp_path / "data", tmp_path / "dump"
    (dump / "train" / "stage.json").write_text(json.dumps({"inputs": "tones"}))
    np.savez(dump / "cmvn.npz", mean=np.zeros(80, "f"), std=np.ones(80, "f"))
    c.augment.enabled, c.augment.copies = True, 1
    for name in ("reverb", "noise", "babble", "band_limit", "spectral_blur", "time_warp"):
        setattr(c.augment, name, 0.0)
    c.augment.padding_s = c.augment.equaliser_db = c.augment.clipped = 0.0
    c.augment.tempo = c.augment.frequency_warp = [1.0, 1.0]
    sizes, augment = [], frozen_states._states_of_group
    monkeypatch.setattr(frozen_states, "GROUP", 2)
    monkeypatch.setattr(
        frozen_states,
        "_states_of_group",
        lambda keys, **rest: sizes.append(len(keys)) or augment(keys, **rest),
    )
    directory = frozen_states.cached_states(data, dump, c, ["train"], 1, training=["train"])
    kept = FeatureReader(directory / "train")
    copy = FeatureReader(frozen_states.copy_of(directory, 0) / "train")
    ids = list(kept.ids)
    assert sum(sizes) == len(ids) and max(sizes) == 2 and list(copy.ids) == ids
    for key in ids:  # a little noise and another level are all that is left of augmentation
        distances = {
            other: np.abs(kept[other] - copy[key]).mean()
            for other in ids
            if kept[other].shape == copy[key].shape
        }
        assert min(distances, key=distances.__getitem__) == key


@pytest.mark.parametrize("change", [("base", 2), ("copies", -1), ("enabled", 2)])
def test_copies_are_for_a_frozen_encoder_alone(encoder, corpus, tmp_path, change):
    data, _ = corpus
    c = settings()
    c.augment.enabled, c.augment.copies = change[0] != "enabled", change[1]
    if change[0] == "base":
        c.model.frozen_encoder = None
    with pytest.raises(ValueError, match=r"augment\.copies: got -?\d, expected 0"):
        run_directory.prepare_experiment(c, data, tmp_path / "exp", resume=True)


def test_masked_speech_has_its_states_computed_anew(encoder, tmp_path):
    """Those of what is left to hear: to mask kept states would leave what others heard of it."""
    c = settings()
    c.train.tasks_per_utterance, c.train.num_steps = "all", 20
    c.train.ctc_first_fraction, c.augment.freq_masks, c.augment.time_masks = 0.0, 0, 0
    tones.write(tmp_path, c.features)
    data, dump = tmp_path / "data", tmp_path / "dump"
    (dump / "train" / "stage.json").write_text(json.dumps({"inputs": "tones"}))
    np.savez(dump / "cmvn.npz", mean=np.zeros(80, "f"), std=np.ones(80, "f"))
    directory = frozen_states.cached_states(data, dump, c, ["train"], num_jobs=1)
    tasks = [schema.Source("train", ["asr", "mlm"])]
    examples = TrainingData(tasks, data, directory, tones.TOKENIZER)
    batches = Batches(examples, c, tones.TOKENIZER, training=True)
    part, number = examples.speech[0], len(tones.IDS) - 1  # the longest: a word is masked always
    found = []
    for step in (3, 4, 3):
        ids, batch = batches.collate(step, [number], [])
        assert ids == [tones.IDS[number]] * 2 and not batch["words_lengths"][1]
        whole_SD, masked_SD = batch["speech"]
        assert torch.equal(whole_SD, part.features(number))
        draw = rng(c.seed, "mlm", step, part.ids[number])
        feats_TF = torch.from_numpy(
            word_masking.masked_features(
                part.wavs[number], part.ticks[number], c.features, c.train, draw
            )
        )
        expected_1SD, _ = encoder(feats_TF[None], torch.tensor([len(feats_TF)]))
        torch.testing.assert_close(masked_SD, expected_1SD[0])
        found.append(masked_SD)
        # Attention has told every state of it, not those of the masked words alone.
        assert (whole_SD - masked_SD).abs().amax(dim=1).min() > 1e-4
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_some_copies_are_made_of_speech_that_was_too_loud(encoder, tmp_path, monkeypatch):
    c = settings()
    tones.write(tmp_path, c.features)
    data, dump = tmp_path / "data", tmp_path / "dump"
    (dump / "train" / "stage.json").write_text(json.dumps({"inputs": "tones"}))
    np.savez(dump / "cmvn.npz", mean=np.zeros(80, "f"), std=np.ones(80, "f"))
    c.augment.enabled, c.augment.copies, c.augment.clipped = True, 1, 1.0
    path = next(iter(kaldi_dir.read(data / "train").wav_scp.values()))
    loud, plain = (frozen_states._clipped(path, c.features, over_db) for over_db in (16.0, 0.0))
    assert loud.shape == plain.shape
    # Overtones, where there was next to nothing.
    assert np.median(loud - loud.max()) > np.median(plain - plain.max()) + 3.0
    heard = []

    def spy(path, features, over_db):
        heard.append((path, over_db))
        return plain

    monkeypatch.setattr(frozen_states, "_clipped", spy)
    frozen_states.cached_states(data, dump, c, ["train"], 1, training=["train"])
    assert sorted(path for path, _ in heard) == sorted(
        kaldi_dir.read(data / "train").wav_scp.values()
    )
    assert all(0 <= over_db <= frozen_states.MAX_CLIPPED_DB for _, over_db in heard)
