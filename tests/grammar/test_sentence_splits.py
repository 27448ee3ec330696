import random
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.grammar import sentence_splits
from atat.grammar.grammar import Grammar
from atat.grammar.sentence_dealer import Dealer
from atat.semantics import target_sequence
from tests.random_grammars import INTENTS, load, render

COMMANDS = Path(__file__).parents[2] / "egs" / "commands"
GRAMMARS = sorted((COMMANDS / "grammars").glob("*.yaml"))
RECIPE = {"train": 4000, "train_text": 6000, "valid": 300, "test": 800}
TRAINED = ("train", "train_text")


def split(grammar, seed=1, **wanted):
    return sentence_splits.split(grammar, {**RECIPE, **wanted}, seed).sequences


def texts(sequences):
    return set(map(target_sequence.words, sequences))


def intents(sequences):
    return Counter(target_sequence.frame(sequence).intent for sequence in sequences)


def values(sequences):
    return Counter(slot for sequence in sequences for slot in target_sequence.frame(sequence).slots)


def words(sequences):
    return {word for text in texts(sequences) for word in text.split()}


def words_of(grammar):
    return {word for arcs in grammar.automaton(with_tags=False).arcs for word in arcs}


def check(grammar, drawn):
    """What holds of the splits of any grammar that fits into the training."""
    for name in TRAINED:
        assert words(drawn[name]) == words_of(grammar)
        assert set(values(drawn[name])) == {
            (slot, value) for slot, known in grammar.slots.items() for value in known
        }
        assert set(intents(drawn[name])) == set(grammar.intents)
    trained = texts(drawn["train"]) | texts(drawn["train_text"])
    test, valid = (texts(drawn[name]) - trained for name in ("test", "valid"))
    assert not test & texts(drawn["valid"]) and not valid & texts(drawn["test"])
    slots = {frame_slots(sequence) for name in TRAINED for sequence in drawn[name]}
    for name in ("test", "valid"):
        assert set(map(frame_slots, drawn[name])) <= slots
        assert set(intents(drawn[name])) == set(grammar.intents)
        assert (
            max(Counter(map(target_sequence.words, drawn[name])).values())
            <= sentence_splits.MAX_REPEATS
        )
    for sequences in drawn.values():
        for sequence in sorted(set(sequences))[:100]:
            assert tuple(sequence.split()) in grammar.automaton()


def frame_slots(sequence):
    frame = target_sequence.frame(sequence)
    return frame.intent, frozenset(name for name, _ in frame.slots)


@pytest.mark.parametrize("path", GRAMMARS, ids=lambda path: path.stem)
def test_all_of_a_grammar_is_trained_and_each_intent_is_tested(path):
    grammar = Grammar.load(path)
    assert grammar.warnings() == []
    drawn = split(grammar)
    check(grammar, drawn)
    for name in TRAINED:
        counts = intents(drawn[name]).values()
        even = RECIPE[name] / len(counts)
        assert len(drawn[name]) == RECIPE[name] and min(counts) >= 0.6 * even
    assert min(values(drawn["train"]).values(), default=3) >= sentence_splits.MIN_USES


def test_the_grammars_are_of_the_shapes_that_failed():
    digits, form, hotel, replies = map(Grammar.load, GRAMMARS)
    assert (digits.count(), replies.count(), len(replies.intents)) == (10, 8, 8)
    assert (len(form.intents), len(form.slots)) == (1, 7)
    counts = sorted(hotel.count_by_intent().values())
    assert len(counts) == 13 and counts[4] <= 4 and counts[-2] > 5000
    assert 20_000 < hotel.count() < 26_000


# The shapes of ../shared/cases.
CALL = """
context:
  expressions:
    answerCall:
      - $reply:reply
  slots:
    reply: [accept, decline, take a message, call back later, send to voicemail, ask who it is]
"""
MEMO = """
context:
  expressions:
    start: ["begin (@note)"]
    read: ["read (@note)"]
    stop: ["stop", "halt"]
  macros:
    note: [memo, note, it]
"""
TIMER = """
context:
  expressions:
    setTimer: ["set a timer for $pv.TwoDigitInteger:minutes minutes"]
    setLevel: ["set the level to $pv.Percent:level"]
"""
DEEP = """
context:
  expressions:
    go: ["go [a, b (c), [d, e ([f, g, [h, i, [j, (k) l, [m, n (o, p)]]]])]]"]
    stop: ["stop (now, then (q, r, s, t, u, v))"]
"""
ONE = "context: {expressions: {go: [go], stop: [stop]}}"


