"""Home Assistant's templates: the sentences are those that hassil itself draws from them."""

import itertools
import re
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from atat.grammar import hassil_file
from atat.grammar.grammar import Grammar
from atat.grammar.spelling import spell_out

hassil = pytest.importorskip("hassil")

HOME = """\
language: en
intents:
  SetBrightness:
    data:
      - sentences:
          - "(set|change) [the] {area} (light|lights) to {brightness}[%,| percent]"
          - "<turn> up [all ][the ]light[s] in {area}, please!"
  AskTime:
    data:
      - sentences: ["what time is it", "what's the time [now]"]
  Wait:
    data:
      - sentences:
          - "wait (for;{minutes:count} minute[s])"
          - "wait {0..20,10:count} [bed|living ]room"
lists:
  area:
    values:
      - Kitchen
      - in: "living room[s]|lounge"
        out: living_room
      - in: 2nd floor
        out: "upstairs"
  brightness:
    range: {from: 0, to: 100, step: 50}
  minutes:
    range: {from: 5, to: 10, step: 5}
expansion_rules:
  turn: "(turn|switch)"
"""


def load(tmp_path, text):
    path = tmp_path / "home.yaml"
    path.write_text(text, encoding="utf-8")
    return Grammar.load(path)


def sentences(grammar):
    """(intent, sentence) of all that a grammar says."""
    found = set()
    for symbols in grammar.automaton().sequences():
        words = [one for one in symbols if "(" not in one and ")" not in one]
        found.add((symbols[0][:-1], " ".join(words)))
    return found


def sampled(text):
    """The same by hassil's own sampler, numbers in digits, spelled out as we do."""
    from hassil.intents import Intents
    from hassil.sample import sample_intents

    content = yaml.safe_load(text)
    for one in content.get("lists", {}).values():
        if "range" in one:
            one["range"]["words"] = False
    inline = {"0..20,10": {"range": {"from": 0, "to": 20, "step": 10, "words": False}}}
    content["lists"] = content.get("lists", {}) | inline
    return {
        (intent, " ".join(spell_out(said).lower().replace(",", "").replace("!", "").split()))
        for intent, said in sample_intents(Intents.from_dict(content))
    }


@pytest.mark.supports(
    "Grammars",
    "Home Assistant's sentence templates (hassil)",
    "read: lists, ranges, rules, permutations, parts of words; values as `out` writes them",
)
def test_sentences_are_those_that_hassil_draws(tmp_path):
    grammar = load(tmp_path, HOME)
    expected = sampled(HOME)
    assert sentences(grammar) == expected
    assert sum(grammar.count_by_intent().values()) == len(expected) > 100


def test_values_are_written_as_the_file_has_them(tmp_path):
    grammar = load(tmp_path, HOME)
    assert grammar.slots["area"] == (
        "kitchen",
        "living rooms",
        "living room",
        "lounge",
        "second floor",
    )
    written = [grammar.written("SetBrightness", "area", value) for value in grammar.slots["area"]]
    assert written == ["Kitchen", "living_room", "living_room", "living_room", "upstairs"]
    assert grammar.written("SetBrightness", "brightness", "fifty") == "50"
    (frame,) = grammar.parse("set the lounge light to one hundred percent")
    assert frame.slots == (("area", "lounge"), ("brightness", "one hundred"))
    (frame,) = grammar.parse("wait for ten minutes")
    assert frame.slots == (("count", "ten"),)


def test_what_is_kept_is_the_translation_which_needs_no_hassil(tmp_path, monkeypatch):
    grammar = load(tmp_path, HOME)
    (tmp_path / "grammar.yaml").write_text(grammar.text, encoding="utf-8")
    monkeypatch.setitem(sys.modules, "hassil", None)
    again = Grammar.load(tmp_path / "grammar.yaml")
    assert sentences(again) == sentences(grammar)
    assert again.text == grammar.text and not again.warnings()
    with pytest.raises(ValueError, match=r"home.yaml: .*: pip install 'WHEEL\[home\]'"):
        Grammar.load(tmp_path / "home.yaml")


RANGE = "language: en\nintents: {I: {data: [{sentences: ['go {n}']}]}}\nlists: {n: {range: {%s}}}\n"


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ("from: -1, to: 1", {"minus one": "-1", "zero": "0", "one": "1"}),
        ("from: 20, to: 21, step: 5", {"twenty": "20"}),
        ("from: 20, to: 20, fractions: halves", {"twenty": "20", "twenty point five": "20.5"}),
        ("from: 0, to: 100, step: 100, multiplier: 2.55", {"zero": "0", "one hundred": "255"}),
        ("from: 0, to: 0, type: percentage, digits: false", {"zero": "0"}),
    ],
)
def test_a_range_is_said_in_words_and_written_in_digits(tmp_path, fields, written):
    grammar = load(tmp_path, RANGE % fields)
    assert {said: grammar.written("I", "n", said) for said in grammar.slots["n"]} == written


