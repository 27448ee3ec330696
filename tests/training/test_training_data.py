import pytest

from atat.common.ragged import Ragged
from atat.common.seeds import rng
from atat.config.schema import Config, Source
from atat.data import kaldi_dir
from atat.training.training_data import fraction_of, validation_sources


def test_a_fraction_is_seeded_and_nested():
    tenth, half = (set(fraction_of(200, share, 1).tolist()) for share in (0.1, 0.5))
    assert len(tenth) == 20 and len(half) == 100
    assert tenth < half
    assert set(fraction_of(200, 0.1, 2).tolist()) != tenth
    assert set(fraction_of(200, 1.0, 1).tolist()) == set(range(200))


def test_a_new_consumer_of_random_numbers_does_not_shift_others():
    first = rng(1, "a").random()
    rng(1, "b").random()
    assert rng(1, "a").random() == first != rng(2, "a").random()


def test_ragged_gives_back_its_sequences():
    sequences = [[1, 2], [], [3]]
    ragged = Ragged.of(sequences)
    assert [list(ragged[i]) for i in range(len(ragged))] == sequences


INTENTS = ["go", "stop", "wait"]


def validated(path, *sources):
    """task -> what is excluded of its validation, on a split of INTENTS."""
    texts = {intent: "now" for intent in INTENTS}
    sequences = {intent: f"{intent}( now ){intent}" for intent in INTENTS}
    wavs = {intent: f"{intent}.wav" for intent in INTENTS}
    kaldi_dir.write(path / "valid", kaldi_dir.DataDir(wavs, texts, sequences))
    settings = Config()
    settings.train.sources = list(sources)
    found = validation_sources(settings, path)
    return {task: (s.exclude_intents, s.exclude_pairs) for s in found for task in s.tasks}


def test_validation_leaves_out_what_no_source_of_a_task_teaches(tmp_path):
    sources = [
        Source("train", ["asr"]),
        Source("train", ["slu"], exclude_intents=["stop", "wait", "elsewhere"], exclude_pairs=0.2),
        Source("other", ["slu"], exclude_intents=["stop", "go", "elsewhere"], exclude_pairs=0.1),
        Source("text", ["nlu"]),
    ]
    assert validated(tmp_path, *sources) == {
        "asr": ([], 0.0),
        "nlu": ([], 0.0),
        "slu": (["stop"], 0.1),
    }


def test_validation_without_exclusions_is_one_source_a_split(tmp_path):
    validated(tmp_path, source := Source("train", ["slu", "asr"]), Source("text", ["nlu"]))
    settings = Config()
    settings.train.sources = [source]
    (found,) = validation_sources(settings, tmp_path)
    assert (found.split, found.tasks, found.exclude_intents) == ("valid", ["asr", "slu"], [])


def test_a_split_of_held_out_intents_alone_validates_nothing(tmp_path):
    with pytest.raises(ValueError, match="expected one that can serve one of the tasks slu"):
        validated(tmp_path, Source("train", ["slu"], exclude_intents=INTENTS))
