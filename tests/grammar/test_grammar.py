import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given

from atat.grammar.grammar import Grammar
from atat.grammar.sentence_dealer import Dealer
from atat.semantics import target_sequence
from tests.random_grammars import INTENTS, load, render

DEFAULT = Path(__file__).parents[2] / "egs" / "commands" / "grammar.yaml"
CORPORA = Path(__file__).parents[3] / "shared" / "corpora"
COFFEE = CORPORA / "speech-to-intent-benchmark" / "data" / "rhino" / "coffee_maker.yaml"
TOY = """
context:
  expressions:
    light:
      - "[turn, switch] $state:state (the) $room:room lights"
      - "lights $state:state (in the $room:room) (please, now)"
    stop:
      - "stop"
      - "stop it [$state:state, $room:room]"
  slots:
    state: [on, off]
    room: [kitchen, living room, hall]
"""


@pytest.fixture
def toy(tmp_path):
    return load(tmp_path, TOY)


def meaning(intents):
    return {
        " ".join([f"{intent}(", *tokens, f"){intent}"])
        for intent, expressions in intents.items()
        for _, tokens_of in expressions
        for tokens in tokens_of
    }


@given(intents=INTENTS)
def test_counts_readings_and_ambiguity_agree_with_listing_everything(tmp_path_factory, intents):
    grammar = load(tmp_path_factory.mktemp("g"), render(intents))
    expected = meaning(intents)
    readings = {}
    for sequence in expected:
        readings.setdefault(target_sequence.words(sequence), set()).add(sequence)
    assert {" ".join(symbols) for symbols in grammar.automaton().sequences()} == expected
    assert grammar.count(with_tags=True) == len(expected)
    assert {" ".join(s) for s in grammar.automaton(with_tags=False).sequences()} == set(readings)
    assert grammar.count() == len(readings)
    for sentence, sequences in list(readings.items())[:20]:
        if len(sequences) <= 100:
            frames = Counter(map(target_sequence.frame, sequences))
            assert Counter(grammar.parse(sentence)) == frames
    ambiguous = {sentence for sentence, sequences in readings.items() if len(sequences) > 1}
    lines = [line for line in grammar.warnings() if "ambiguous" in line]
    assert len(lines) == bool(ambiguous)
    if ambiguous:
        assert re.search("e.g. '(.*?)' is", lines[0]).group(1) in ambiguous
        assert f"{len(expected) - len(readings)} more readings" in lines[0]


def test_ambiguity_comes_first_and_numbers_read_in_words_do_not_drown_it(tmp_path):
    numbers = ", ".join(map(str, range(20, 60)))
    text = f"""
context:
  expressions: {{a: ["stop $n:x"], b: ["stop twenty"]}}
  slots: {{n: [{numbers}]}}
"""
    lines = load(tmp_path, text).warnings()
    assert "'stop twenty' is 'a( stop x( twenty )x )a' and 'b( stop twenty )b'" in lines[0]
    assert len(lines) == 5 and "37 more numbers and signs are read" in lines[-1]


def test_a_slot_that_a_sentence_has_twice_is_warned_of(tmp_path):
    text = """
context:
  expressions:
    pick: ["pick $n:item [$n:item, now]", "take $n:one"]
    drop: ["drop [$n:item, the $n:item]"]
  slots: {n: [red, blue]}
"""
    (line,) = load(tmp_path, text).warnings()
    assert "a sentence of 'pick' can have the slot 'item' 2 times: its value is a list" in line


def test_ambiguity_of_slots_of_thousands_of_values_is_found_at_once(tmp_path):
    letters = "abcdefghijklmnopqrst"
    values = [f"v{a}{b}{c}" for a in letters for b in letters for c in letters][:3000]
    text = f"""
context:
  expressions: {{a: [go $one:x], b: [go $two:y]}}
  slots: {{one: [{", ".join(values)}], two: [{", ".join(["w", *values[1:]])}]}}
"""
    grammar = load(tmp_path, text)
    assert grammar.count() == 3001
    start = time.process_time()
    (line,) = (line for line in grammar.warnings() if "ambiguous" in line)
    assert "2999 more readings than sentences, e.g. 'go v" in line
    assert time.process_time() - start < 5


