import itertools

import numpy as np
import pytest
import torch

from atat.config.schema import Config, Source
from atat.data import kaldi_dir
from atat.data.augmentation import active_frames
from atat.data.tokenizer import Tokenizer
from atat.semantics import heldout_pairs, target_sequence
from atat.training.batch_sampler import MixedBatchSampler
from atat.training.batching import Batches, IterFactory
from atat.training.distributed import World
from atat.training.training_data import TrainingData
from tests import toy

NUM = 30


class FakeReader:
    """Random features of known length, without files."""

    def __init__(self, directory):
        lengths = {f"s-{i:03d}": 50 + 7 * (i % 10) for i in range(NUM)}
        self.num_frames = lengths

    def sizes(self):
        return iter(self.num_frames.items())

    def __getitem__(self, utterance):
        number = int(utterance[-3:])
        return (
            np.random.default_rng(number)
            .normal(10, 3, (self.num_frames[utterance], 80))
            .astype("f")
        )


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A split `train` with everything, a split `text` without speech; the tokenizer."""
    monkeypatch.setattr("atat.training.training_data.FeatureReader", FakeReader)
    rooms = ["kitchen", "bedroom", "garage"]
    sequences = {
        f"s-{i:03d}": f"{'turnOn' if i % 2 else 'turnOff'}( the room( {rooms[i % 3]} )room light "
        f"){'turnOn' if i % 2 else 'turnOff'}"
        for i in range(NUM)
    }
    texts = {i: f"the {rooms[int(i[-3:]) % 3]} light" for i in sequences}
    wavs = {i: f"{i}.wav" for i in sequences}
    speakers = {i: "s" for i in sequences}
    kaldi_dir.write(tmp_path / "train", kaldi_dir.DataDir(wavs, texts, sequences, speakers))
    kaldi_dir.write(tmp_path / "text", kaldi_dir.DataDir(None, texts, sequences, None))
    return tmp_path, Tokenizer.train([*sequences.values()], 60)


def examples(made, *sources: Source) -> TrainingData:
    data, tokenizer = made
    return TrainingData(list(sources), data, data, tokenizer)


def batches(made, *sources: Source, training=True, **train) -> Batches:
    settings = Config()
    settings.train.batch_frames, settings.train.text_batch = 500, 4
    settings.train.ctc_first_fraction = 0.0
    settings.train.text_every, settings.train.num_steps, settings.train.num_epochs = 1, 20, 4
    for key, value in train.items():
        setattr(settings.train, key, value)
    return Batches(examples(made, *sources), settings, made[1], training=training)


BOTH = Source("train", ["asr", "slu"])
TEXT = Source("text", ["nlu"])


def test_sentences_have_mistakes_in_training_alone_and_their_targets_none(made):
    def of(training, share, step=3, **options):
        b = batches(made, TEXT, training=training)
        b.collate.config.augment.text_noise = share
        for name, value in options.items():
            setattr(b.collate.config.augment, name, value)
        return b.collate(step, [], [1, 2, 3, 4])[1]

    clean, noisy, again = of(True, 0.0), of(True, 0.5), of(True, 0.5)
    assert not torch.equal(clean["text"], noisy["text"])
    assert torch.equal(noisy["text"], again["text"])
    assert not torch.equal(noisy["text"], of(True, 0.5, step=4)["text"])
    assert torch.equal(clean["target"], noisy["target"])
    for other in (of(False, 0.5), of(True, 0.5, enabled=False)):
        assert torch.equal(clean["text"], other["text"])
    pieces = made[1].pieces
    real = noisy["text"][noisy["text"] != made[1].pad]
    assert pieces.start <= int(real.min()) and int(real.max()) < pieces.stop


def test_a_mixed_batch_has_a_target_for_every_task_of_every_row(made):
    tokenizer = made[1]
    b = batches(made, BOTH, TEXT)
    ids, batch = b.collate(0, [0, 1, 2], [5, 6])
    assert len(ids) == 5
    assert batch["speech"].shape[0] == 3 and batch["text"].shape[0] == 2
    tasks = [tokenizer.symbols[t] for t in batch["target_task"].tolist()]
    assert sorted(tasks) == ["<asr>"] * 3 + ["<nlu>"] * 2 + ["<slu>"] * 3
    for row, source, task in zip(range(8), batch["target_source"].tolist(), tasks, strict=True):
        target = tokenizer.decode(batch["target"][row, : batch["target_lengths"][row]].tolist())
        number = int(ids[source][-3:])
        room = ["kitchen", "bedroom", "garage"][number % 3]
        assert room in target
        assert ("(" in target) == (task != "<asr>")
        assert (source >= 3) == (task == "<nlu>")


def test_every_utterance_comes_once_a_pass(made):
    b = batches(made, BOTH)
    for number in range(3):
        batches_of_pass = b.sampler._speech_pass(number)
        assert sorted(i for batch in batches_of_pass for i in batch) == list(range(NUM))


def test_texts_come_once_a_pass_with_others_of_like_length(made):
    b = batches(made, TEXT)
    b.sampler.text_tokens = (
        np.arange(NUM) % 10 * 10 + 10
    )  # as if sentences were 10 to 100 tokens long
    orders = [b.sampler._text_pass(number) for number in range(3)]
    for order in orders:
        assert sorted(i for batch in order for i in batch) == list(range(NUM))
        longest = [max(b.sampler.text_tokens[batch]) for batch in order]
        padded = sum(n * len(batch) for n, batch in zip(longest, order, strict=True))
        # With four drawn at random a quarter or more would be padding.
        assert b.sampler.text_tokens.sum() > 0.85 * padded
        assert longest != sorted(longest)  # short ones do not always come first
    assert orders[0] != orders[1] != orders[2]


def test_batches_keep_within_their_frames(made):
    b = batches(made, BOTH)
    for batch in b.sampler._speech_pass(0):
        assert max(b.sampler.speech_frames[i] for i in batch) * len(batch) <= 500


def test_steps_do_not_depend_on_where_one_starts(made):
    b = batches(made, BOTH, TEXT, text_every=3)
    whole = b.sampler.steps(0, 25)
    assert b.sampler.steps(0, 10) + b.sampler.steps(10, 15) == whole
    assert b.sampler.steps(7, 5) == whole[7:12]
    assert [bool(text) for _, _, text in whole] == [step % 3 == 0 for step in range(25)]


def test_text_alone_trains_at_every_step(made):
    b = batches(made, TEXT, text_every=2)
    assert len(b.sampler.steps(0, 10)) == 10
    # A resumed run goes on with the same.
    assert b.sampler.steps(4, 6) == b.sampler.steps(0, 10)[4:]


def test_the_same_step_gives_the_same_tensors_in_any_process(made):
    b = batches(made, BOTH, TEXT)
    for workers in (0, 2):
        factory = IterFactory(b, workers)
        first = [batch for _, batch in factory.build_iter(2)]
        second = [batch for _, batch in IterFactory(b, 0).build_iter(2)]
        assert len(first) == 5
        for one, other in zip(first, second, strict=True):
            assert all(torch.equal(one[key], other[key]) for key in other)


def test_validation_sees_everything_once_and_unchanged(made):
    b = batches(made, BOTH, TEXT, training=False)
    seen = []
    for ids, batch in IterFactory(b, 2).build_iter(1):
        seen += ids
        if "speech" in batch:
            feats = b.collate.examples.speech[0].reader[ids[0]]
            assert torch.equal(batch["speech"][0, : len(feats)], torch.from_numpy(feats))
            assert not batch["flat_start"].any()
    assert sorted(seen) == sorted([f"s-{i:03d}" for i in range(NUM)] * 2)


def test_labels_can_be_given_to_a_fraction_only(made):
    e = examples(made, Source("train", ["asr"]), Source("train", ["slu"], fraction=0.1))
    (part,) = e.speech
    assert len(part.ids) == NUM
    assert sum(len(t) > 0 for t in map(part.targets["slu"].__getitem__, range(NUM))) == 3
    assert all(len(part.targets["asr"][i]) for i in range(NUM))


def test_a_split_can_be_met_more_often(made):
    (once,) = examples(made, Source("train", ["asr"])).speech
    (thrice,) = examples(made, Source("train", ["asr"], repeat=3)).speech
    assert list(thrice.ids) == list(once.ids) * 3 and len(thrice.num_frames) == 3 * NUM
    assert [list(t) for t in map(thrice.targets["asr"].__getitem__, range(NUM, 2 * NUM))] == [
        list(t) for t in map(once.targets["asr"].__getitem__, range(NUM))
    ]
    (text,) = examples(made, Source("train", ["nlu"], repeat=2)).text
    assert len(text.ids) == len(text.sources) == 2 * NUM
    with pytest.raises(ValueError, match=r"repeat of split 'train' is \[1, 2\], expected one"):
        examples(made, Source("train", ["asr"]), Source("train", ["slu"], repeat=2))


def test_semantics_may_follow_what_is_said(made):
    data, tokenizer = made
    e = TrainingData([BOTH, TEXT], data, data, tokenizer, transcript_first=True)
    b = Batches(e, Config(), tokenizer, training=False)
    _, batch = b.collate(0, [0], [0])
    targets = [
        row[:length].tolist()
        for row, length in zip(batch["target"], batch["target_lengths"], strict=True)
    ]
    tasks = [tokenizer.symbols[t] for t in batch["target_task"].tolist()]
    found = dict(zip(tasks, targets, strict=True))
    semantics = tokenizer.encode("turnOff( the room( kitchen )room light )turnOff")
    assert not tokenizer.tag_ids & set(found["<asr>"])
    assert found["<slu>"] == [*found["<asr>"], tokenizer.task_ids["nlu"], *semantics]
    assert found["<nlu>"] == found["<slu>"]
    (text,) = e.text
    assert text.lengths_U.tolist() == [len(text.target(u)) for u in range(NUM)]
    assert batch["text"][0].tolist() == found["<asr>"]  # what is read has no tree


def test_a_transcript_is_of_what_is_heard_not_of_how_values_are_written(tmp_path):
    data, dump = toy.write(tmp_path, ["set( to time( 7 seven )time )set"])
    split = kaldi_dir.read(data / "train")
    split.text = dict.fromkeys(split.ids, "to seven seven")
    kaldi_dir.write(data / "train", split)
    tokenizer = Tokenizer.load(data / "tokenizer")
    sources = [Source("train", ["slu"])]
    (part,) = TrainingData(sources, data, dump, tokenizer, transcript_first=True).speech
    said, meant = "to seven seven", "set( to time( 7 seven )time )set"
    target = [*tokenizer.encode(said), tokenizer.task_ids["nlu"], *tokenizer.encode(meant)]
    assert part.target("slu", 0).tolist() == target


def test_intents_can_be_kept_from_a_task(made):
    e = examples(
        made, Source("train", ["asr"]), Source("train", ["slu"], exclude_intents=["turnOn"])
    )
    (part,) = e.speech
    for i, utterance in enumerate(part.ids):
        assert (len(part.targets["slu"][i]) == 0) == (int(utterance[-3:]) % 2 == 1)


def test_pairs_of_values_can_be_kept_from_a_task(tmp_path):
    rooms, lights = ("kitchen", "hall", "attic"), ("lamp", "spot", "strip")
    sentences = [
        f"turnOn( the room( {room} )room light( {light} )light )turnOn"
        for room, light in itertools.product(rooms, lights)
    ]
    data, dump = toy.write(tmp_path, sentences)
    tokenizer = Tokenizer.load(data / "tokenizer")
    sources = [Source("train", ["asr"]), Source("train", ["slu"], exclude_pairs=0.4)]
    (part,) = TrainingData(sources, data, dump, tokenizer).speech
    kept = [tokenizer.decode(t.tolist()) for t in map(part.targets["slu"].__getitem__, range(9))]
    expected = [
        "" if heldout_pairs.has_held_out(target_sequence.frame(sentence), 0.4) else sentence
        for sentence in sentences
    ]
    assert kept == expected and 0 < expected.count("") < 9
    assert all(len(part.targets["asr"][i]) for i in range(9))


@pytest.mark.parametrize("has_text", [True, False])
def test_ctc_hears_the_text_and_without_one_the_words_of_the_semantics(tmp_path, has_text):
    data, dump = toy.write(tmp_path, ["set( to time( 7 seven )time )set"])
    split = kaldi_dir.read(data / "train")
    split.text = {i: "to seven seven" for i in split.ids} if has_text else None
    kaldi_dir.write(data / "train", split)
    tokenizer = Tokenizer.load(data / "tokenizer")
    (part,) = TrainingData([Source("train", ["slu"])], data, dump, tokenizer).speech
    words = tokenizer.decode(part.words(0).tolist())
    assert words == ("to seven seven" if has_text else "to 7 seven")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source("train", ["sul"]), "got task 'sul', expected"),
        (Source("train", ["slu"], fraction=0.0), "fraction is 0.0"),
        (Source("train", ["slu"], fraction=0.001), "takes none of the 30 utterances of split 'tr"),
        (
            Source("train", ["slu"], exclude_intents=["turnOn", "turnOff"]),
            "0 that nothing excludes\\), expected some",
        ),
        (Source("train", ["slu"], exclude_intents=["fly"]), "exclude_intents names \\['fly'\\]"),
        (Source("train", ["slu"], exclude_pairs=1.0), "exclude_pairs is 1.0"),
        (Source("elsewhere", ["slu"]), "elsewhere"),
    ],
)
def test_a_wrong_source_says_what_is_wrong(made, source, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        examples(made, source)
    with pytest.raises(ValueError, match=r"train\.sources is empty"):
        examples(made)


def test_active_frames_are_those_with_speech():
    feats = np.full((20, 80), -5.0)
    feats[4:15] = 12.0
    assert active_frames(feats) == (4, 15)
    assert active_frames(np.zeros((7, 80))) == (0, 7)


def test_one_task_an_utterance_is_drawn_by_the_weights(made):
    tokenizer = made[1]
    weights = {"slu": 3.0, "asr": 1.0}
    b = batches(made, BOTH, tasks_per_utterance="one", task_weights=weights)
    tasks = [
        t for step in range(20) for t in b.collate(step, list(range(NUM)), [])[1]["target_task"]
    ]
    assert len(tasks) == 20 * NUM  # not twice as many
    share = sum(int(t) == tokenizer.task_ids["slu"] for t in tasks) / len(tasks)
    assert share == pytest.approx(0.75, abs=0.07)


def test_of_tasks_without_weight_none_is_drawn(made):
    weights = {"slu": 0.0, "asr": 0.0}  # the source has mlm too, and these have no alignment
    b = batches(made, BOTH, tasks_per_utterance="one", task_weights=weights)
    assert len(b.collate(0, [0, 1], [])[1]["target_task"]) == 4


def test_at_first_speech_has_words_for_ctc_but_no_targets(made):
    b = batches(made, BOTH, TEXT, ctc_first_fraction=0.5)  # of 20 steps
    _, early = b.collate(9, [0, 1], [2])
    _, late = b.collate(10, [0, 1], [2])
    assert early["target_task"].tolist() == [made[1].task_ids["nlu"]]
    assert early["words_lengths"].min() > 0
    assert len(late["target_task"]) == 5


def test_without_ctc_the_decoder_learns_from_the_first_step_on(made):
    settings = Config()
    settings.model.ctc_weight, settings.train.ctc_first_fraction = 0.0, 0.5
    b = Batches(examples(made, BOTH), settings, made[1], training=True)
    assert len(b.collate(0, [0, 1], [])[1]["target_task"]) == 4


def apart(made, size, **changes):
    """The sampler of one of so many processes that have batches of their own."""
    b = batches(made, BOTH, **changes)
    return MixedBatchSampler(b.collate.examples, b.config, training=True, world=World(0, size))


def test_batches_of_fewer_utterances_than_processes_are_said(made):
    sampler = batches(made, BOTH, TEXT, batch_frames=250).sampler  # of 82 frames in the mean
    assert sampler.starving(1) == sampler.starving(3) == []
    assert sampler.starving(4) == [
        "train.batch_frames: 250 a step, of all 4 processes together, are 3.1 utterances of 82 "
        "frames: some of them have none, give more"
    ]
    assert batches(made, TEXT, batch_frames=250).sampler.starving(4) == []


def test_the_processes_of_a_step_have_batches_of_like_length(made):
    sampler = apart(made, 2, batch_frames=120)  # an utterance or two a batch
    taken = sampler._speech_pass(0)
    longest = [max(sampler.speech_frames[i] for i in batch) for batch in taken]
    differences = [abs(one - two) for one, two in zip(longest[::2], longest[1::2], strict=True)]
    # Neighbours in order of length; strangers would differ by 20 frames each.
    assert np.mean(differences) < 8


@pytest.mark.parametrize("num_processes", [2, 3, 7, 50])
def test_a_pass_has_whole_steps_and_every_utterance(num_processes, made):
    sampler = apart(made, num_processes)
    for taken in map(sampler._speech_pass, range(3)):
        assert len(taken) % num_processes == 0
        assert {i for batch in taken for i in batch} == set(range(NUM))


@pytest.mark.parametrize("num_processes", [2, 3, 5, 40])
def test_processes_that_share_a_batch_have_each_of_its_rows_once_and_the_same(num_processes, made):
    whole = batches(made, BOTH, TEXT, batch_frames=4000)
    whole.config.augment.enabled = True
    speech, text = list(range(7, 7 + 33)), [1, 2, 3]
    speech = [i % NUM for i in speech]  # more than are augmented together
    ids, batch = whole.collate(12, speech, text)
    seen, tokens = [], 0
    for rank in range(num_processes):
        b = Batches(
            whole.collate.examples,
            whole.config,
            made[1],
            training=True,
            together=World(rank, num_processes),
        )
        mine, part = b.collate(12, speech, text)
        assert int(part["num_sources"]) == len(ids)
        # Everybody has some speech and some text, so that all go through the same layers.
        num_speech = len(part["speech"])
        assert num_speech and len(part["text"])
        tokens += int(part["target_lengths"].sum())
        if part["is_filler"]:
            assert part["words_lengths"].tolist() == [0]
            continue
        begin = len(seen)
        seen += mine[:num_speech]
        size = part["speech"].size(1)
        expected = batch["speech"][begin : begin + num_speech]
        assert torch.equal(part["speech"], expected[:, :size])
        assert torch.equal(part["active"], batch["active"][begin : begin + num_speech])
    assert seen == ids[: len(speech)]
    assert tokens == int(batch["target_lengths"].sum())


def test_an_update_of_several_steps_takes_as_many_batches(made):
    one, three = (batches(made, BOTH, accum_grad=n, num_epochs=4) for n in (1, 3))
    plans = [IterFactory(b, 0).build_iter(2).plan for b in (one, three)]
    assert [len(plan) for plan in plans] == [5, 15]
    assert plans[1][0][0] == 15
    assert one.collate._progress(10) == three.collate._progress(30) == 0.5
