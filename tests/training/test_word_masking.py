"""The task `mlm`: words that are masked in the waveform, over a corpus of tones."""

import dataclasses

import numpy as np
import pytest
import torch

from atat.config.schema import Config, FeaturesConfig, Source, TrainConfig
from atat.data import audio, filter_bank, kaldi_dir
from atat.data.ctm import Word
from atat.training import word_masking
from atat.training.batching import Batches
from atat.training.training_data import TrainingData, validation_sources
from tests.tiny_training import lines, run, settings
from tests.tones import EDGE_S, IDS, RATE, TEXTS, TOKENIZER, WORD_S, WORDS, spoken, words_of, write

KINDS = {
    "whole": FeaturesConfig(),
    "trimmed": FeaturesConfig(trim_db=30.0),
    "levelled": FeaturesConfig(trim_db=30.0, level_db=-20.0),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def corpus(request, tmp_path_factory):
    """Where `write` has written, and the settings of the features."""
    root = tmp_path_factory.mktemp("mlm")
    write(root, request.param)
    return root, request.param


def examples(root, *tasks, **options) -> TrainingData:
    sources = [Source("train", list(tasks))]
    return TrainingData(sources, root / "data", root / "dump", TOKENIZER, **options)


def batches(corpus, *tasks, training=True, **train) -> Batches:
    settings = Config(features=corpus[1])
    settings.augment.enabled = False
    settings.train.ctc_first_fraction, settings.train.num_steps = 0.0, 20
    for key, value in train.items():
        setattr(settings.train, key, value)
    return Batches(examples(corpus[0], *tasks), settings, TOKENIZER, training=training)


def rows(b: Batches, step: int, speech: list[int]) -> list[tuple[str, str, np.ndarray, int]]:
    """Of each target: utterance, task, features of its row, number of tokens that CTC hears."""
    ids, batch = b.collate(step, speech, [])
    return [
        (
            ids[source],
            TOKENIZER.symbols[task],
            batch["speech"][source, : batch["speech_lengths"][source]].numpy(),
            int(batch["words_lengths"][source]),
        )
        for source, task in zip(
            batch["target_source"].tolist(), batch["target_task"].tolist(), strict=True
        )
    ]


def test_the_share_of_masked_words_is_as_asked_for_whatever_their_number():
    draw = np.random.default_rng(0)
    for num_words in (1, 3, 20):
        chosen = [word_masking.choose(num_words, 0.15, draw) for _ in range(4000)]
        assert np.mean([len(c) for c in chosen]) == pytest.approx(0.15 * num_words, rel=0.1)
        assert all(len(set(c)) == len(c) for c in chosen)
        assert {int(i) for c in chosen for i in c} == set(range(num_words))
    assert len(word_masking.choose(5, 1.0, draw)) == 5


@pytest.mark.parametrize("fill", ["zero", "noise"])
def test_nothing_but_the_chosen_words_is_changed(fill):
    samples = spoken("one two three").astype(np.float32)
    before = samples.copy()
    first, last = int(0.7 * RATE), int(0.9 * RATE)
    spans = np.array([[first, last], [len(samples) - 10, len(samples) + 100]])
    masked = word_masking.mask(samples, spans, fill, np.random.default_rng(1))
    assert np.array_equal(samples, before) and masked.dtype == np.float32
    assert np.array_equal(masked[:first], before[:first])
    assert np.array_equal(masked[last:-10], before[last:-10])
    level = np.sqrt(np.mean(masked[first:last] ** 2))
    expected = np.sqrt(np.mean(before**2)) if fill == "noise" else 0.0
    assert level == pytest.approx(expected, rel=0.05)


def test_masked_frames_are_those_of_the_masked_words_in_the_features_of_stage_2(corpus):
    """Against the known places of the tones: zeros there, and stage 2's numbers elsewhere."""
    root, settings = corpus
    b = batches(corpus, "asr", "mlm", mlm_share=0.4)
    start = 0.0
    if settings.trim_db is not None:
        samples = audio.read(root / f"{IDS[2]}.wav")
        start = filter_bank.speech_range(samples, settings)[0] / RATE
        assert start > 0.1
    num_masked = 0
    for step in range(10):
        (_, asr, whole, _), (_, mlm, masked, _) = rows(b, step, [2])
        assert (asr, mlm) == ("<asr>", "<mlm>") and whole.shape == masked.shape
        assert np.array_equal(whole, b.collate.examples.speech[0].reader[IDS[2]])
        begin = np.arange(len(whole)) * 0.01 + start
        for word in words_of(TEXTS[IDS[2]]):
            end_s = word.start_s + word.duration_s
            inside = (begin > word.start_s + 1e-3) & (begin + 0.025 < end_s - 1e-3)
            outside = (begin + 0.025 < word.start_s - 1e-3) | (begin > end_s + 1e-3)
            assert inside.sum() > 10
            silent = masked[inside].max() < whole.min() - 1.0
            assert silent or np.array_equal(masked[inside], whole[inside])
            num_masked += silent
            begin_outside = (begin + 0.025 < EDGE_S) | (begin > EDGE_S + 6 * WORD_S)
            assert np.array_equal(masked[outside & begin_outside], whole[outside & begin_outside])
    assert num_masked == pytest.approx(0.4 * 10 * 6, rel=0.35)


def test_another_step_masks_other_words_and_the_same_step_the_same(corpus):
    b = batches(corpus, "mlm", mlm_share=0.5)
    draws = {step: [feats.tobytes() for *_, feats, _ in rows(b, step, [4, 5])] for step in range(6)}
    assert len({feats[0] for feats in draws.values()}) > 3
    again = batches(corpus, "mlm", mlm_share=0.5)
    assert [feats.tobytes() for *_, feats, _ in rows(again, 3, [4, 5])] == draws[3]


def test_the_target_is_the_whole_transcript_and_ctc_hears_clean_speech_only(corpus):
    b = batches(corpus, "asr", "slu", "mlm")
    ids, batch = b.collate(0, [0, 3], [])
    assert ids == [IDS[0], IDS[0], IDS[3], IDS[3]]
    assert batch["target_source"].tolist() == [0, 0, 1, 2, 2, 3]
    assert (batch["words_lengths"] > 0).tolist() == [True, False, True, False]
    for row in range(6):
        task = TOKENIZER.symbols[batch["target_task"][row]]
        target = TOKENIZER.decode(batch["target"][row, : batch["target_lengths"][row]].tolist())
        text = TEXTS[ids[batch["target_source"][row]]]
        assert target == (f"count( {text} )count" if task == "<slu>" else text)


def test_text_rows_follow_the_masked_ones(corpus):
    b = batches(corpus, "asr", "mlm", "nlu")
    ids, batch = b.collate(0, [1], [2, 3])
    assert ids == [IDS[1], IDS[1], IDS[2], IDS[3]] and len(batch["speech"]) == 2
    assert batch["target_source"].tolist() == [0, 1, 2, 3]


def test_two_rows_of_an_utterance_count_as_two_in_a_batch(corpus):
    b = batches(corpus, "asr", "mlm")
    longest = int(b.sampler.speech_frames.max())
    assert all(len(batch) == 1 for batch in b.sampler._pack(np.arange(6), 2 * longest))
    alone = batches(corpus, "mlm")
    assert max(len(batch) for batch in alone.sampler._pack(np.arange(6), 2 * longest)) > 1


def test_one_task_an_utterance_is_one_row(corpus):
    b = batches(corpus, "asr", "mlm", tasks_per_utterance="one")
    seen = [row for step in range(20) for row in rows(b, step, [0, 1])]
    assert len(seen) == 40
    assert {(task, num_words > 0) for _, task, _, num_words in seen} == {
        ("<asr>", True),
        ("<mlm>", False),
    }


def test_while_ctc_learns_alone_nothing_is_masked(corpus):
    b = batches(corpus, "mlm", ctc_first_fraction=0.5)
    _, batch = b.collate(0, [0, 1], [])
    assert len(batch["speech"]) == 2 and len(batch["target"]) == 0
    assert (batch["words_lengths"] > 0).all()


def test_validation_masks_the_same_words_every_time(corpus):
    b = batches(corpus, "mlm", training=False)
    (plan,) = b.sampler.validation()
    first, second = (b.collate(*plan)[1]["speech"] for _ in range(2))
    assert torch.equal(first, second)


def test_validation_has_the_task_where_there_are_alignments(corpus, tmp_path):
    settings = Config(train=TrainConfig(sources=[Source("train", ["asr", "mlm"])]))
    settings.train.valid_splits = ["train"]
    data = corpus[0] / "data"
    assert validation_sources(settings, data)[0].tasks == ["asr", "mlm"]
    kaldi_dir.write(tmp_path / "train", kaldi_dir.read(data / "train"))
    assert validation_sources(settings, tmp_path)[0].tasks == ["asr"]
    settings.train.sources = [Source("train", ["mlm"])]
    with pytest.raises(ValueError, match=r"valid_splits: got \['train'\].*atat\.align"):
        validation_sources(settings, tmp_path)


@pytest.fixture
def copied(corpus, tmp_path):
    """A copy of the data whose ctm may be broken."""
    data = tmp_path / "data" / "train"
    kaldi_dir.write(data, kaldi_dir.read(corpus[0] / "data" / "train"))
    (tmp_path / "dump").symlink_to(corpus[0] / "dump")
    (data / "ctm").write_text((corpus[0] / "data" / "train" / "ctm").read_text())
    return tmp_path, data


def test_utterances_without_an_alignment_are_counted_and_limited(copied):
    root, data = copied
    lines = (data / "ctm").read_text().splitlines(keepends=True)
    (data / "ctm").write_text("".join(line for line in lines if not line.startswith("s-3 ")))
    with pytest.raises(ValueError, match=r"1 of 6 utterances are not in it .*; the first: s-3"):
        examples(root, "mlm")
    made = examples(root, "asr", "mlm", allow_drops=True)
    assert "1 of 6 utterances have no alignment" in made.notes[0]
    (part,) = made.speech
    tasks = {i: part.tasks_of(u) for u, i in enumerate(part.ids)}
    assert tasks == {i: ["asr"] if i == "s-3" else ["asr", "mlm"] for i in IDS}
    left = examples(root, "mlm", allow_drops=True).speech[0].ids
    assert list(left) == [i for i in IDS if i != "s-3"]


def test_alignments_may_come_with_the_corpus(copied, tmp_path):
    root, data = copied
    (tmp_path / "came").mkdir()
    (data / "ctm").rename(tmp_path / "came" / "train.ctm")
    with pytest.raises(FileNotFoundError, match=r"train\.ctm names a directory"):
        examples(root, "mlm")
    assert list(examples(root, "mlm", ctm_dir=str(tmp_path / "came")).speech[0].ids) == list(IDS)
    c = Config()
    c.train.sources, c.train.valid_splits = [Source("train", ["mlm"])], ["train"]
    c.train.ctm = str(tmp_path / "came")
    assert validation_sources(c, root / "data")[0].tasks == ["mlm"]


def test_words_beyond_the_audio_are_refused(corpus):
    path, settings = str(corpus[0] / "s-0.wav"), Config(features=corpus[1])
    for last_s in (50.0, 0.0):
        ticks = word_masking.ticks([Word(WORDS[0], last_s, WORD_S)])
        draw = np.random.default_rng(0)
        if last_s:
            with pytest.raises(
                ValueError, match=r"ends at 50\.20 s by the alignment, but the audio"
            ):
                word_masking.masked_features(path, ticks, settings.features, settings.train, draw)
        else:
            word_masking.masked_features(path, ticks, settings.features, settings.train, draw)


def test_no_alignments_and_no_audio_are_one_line(copied, tmp_path):
    root, data = copied
    split = kaldi_dir.read(data)
    gone = dataclasses.replace(split, wav_scp={i: f"{i}.wav" for i in IDS})
    kept = (data / "ctm").read_text()
    kaldi_dir.write(data, gone)
    with pytest.raises(FileNotFoundError, match=r"no such word alignments.*atat\.align"):
        examples(root, "mlm")
    (data / "ctm").write_text(kept)
    with pytest.raises(FileNotFoundError, match=r"s-0\.wav: the audio of 's-0' is gone"):
        examples(root, "mlm")
    assert examples(root, "asr").speech  # needs neither


def test_it_is_trained_and_validated_beside_the_other_tasks(tmp_path):
    write(tmp_path, FeaturesConfig())
    np.savez(tmp_path / "dump" / "cmvn.npz", mean=np.full(80, 4.0, "f"), std=np.full(80, 4.0, "f"))
    TOKENIZER.save(tmp_path / "data" / "tokenizer")
    c = settings(sources=[Source("train", ["asr", "mlm"])], num_steps=4, num_epochs=2)
    c.train.valid_splits, c.train.num_workers = ["train"], 1
    log = lines(run(c, tmp_path, "mlm"))
    assert all({"em_asr", "em_mlm", "train_loss", "valid_loss"} <= line.keys() for line in log)