def test_parse_does_not_try_every_way_to_fail(tmp_path):
    slots = " ".join(["[$t:x, $t:y]"] * 40)
    text = f'context: {{expressions: {{i: ["{slots} z"]}}, slots: {{t: [a]}}}}'
    assert load(tmp_path, text).parse("a " * 40 + "y") == []


def test_default_grammar_is_what_the_readme_promises():
    grammar = Grammar.load(DEFAULT)
    assert len(grammar.intents) >= 20 and len(grammar.slot_types) >= 8
    assert grammar.count() > 100_000
    assert grammar.warnings() == []
    dealer = Dealer(grammar, random.Random(0))
    sentences = {dealer.draw(intent).words for intent in 100 * grammar.intents}
    lengths = [len(sentence.split()) for sentence in sentences]
    assert sum(3 <= length <= 12 for length in lengths) > 0.9 * len(lengths)
    for one, other in [
        ("turn on the light", "turn off the light"),
        ("turn up the volume", "turn down the volume"),
        ("lock the front door", "unlock the front door"),
        ("set the kitchen lights to ten percent", "set the kitchen lights to green"),
    ]:
        assert len(grammar.parse(one)) == len(grammar.parse(other)) == 1
        assert grammar.parse(one) != grammar.parse(other)


@pytest.mark.supports(
    "Grammars",
    "Picovoice Rhino's YAML: intents, slots, macros",
    "read unchanged",
)
@pytest.mark.skipif(not COFFEE.is_file(), reason="the benchmark is not on this machine")
def test_benchmark_grammar_works_unchanged():
    grammar = Grammar.load(COFFEE)
    # 81 expressions without common sentences: the sum of the products of their choices.
    sizes = {kind: len(values) for kind, values in grammar.slot_types.items()}
    expected = 0
    for line in re.findall(r'- "(\[brew.*)"', COFFEE.read_text()):
        product = 9 * 2
        for kind in re.findall(r"\$(\w+):", line):
            product *= sizes[kind]
        expected += product
    assert grammar.count() == grammar.count(with_tags=True) == expected == 120_130_920
    assert list(grammar.slots)[:3] == ["size", "roast", "numberOfShots"]
    assert grammar.warnings() == []
    (frame,) = grammar.parse("Can I get a large dark roast latte with a bit of soy milk")
    assert target_sequence.build(frame) == (
        "orderDrink( size( large )size roast( dark roast )roast coffeeDrink( latte )coffeeDrink "
        "milkAmount( a bit of soy milk )milkAmount )orderDrink"
    )


def test_parse_gives_nothing_for_what_the_grammar_does_not_have(toy):
    assert toy.parse("turn on the kitchen") == []
    assert toy.parse("") == []
    assert toy.parse("light( stop )light") == []


def test_ambiguous_sentence_has_every_reading(tmp_path):
    text = TOY.replace('- "stop"', '- "stop"\n      - "lights on"')
    grammar = load(tmp_path, text)
    assert {frame.intent for frame in grammar.parse("lights on")} == {"light", "stop"}
    (line,) = grammar.warnings()
    assert "'lights on' is" in line and "1 more readings" in line


def test_unused_names_are_warned_of_with_their_line(tmp_path):
    text = TOY + "    spare: [x]\n  macros:\n    polite: [please]\n"
    grammar = load(tmp_path, text)
    assert [re.sub(".*yaml", "", line) for line in grammar.warnings()] == [
        ":13: $spare is used nowhere",
        ":15: @polite is used nowhere",
    ]
    assert "spare" not in grammar.slot_types