@pytest.mark.parametrize("text", [CALL, MEMO, TIMER, DEEP, ONE])
def test_small_grammars_are_trained_whole(tmp_path, text):
    grammar = load(tmp_path, text)
    check(grammar, split(grammar))


@given(INTENTS, st.integers(0, 9))
def test_any_grammar_is_trained_whole(tmp_path_factory, intents, seed):
    grammar = load(tmp_path_factory.mktemp("g"), render(intents))
    check(grammar, split(grammar, seed, train=100, train_text=100, valid=10, test=20))


def test_rare_alternatives_are_trained_a_few_times(tmp_path):
    drawn = split(load(tmp_path, DEEP), train=100)
    uses = Counter(word for sequence in drawn["train"] for word in sequence.split())
    assert min(uses[word] for word in "abcdefghijklmnopqrstuv") >= sentence_splits.MIN_USES


def test_a_sentence_is_repeated_for_other_voices_where_there_are_no_others(tmp_path):
    drawn = split(load(tmp_path, CALL), train=600)
    assert set(Counter(drawn["train"]).values()) == {100}
    # In the test, no more than make sense.
    assert set(Counter(drawn["test"]).values()) == {sentence_splits.MAX_REPEATS}
    assert texts(drawn["test"]) == texts(drawn["train"])


def test_what_is_held_out_stays_small_and_is_not_trained(tmp_path):
    grammar = load(tmp_path, 'context: {expressions: {go: ["[a, b, c] [d, e, f] (g) (h)"]}}')
    drawn = split(grammar, train=200, train_text=200, test=10, valid=10)
    trained = texts(drawn["train"]) | texts(drawn["train_text"])
    assert len(texts(drawn["test"]) - trained) == len(texts(drawn["valid"]) - trained) == 7
    assert len(trained) == 36 - 14


def test_a_single_sentence_of_a_combination_of_slots_is_trained(tmp_path):
    text = """
context:
  expressions:
    go: ["[go, run, walk, drive, ride] (now, then, soon)", "go to $place:to (at $time:at)"]
  slots: {place: [rome], time: [noon]}
"""
    for seed in range(10):
        drawn = split(load(tmp_path, text), seed)
        assert {"go to rome at noon", "go to rome"} <= texts(drawn["train"])


def test_splits_depend_on_the_seed_and_not_on_the_size_of_the_others():
    grammar = Grammar.load(COMMANDS / "grammar.yaml")
    sizes = {"train": 400, "train_text": 500, "valid": 60, "test": 90}
    first, again, other = (split(grammar, seed, **sizes) for seed in (1, 1, 2))
    assert first == again
    assert all(first[name] != other[name] for name in RECIPE)
    larger = split(grammar, **sizes | {"train_text": 600})
    assert all(first[name] == larger[name] for name in ("train", "valid", "test"))


def test_values_and_combinations_of_slots_are_balanced(tmp_path):
    text = """
context:
  expressions:
    go:
      - "go to $place:to"
      - "go from $place:from to $place:to"
      - "from $place:from go to $place:to"
      - "[walk, run, drive] from $place:from to $place:to"
  slots:
    place: [rome, oslo, paris, london, madrid, berlin, vienna, lisbon, athens, dublin, kyoto]
"""
    drawn = split(load(tmp_path, text), train=220, train_text=0, valid=0, test=0)["train"]
    per_slots = Counter(map(frame_slots, drawn))
    assert set(per_slots.values()) == {110}
    for name, share in [("to", 20), ("from", 10)]:
        counts = [count for (slot, _), count in values(drawn).items() if slot == name]
        assert len(counts) == 11 and all(abs(count - share) <= 3 for count in counts)


