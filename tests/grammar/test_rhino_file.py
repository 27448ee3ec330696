from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atat.grammar import builtin_slots, rhino_file
from atat.grammar.grammar import Grammar

CASES = Path(__file__).parents[3] / "shared" / "cases" / "template_formats"


def grammar(expression="go", slots="{t: [a, b]}", macros="{}"):
    """A grammar whose expression stands in line 4."""
    quoted = '"' + expression.replace('"', '\\"') + '"'
    return (
        f"context:\n  expressions:\n    i:\n      - {quoted}\n  slots: {slots}\n"
        f"  macros: {macros}\n"
    )


WRONG = [
    # (file, what the one line says)
    ("", "g.yaml: the grammar is empty"),
    ("# nothing\n", "g.yaml: the grammar is empty"),
    ("context:\n", "g.yaml:1: 'context' is empty, expected a mapping"),
    ("- a\n", "g.yaml:1: the file is a list, expected a mapping"),
    ("context: {}\n", "g.yaml:1: the grammar is empty: no intents"),
    ("context:\n  expressions: {}\n", "g.yaml:1: the grammar is empty: no intents"),
    ("contxt: {}\n", "g.yaml:1: unknown key 'contxt' in the file, did you mean 'context'"),
    ("context:\n  expresions: {}\n", "g.yaml:2: unknown key 'expresions' in 'context', did you"),
    ("context:\n  expressions:\n    i:\n", "g.yaml:3: intent 'i' is empty, expected a list"),
    ("context:\n  expressions:\n    i: []\n", "g.yaml:3: intent 'i' is an empty list"),
    (
        "context:\n  expressions:\n    i:\n    - [a, b]\n",
        "g.yaml:4: intent 'i': an entry is a list",
    ),
    ("context:\n  expressions:\n    i:\n    - [a, b] c\n", "g.yaml:4: not valid YAML: .* quotes"),
    ("context:\n  expressions:\n    i:\n    - @please go\n", "g.yaml:4: not valid YAML: .* quotes"),
    ("context:\n  expressions:\n\ti:\n", "g.yaml:3: not valid YAML: .*by spaces, not by tabs"),
    (
        'context:\n  expressions:\n    i:\n    - "a\n    - b\n',
        "g.yaml:.*: not valid YAML.*quote of l",
    ),
    ("context:\n  expressions: {i: [a], i: [b]}\n", "g.yaml:2: duplicate key 'i'"),
    ("context:\n  expressions: {i j: [a]}\n", "g.yaml:2: name 'i j' in 'expressions'"),
    ("context:\n  expressions: {'i(': [a]}\n", r"g.yaml:2: name 'i\(' in 'expressions'"),
    ("context: &a\n  expressions: *a\n", "g.yaml:2: name|g.yaml:1"),
    ("a: b\n---\nc: d\n", "g.yaml:2: not valid YAML"),
    ("context: \x00\n", "g.yaml: not valid YAML"),
    ("- " * 101 + "a", "g.yaml: lists or mappings are nested too deeply"),
    ("[" * 20000, "g.yaml: lists or mappings are nested too deeply"),
    (grammar("go $x:y"), "g.yaml:4: undefined slot type 'x' in '.x:y'; defined are: t"),
    (grammar("go $x:y", slots="{}"), "g.yaml:4: undefined slot type 'x' .* none is defined"),
    (grammar("go $rom:y", slots="{room: [a]}"), "g.yaml:4: undefined .* did you mean 'room'"),
    (grammar("go $t"), r"g.yaml:4: slot '\$t', expected \$type:name"),
    (grammar("go $t:"), r"g.yaml:4: slot '\$t:', expected \$type:name"),
    (grammar("go $pv.Money:n"), r"g.yaml:4: no built-in slot '\$pv.Money'; defined are: pv.Sing"),
    (grammar("go @m"), "g.yaml:4: undefined macro '@m'"),
    (grammar("go $pv.percnt:x"), r"no built-in slot '\$pv.percnt'; did you mean 'pv.Percent'"),
    (grammar("go $Percent:x"), "undefined slot type 'Percent' .* did you mean 'pv.Percent'"),
    (
        grammar("go $percnt:x", slots="{percent: [a]}"),
        "undefined slot type 'percnt' .* did you mean 'percent'",
    ),
    (grammar("go 日本"), "g.yaml:4: '日' in '日本' is not supported"),
    (grammar("go [on, off"), r"g.yaml:4: '\[' is never closed"),
    (grammar("go (on"), r"g.yaml:4: '\(' is never closed"),
    (grammar("go [on)"), r"g.yaml:4: '\[' is closed by '\)'"),
    (grammar("go on]"), r"g.yaml:4: '\]' in 'go on\]': nothing opens it"),
    (grammar("go, on"), r"g.yaml:4: ',' in 'go, on': a list of choices stands in \[ \]"),
    (grammar("go [on,]"), "g.yaml:4: an empty phrase"),
    (grammar("go []"), "g.yaml:4: an empty phrase"),
    (grammar("go ()"), "g.yaml:4: an empty phrase"),
    (grammar(""), "g.yaml:4: an empty phrase"),
    (grammar("(please)"), r"g.yaml:4: '\(please\)' can be empty"),
    (grammar("light(s) on"), r"g.yaml:4: 'light\(' .* a space between"),
    (grammar("[a]b"), r"g.yaml:4: '\]b' .* a space between"),
    (grammar("call 12345"), "g.yaml:4: '1' in '12345' is not supported.*as they are said"),
    (grammar("to 50%%"), "g.yaml:4: '%' in 'fifty%%' is not supported.*as they are said"),
    (
        grammar("a | b [c|d]", slots="{t: ['007', $5]}", macros="{m: [a/b]}"),
        "g.yaml:5: '0' in '007' is not supported; .*g.yaml:5: slot 't': ",
    ),
    (
        grammar("a | b [c|d]", slots="{t: ['007', '007 b']}", macros="{m: [a/b]}"),
        r"g.yaml:5: '0' in '007' is not supported; .*g.yaml:5: '0' in '007' is not supported; "
        r".*g.yaml:4: '\|' in '\|' is not supported; .*g.yaml:4: '\|' in 'c\|d' is not supported; "
        r".*g.yaml:6: '/' in 'a/b' is not supported: words have letters",
    ),
    (
        "sentences: [a]\nlists: {}\n",
        "g.yaml: this is a file of speech-to-phrase's .* 'intents: NAME",
    ),
    (
        grammar("go $t:x", slots="{t: [{in: a}]}"),
        "g.yaml:5: a value of slot 't': expected 'in' and",
    ),
    (
        grammar("go $t:x", slots="{t: [{in: a, out: [b]}]}"),
        "g.yaml:5: slot 't': an entry is a list",
    ),
    (grammar("go $t:x", slots="{t: [{in: [], out: b}]}"), "g.yaml:5: .*slot 't' is an empty list"),
    (grammar("go $t:x", slots="{t: [{in: [a, [b]], out: c}]}"), "g.yaml:5: slot 't': an entry is"),
    (
        grammar("go $t:x", slots="{t: [{in: [a, A], out: c}]}"),
        "g.yaml:5: slot 't' has the value 'a'",
    ),
    (grammar("go $t:x", slots="{t: [{in: '007', out: a}]}"), "g.yaml:5: '0' in '007' is not supp"),
    (
        grammar("go $t:x", slots="{t: [a, {in: A, out: c}]}"),
        "g.yaml:5: slot 't' has the value 'a' tw",
    ),
    (
        grammar("go", macros="{}\n  fixed_slots: {j: {a: b}}"),
        "g.yaml:7: 'fixed_slots': no intent 'j'",
    ),
    (
        grammar("go", macros="{}\n  fixed_slots: {i: {a: []}}"),
        "g.yaml:7: 'fixed_slots' of 'i': an ent",
    ),
    (
        grammar("go", macros="{}\n  fixed_slots: {i: {a b: c}}"),
        "g.yaml:7: name 'a b' in 'fixed_slots'",
    ),
    (grammar("a | b"), r"g.yaml:4: '\|' .* is not supported.*; choices are \[a, b\]$"),
    (grammar("a {b}"), r"g.yaml:4: '\{' .* is not supported.*; choices are \[a, b\]$"),
    (grammar("call 12345"), r"007 -> double oh seven\)$"),
    *(
        (
            grammar("go $t:x", slots=f"{{t: [a, {value}]}}"),
            r"g.yaml:5: '.' in '.*' is not supp.* or \{in: five kilograms, out: 5kg\}$",
        )
        for value in ("5kg", "100ml", "5 \u20ac", "1/2", "10000", "MP3")
    ),
    *(
        (
            grammar("go $t:x", slots=f"{{t: {value}}}"),
            r"g.yaml:5: slot 't': '.*1.*12.*' is a range, .* a list, \$pv.TwoDigitInteger:t or",
        )
        for value in ("[1-12]", "[1..12]", "1..12", "'1-12'", "['1 \u2013 12']", "[a, 1...12]")
    ),
    (
        grammar("go $t:x", slots="{t: {range: {from: 1, to: 12}}}"),
        r"g.yaml:5: slot 't': 'range' is a range, .* a list, \$pv.TwoDigitInteger:t or",
    ),
    (grammar("a - b"), "g.yaml:4: '-' in '-' is not supported"),
    (grammar("a <s>"), "g.yaml:4: '<' .* is not supported"),
    (grammar("go " * 101), "g.yaml:4: a sentence can have 101 words, at most 100"),
    (grammar("[" * 21 + "a" + "]" * 21), "g.yaml:4: brackets are nested deeper than 20"),
    (grammar("go $t:x", slots="{t: []}"), "g.yaml:5: slot 't' is an empty list"),
    (grammar("go $t:x", slots="{t: [a, A]}"), "g.yaml:5: slot 't' has the value 'a' twice"),
    (grammar("go $t:x", slots="{t: ['']}"), "g.yaml:5: slot 't' has an empty value"),
    (grammar("go $t:x", slots="{t: ['a (b)']}"), r"g.yaml:5: slot 't': '\(' in 'a \(b\)' is not s"),
    (
        grammar("go $t:x", slots="{t: [$5]}"),
        r"slot 't': '\$' in '\$5' is .* plain phrases, .*, or \{in: five dollars, out: \$5\}$",
    ),
    (grammar("go $t:x", slots="{t: ['$t:x']}"), "g.yaml:5: slots form a cycle: t -> t"),
    (
        grammar("go $t:x", slots="{t: ['a $u:x'], u: ['$t:x b']}"),
        "g.yaml:5: slots form a cycle: t -> u -> t",
    ),
    (grammar("go $t:x", slots="{t: ['$u:x'], u: [b]}"), "g.yaml:5: slot 't': .* plain phrases"),
    (grammar("go @m", macros="{m: ['a @m']}"), "g.yaml:6: macros form a cycle: m -> m"),
    (
        grammar("go @m", macros="{m: ['@n'], n: ['x (@m)']}"),
        "g.yaml:6: macros form a cycle: m -> n -> m",
    ),
    (
        grammar("go", macros="{n: ['x @n']}"),  # not used, and wrong all the same
        "g.yaml:6: macros form a cycle: n -> n",
    ),
    (
        grammar(
            "go",
            macros=str({f"m{i}": [f"@m{i + 1} @m{i + 1}"] for i in range(12)} | {"m12": ["x"]}),
        ),
        "g.yaml:6: a sentence can have 128 words",
    ),
]


