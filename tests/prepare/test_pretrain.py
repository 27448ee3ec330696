import json

import pytest

from atat.config import config_file
from atat.prepare import pretrain
from tests.prepare.nlu_corpora import write_snips_nlu
from tests.prepare.tree_corpora import splits, write_topv2

VOICES = (
    "data.voices={train: {espeak/en-us: 1}, valid: {espeak/en-us: 1}, test: {nanotts/en-US: 1}}"
)
LINES = (
    "Turn the lights off, please!\nwhat's up\n\nturn the lights off please\nfour five GetWeather\n"
)


def prepare(tmp_path, *overrides):
    overrides = [VOICES, "data.num_valid=3", f"data.cache={tmp_path / 'cache'}", *overrides]
    corpus = write_snips_nlu(tmp_path / "nlu")
    return pretrain.prepare(config_file.load([], overrides), corpus, tmp_path / "data", num_jobs=1)


def test_no_sentence_is_in_two_of_train_valid_and_test(tmp_path):
    voices = prepare(tmp_path)
    assert voices["test"] == "nanotts/en-US 100%"
    found = splits(tmp_path)
    assert set(found) == {"train", "train_text", "valid", "test"}
    texts = {split: set(directory.text.values()) for split, directory in found.items()}
    assert texts["train"] == texts["train_text"] and len(texts["train"]) == 11
    assert len(texts["valid"]) == 3 and len(texts["test"]) == 7
    assert not texts["train"] & texts["valid"] and not texts["train"] & texts["test"]
    assert found["train_text"].wav_scp is None and found["train"].semantics
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert about["hypothesis"] == "tree" and about["corpus"] == "SNIPS NLU"


def test_a_sentence_of_the_test_is_not_trained_on(tmp_path):
    write_snips_nlu(tmp_path / "nlu")
    path = tmp_path / "nlu" / "2017-06-custom-intent-engines" / "RateBook"
    held_out = {"data": [{"text": "please say "}, {"text": "RateBook", "entity": "state"}]}
    (path / "train_RateBook_full.json").write_text(json.dumps({"RateBook": [held_out]}))
    settings = config_file.load([], ["data.num_valid=1"])
    found = pretrain.sentences_of(settings, tmp_path / "nlu")
    assert "please say ratebook" in {s.text for s in found["test"]}
    assert "please say ratebook" not in {s.text for s in [*found["train"], *found["valid"]]}


def test_other_sentences_are_spoken_for_recognition(tmp_path):
    (tmp_path / "lines.txt").write_text(LINES, encoding="utf-8")
    prepare(tmp_path, f"data.asr_texts={tmp_path / 'lines.txt'}")
    found = splits(tmp_path)
    # Each once, as words, and none that is learned with its meaning.
    learned = {*found["train"].text.values(), *found["valid"].text.values()}
    assert "four five getweather" in learned
    assert set(found["asr"].text.values()) == {"turn the lights off please", "what's up"}
    assert found["asr"].semantics is None and found["asr"].wav_scp


def test_trees_of_more_domains_are_learned_too(tmp_path):
    topv2 = write_topv2(tmp_path / "v2")
    prepare(tmp_path, f"data.trees={topv2}", "data.domains=[navigation]")
    semantics = splits(tmp_path)["train"].semantics.values()
    assert any(s.startswith("Get") and "PlayMusic" not in s for s in semantics)


@pytest.mark.parametrize("num", [0, 14])
def test_validation_leaves_something_to_train_on(tmp_path, num):
    with pytest.raises(ValueError, match=f"data.num_valid: got {num}, expected 1 to 13"):
        prepare(tmp_path, f"data.num_valid={num}")


def test_a_split_that_nothing_fills_is_said_before_anything_is_spoken(tmp_path):
    wanted = "train.sources=[{split: train, tasks: [slu]}, {split: asr, tasks: [asr]}]"
    with pytest.raises(
        ValueError, match=r"asr_texts: got none, .* train\.sources has the split asr"
    ):
        prepare(tmp_path, wanted)
    assert not (tmp_path / "cache").exists() and not (tmp_path / "data").exists()


def test_a_missing_file_of_sentences_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"data\.asr_texts: .*none\.txt is no file"):
        prepare(tmp_path, f"data.asr_texts={tmp_path / 'none.txt'}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("play caf\u00e9\n".encode("latin-1"), r"lines\.txt: not UTF-8 text: "),
        (b"play\n" + b"a" * 10**6, r"lines\.txt:2: got more than \d+ characters, expected a sent"),
    ],
)
def test_a_file_that_is_no_sentences_is_named(tmp_path, content, said):
    (tmp_path / "lines.txt").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        prepare(tmp_path, f"data.asr_texts={tmp_path / 'lines.txt'}")


def test_more_sentences_come_by_recombination_and_as_lists_of_words(tmp_path):
    prepare(tmp_path, "data.num_recombined=50", "data.num_word_lists=2")
    found = splits(tmp_path)
    more = {i for i in found["train"].ids if "recombined" in i}
    assert more and len(more) == sum("recombined" in i for i in found["train_text"].ids)
    told = {found[split].text[i] for split in ("valid", "test") for i in found[split].ids}
    assert not {found["train"].text[i] for i in more} & told
    assert all("words" in i for i in found["asr"].ids) and len(found["asr"].ids) == 2
    assert found["asr"].semantics is None


def test_numbers_are_written_as_they_are_said(tmp_path):
    (tmp_path / "lines.txt").write_text("call me at 10\n")
    texts = f"data.asr_texts={tmp_path / 'lines.txt'}"
    topv2 = write_topv2(tmp_path / "v2")
    trees = [f"data.trees={topv2}", "data.domains=[event]"]
    prepare(tmp_path, texts, *trees, "data.spelled_out=true")
    found = splits(tmp_path)
    assert set(found["asr"].text.values()) == {"call me at ten"}
    both = {
        (part.text[i], part.semantics[i])
        for part in (found["train"], found["valid"], found["train_text"])
        for i in part.ids
        if "tomorrow" in part.text[i]
    }
    (text, semantics), *others = both
    assert not others and "five thirty pm" in text and "5 30 pm" in semantics


def test_a_sentence_of_the_test_is_not_trained_on_however_its_numbers_are_written(tmp_path):
    write_snips_nlu(tmp_path / "nlu")
    path = tmp_path / "nlu" / "2017-06-custom-intent-engines" / "RateBook"
    for name, number in (("train_RateBook_full", "2"), ("validate_RateBook", "two")):
        held_out = {"data": [{"text": f"give {number} stars"}]}
        (path / f"{name}.json").write_text(json.dumps({"RateBook": [held_out]}))
    (tmp_path / "lines.txt").write_text("give 2 stars\ngo on\n")
    settings = config_file.load(
        [],
        ["data.num_valid=1", "data.spelled_out=true", f"data.asr_texts={tmp_path / 'lines.txt'}"],
    )
    found = pretrain.sentences_of(settings, tmp_path / "nlu")
    assert "give two stars" in {s.text for s in found["test"]}
    assert "give two stars" not in {s.text for s in [*found["train"], *found["valid"]]}
    heard = pretrain.asr_texts(settings, {s.text for part in found.values() for s in part})
    assert [s.text for s in heard] == ["go on"]
