"""Rhasspy's sentences.ini: its syntax, its refusals, and hassil's sampler where both agree."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atat.grammar import sentences_ini, template_readers
from atat.grammar.grammar import Grammar

HOME = r"""
# lights
[SetLight]
rooms = (kitchen | (living room):lounge | [the] bed:bedroom){room}
\[please] turn [the] light in the <rooms> (on | off){state}
turn (it) (on:1 | off:0){power}
set brightness to (0..100,50){level} [percent]
make it (really loud){volume:11}
; another
[Other]
it is <SetLight.rooms>
these: words: are: $colors {color} and 7 :added \a
"""


def load(tmp_path, text, name="sentences.ini"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return Grammar.load(path)


def sentences(grammar):
    return {" ".join(symbols) for symbols in grammar.automaton(with_tags=False).sequences()}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots" / "colors").write_text("# known\nred\n(dark blue):navy\n")
    return load(tmp_path, HOME)


@pytest.mark.supports(
    "Grammars",
    "Rhasspy's `sentences.ini`",
    "read: tags, substitutions, rules, lists of `slots/`, ranges",
)
def test_sentences_are_what_the_file_says(home):
    rooms = ("kitchen", "living room", "bed", "the bed")
    expected = {
        f"{please}turn {the}light in the {room} {state}"
        for please in ("", "please ")
        for the in ("", "the ")
        for room in rooms
        for state in ("on", "off")
    }
    expected |= {"turn it on", "turn it off", "make it really loud"}
    expected |= {
        f"set brightness to {level}{percent}"
        for level in ("zero", "fifty", "one hundred")
        for percent in ("", " percent")
    }
    expected |= {f"it is {room}" for room in rooms}
    expected |= {f"these words are {color} and seven a" for color in ("red", "dark blue")}
    assert sentences(home) == expected
    assert home.count_by_intent() == {"SetLight": 32 + 3 + 6, "Other": 6}


def test_values_are_written_as_substitutions_say(home):
    written = {
        name: {home.written(intent, name, value) for value in values}
        for name, values in home.slots.items()
        for intent in (["Other"] if name == "color" else ["SetLight"])
    }
    assert written == {
        "room": {"kitchen", "lounge", "bedroom", "the bedroom"},
        "state": {"on", "off"},
        "level": {"0", "50", "100"},
        "power": {"1", "0"},
        "volume": {"11"},
        "color": {"red", "navy"},
    }
    (frame,) = home.parse("make it really loud")
    assert frame.slots == (("volume", "really loud"),)


def test_an_intent_keeps_its_fixed_slots(tmp_path):
    grammar = load(tmp_path, "[On]\nlights on (:){domain:light}\n[Off]\noff\n")
    assert grammar.fixed_slots == {"On": {"domain": "light"}}
    assert sentences(grammar) == {"lights on", "off"}


def test_brackets_may_touch_each_other_and_punctuation(tmp_path):
    line = '\\[please], (go)[<r>]: say (x|y:(z)){n}, (50)% "[q]" c:(d e) a'
    said = sentences(load(tmp_path, f"[A]\nr = b\n{line}\n"))
    assert "please go b say x fifty percent q c a" in said and len(said) == 2**4


def test_what_is_kept_needs_no_list_beside_it(home, tmp_path):
    (tmp_path / "other").mkdir()
    assert sentences(load(tmp_path / "other", home.text, "grammar.yaml")) == sentences(home)


def test_the_form_is_known_by_its_name_or_its_first_section(tmp_path):
    for name, text in (("a.ini", "[Go]\ngo\n"), ("b.yaml", "# x\n\n[Go]\ngo\n")):
        assert sentences(load(tmp_path, text, name)) == {"go"}


@pytest.mark.parametrize(
    "before", ["\r\n", " \t\f\n; [x]\n\t", "#[x]\r\n  # y\r\n\r\n", "\n" * 5000]
)
def test_what_says_nothing_may_stand_before_the_first_section(tmp_path, before):
    (tmp_path / "a.yaml").write_bytes(f"{before}[Go] \ngo\n".encode())
    assert sentences(Grammar.load(tmp_path / "a.yaml")) == {"go"}


def test_blank_lines_before_yaml_take_no_time(tmp_path):
    start = time.perf_counter()
    for line in ("\n", "  \n", "# x\n", " # [x\n"):
        text = line * 5000 + "context: {expressions: {a: [go]}}\n"
        assert sentences(load(tmp_path, text, "grammar.yaml")) == {"go"}
    assert time.perf_counter() - start < 20


DOUBLED = "".join(f"r{i} = <r{i + 1}> <r{i + 1}>\n" for i in range(15)) + "r15 = x\n"
BRANCHED = "".join(f"r{i} = (a <r{i + 1}> | b <r{i + 1}>)\n" for i in range(18)) + "r18 = x\n"
REFUSED = [
    ("", "sentences.ini: the grammar is empty"),
    ("[A]\n", "sentences.ini: the grammar is empty"),
    ("go\n[A]\n", "ini:1: 'go' stands before the first"),
    ("[a b]\ngo\n", r"ini:1: intent '\[a b\]', expected a letter"),
    ("[A]\nr = x\nr = y\n<r>\n", r"ini:3: duplicate rule 'r' in \[A\]"),
    ("[A]\ngo (on\n", r"ini:2: got the end in 'go \(on', expected '\)'"),
    ("[A]\ngo on]\n", r"ini:2: got '\]' in 'go on\]', expected 'the end'"),
    ("[A]\ngo (on]\n", r"ini:2: got '\]' in 'go \(on\]', expected '\)'"),
    ("[A]\ngo <x>\n", r"ini:2: no rule 'x' in \[A\] for <x>"),
    ("[A]\ngo <B.x>\n", r"ini:2: no rule 'x' in \[B\] for <B.x>"),
    ("[A]\nx = a <y>\ny = <x>\n<x>\n", "ini:3: rules form a cycle: x -> y -> x"),
    (
        "[A]\ngo $rooms\n",
        r"ini:2: list '\$rooms': there is no .* \(programs are not run\); write it",
    ),
    ("[A]\ngo $../x\n", r"ini:2: list '\$../x': programs with arguments are not run"),
    ("[A]\ngo $x,1\n", r"ini:2: list '\$x,1': programs with arguments"),
    ("[A]\ngo (1..3){n!int}\n", "ini:2: '!int' in '{n!int}': converters are not run"),
    ("[A]\ngo on!upper\n", "ini:2: '!upper': converters are not run"),
    ("[A]\ngo (a){b c}\n", "ini:2: tag '{b c}', expected"),
    ("[A]\n{a} go\n", "ini:2: '{a}' in '{a} go' stands after nothing"),
    ("[A]\none minute[s]\n", r"ini:2: 'minute\[' in 'one minute\[s\]': brackets hold whole words"),
    ("[A]\nr = (bed|living)room\n<r>\n", r"ini:2: '\)room' in '\(bed\|living\)room': brackets"),
    ("[A]\nr = light\nthe <r>s\n", "ini:3: '<r>s' in 'the <r>s': brackets hold whole words"),
    ("[A]\n[cat]'s\n", r"ini:2: '\]'s' in '\[cat\]'s': brackets hold whole words"),
    ("[A]\n(one){n}s\n", r"ini:2: '{n}s' in '\(one\){n}s': brackets hold whole words"),
    ("[A]\ngo {a\n", r"ini:2: '\{' in 'go \{a' is not supported"),
    ("[A]\ngo [on]{a}\n", "ini:2: slot 'a' can be said with no word"),
    ("[A]\ngo ((on){a} now){b}\n", "ini:2: slot 'a' stands within another slot"),
    ("[A]\ngo (on:1 | on:2){a}\n", "ini:2: slot 'a': 'on' is both '1' and '2'"),
    ("[A]\ngo on:(1 | 2)\n", "ini:2: a substitution has several values"),
    ("[A]\n\\[go]\n", "ini:2: the template can be empty"),
    ("[A]\ngo (5..1){n}\n", "ini:2: range '5..1': got 5 to 1"),
    ("[A]\ngo (0..1000000000){n}\n", "ini:2: range '0..1000000000': got 0 to"),
    ("[A]\ngo 12345\n", "ini:2: '1' in '12345' is not supported"),
    (
        "[A]\ngo (:){a:b}\nstop\n",
        "ini:3: intent 'A' implies the slots none here and {'a': 'b'} above",
    ),
    ("[A]\n" + "(" * 21 + "a" + ")" * 21, "ini:2: brackets are nested deeper than 20"),
    ("[A]\n" + "go " * 101, "ini:2: a sentence can have 101 words"),
    ("[A]\n" + DOUBLED + "<r0>\n", "ini:10: a sentence can have 128 words"),
    ("[A]\n" + BRANCHED + "<r0>\n", "ini: rules and alternatives make .* bytes"),
]


def test_a_byte_order_mark_is_read_over(tmp_path):
    assert sentences(load(tmp_path, "\ufeff[A]\ngo\n")) == {"go"}


@pytest.mark.supports(
    "Grammars",
    "Rhasspy's converters and slot programs",
    "refused by name, with file and line; programs are not run",
)
@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_mistake_is_one_line_with_file_and_line_number(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_values_and_templates_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(template_readers, "MAX_ALL_VALUES", 100)
    monkeypatch.setattr(template_readers, "MAX_TEMPLATES", 20)
    monkeypatch.setattr(sentences_ini, "MAX_VALUES", 50)
    for text, reason in [
        ("go ((a|b) " + "(a|b) " * 40 + "){x}\n", "ini:2: slot 'x' has more than 50 values"),
        ("go (1..40){n}\n" * 9, "ini:3: more than 100 values in the slots"),
        ("go\n" * 21, "ini:22: more than 20 templates"),
    ]:
        with pytest.raises(ValueError, match=reason):
            load(tmp_path, f"[A]\n{text}")


def test_a_billion_sentences_are_counted_not_listed(tmp_path):
    assert load(tmp_path, "[A]\n" + "(a|b) " * 40 + "c\n").count() == 2**40


WORDS = st.sampled_from(["on", "off", "the light"])


def nested(inner):
    some = st.lists(inner, min_size=1, max_size=3)
    return (
        some.map(" ".join)
        | some.map(lambda parts: f"[{'|'.join(parts)}]")
        | some.map(lambda parts: f"({' | '.join(parts)})")
    )


@settings(max_examples=40)
@given(template=st.recursive(WORDS, nested, max_leaves=7))
def test_where_both_forms_are_the_same_they_say_what_hassil_draws(tmp_path_factory, template):
    pytest.importorskip("hassil")
    from hassil.parse_expression import parse_sentence
    from hassil.sample import sample_sentence

    drawn = {" ".join(said.split()) for said in sample_sentence(parse_sentence(f"go {template}"))}
    grammar = load(tmp_path_factory.mktemp("g"), f"[A]\ngo {template}\n")
    assert sentences(grammar) == drawn


TOKENS = st.sampled_from(
    [*"ab:[](){}<>|$!=\\;#.,0\n ", "{x}", "<r>", "r = ", "[B]\n", "1..2", "(:)"]
)


@settings(max_examples=120)
@given(text=st.lists(TOKENS, max_size=14).map("".join))
def test_any_file_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("g") / "a.ini"
    path.write_text(f"[A]\n{text}\n", encoding="utf-8")
    try:
        assert Grammar.load(path).count() >= 1
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