def test_the_default_grammar_is_balanced_and_its_test_is_held_out():
    grammar = Grammar.load(COMMANDS / "grammar.yaml")
    drawn = split(grammar)
    check(grammar, drawn)
    assert not texts(drawn["test"] + drawn["valid"]) & texts(drawn["train"] + drawn["train_text"])
    counts, even = intents(drawn["train"]), RECIPE["train"] / len(grammar.intents)
    assert min(counts.values()) > 0.6 * even and max(counts.values()) < 2.1 * even
    assert counts["nextSong"] == counts["pauseMusic"]  # alike in values
    # Of values that one intent has alone: 14 of each color when shares were even.
    uses = values(drawn["train"])
    alone = [n for (name, _), n in uses.items() if name in ("color", "genre", "artist", "degrees")]
    assert len(alone) == 8 + 8 + 6 + 9 and min(alone) >= 25
    rooms = [n for (name, _), n in values(drawn["train"]).items() if name == "room"]
    assert len(rooms) == 8 and max(rooms) < 1.2 * min(rooms)
    assert len(set(drawn["train"])) > 2500  # few are repeated while there are others


def test_a_training_too_small_for_a_grammar_says_what_would_do(tmp_path):
    names = ", ".join(f"{a} {b}" for a in "abcdefghij" for b in "klmnopqrst")
    known = "{call: [call $who:who], stop: [stop]}"
    text = f"context: {{expressions: {known}, slots: {{who: [{names}]}}}}"
    grammar = load(tmp_path, text)
    found = sentence_splits.split(
        grammar, {"train": 50, "train_text": 111, "valid": 10, "test": 10}, 1
    )
    trained = {value for _, value in values(found.sequences["train"])}
    assert (found.num_units, found.num_enough) == (102, 101 + 50 + 149)
    assert found.num_uncovered == {"train": 100 - len(trained), "train_text": 0}
    # No intent is lost for the values of another.
    assert intents(found.sequences["train"])["stop"] == sentence_splits.MAX_REPEATS
    assert {value for _, value in values(found.sequences["test"])} <= trained


def test_values_never_take_an_intent_s_utterances(tmp_path):
    songs = ", ".join(f"{a}{b} {c}o" for a in "bcdfghjklm" for b in "aeiou" for c in "klmnopqrst")
    known = "play: [play $song:song], stop: [stop it, stop the music], louder: [make it louder]"
    text = f"context: {{expressions: {{{known}}}, slots: {{song: [{songs}]}}}}"
    grammar = load(tmp_path, text)
    for num in (400, 503, 600):  # fewer than songs; all songs and little else; more
        found = sentence_splits.split(grammar, {**RECIPE, "train": num}, 1)
        counts = intents(found.sequences["train"])
        assert min(counts["stop"], counts["louder"]) >= min(50, num // 15)
        assert sum(counts.values()) == num
        assert (found.num_uncovered["train"] == 0) is (num == 600)
        warnings = found.warnings("train", "data.num_train")
        assert warnings and "--set data.num_train=" in warnings[-1]
    assert warnings == [
        "train: of 600 utterances 'louder' has 50, 'stop' has 50, expected more: "
        "--set data.num_train=800"
    ]
    found = sentence_splits.split(grammar, {**RECIPE, "train": 800}, 1)
    counts = intents(found.sequences["train"])
    assert min(counts["stop"], counts["louder"]) >= 130
    assert found.warnings("train", "data.num_train") == []
    assert sentence_splits.split(load(tmp_path, ONE), RECIPE, 1).warnings("train", "") == []


def test_huge_grammars_are_drawn_in_seconds(tmp_path):
    names = ", ".join(
        f"{a}{b}{c}o" for a in "bcdfghjklm" for b in "aeiou" for c in "bcdfghjklmnpqrstvwxz"
    )
    many = " ".join(f"$who:n{number} [and, or] (by)" for number in range(8))
    text = f'context: {{expressions: {{call: ["call {many}"]}}, slots: {{who: [{names}]}}}}'
    grammar = load(tmp_path, text)
    assert grammar.count() > 10**27
    started = time.process_time()
    drawn = split(grammar, train=20_000)
    assert time.process_time() - started < 20
    assert len(set(drawn["train"])) == 20_000
    assert {value for name, value in values(drawn["train"]) if name == "n7"} == set(
        grammar.slots["n7"]
    )


def test_a_dealer_makes_a_sentence_with_what_is_asked_for(tmp_path):
    grammar = load(tmp_path, DEEP)
    dealer = Dealer(grammar, random.Random(0))
    assert len(dealer.units) == len(set(dealer.units)) > 30
    for unit in dealer.units:
        for intent, expressions in dealer.expressions_with(unit).items():
            for expression in expressions:
                assert unit in dealer.say(intent, expression, unit).units
