import json
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from atat.config import config_file
from atat.config.schema import DataConfig
from atat.data import kaldi_dir
from atat.grammar.grammar import Grammar
from atat.prepare import commands, spoken_grammar
from atat.semantics import target_sequence

RECIPE = Path(__file__).parents[2] / "egs" / "commands" / "conf" / "recipe.yaml"
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
    return list(kaldi_dir.read(data / split).text.values())


def test_stage_one_writes_splits_that_share_no_held_out_sentence(run, tmp_path, grammar):
    code, out, _ = run()
    assert code == 0
    data = tmp_path / "data"
    assert kaldi_dir.splits(data) == ["test", "train", "train_text", "valid"]
    spoken = {split: sentences(data, split) for split in kaldi_dir.splits(data)}
    assert {split: len(s) for split, s in spoken.items()} == {
        "test": 6, "train": 20, "train_text": 30, "valid": 4,
    }  # fmt: skip
    for held_out, others in [
        ("test", ("train", "train_text", "valid")),
        ("valid", ("train", "train_text", "test")),
    ]:
        for other in others:
            assert not set(spoken[held_out]) & set(spoken[other])
    for split in spoken:
        directory = kaldi_dir.read(data / split)
        for key, sequence in directory.semantics.items():
            assert target_sequence.words(sequence) == directory.text[key]
            assert grammar.parse(directory.text[key]) == [target_sequence.frame(sequence)]
    assert kaldi_dir.read(data / "train_text").wav_scp is None
    assert (data / "grammar.yaml").read_text() == TOY
    # The table: a line a split, with the number of utterances first.
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["train_text", "30"], ["train", "20"], ["valid", "4"], ["test", "6"],
    ]  # fmt: skip


def test_a_split_that_is_no_longer_wanted_goes(run, tmp_path):
    run("data.num_foreign=2", "data.num_asr=2")
    assert {"foreign", "asr"} <= set(kaldi_dir.splits(tmp_path / "data"))
    run()
    assert kaldi_dir.splits(tmp_path / "data") == ["test", "train", "train_text", "valid"]


def test_spoken_splits_have_16_khz_speech_and_voices_of_their_own(run, tmp_path):
    run()
    for split, engine in [("train", "espeak"), ("valid", "espeak"), ("test", "nanotts")]:
        directory = kaldi_dir.read(tmp_path / "data" / split)
        assert all(speaker.startswith(engine) for speaker in directory.utt2spk.values())
        for path in directory.wav_scp.values():
            info = soundfile.info(path)
            assert (info.samplerate, info.channels) == (16000, 1)
            assert 0.2 < info.duration < 6


def test_the_same_command_gives_the_same_data_and_another_seed_other_data(run, tmp_path):
    def split(name):
        return kaldi_dir.read(tmp_path / "data" / name)

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
        (["data.pauses=0.6"], "data.pauses: got 0.6, expected 0 to 0.5"),
        (["data.voices.test={nobody: 1}", "--check", "true"], "nobody"),
        (["data.voices.test={espeak: 1}", "--check", "true"], "'espeak' is in both train and test"),
        (["data.fillers=-0.1", "--check", "true"], "data.fillers: got -0.1, expected 0 to 0.5"),
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


def test_a_small_grammar_is_said_often_and_tested_in_part_with_what_is_trained(grammar, capsys):
    assert grammar.count_by_intent() == {"light": 96, "stop": 12}
    settings = DataConfig(num_train=400, num_train_text=400, num_valid=50, num_test=100)
    drawn = spoken_grammar.draw(grammar, settings, seed=1)
    sizes = {split: len(sequences) for split, sequences in drawn.items()}
    assert sizes == {"test": 100, "valid": 50, "train": 400, "train_text": 400}
    trained = {target_sequence.words(s) for s in drawn["train"] + drawn["train_text"]}
    # A fifth of 96 and of 12 sentences for each of the two, and of `stop` trained ones beside them.
    for split, num in [("test", 100), ("valid", 50)]:
        unheard = {target_sequence.words(s) for s in drawn[split]} - trained
        assert 19 <= len(unheard) <= 19 + 2
        num_seen = sum(target_sequence.words(s) in trained for s in drawn[split])
        assert 0 < num_seen < num / 2
        said = f"{num - num_seen} of {num} utterances: sentences not in training; "
        said += f"{num_seen} of {num} utterances: sentences seen"
        said += ", voices not" * (split == "test")
        assert spoken_grammar.seen_or_not(drawn, split) == said
        assert f"{split}: {said}" in capsys.readouterr().err.splitlines() or split == "valid"


