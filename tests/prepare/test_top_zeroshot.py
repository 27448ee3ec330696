import json

import pytest

from atat.config import config_file
from atat.evaluation import scoring
from atat.prepare import top_zeroshot
from atat.prepare.top_format import Sentence
from atat.semantics import target_sequence
from atat.semantics.text_normalization import join_clitics
from tests.prepare.tree_corpora import MORE_ROWS, splits, write_stop, write_top, write_topv2

SETTINGS = """
data:
  voices: {train: {espeak/en-us: 1}, valid: {espeak/en-us: 1}, test: {nanotts/en-US: 1}}
  num_asr: 5
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache, command):
    """Run stage 1 on a corpus; returns (exit code, stdout, stderr)."""
    (tmp_path / "recipe.yaml").write_text(SETTINGS)

    def run(corpus, *arguments, module=top_zeroshot):
        given = ["--config", tmp_path / "recipe.yaml", "--data", tmp_path / "data"]
        given += ["--corpus_dir", corpus, f"data.cache={cache}", *arguments]
        return command(module.main, *given)

    return run


def test_text_is_whole_and_speech_is_rendered_of_it(run, tmp_path):
    code, out, err = run(write_top(tmp_path / "top", MORE_ROWS))
    assert code == 0, err
    found = splits(tmp_path)
    assert set(found) == {"train_text", "train", "valid", "test", "asr"}
    assert found["train_text"].wav_scp is None and len(found["train_text"].ids) == len(MORE_ROWS)
    for split, engine in (("train", "espeak"), ("valid", "espeak"), ("test", "nanotts")):
        assert sorted(found[split].semantics.values()) == sorted(
            found["train_text"].semantics.values()
        )
        assert all(speaker.startswith(engine) for speaker in found[split].utt2spk.values())
        # `train` and `valid` say the same sentences by the same voices, in other renderings.
        others = found["train" if split == "valid" else "valid"].wav_scp.values()
        assert not set(found[split].wav_scp.values()) & set(others)
        for key, sequence in found[split].semantics.items():
            assert found[split].text[key] == target_sequence.words(sequence)
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert (about["corpus"], about["hypothesis"]) == ("TOP", "tree")
    assert "not recorded (train: espeak/en-us 100%" in about["speech"]
    assert scoring.hypothesis_key(tmp_path / "data")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        *("train_text", "train", "valid", "test", "asr")
    ]


def test_the_test_can_be_heard_in_the_voices_of_training_too(run, tmp_path):
    voices = "data.voices.test_seen_voices={espeak/en-us: 1}"
    code, out, err = run(write_top(tmp_path / "top", MORE_ROWS), voices)
    assert code == 0, err
    seen, unseen = splits(tmp_path)["test_seen_voices"], splits(tmp_path)["test"]
    assert sorted(seen.semantics.values()) == sorted(unseen.semantics.values())
    assert {speaker.partition("-")[0] for speaker in seen.utt2spk.values()} == {"espeak"}
    assert any(line.startswith("test_seen_voices") for line in out.splitlines())
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert "test_seen_voices: espeak/en-us 100%" in about["speech"]


def test_some_sentences_are_spoken_and_all_are_read(run, tmp_path):
    code, _, err = run(write_top(tmp_path / "top", MORE_ROWS), "data.num_spoken=3")
    assert code == 0, err
    found = splits(tmp_path)
    read, spoken = found["train_text"].text, found["train"].text
    assert (len(read), len(spoken)) == (len(MORE_ROWS), 3)
    assert set(spoken.values()) <= set(read.values())
    code, _, err = run(write_top(tmp_path / "top", MORE_ROWS), "data.num_spoken=99")
    assert code == 0 and f"train: {len(MORE_ROWS)} sentences to speak, not 99" in err


def test_the_speech_for_learning_from_text_holds_no_sentence_of_the_corpus(run, tmp_path):
    code, _, err = run(write_topv2(tmp_path / "v2", MORE_ROWS))
    assert code == 0, err
    found = splits(tmp_path)
    assert found["asr"].semantics is None
    learned = set(found["train_text"].text.values())
    assert len(learned) == 6 and "wake me at six" not in learned  # event and navigation only
    heard = set(found["asr"].text.values())
    assert {"wake me at six", "is it cold"} <= heard and not heard & learned
    words = {word for text in learned for word in join_clitics(text).split()}
    assert {w for text in heard - {"wake me at six", "is it cold"} for w in text.split()} <= words


def test_shuffled_words_keep_how_often_each_occurs():
    texts = ["a b c", "a d", "e f g h"]
    sentences = [Sentence(f"train-{n}", "", text) for n, text in enumerate(texts)]
    said = top_zeroshot.asr_sentences({"train": sentences}, [], 3, seed=1)
    words = sorted(word for sentence in said for word in sentence.text.split())
    assert words == sorted(" ".join(texts).split())
    assert sorted(len(s.text.split()) for s in said) == [2, 3, 4]
    assert said == top_zeroshot.asr_sentences({"train": sentences}, [], 3, seed=1)


def test_speech_of_other_domains_alone_has_their_semantics():
    train = [
        Sentence("train-0", "", "go home now", "go( home )go"),
        Sentence("train-1", "", "how far is the old town from here", "ask( )ask"),
    ]
    others = [
        Sentence("a", "alarm", "wake me", "wake( wake me )wake"),
        Sentence("b", "alarm", "stop it", "stop( stop it )stop"),
        Sentence("c", "alarm", "go home now", "other( go home now )other"),  # learned: never said
    ]
    said = top_zeroshot.asr_sentences({"train": train}, others, 2, seed=1)
    assert {s.text: s.semantics for s in said} == {s.text: s.semantics for s in others[:2]}
    with_shuffled = top_zeroshot.asr_sentences({"train": train}, others, 3, seed=1)
    assert [s.semantics for s in with_shuffled] == [None] * 3


def test_words_that_cannot_be_shuffled_into_something_new_end_the_search(capsys):
    said = top_zeroshot.asr_sentences({"train": [Sentence("train-0", "", "a a")]}, [], 3, seed=1)
    assert said == [] and "asr: 0 utterances of shuffled words, not 3" in capsys.readouterr().err


def test_recordings_of_stop_are_the_real_test(run, tmp_path):
    code, _, err = run(write_stop(tmp_path / "s", MORE_ROWS))
    assert code == 0, err
    real = splits(tmp_path)["test_real"]
    assert len(real.ids) == 6 and all("/stop/test/" in path for path in real.wav_scp.values())
    code, _, err = run(
        write_top(tmp_path / "top", MORE_ROWS), f"data.recorded={tmp_path / 's'}", "data.num_asr=0"
    )
    assert code == 0, err
    assert splits(tmp_path)["test_real"].semantics == real.semantics
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert "test_real: people" in about["speech"]
    code, _, err = run(tmp_path / "s", f"data.recorded={tmp_path / 'top'}")
    assert code == 2 and "is TOP, expected STOP" in err


def test_librispeech_can_be_the_speech_for_learning_from_text(run, tmp_path):
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        chapter = tmp_path / "libri" / part / "7" / "9"
        chapter.mkdir(parents=True)
        lines = [f"7-9-{n:04d} SOME WORDS {'AND ' * n}\n" for n in range(4)]
        (chapter / "7-9.trans.txt").write_text("".join(lines))
        for n in range(4):
            (chapter / f"7-9-{n:04d}.flac").write_bytes(b"fLaC")
    overrides = [f"data.asr_corpus={tmp_path / 'libri'}", "data.num_asr=3"]
    code, out, err = run(write_top(tmp_path / "top", MORE_ROWS), *overrides)
    assert code == 0, err
    asr = splits(tmp_path)["asr"]
    assert len(asr.ids) == 3 and set(asr.utt2spk.values()) == {"7"} and asr.semantics is None
    assert all("/train-clean-100/" in path for path in asr.wav_scp.values())
    assert [line for line in out.splitlines() if line.startswith("asr") and "people" in line]


def test_unsupported_intents_and_numbers_are_settings(run, tmp_path):
    top = write_top(tmp_path / "top", MORE_ROWS)
    code, _, err = run(
        top, "data.unsupported=false", "data.num_train=3", "data.num_test=2", "data.renderings=2"
    )
    assert code == 0 and "test: 1 sentences are IN:UNSUPPORTED*, left out" in err
    found = splits(tmp_path)
    sizes = {split: len(directory.ids) for split, directory in found.items()}
    assert sizes == {"train_text": 3, "train": 6, "valid": 7, "test": 2, "asr": 5}
    for split in ("train_text", "train", "valid", "test"):
        assert "Unsupported" not in str(found[split].semantics)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["data.voices.test={espeak: 1}"], "'espeak' is in both train and test"),
        (
            ["data.voices.test_seen_voices={nanotts: 1}"],
            "got 'nanotts', expected some of data.voices.train: espeak",
        ),
        (["data.renderings=0"], "data.renderings: got 0"),
        (["data.asr_texts=/nowhere"], "/nowhere: found none of TOP"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(run, tmp_path, overrides, reason):
    code, _, err = run(write_top(tmp_path / "top", MORE_ROWS), *overrides)
    assert code == 2 and reason in err and len(err.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_check_writes_nothing(run, tmp_path):
    code, out, _ = run(write_stop(tmp_path / "s", MORE_ROWS), "--check", "true")
    assert code == 0 and "recordings of test" in out
    assert not (tmp_path / "data").exists()
    code, _, err = run(tmp_path / "s" / "stop" / "manifests", "--check", "true")
    assert code == 2 and len(err.splitlines()) == 1


def test_the_settings_of_the_recipe_can_be_used():
    conf = config_file.ROOT / "egs" / "top_zeroshot" / "conf"
    data = config_file.load([conf / "recipe.yaml"]).data
    assert data.num_asr > 0 and set(data.voices) == {"train", "valid", "test"}
    measured = config_file.load([conf / "recipe.yaml", conf / "two_cores.yaml"])
    assert measured.data.num_spoken == 0 and measured.model.frozen_encoder  # all sentences
    assert data.num_test == 1915  # as many as the paper's recorded test has
    assert measured.data.num_test == 0  # all 9,042
