from collections import Counter
from pathlib import Path

import pytest
import soundfile

from atat import config, datadir, semantics
from atat.config import DataConfig
from atat.grammar import Grammar
from atat.prepare import commands, spoken_grammar

RECIPE = Path(__file__).parent.parent / "egs" / "commands" / "conf" / "recipe.yaml"
TOY = """
context:
  expressions:
    light: ["(please) [turn, switch] $state:state the (big) $room:room [light, lamp]"]
    stop: ["stop (it, that) (please, now, at once)"]
  slots:
    state: ["on", "off"]
    room: [kitchen, hall, office]
"""
SETTINGS = """
data:
  num_train: 20
  num_train_text: 30
  num_valid: 4
  num_test: 6
  voices: {train: {espeak: 1}, valid: {espeak: 1}, test: {nanotts: 1}}
  num_pseudo_speakers: 2
"""


@pytest.fixture
def grammar(tmp_path):
    (tmp_path / "toy.yaml").write_text(TOY)
    return Grammar.load(tmp_path / "toy.yaml")


@pytest.fixture
def run(tmp_path, grammar, command):
    """Run stage 1 on the toy grammar; returns (exit code, stdout, stderr)."""
    (tmp_path / "recipe.yaml").write_text(SETTINGS)

    def run(*arguments):
        given = ["--config", tmp_path / "recipe.yaml", "--data", tmp_path / "data"]
        given += ["--grammar", grammar.path, f"data.cache={tmp_path / 'cache'}", *arguments]
        return command(commands.main, *given)

    return run


def sentences(data, split):
    return list(datadir.read(data / split).text.values())


def test_stage_one_writes_splits_that_share_no_held_out_sentence(run, tmp_path, grammar):
    code, out, _ = run()
    assert code == 0
    data = tmp_path / "data"
    assert datadir.splits(data) == ["test", "train", "train_text", "valid"]
    spoken = {split: sentences(data, split) for split in datadir.splits(data)}
    assert {split: len(s) for split, s in spoken.items()} == {
        "test": 6, "train": 20, "train_text": 30, "valid": 4,
    }  # fmt: skip
    for held_out, others in [
        ("test", ("train", "train_text", "valid")),
        ("valid", ("train", "train_text", "test")),
    ]:
        assert len(set(spoken[held_out])) == len(spoken[held_out])
        for other in others:
            assert not set(spoken[held_out]) & set(spoken[other])
    for split in spoken:
        directory = datadir.read(data / split)
        for key, sequence in directory.semantics.items():
            assert semantics.words(sequence) == directory.text[key]
            assert grammar.parse(directory.text[key]) == [semantics.frame(sequence)]
    assert datadir.read(data / "train_text").wav_scp is None
    assert (data / "grammar.yaml").read_text() == TOY
    # The table: a line a split, with the number of utterances first.
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["train_text", "30"], ["train", "20"], ["valid", "4"], ["test", "6"],
    ]  # fmt: skip


def test_spoken_splits_have_16_khz_speech_and_voices_of_their_own(run, tmp_path):
    run()
    for split, engine in [("train", "espeak"), ("valid", "espeak"), ("test", "nanotts")]:
        directory = datadir.read(tmp_path / "data" / split)
        assert all(speaker.startswith(engine) for speaker in directory.utt2spk.values())
        for path in directory.wav_scp.values():
            info = soundfile.info(path)
            assert (info.samplerate, info.channels) == (16000, 1)
            assert 0.2 < info.duration < 6


