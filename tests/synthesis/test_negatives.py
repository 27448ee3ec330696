"""Audio that means nothing: every kind, from a seed, and what is found in directories."""

import numpy as np
import pytest
import soundfile

from atat.synthesis import negatives

KNOWN = ["turn", "on", "the", "light", "in", "kitchen", "set", "volume", "to", "ten", "percent"]


@pytest.mark.parametrize("kind", sorted(negatives.KINDS.keys() - {"babble"}))
def test_a_kind_is_sound_of_its_length_and_follows_from_the_seed(kind):
    make = negatives.KINDS[kind]
    clips = [make(np.random.default_rng(seed), 32000) for seed in (1, 1, 2)]
    assert all(clip.shape == (32000,) and np.isfinite(clip).all() for clip in clips)
    assert np.array_equal(clips[0], clips[1]) and not np.array_equal(clips[0], clips[2])
    assert max(np.abs(clip).max() for clip in clips) < 1.5
    quiet = np.sqrt(np.mean(clips[0] ** 2)) < 10 ** (-59 / 20)
    assert quiet == (kind == "silence")


def test_babble_is_several_voices(tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.wav")
        tone = np.sin(2 * np.pi * 500 * (number + 1) * np.arange(8000) / 16000)
        soundfile.write(paths[-1], 0.5 * tone, 16000)
    clip = negatives.babble(np.random.default_rng(0), 16000, paths)
    spectrum = np.abs(np.fft.rfft(clip))
    assert (spectrum[[500, 1000, 1500]] > 20 * np.median(spectrum)).sum() >= 2


def test_sentences_are_different_and_of_domains_that_training_has_not():
    drawn = negatives.sentences(200, 1, KNOWN)
    assert drawn == negatives.sentences(200, 1, KNOWN) != negatives.sentences(200, 2, KNOWN)
    assert len(set(drawn)) == 200
    # What a model has heard in training, it is not judged by.
    assert not set(drawn) & set(negatives.sentences(200, 1, KNOWN, negatives.HEARD))
    assert not set(negatives.HEARD) & set(negatives.UNHEARD)
    for sentence in drawn:
        words = sentence.split()
        assert sum(word in KNOWN for word in words) <= len(words) / 2
        assert "(" not in sentence and "[" not in sentence


def test_a_recipe_that_says_all_of_them_is_told_so():
    everything = {
        word for seed in (1, 2, 3) for s in negatives.sentences(900, seed, ()) for word in s.split()
    }
    with pytest.raises(ValueError, match="give audio with --negatives"):
        negatives.sentences(5, 1, everything)


def test_pieces_are_all_of_a_recording():
    samples = np.arange(50)
    parts = negatives.pieces(samples, 10, 2.0)
    assert [len(part) for part in parts] == [17, 17, 16]
    assert np.array_equal(np.concatenate(parts), samples)
    assert len(negatives.pieces(samples, 10, 8.0)) == 1


def test_files_are_found_by_directory(tmp_path):
    (tmp_path / "a-b" / "deep").mkdir(parents=True)
    for name in ("x.wav", "deep/y.FLAC", "notes.txt"):
        (tmp_path / "a-b" / name).touch()
    found = negatives.find([tmp_path / "a-b"])
    assert sorted(found) == ["a_b-deep/y.FLAC", "a_b-x.wav"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no audio files here"):
        negatives.find([tmp_path / "empty"])


def test_directories_of_one_name_lose_none_of_their_files(tmp_path):
    places = [tmp_path / "a" / "my-noise", tmp_path / "b" / "my-noise"]
    for place in places:
        place.mkdir(parents=True)
        (place / "x.wav").touch()
    found = negatives.find(places)
    assert set(found.values()) == {place / "x.wav" for place in places}
    assert {id_.partition("-")[0] for id_ in found} == {"my_noise"}


def test_near_misses_are_negated_broken_off_and_otherwise_near_but_not_meant():
    texts = ["turn on the light in the kitchen", "set the volume to ten percent", "stop"]
    meant = {*texts, "turn on the light"}  # broken off, and a sentence all the same
    found = negatives.near_misses(texts, 120, 1, meant.__contains__, with_slips=True)
    assert found == negatives.near_misses(texts, 120, 1, meant.__contains__, with_slips=True)
    assert len(set(found)) == 120 and not set(found) & meant
    negated = [text for text in found if text.startswith(negatives.NEGATIONS)]
    known = {word for text in texts for word in text.split()}
    shuffled = [
        t
        for t in found
        if t not in negated and sorted(t.split()) in map(sorted, (text.split() for text in texts))
    ]
    broken = [t for t in found if any(text.startswith(f"{t} ") for text in texts)]
    replaced = [t for t in found if t not in negated and not set(t.split()) <= known]
    assert min(map(len, (negated, shuffled, broken, replaced))) >= 4
    judged = negatives.near_misses(texts, 120, 1, meant.__contains__)
    assert all(set(t.split()) <= known or t.startswith(negatives.NEGATIONS) for t in judged)


def test_few_near_misses_of_few_words_are_no_endless_search():
    found = negatives.near_misses(["stop"], 1000, 1, {"stop"}.__contains__)
    assert "do not stop" in found and len(found) < 1000
    assert negatives.near_misses([], 10, 1, bool) == []