def test_brackets_of_one_choice_are_warned_of(tmp_path):
    text = """
context:
  expressions:
    light:
      - "turn on [the] [kitchen, hall] light"
      - "turn off [every single] light (the)"
      - "[$room:room] light"
  slots:
    room: [kitchen, hall]
"""
    grammar = load(tmp_path, text)
    assert [re.sub(".*yaml", "", line) for line in grammar.warnings()] == [
        ":5: '[the]' has one choice and must be said; (the) may be left out",
        ":6: '[every single]' has one choice and must be said; (every single) may be left out",
        ":7: '[...]' has one choice and must be said; (...) may be left out",
    ]
    more = text.replace("light (the)", "[light] [now]")
    assert load(tmp_path, more).warnings()[-1].endswith("yaml: 2 more brackets have one choice")


def test_same_type_may_fill_two_slots(tmp_path):
    text = """
context:
  expressions:
    go: ["from $city:from to $city:to"]
  slots:
    city: [rome, oslo]
"""
    grammar = load(tmp_path, text)
    assert grammar.slots == {"from": ("rome", "oslo"), "to": ("rome", "oslo")}
    assert grammar.parse("from oslo to rome")[0].slots == (("from", "oslo"), ("to", "rome"))


def test_macros_in_macros_do_not_cost_more_with_every_level(tmp_path):
    levels = "".join(
        f"    m{n}: ['@m{n - 1}', 'very @m{n - 1}', 'very very @m{n - 1}', 'so @m{n - 1}']\n"
        for n in range(1, 20)
    )
    path = tmp_path / "deep.yaml"
    path.write_text(
        "context:\n  expressions:\n    go: ['go @m19 $t:a']\n"
        "  slots: {t: [x]}\n  macros:\n    m0: [far]\n" + levels
    )
    assert Grammar.load(path).automaton().count() > 4**10


@pytest.mark.supports("Grammars", "macros and built-in number slots", "expanded")
def test_macros_and_built_in_numbers_expand(tmp_path):
    text = """
context:
  expressions:
    timer: ["(@polite) [wait, hold on] $pv.TwoDigitInteger:minutes minutes"]
  macros:
    polite: ["please", "[can, will] you"]
"""
    grammar = load(tmp_path, text)
    assert grammar.count() == 4 * 2 * 100
    (frame,) = grammar.parse("will you hold on forty two minutes")
    assert frame.slots == (("minutes", "forty two"),)


def test_a_grammar_that_explodes_is_refused_in_one_line(tmp_path):
    # "which word was the k-th from the end": the smallest automaton has 2^k states.
    anything = "([a, b]) " * 22
    text = f'context:\n  expressions:\n    x:\n      - "{anything}a {"[a, b] " * 22}"\n'
    with pytest.raises(ValueError, match=r"g.yaml: too large: its automaton has more than"):
        load(tmp_path, text).count()


def test_the_sentences_of_a_meaning_are_those_that_listing_finds(tmp_path):
    grammar = load(
        tmp_path,
        """
context:
  expressions:
    order:
      - "[get, make] (me) a ($size:size) $drink:drink (with $milk:milk)"
      - "$drink:drink (please) $size:size"
    swap:
      - "$drink:first for $drink:second"
  slots:
    size: [small, very small]
    drink: [tea, iced tea]
    milk: [oat]
""",
    )
    sequences = {" ".join(symbols) for symbols in grammar.automaton().sequences()}
    by_key: dict = {}
    for sequence in sequences:
        by_key.setdefault(target_sequence.frame(sequence).key, set()).add(sequence)
    assert len(by_key) > 10
    for key, expected in by_key.items():
        found = grammar.with_meaning(target_sequence.Frame(*key))
        assert {" ".join(symbols) for symbols in found.sequences()} == expected
    for intent, slots in [
        ("order", ()),
        ("order", (("drink", "coffee"),)),
        ("order", (("drink", "tea"), ("drink", "tea"))),
        ("swap", (("drink", "tea"),)),
        ("nothing", ()),
    ]:
        assert grammar.with_meaning(target_sequence.Frame(intent, slots)) is None