def test_the_same_command_gives_the_same_data_and_another_seed_other_data(run, tmp_path):
    def split(name):
        return datadir.read(tmp_path / "data" / name)

    run()
    first = split("train")
    run()
    assert split("train") == first
    run("seed=2")
    assert split("train").text != first.text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["data.voices.test={espeak: 1}"], "'espeak' is in both train and test"),
        (["data.voices.train={espeak/en-us: 1, nanotts: 0.5}"], "'nanotts' is in both train"),
        (["data.voices.valid={}"], "data.voices"),
        (["data.voices.train={nobody: 1}"], "nobody"),
        (["data.voices.test={nobody: 1}"], "nobody"),
        (["--grammar", "absent.yaml"], "absent.yaml: no such grammar file"),
        (["--nj", "0"], "expected a whole number"),
        (["data.num_trian=3"], "did you mean 'data.num_train'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, arguments, reason, tmp_path):
    code, out, err = run(*arguments)
    if "valid={}" in arguments[0]:  # an empty mapping changes nothing in a merge
        assert code == 0
        return
    assert (code, out) == (2, "")
    assert reason in err and err.count("error:") == 1
    assert not (tmp_path / "data").exists()


def test_a_missing_set_of_voices_is_named():
    with pytest.raises(ValueError, match=r"data\.voices\.valid is not set"):
        spoken_grammar.check_voices({"train": {"espeak": 1}}, ("train", "valid"))
    # A share of 0 is not heard.
    voices = {"train": {"espeak": 1, "nanotts": 0}, "test": {"nanotts": 1}}
    spoken_grammar.check_voices(voices, ("train", "test"))


def test_a_small_grammar_is_held_out_in_part_and_said_often(grammar, capsys):
    assert grammar.count() == 96 + 12
    settings = DataConfig(num_train=100, num_train_text=100, num_valid=50, num_test=50)
    drawn = spoken_grammar.draw(grammar, settings, seed=1)
    sizes = {split: len(sequences) for split, sequences in drawn.items()}
    # A fifth of 96 and of 12 sentences for each of the two; what is left to train on, all of it.
    assert sizes == {"test": 21, "valid": 21, "train": 100, "train_text": 66}
    assert set(Counter(drawn["train"]).values()) == {1, 2}
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "test: 21 different sentences, not 50",
        "valid: 21 different sentences, not 50",
        "train: 66 different sentences, each said several times",
        "train_text: 66 different sentences, not 100",
    ]


def test_a_grammar_too_small_to_hold_anything_out_is_refused(tmp_path):
    (tmp_path / "g.yaml").write_text("context: {expressions: {go: [go, run], stop: [halt]}}")
    with pytest.raises(ValueError, match=r"g.yaml: 3 sentences are too few for test: .* 5 or more"):
        spoken_grammar.draw(Grammar.load(tmp_path / "g.yaml"), DataConfig(num_test=5), seed=1)


def test_doubtful_grammars_are_warned_of(tmp_path, capsys):
    (tmp_path / "g.yaml").write_text("context: {expressions: {a: [go, run], b: [go]}}")
    spoken_grammar.load_grammar(tmp_path / "g.yaml")
    assert "ambiguous" in capsys.readouterr().err


def test_the_recipe_says_every_slot_value_and_intent_in_training():
    settings = config.load([RECIPE])
    spoken_grammar.check_voices(settings.data.voices, spoken_grammar.SPOKEN)
    grammar = Grammar.load(spoken_grammar.ROOT / settings.data.grammar)
    drawn = spoken_grammar.draw(grammar, settings.data, settings.seed)
    assert len(drawn["test"]) >= 500
    frames = [semantics.frame(sequence) for sequence in drawn["train"]]
    intents = Counter(frame.intent for frame in frames)
    assert set(intents) == set(grammar.intents)
    # Only those with few sentences have fewer than their share.
    assert min(intents.values()) > 40
    said = Counter(slot for frame in frames for slot in frame.slots)
    for name, values in grammar.slots.items():
        assert min(said[name, value] for value in values) >= 3, name
    held_out = {semantics.words(s) for s in drawn["test"] + drawn["valid"]}
    assert not held_out & {semantics.words(s) for s in drawn["train"] + drawn["train_text"]}


def test_check_counts_the_sentences_of_a_grammar(run, tmp_path, grammar):
    code, out, _ = run("--check", "true")
    assert code == 0 and not (tmp_path / "data").exists()
    assert out.endswith(f"sentences {grammar.count()}\n")