def test_fixed_slots_and_notes_on_what_is_left_out(tmp_path):
    text = """\
    language: en
    intents:
      TurnOn:
        data:
          - {sentences: [lights on], slots: {domain: light}, response: done}
          - {sentences: [light up], slots: {domain: light}}
    skip_words: [please]
    """
    grammar = load(tmp_path, textwrap.dedent(text))
    assert grammar.fixed_slots == {"TurnOn": {"domain": "light"}}
    left_out, skip_words = grammar.warnings()
    assert left_out.endswith("left out, as Home Assistant keeps them: response")
    assert "home.yaml:7: skip_words are left out" in skip_words


def file(sentence="go", lists="{}", rules="{}", block=""):
    """A file whose sentence stands in line 3, its lists in 4, its rules in 5."""
    quoted = '"' + sentence.replace("\\", "\\\\") + '"'
    return (
        f"language: en\nintents:\n  I: {{data: [{{sentences: [{quoted}]{block}}}]}}\n"
        f"lists: {lists}\nexpansion_rules: {rules}\n"
    )


LONG = "{a: {range: {from: 0, to: 1000000000}}}"
DOUBLED = {f"r{i}": f"<r{i + 1}> <r{i + 1}>" for i in range(15)} | {"r15": "x"}
BRANCHED = {f"r{i}": f"(a <r{i + 1}>|b <r{i + 1}>)" for i in range(19)} | {"r19": "x"}
REFUSED = [
    (
        "language: de\nintents: {I: {data: [{sentences: [geh]}]}}\n",
        "home.yaml:1: language 'de', exp",
    ),
    ("language: en\nlists: {}\n", "home.yaml:1: no 'intents'"),
    ("intents: {a: {}}\n", "home.yaml:1: intent 'a': expected 'data"),
    ("intents: {a: {data: []}}\n", "home.yaml: the grammar is empty"),
    (
        "intents: {a: {data: [{sentences: []}]}}\n",
        "home.yaml:1: 'sentences' of intent 'a' is an empty",
    ),
    ("intents: {a: {data: [{sentence: [x]}]}}\n", "home.yaml:1: unknown key 'sentence' in 'data'"),
    ("intents: {a b: {data: [{sentences: [x]}]}}\n", "home.yaml:1: name 'a b' in 'intents'"),
    (file("go (on"), "home.yaml:3: 'go .on' is not a template of hassil"),
    (file("go []"), "home.yaml:3: 'go ..' is not a template of hassil"),
    (file("[go]"), "home.yaml:3: the template can be empty"),
    (file("go <on>"), "home.yaml:3: no rule '<on>'"),
    (file("go {name}"), "home.yaml:3: no list 'name' .*\\(Home Assistant fills in name, area"),
    (file("go {x}", "{x: {wildcard: true}}"), "home.yaml:4: list 'x' is a wildcard"),
    (file("go {x:@y}", "{x: {values: [a]}}"), "home.yaml:3: '{x}': captures"),
    (file("go {x:y z}", "{x: {values: [a]}}"), "home.yaml:3: slot 'y z', expected"),
    (file("no{x}", "{x: {values: [a]}}"), "home.yaml:3: '{x}' follows 'no' without a space"),
    (file("{x}{x}", "{x: {values: [a]}}"), "home.yaml:3: '{x}' follows another slot without"),
    (
        file("{x}'s light", "{x: {values: [a]}}"),
        "home.yaml:3: ''s' at the end of a slot: write ' 's'",
    ),
    (file("go {x}", "{x: {values: []}}"), "home.yaml:4: 'values' of list 'x'"),
    (file("go {x}", "{x: {values: ['[a]']}}"), "home.yaml:4: a value of list 'x' can be empty"),
    (
        file("go {x}", "{x: {values: ['{x} a']}}"),
        "home.yaml:4: list 'x' has the list 'x' in a value",
    ),
    (
        file("go {x}", "{x: {values: [{out: a}]}}"),
        "home.yaml:4: a value of list 'x': expected 'in'",
    ),
    (
        file("go {x}", "{x: {values: [{in: a, out: b}, {in: A, out: c}]}}"),
        "home.yaml:4: list 'x': 'a' is 'b' above, and 'c' here",
    ),
    (
        file("go {a}", "{a: {range: {from: 3, to: 1}}}"),
        "home.yaml:4: a range of numbers: got 3 to 1",
    ),
    (file("go {a}", "{a: {range: {from: x, to: 1}}}"), "home.yaml:4: a range of numbers: invalid"),
    (
        file("go {a}", "{a: {range: {from: 1}}}"),
        "home.yaml:4: 'range' of list 'a': expected 'from'",
    ),
    (file("call a_b"), "home.yaml:3: '_' in 'a_b' is not supported"),
    (
        file("go", block=", requires_context: {area: x}"),
        "home.yaml:3: 'requires_context' has no count",
    ),
    (
        file("go", block=", excludes_context: {area: x}"),
        "home.yaml:3: 'excludes_context' has no count",
    ),
    (
        "intents:\n I:\n  data:\n  - sentences: [go]\n  - sentences: [stop]\n    slots: {a: b}\n",
        "home.yaml:5: intent 'I' implies the slots {'a': 'b'} here and none above",
    ),
    (
        file("go <a>", rules="{a: <b>, b: x <a>}"),
        "home.yaml:5: expansion rules form a cycle: a -> b",
    ),
    (file("(" * 21 + "a" + ")" * 21), "home.yaml:3: brackets are nested deeper than 20"),
    (file("go " * 101), "home.yaml:3: a sentence can have 101 words"),
    (file("a" * 10_001), "home.yaml:3: 10001 characters, expected at most 10000"),
    (file("go {a}", LONG), "home.yaml:4: a range of numbers: got 0 to 1000000000 by 1"),
    (file("go {0..1000000000:a}"), "home.yaml:3: a range of numbers"),
    (file("go", block=", slots: {a: &a b, c: *a}"), "home.yaml:3: is used twice"),
    (file("(a|b)" * 8), "home.yaml:3: more than 100 words are made of pieces"),
    (file("(a;b;c;d;e;f)"), "home.yaml:3: 6 parts in any order"),
    (file("<r0>", rules=str(DOUBLED)), "home.yaml:5: a sentence can have 127 words"),
    (file("<r0>", rules=str(BRANCHED)), "home.yaml: rules and alternatives make .* bytes"),
]