def test_one_sentence_is_enough_for_an_intent(tmp_path, capsys):
    (tmp_path / "g.yaml").write_text("context: {expressions: {go: [go, run], stop: [halt]}}")
    settings = DataConfig(num_train=30, num_train_text=30, num_valid=9, num_test=90)
    drawn = spoken_grammar.draw(Grammar.load(tmp_path / "g.yaml"), settings, seed=1)
    for split, num in [("train", 15), ("test", 20)]:
        assert Counter(map(target_sequence.words, drawn[split]))["halt"] == num
    assert capsys.readouterr().err.splitlines() == [
        "test: 60 utterances, not 90: 3 sentences, each said at most 20 times",
        "test: 60 of 60 utterances: sentences seen, voices not",
        "valid: 9 of 9 utterances: sentences seen",
    ]


def test_validation_of_a_small_grammar_hears_no_recording_of_training(run, tmp_path):
    (tmp_path / "toy.yaml").write_text("context: {expressions: {go: [go, run], stop: [halt]}}")
    code, _, err = run("data.num_train=8", "data.num_valid=8", "data.num_foreign=6")
    assert code == 0 and "valid: 8 of 8 utterances: sentences seen\n" in err
    data = tmp_path / "data"
    heard = {
        s: set(kaldi_dir.read(data / s).wav_scp.values()) for s in ("train", "valid", "foreign")
    }
    assert not heard["valid"] & (heard["train"] | heard["foreign"])


def test_what_a_training_is_too_small_for_is_said(tmp_path, capsys):
    names = ", ".join(f"{a}{b}" for a in "bcdfghjklm" for b in "aeiou")
    (tmp_path / "g.yaml").write_text(
        f"context: {{expressions: {{call: [call $who:who]}}, slots: {{who: [{names}]}}}}"
    )
    settings = DataConfig(num_train=40, num_train_text=50, num_valid=2, num_test=2)
    spoken_grammar.draw(Grammar.load(tmp_path / "g.yaml"), settings, seed=1)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        "warning: train: 10 of 51 slot values and alternatives of the grammar are in none of its "
        "40 utterances, expected more: --set data.num_train=200"
    )