@pytest.mark.supports("Grammars", "a mistake in a grammar", "one line with file and line number")
@pytest.mark.parametrize(("text", "reason"), WRONG)
def test_a_mistake_is_one_line_with_file_and_line_number(tmp_path, text, reason):
    (tmp_path / "g.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=reason) as error:
        rhino_file.read(tmp_path / "g.yaml")
    assert "\n" not in str(error.value)


def test_a_file_that_is_absent_too_large_or_not_text_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such grammar file"):
        rhino_file.read(tmp_path / "g.yaml")
    (tmp_path / "g.yaml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ValueError, match="1048577 bytes"):
        rhino_file.read(tmp_path / "g.yaml")
    (tmp_path / "g.yaml").write_bytes(b"context: \xff")
    with pytest.raises(ValueError, match="not UTF-8"):
        rhino_file.read(tmp_path / "g.yaml")


@pytest.mark.parametrize(
    ("expression", "sentences"),
    [
        ("go", {"go"}),
        ("Go NOW", {"go now"}),
        ("I\u2019d rock-n-roll at o'clock", {"i'd rock-n-roll at o'clock"}),
        ("[a, b c]", {"a", "b c"}),
        ("[ a ,b ] c", {"a c", "b c"}),
        ("x (a, b)", {"x", "x a", "x b"}),
        ("x (a (b))", {"x", "x a", "x a b"}),
        ("[x (a), [y, z] w]", {"x", "x a", "y w", "z w"}),
        ("x $t:one [$t:two, (y) z]", {"x a a", "x a b", "x a y z", "x a z"}),
        ("[a, a]", {"a"}),
        ("[yes, no, on, null]", {"yes", "no", "on", "null"}),  # words, whatever YAML makes of them
        ("caf\u00e9", {"caf\u00e9"}),
        (
            "at [8:30, 6 AM] (to 50%)",
            {
                *("at eight thirty", "at six am"),
                *("at eight thirty to fifty percent", "at six am to fifty percent"),
            },
        ),
        ("wake Dr. Wu & me at 7", {"wake doctor wu and me at seven"}),
        ("twenty-one x-rays", {"twenty one x-rays"}),
    ],
)
def test_an_expression_means_its_sentences(tmp_path, expression, sentences):
    path = tmp_path / "g.yaml"
    path.write_text(grammar(expression, slots="{t: [a, b]}"), encoding="utf-8")
    spoken = {" ".join(s) for s in Grammar.load(path).automaton(with_tags=False).sequences()}
    if "$" in expression:
        assert sentences <= spoken and len(spoken) == 8
    else:
        assert spoken == sentences


@pytest.mark.supports(
    "Grammars",
    "Rhino's built-in slot types",
    "said in words, written as Rhino gives them",
)
def test_built_in_types_have_what_is_said_and_what_rhino_gives():
    types = builtin_slots.BUILT_IN
    assert {kind: len(values) for kind, values in types.items()} == {
        "pv.SingleDigitInteger": 10,
        "pv.TwoDigitInteger": 100,
        "pv.SingleDigitOrdinal": 9,
        "pv.TwoDigitOrdinal": 99,
        "pv.Percent": 101,
        "pv.Alphabetic": 26,
        "pv.Alphanumeric": 36,
    }
    for kind, said, written in [
        ("pv.SingleDigitInteger", "seven", "7"),
        ("pv.TwoDigitInteger", "zero", "0"),
        ("pv.TwoDigitInteger", "twelve", "12"),
        ("pv.TwoDigitInteger", "twenty", "20"),
        ("pv.TwoDigitInteger", "ninety nine", "99"),
        ("pv.SingleDigitOrdinal", "ninth", "9"),
        ("pv.TwoDigitOrdinal", "twelfth", "12"),
        ("pv.TwoDigitOrdinal", "twentieth", "20"),
        ("pv.TwoDigitOrdinal", "forty fifth", "45"),
        ("pv.Percent", "zero percent", "0%"),
        ("pv.Percent", "one hundred percent", "100%"),
        ("pv.Alphabetic", "b", "b"),
        ("pv.Alphanumeric", "b", "b"),
        ("pv.Alphanumeric", "nine", "9"),
    ]:
        assert types[kind][said] == written


@pytest.mark.supports(
    "Grammars", "speech-to-phrase's sentences", "refused by name, with the form that is expected"
)
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not on this machine")
def test_a_file_of_speech_to_phrase_is_named():
    with pytest.raises(ValueError, match=r"s2p.yaml: this is a file of speech-to-phrase's"):
        rhino_file.read(CASES / "s2p.yaml")


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not on this machine")
@pytest.mark.parametrize(("name", "count"), [("hassil.yaml", 96), ("sentences.ini", 12 + 404)])
def test_files_of_other_template_languages_are_read(name, count):
    assert Grammar.load(CASES / name).count() == count


@pytest.mark.supports(
    "Grammars", "a value said in several ways", "`{in: [lounge, den], out: living room}`"
)
def test_a_value_may_be_said_in_several_ways(tmp_path):
    path = tmp_path / "g.yaml"
    slots = "{t: [{in: [one eighty, 180], out: 180\u00b0C}, {in: [hot], out: 250\u00b0C}, cold]}"
    path.write_text(grammar("go $t:heat", slots), encoding="utf-8")
    read = Grammar.load(path)
    assert read.slots == {"heat": ("one eighty", "one hundred eighty", "hot", "cold")}
    written = [read.written("i", "heat", value) for value in read.slots["heat"]]
    assert written == ["180\u00b0C", "180\u00b0C", "250\u00b0C", "cold"]


def test_a_value_is_written_as_its_out_says_and_fixed_slots_belong_to_an_intent(tmp_path):
    path = tmp_path / "g.yaml"
    slots = "{t: [bed, {in: the lounge, out: living_room}, {in: 2, out: two}]}"
    path.write_text(
        grammar("go $t:room", slots, macros="{}\n  fixed_slots: {i: {domain: light}}"),
        encoding="utf-8",
    )
    read = Grammar.load(path)
    assert read.slots == {"room": ("bed", "the lounge", "two")}
    written = [read.written(*read.intents, "room", value) for value in read.slots["room"]]
    assert written == ["bed", "living_room", "two"]
    assert read.fixed_slots == {"i": {"domain": "light"}}


TOKENS = st.sampled_from(
    [
        "a",
        "b c",
        "[",
        "]",
        "(",
        ")",
        ",",
        " ",
        "$t:x",
        "$",
        ":",
        "@m",
        "@",
        "1",
        "%",
        '\\"',
        "é",
        "'",
    ]
)


@given(expression=st.lists(TOKENS, max_size=12).map("".join))
def test_any_expression_is_read_or_refused(tmp_path_factory, expression):
    path = tmp_path_factory.mktemp("g") / "g.yaml"
    path.write_text(grammar(expression, macros="{m: [y]}"), encoding="utf-8")
    check(path)


@given(
    text=st.text()
    | st.lists(st.sampled_from([*"abi:[]{}-&*!|>#\n \"'$@", "context:\n"])).map("".join)
)
def test_any_file_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("g") / "g.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    check(path)


def check(path):
    try:
        read = Grammar.load(path)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert read.count() >= 1


def test_long_lists_of_values_are_read_by_the_library_in_c(tmp_path, monkeypatch):
    """60,000 values took 14 s, most of them in YAML's slower reader."""
    if not yaml.__with_libyaml__:
        pytest.skip("PyYAML without libyaml")
    values = [f"{a}{b} {c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"]
    lines = "".join(f"  - {value}\n" for value in values)
    path = tmp_path / "g.yaml"
    path.write_text(f"context:\n expressions: {{i: [call $t:n]}}\n slots:\n  t:\n{lines}")
    monkeypatch.setattr(yaml.scanner.Scanner, "scan_plain", None)  # the slower reader's
    assert len(rhino_file.read(path).slot_types["t"]) == len(values)


def test_nesting_that_the_parser_refuses_itself_has_the_same_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise yaml.scanner.ScannerError(problem="exceeded maximum nesting depth")

    monkeypatch.setattr(yaml, "parse", refuse)
    (tmp_path / "g.yaml").write_text("[" * 2000)
    with pytest.raises(ValueError, match=r"g\.yaml: lists or mappings are nested too deeply"):
        Grammar.load(tmp_path / "g.yaml")