@pytest.mark.supports(
    "Grammars",
    "wildcards, context and lists that Home Assistant fills in",
    "refused by name, with file, line and how to write it",
)
@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_has_no_counterpart_is_one_line_with_file_and_line_number(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_words_made_of_pieces_take_no_more_room_the_deeper_they_stand(tmp_path):
    deep = "go " + "(" * 15 + "a[s]" + ") b[s]" * 15
    grammar = load(tmp_path, file(deep))
    assert grammar.count() == 2**16 and len(grammar.text) < 1000


def test_ways_to_say_a_value_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(hassil_file, "MAX_VALUES", 50)
    with pytest.raises(
        ValueError, match=r"home.yaml:4: a value of list 'x': more than 50 ways to say"
    ):
        load(tmp_path, file("go {x}", "{x: {values: ['" + "(a|b) " * 40 + "']}}"))


def test_the_example_of_the_documentation_is_read(tmp_path):
    page = Path("docs/home_assistant.md").read_text(encoding="utf-8")
    example = re.search(r'```yaml title="home.yaml"\n(.*?)```', page, re.DOTALL)[1]
    grammar = load(tmp_path, example)
    assert not grammar.warnings() and set(grammar.slots) == {"room", "state", "degrees"}
    assert grammar.written("RoomLights", "room", "lounge") == "living_room"


def test_a_billion_sentences_are_counted_not_listed(tmp_path):
    assert load(tmp_path, file("(a|b) " * 40 + "[c]")).count() == 2**41


WORDS = st.sampled_from(["on", "off", "s", "the light", " "])


def nested(inner):
    """Templates made of templates."""
    some = st.lists(inner, min_size=1, max_size=3)
    return (
        some.map("".join)
        | some.map(" ".join)
        | some.map(lambda parts: f"[{'|'.join(parts)}]")
        | some.map(lambda parts: f"({'|'.join(parts)})")
        | some.map(lambda parts: f" ({';'.join(parts)}) ")
    )


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(template=st.recursive(WORDS, nested, max_leaves=7))
def test_any_template_says_what_hassil_draws_from_it(tmp_path_factory, template):
    assume(template.strip())
    text = file(template)
    expected = {said for _, said in itertools.islice(sampled(text), 10_000)}
    try:
        grammar = load(tmp_path_factory.mktemp("g"), text)
    except ValueError as error:
        assert "" in expected, error
    else:
        assert {said for _, said in sentences(grammar)} == expected