OTHER_FORMS = {
    "home.yaml": """\
language: en
intents:
  light: {data: [{sentences: ["[please] turn {state} the {room} light[s]"]}]}
  stop: {data: [{sentences: ["(stop|cancel|end) [it|this|that] [now|please]"]}]}
lists:
  state: {values: ["on", "off"]}
  room: {values: [kitchen, bathroom, {in: hall, out: corridor}]}
""",
    "sentences.ini": """\
[light]
\\[please] turn (on | off){state} the (kitchen | bathroom | hall:corridor){room} (light | lights)
[stop]
(stop | cancel | end) [it | this | that] [now | please]
""",
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_a_grammar_in_another_form_is_prepared_like_ours(run, tmp_path, name):
    pytest.importorskip("hassil")
    (tmp_path / name).write_text(OTHER_FORMS[name])
    code, out, _ = run("--grammar", tmp_path / name, "--check", "true")
    assert code == 0
    assert f"{name}: intents 2, slots 2, sentences {24 + 36}" in out
    code, _, _ = run("--grammar", tmp_path / name)
    assert code == 0
    kept = Grammar.load(tmp_path / "data" / "grammar.yaml")  # of our own form
    assert kept.count_by_intent() == {"light": 24, "stop": 36}
    assert kept.written("light", "room", "hall") == "corridor"
    for sequence in kaldi_dir.read(tmp_path / "data" / "train").semantics.values():
        assert kept.readings(target_sequence.words(sequence)) == [sequence]


def test_about_says_who_speaks_and_what_the_test_says(run, tmp_path, grammar):
    assert run()[0] == 0
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert about == {
        "corpus": "toy",
        "speech": "rendered by synthesisers, not recorded: train and valid by espeak 100%; test by "
        "nanotts 100%. Test: 6 of 6 utterances: sentences not in training.",
        "hypothesis": "frame",
    }


def test_what_synthesisers_would_misread_is_spelled_for_them(tmp_path):
    sequence = "wake( who am i wake seat( a )seat a time( six thirty am )time )wake"
    assert spoken_grammar.aloud(sequence) == "who am i wake eigh a six thirty a.m."
    assert spoken_grammar.aloud("a( go )a") == "go"


def test_doubtful_grammars_are_warned_of(tmp_path, capsys):
    (tmp_path / "g.yaml").write_text("context: {expressions: {a: [go, run], b: [go]}}")
    spoken_grammar.load_grammar(tmp_path / "g.yaml")
    assert "ambiguous" in capsys.readouterr().err


def test_the_recipe_says_every_slot_value_and_intent_in_training():
    settings = config_file.load([RECIPE])
    spoken_grammar.check_voices(settings.data.voices, spoken_grammar.SPOKEN)
    grammar = Grammar.load(spoken_grammar.ROOT / settings.data.grammar)
    drawn = spoken_grammar.draw(grammar, settings.data, settings.seed)
    assert len(drawn["test"]) >= 500
    frames = [target_sequence.frame(sequence) for sequence in drawn["train"]]
    said = Counter(slot for frame in frames for slot in frame.slots)
    for name, values in grammar.slots.items():
        assert min(said[name, value] for value in values) >= 3, name
    held_out = {target_sequence.words(s) for s in drawn["test"] + drawn["valid"]}
    assert not held_out & {target_sequence.words(s) for s in drawn["train"] + drawn["train_text"]}


def test_check_says_what_is_trained_and_tested_an_intent(run, tmp_path, grammar):
    code, out, _ = run("--check", "true")
    assert code == 0 and not (tmp_path / "data").exists()
    lines = out.splitlines()
    assert lines[0].endswith(f"intents 2, slots 2, sentences {grammar.count()}")
    rows = [line.split() for line in lines[2:5]]
    assert rows == [
        ["intent", "sentences", "train", "valid", "test", "held", "out"],
        ["light", "96", "13", "2", "3", "3"],
        ["stop", "12", "7", "2", "3", rows[2][-1]],
    ]
    drawn = lines[lines.index("ten sentences of training:") + 1 :]
    assert len(drawn) == 10
    assert all(grammar.parse(target_sequence.words(line)) for line in drawn)


def test_check_names_words_whose_sound_is_a_guess_and_all_word_errors(run, tmp_path):
    (tmp_path / "a.yaml").write_text("context: {expressions: {go: [zorbulate the kitchens, b c]}}")
    code, out, _ = run("--check", "true", "--grammar", tmp_path / "a.yaml")
    assert code == 0 and out.splitlines()[-1].endswith("(data.pronunciations can help): zorbulate")
    given = "data.pronunciations={zorbulate: [zorb you late]}"
    _, out, _ = run(given, "--check", "true", "--grammar", tmp_path / "a.yaml")
    assert "not in the pronunciation dictionary" not in out  # it has one now
    *_, err = run("data.pronunciations={mocha: [mocka]}", "--check", "true")
    assert "'mocha' is in no sentence that is spoken" in err
    (tmp_path / "a.yaml").write_text("context: {expressions: {go: [a|b, c], stop: [12345]}}")
    code, out, err = run("--check", "true", "--grammar", tmp_path / "a.yaml")
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert "'|' in 'a|b'" in err and "'1' in '12345'" in err


def test_check_names_values_that_sound_the_same(run, tmp_path):
    def warnings(values, *arguments):
        text = f"context: {{expressions: {{go: [go $n:n]}}, slots: {{n: [{values}]}}}}"
        (tmp_path / "a.yaml").write_text(text)
        code, _, err = run(*arguments, "--check", "true", "--grammar", tmp_path / "a.yaml")
        assert code == 0
        return [line for line in err.splitlines() if "sound the same" in line]

    said = "of slot n sound the same: drop one, or give all of them one 'out'"
    assert warnings("four, for, two, three, to, too") == [
        f"warning: 'four', 'for' {said}",
        f"warning: 'two', 'to', 'too' {said}",
    ]
    assert warnings("ice cream, i scream, kitchen, chicken") == [
        f"warning: 'ice cream', 'i scream' {said}"
    ]
    assert warnings("zorbulate four, zorbulate for, zorb") == [
        f"warning: 'zorbulate four', 'zorbulate for' {said}"
    ]
    # Both mean the same; another sound is given to one.
    assert warnings("{in: four, out: 4}, {in: for, out: 4}, red, read") == []
    assert warnings("four, for", "data.pronunciations={for: [fur]}") == []
