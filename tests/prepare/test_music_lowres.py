import json

import pytest

from atat.config import config_file
from atat.data import kaldi_dir
from atat.prepare import music_lowres
from tests.prepare.tree_corpora import MORE_ROWS, splits, write_stop, write_top, write_topv2

VOICES = (
    "data.voices={train: {espeak/en-us: 1}, valid: {espeak/en-us: 1}, test: {nanotts/en-US: 1}}"
)


def prepare(tmp_path, corpus, *overrides):
    overrides = [VOICES, "data.low_resource=0.25", f"data.cache={tmp_path / 'cache'}", *overrides]
    return music_lowres.prepare(
        config_file.load([], overrides), corpus, tmp_path / "data", num_jobs=1
    )


def test_a_share_of_the_sentences_with_all_their_renderings_is_low(tmp_path):
    twice = [*MORE_ROWS, MORE_ROWS[-1]]  # a sentence that stands in the corpus twice
    voices = prepare(tmp_path, write_topv2(tmp_path / "v2", twice), "data.renderings=2")
    assert tuple(voices) == music_lowres.SPOKEN and voices["test"] == "nanotts/en-US 100%"
    found = splits(tmp_path)
    assert set(found) == {"train_low", "train_rest", "train_text", "valid", "test"}
    low, rest = (set(found[s].text.values()) for s in ("train_low", "train_rest"))
    assert not low & rest and low | rest == set(found["train_text"].text.values())
    assert len(low) == 2 and len(found["train_text"].ids) == len(twice)
    assert sum(len(found[s].ids) for s in ("train_low", "train_rest")) == 2 * len(twice)
    assert {s.split("-")[0] for s in found["train_low"].utt2spk.values()} == {"espeak"}
    assert {s.split("-")[0] for s in found["test"].utt2spk.values()} == {"nanotts"}
    assert json.loads((tmp_path / "data" / "about.json").read_text())["hypothesis"] == "tree"


def test_a_larger_share_has_the_sentences_of_a_smaller_one(tmp_path):
    found = []
    for share in (0.25, 0.5):
        prepare(
            tmp_path, write_stop(tmp_path / str(share), MORE_ROWS), f"data.low_resource={share}"
        )
        found.append(set(splits(tmp_path)["train_low"].text.values()))
    assert found[0] < found[1]


def test_domains_can_be_chosen(tmp_path):
    prepare(tmp_path, write_topv2(tmp_path / "v2", MORE_ROWS), "data.domains=[navigation]")
    assert {len(directory.ids) for directory in splits(tmp_path).values()} == {1, 3, 4}


def test_stop_is_spoken_by_people(tmp_path):
    assert set(prepare(tmp_path, write_stop(tmp_path / "s", MORE_ROWS)).values()) == {"people"}
    for split in music_lowres.SPOKEN:
        paths = kaldi_dir.read(tmp_path / "data" / split).wav_scp.values()
        assert all("/stop/" in path for path in paths)
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert about["speech"] == "recorded from people."


@pytest.mark.parametrize(
    ("write", "override", "reason"),
    [
        (write_top, "data.num_test=1", "is TOP, expected TOPv2 or STOP"),
        (write_topv2, "data.low_resource=1.0", "data.low_resource: got 1.0, expected a share"),
        (write_topv2, "data.low_resource=0.01", "0.01 of 8 sentences leaves train_low empty"),
        (write_topv2, "data.domains=[books]", "data.domains: got 'books', expected some of alarm"),
        (write_topv2, "data.voices={test: {espeak: 1}}", "'espeak' is in both train and test"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(tmp_path, write, override, reason):
    with pytest.raises(ValueError, match=reason):
        prepare(tmp_path, write(tmp_path / "corpus", MORE_ROWS), override)
    assert not (tmp_path / "data").exists()