def test_values_are_written_as_the_file_has_them_and_numbers_as_rhino_gives_them(tmp_path):
    text = """
context:
  expressions:
    set:
      - "set $room:room to $pv.Percent:level for $pv.TwoDigitInteger:minutes minutes"
      - "the $pv.TwoDigitOrdinal:which (of $pv.SingleDigitOrdinal:of) at $time:time"
      - "seat $pv.Alphabetic:seat [$pv.Alphanumeric:code, $pv.SingleDigitInteger:digit]"
      - "ask $doctor:who"
      - "ask $room:who"
  slots:
    room: [Living Room, TV  corner]
    time: ["8:30", 6 AM]
    doctor: [Dr. Wu, Living Room]
"""
    grammar = load(tmp_path, text)
    for name, spoken, written in [
        ("room", "living room", "Living Room"),
        ("room", "tv corner", "TV corner"),
        ("level", "twenty five percent", "25%"),
        ("level", "one hundred percent", "100%"),
        ("minutes", "twenty five", "25"),
        ("which", "twenty first", "21"),
        ("of", "second", "2"),
        ("time", "eight thirty", "8:30"),
        ("time", "six am", "6 AM"),
        ("seat", "b", "b"),
        ("code", "b", "b"),
        ("code", "seven", "7"),
        ("digit", "zero", "0"),
        ("who", "doctor wu", "Dr. Wu"),
        ("who", "living room", "Living Room"),
        ("room", "cellar", "cellar"),
        ("nothing", "seven", "seven"),
    ]:
        assert grammar.written("set", name, spoken) == written
    assert grammar.written("other", "minutes", "seven") == "seven"
    (frame,) = grammar.parse("set Living Room to five percent for seven minutes")
    assert frame.slots == (("room", "living room"), ("level", "five percent"), ("minutes", "seven"))


LISTS = """
context:
  expressions:
    light:
      - "turn the light $switch:state"
    alarm:
      - "turn the alarm $guard:state"
  slots:
    switch: [{in: "on", out: "true"}, {in: "off", out: "false"}]
    guard: [{in: "on", out: armed_away}, {in: "off", out: disarmed}]
"""


def test_slots_of_one_name_are_written_as_their_intent_has_them(tmp_path):
    grammar = load(tmp_path, LISTS)
    assert grammar.written("light", "state", "off") == "false"
    assert grammar.written("alarm", "state", "off") == "disarmed"
    values = grammar.written_values
    assert values["light"] == {"state": {"on": "true", "off": "false"}}
    assert values["alarm"] == {"state": {"on": "armed_away", "off": "disarmed"}}
    grammar.spoken_values = True
    assert grammar.written("alarm", "state", "off") == "off" and grammar.written_values == {}


def test_an_intent_s_slot_has_one_written_form_of_a_value(tmp_path):
    with pytest.raises(ValueError, match="slot 'state' of intent 'light': 'on' is wri") as error:
        load(tmp_path, LISTS.replace("    alarm:\n", ""))
    assert "both 'true' and 'armed_away'" in str(error.value) and "\n" not in str(error.value)


def test_what_is_spelled_out_and_what_is_not_english_is_warned_of(tmp_path):
    text = """
context:
  expressions:
    wake:
      - "wake me at [8:30, 6 am] in the [caf\u00e9, na\u00efve caf\u00e9]"
      - "dim to $level:level"
  slots:
    level: ["50%"]
"""
    grammar = load(tmp_path, text)
    assert [re.sub(".*yaml", "", line) for line in grammar.warnings()] == [
        ":8: '50%' is read 'fifty percent'",
        ":5: '8:30' is read 'eight thirty'",
        ":5: '6 am' is read 'six am'",
        ": not English, as voices and models are: caf\u00e9, na\u00efve",
    ]
    assert len(grammar.parse("wake me at eight thirty in the caf\u00e9")) == 1
