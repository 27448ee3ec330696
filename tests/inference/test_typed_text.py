"""Typed text by a grammar: its sentences however they are written, and nothing else."""

import random
from dataclasses import replace

import pytest

from atat.grammar.grammar import Grammar
from atat.grammar.spelling import spell_out
from atat.inference.result import Reading, Result
from atat.inference.typed_text import TypedText
from atat.semantics import target_sequence
from atat.semantics.text_normalization import normalize
from atat.synthesis import negatives
from tests.conftest import GRAMMAR

OWN = """
context:
  expressions:
    ask: ["what's on in the $room:room (now)", "is it $percent:percent percent", cannot go]
    tell: [do not stop, "set $room:room to ($count:count) eggs", "go (to) the e-mail"]
    one: [take the red or blue]
    other: [take red or the blue]
  slots:
    room: [bathroom, living room, maria's room]
    percent: [twenty one, one hundred, one hundred five, fifty]
    count: [three]
"""


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    def load(text):
        path = tmp_path_factory.mktemp("typed") / "grammar.yaml"
        path.write_text(text, encoding="utf-8")
        return TypedText(Grammar.load(path))

    return load


@pytest.fixture(scope="module")
def own(load):
    return load(OWN)


@pytest.fixture(scope="module")
def commands():
    return TypedText(Grammar.load("egs/commands/grammar.yaml"))


@pytest.mark.supports(
    "Text",
    "typed text in any case and punctuation",
    "read as the grammar's sentence",
)
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("What\u2019s on in the bathroom?", "what's on in the bathroom"),
        ("what is on in the living-room, please", "what's on in the living room"),
        ("whats on in the bath room now", "what's on in the bathroom now"),
        ("um, what's on in the livingroom", "what's on in the living room"),
        ("what's on in the marias room", "what's on in the maria's room"),
        ("could you go to the email", "go to the e-mail"),
        ("hey can you please go to the e mail", "go to the e-mail"),
        ("is it 21 percent", "is it twenty one percent"),
        ("is it 50%?", "is it fifty percent"),
        ("is it twenty-one per cent", "is it twenty one percent"),
        ("is it 100%", "is it one hundred percent"),
        ("is it a hundred percent", "is it one hundred percent"),
        ("is it one hundred and five percent", "is it one hundred five percent"),
        ("don't stop", "do not stop"),
        ("can't go", "cannot go"),
        ("can not go", "cannot go"),
        ("set bathroom to 3-eggs", "set bathroom to three eggs"),
    ],
)
def test_a_sentence_is_read_however_it_is_written(own, text, sentence):
    assert own.sentence(text) == sentence
    result = own.read(text)
    assert (result.confidence, result.accepted, result.score) == (1.0, True, None)
    assert target_sequence.words(result.semantics) == sentence
    assert result.intent == own.grammar.parse(sentence)[0].intent


@pytest.mark.parametrize(
    "text",
    [
        "is it -50 percent",
        "is it 5 percent",
        "stop",
        "do stop",
        "go",
        "now what's on in the bathroom",
        "what's on in the",
        "please",
        "don't go",
    ],
)
def test_what_is_no_sentence_is_not_read(own, text):
    assert own.read(text) is None and own.near(text) is None
    refused = own.refused(text)
    assert (refused.intent, refused.slots, refused.nbest) == (None, {}, ())
    assert (refused.accepted, refused.confidence) == (False, 0.0) and refused.reason


def test_words_that_are_in_the_grammar_stay_whatever_they_are(load):
    typed = load("context: {expressions: {a: [okay please, hello], b: [well okay, a one]}}")
    assert typed.read("okay please").intent == "a"
    assert typed.read("um well okay").intent == "b"
    assert typed.read("hello?").intent == "a"
    assert typed.read("please hello").intent == "a"
    assert typed.read("please") is None


def test_all_readings_of_a_sentence_are_given(load):
    typed = load("context: {expressions: {a: [go, run], b: [go]}}")
    assert [r.intent for r in typed.read("go", nbest=3).nbest] == ["a", "b"]
    assert [r.intent for r in typed.read("go").nbest] == ["a"]


def test_near_is_what_differs_by_determiners_and_means_one_thing(own):
    assert own.near("what's on in bathroom") == "what's on in the bathroom"
    assert own.near("set the bathroom to eggs") == "set bathroom to eggs"
    assert own.near("go to our e-mail") == "go to the e-mail"
    assert own.near("take red or blue") is None  # of both intents
    assert own.near("what's on in bathroom the") is None  # cut off


def test_a_refusal_says_why(own):
    assert own.why_not("do not panic 9 times, panic!") == (
        "the grammar has no words 'panic', '9' (read 'nine'), 'times'"
    )
    assert own.why_not("is it 185%?") == (
        "the grammar has no word '185%' (read 'one hundred eighty five percent')"
    )
    # Words that are read together stand as they are read.
    assert (
        own.why_not("do not stop in 1999")
        == "the grammar has no words 'nineteen', 'ninety', 'nine'"
    )
    assert own.why_not("never stop") == "the grammar has no word 'never'"
    assert own.why_not("stop to") == "not a sentence of the grammar"
    assert own.why_not("what's on in my bathroom") == (
        "not a sentence of the grammar; near it: 'what's on in the bathroom'"
    )


def test_unknown_are_the_typed_words_that_no_sentence_has(own):
    bathroom = guess(own, "what's on in the bathroom")
    bathroom = replace(bathroom, unknown=("bath-room",))  # characters that the model has not
    for found in (
        own.second("set Bathroom to 9 \u00fceggs", bathroom),
        own.refused("9, \u00fceggs"),
    ):
        assert found.unknown == ("9", "\u00fceggs") and not found.accepted
    assert own.second("what's on in our bath-room", bathroom).unknown == ()
    assert own.refused("stop to").unknown == ()


def test_a_text_of_a_book_is_refused_at_once(own):
    with pytest.raises(ValueError, match="text of 1000000 characters, expected at most 1000"):
        own.read("turn " * 200_000)


@pytest.mark.parametrize("text", ["", "?!", "turn \udce9", None])
def test_what_is_no_text_is_one_line(own, text):
    with pytest.raises(ValueError, match="text") as raised:
        own.read(text)
    assert "\n" not in str(raised.value)


def guess(typed, sentence, *others):
    """What a model makes of a text: a sentence, and others half as likely each."""
    nbest = [typed.of_sentence(s).nbest[0] for s in (sentence, *others)]
    nbest = [
        Reading(r.intent, r.slots, r.semantics, -1.0 - 0.7 * (n > 0)) for n, r in enumerate(nbest)
    ]
    best = nbest[0]
    return Result(best.intent, best.slots, best.semantics, best.score, nbest=tuple(nbest))


def test_a_model_is_believed_where_the_grammar_seconds_it(own):
    bathroom, living = "what's on in the bathroom", "what's on in the living room"
    text = "what's on in our bathroom"
    sure = own.second(text, guess(own, bathroom))
    assert (sure.is_understood, sure.accepted, sure.confidence) == (True, True, 1.0)
    assert sure.slots == {"room": "bathroom"}
    doubtful = own.second(text, guess(own, bathroom, living))
    assert doubtful.accepted and 0.6 < doubtful.confidence < 0.7
    unsure = own.second(text, guess(own, bathroom, living, "do not stop", "cannot go"))
    other = own.second(text, guess(own, living))
    for refused in (unsure, other):
        assert (refused.intent, refused.slots, refused.accepted) == (None, {}, False)
        assert refused.reason == "the model does not take it for 'what's on in the bathroom'"
    assert other.nbest[0].slots == {"room": "living room"} and other.confidence == 0.0
    far = own.second("in bathroom what's on", guess(own, bathroom))
    assert not far.accepted and far.reason == "not a sentence of the grammar"
    nothing = own.second(text, Result(None, {}, "", None, "found nothing"))
    assert not nothing.accepted


def test_semantics_of_a_sentence_that_is_near_are_the_grammar_s(own):
    # The model copies what is typed, and badly; intent and slots are right.
    garbled = "ask( what's on on on in room( bathroom )room )ask"
    reading = Reading("ask", {"room": "bathroom"}, garbled, -1.0)
    other = Reading("tell", {}, "tell( do not stop )tell", -3.0)
    result = Result("ask", reading.slots, garbled, -1.0, nbest=(reading, other))
    accepted = own.second("what's on in our bathroom", result)
    assert accepted.accepted and accepted.score == -1.0
    said = "ask( what's on in the room( bathroom )room )ask"
    assert accepted.semantics == accepted.nbest[0].semantics == said
    assert accepted.nbest[1] == other
    assert own.second("in bathroom what's on", result).semantics == garbled


def test_slots_that_an_intent_implies_are_among_those_that_were_said(load):
    text = GRAMMAR + "  fixed_slots: {turnOn: {domain: light}}\n"
    turned, loud = (
        load(text).read(said, 1) for said in ("turn on the kitchen light", "set the volume to ten")
    )
    assert turned.slots == {"domain": "light", "room": "kitchen"}
    assert turned.spoken_slots == {"room": "kitchen"}
    assert (loud.slots, loud.spoken_slots) == ({"level": "ten"}, None)


def test_degrees_are_written_and_typed_with_their_scale(load):
    typed = load(
        "context: {expressions: {a: ['heat to $t:t']}, slots: {t: [180\u00b0C, 350 \u00b0F]}}"
    )
    for text in ("heat to 180\u00b0C", "Heat to 180 \u2103!", "heat to 180 degrees celsius"):
        assert typed.read(text).slots == {"t": "180\u00b0C"}
    assert typed.read("heat to 350\u00b0f").slots == {"t": "350 \u00b0F"}
    assert typed.read("heat to 180\u00b0F") is None


def test_slots_are_as_the_grammar_writes_them_and_as_they_are_said(load):
    typed = load(
        "context: {expressions: {a: ['wait $pv.TwoDigitInteger:n minutes (at $at:at)']},"
        " slots: {at: [Home]}}"
    )
    for text in ("wait 25 minutes at home", "wait twenty-five minutes at home"):
        result = typed.read(text)
        assert result.slots == result.nbest[0].slots == {"n": "25", "at": "Home"}
        assert result.spoken_slots == {"n": "twenty five", "at": "home"}
        assert "n( twenty five )n" in result.semantics
    near = "wait my 25 minutes"
    accepted = typed.second(near, guess(typed, "wait twenty five minutes"))
    assert accepted.slots == {"n": "25"} and accepted.spoken_slots == {"n": "twenty five"}
    refused = typed.second("wait long minutes", guess(typed, "wait twenty five minutes"))
    assert (refused.slots, refused.spoken_slots) == ({}, None)


def digits(sentence):
    """A sentence with its numbers up to 100 in digits."""
    known = {spell_out(str(number)): str(number) for number in range(101)}
    words, out = sentence.split(), []
    while words:
        size = next(n for n in (2, 1, 0) if " ".join(words[:n]) in known or n == 0)
        out.append(known.get(" ".join(words[:size]), words[0]))
        words = words[max(size, 1) :]
    return " ".join(out)


def draw(automaton, rng, num):
    """So many sequences, each arc as likely as any other of its state."""
    for _ in range(num):
        state, symbols = automaton.start, []
        while automaton.arcs[state] and not (automaton.final[state] and rng.random() < 0.5):
            symbol = rng.choice(sorted(automaton.arcs[state]))
            state = automaton.arcs[state][symbol]
            symbols.append(symbol)
        yield " ".join(symbols)


def test_all_sentences_of_a_grammar_are_read_as_they_are_meant(commands):
    for sequence in draw(commands.grammar.automaton(), random.Random(1), 400):
        plain = target_sequence.words(sequence)
        written = digits(plain).replace(" percent", "%")
        for text in (plain, digits(plain), f"Um, {written}.", f"{written.upper()}, please!"):
            assert target_sequence.frame(commands.read(text).semantics) == target_sequence.frame(
                sequence
            )


def test_of_what_is_out_of_grammar_95_in_100_are_refused_with_any_model(commands):
    rng = random.Random(2)
    automaton = commands.grammar.automaton(with_tags=False)
    sentences = list(draw(automaton, rng, 300))
    vocabulary = sorted({word for arcs in automaton.arcs for word in arcs})
    made = {kind: [] for kind in ("shuffled", "cut", "joined", "not", "never", "replaced")}
    for sentence in sentences:
        words = sentence.split()
        place = rng.randrange(1, len(words))
        made["shuffled"].append(rng.sample(words, len(words)))
        made["cut"].append(rng.choice((words[:place], words[place:])))
        made["joined"].append(words + rng.choice(sentences).split())
        made["not"].append(["do", "not", *words])
        made["never"].append([*words[:place], "never", *words[place:]])
        made["replaced"].append([*words[: place - 1], rng.choice(vocabulary), *words[place:]])
    made["foreign"] = [s.split() for s in negatives.sentences(300, 3, vocabulary)]
    for kind, texts in made.items():
        texts = [" ".join(words) for words in texts if words not in automaton]
        taken = [text for text in texts if commands.sentence(text) or commands.near(text)]
        assert len(texts) > 250 and len(taken) <= 0.05 * len(texts), (kind, taken)


def test_normalize_leaves_no_tag():
    assert normalize("play( it )play (loud)") == "play it play loud"


def test_an_experiment_reads_by_its_grammar_first_then_asks_its_model(toy_experiment):
    from atat import SpeechToSemantics

    model = SpeechToSemantics.load(toy_experiment)
    exact, near, foreign, other = model(
        text=[
            "Turn on the living-room lights, please!",
            "turn on kitchen light",
            "do not turn on the kitchen light",
            "turn the volume to ten",
        ]
    )
    assert (exact.slots, exact.confidence) == ({"room": "living room"}, 1.0)
    assert near.score is not None  # the model was asked
    if near.accepted:
        assert near.slots == {"room": "kitchen"} and near.confidence >= 0.5
    for refused in (foreign, other):
        assert (refused.is_understood, refused.accepted, refused.slots) == (False, False, {})
        assert refused.nbest[0].intent  # what the model guessed
    assert foreign.reason == "the grammar has no words 'do', 'not'"
    words = model(text="turn on the kitchen light", task="asr")
    assert words.accepted is None and words.intent is None
    assert len(model(text="turn kitchen the on", nbest=2).nbest) <= 2


def test_without_a_grammar_the_model_alone_reads(toy_experiment, tmp_path):
    import shutil

    from atat import SpeechToSemantics

    exp = shutil.copytree(toy_experiment, tmp_path / "exp")
    (exp / "grammar.yaml").unlink()
    model = SpeechToSemantics.load(exp)
    result = model(text="do not turn on the kitchen light")
    assert result.intent and result.accepted is None and result.confidence is None
    plain, written = model(text=["turn on the kitchen light", "Turn on: the 'kitchen-light'!"])
    assert written.unknown == () and written.score == pytest.approx(plain.score, abs=1e-4)


def test_a_grammar_s_model_gets_a_text_spelled_out(toy_experiment):
    from atat import SpeechToSemantics

    model = SpeechToSemantics.load(toy_experiment)
    found = model(text=["volume to 20", "volume to twenty"])
    assert [result.unknown for result in found] == [(), ()]
    assert found[0].nbest[0].semantics == found[1].nbest[0].semantics


def test_the_grammar_s_words_are_not_read_into_others(load):
    typed = load(GRAMMAR)
    assert typed.read("set the volume to 10").slots == {"level": "ten"}
    assert typed.read("set the volume to 10 20") is None


def test_slots_of_one_name_are_written_as_their_intent_has_them(load):
    typed = load(
        "[Light]\nlight (on:true | off:false){state}\n[Alarm]\nalarm (off:disarmed){state}\n"
    )
    assert typed.read("light off").slots == {"state": "false"}
    assert typed.read("alarm off").slots == {"state": "disarmed"}


ROOMS = """
context:
  expressions: {call: ["call room $n:a $n:b", "call $n:a $n:b $n:c"], wait: [wait five minutes]}
  slots: {n: [%s]}
"""


@pytest.mark.parametrize(
    "text", ["room 5 oh 5", "room five oh five", "room oh 5 5", "room 5 uh oh, oh 5", "room 5 5 oh"]
)
def test_oh_beside_a_number_is_not_left_out(load, text):
    for numbers in ("five", "five, zero"):
        typed = load(ROOMS % numbers)
        assert typed.read(f"call {text}") is None and typed.near(f"call {text}") is None


def test_oh_among_numbers_is_zero_and_elsewhere_nothing(load):
    typed = load(ROOMS % "five, zero")
    assert typed.read("call 5 oh 5").slots == {"a": "five", "b": "zero", "c": "five"}
    assert typed.read("Oh, call room 5 5").slots == {"a": "five", "b": "five"}
    assert typed.read("oh wait, oh, five minutes") is None
    assert typed.read("oh wait five minutes oh").intent == "wait"
    typed = load("context: {expressions: {a: [at seven oh five], b: [at seven five]}}")
    assert [typed.read(text).intent for text in ("at 7:05", "at 7 oh 5", "at 7 5")] == [*"aab"]


RANGE = "[Set]\nset to (-10..20){n} [(0..20){m}]\n[Wait]\na five minute timer\n"


@pytest.mark.parametrize("minus", ["-", "- ", "\u2212", "\u2212 ", "\u2013", "\u200b-\u200b"])
def test_a_minus_before_a_number_is_read(load, minus):
    assert load(RANGE).read(f"set to {minus}5").slots == {"n": "-5"}
    assert load(RANGE.replace("-10", "0")).read(f"set to {minus}5") is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "set to <5",
            "set to < 5",
            "set to 1/2",
            "set to 10\u201320",
            "set to 10-20",
            "set to ~5",
        ),
        *(
            "set to 10 - 20",
            "set to 10\u201420",
            "set to \u20145",
            "set to 1\u20442",
            "set to <\u200b5",
        ),
        *("set to 5*6", "a <5-minute timer", "set to \uff0d5", "set to 5\u00b2", "set to +5"),
    ],
)
def test_a_number_is_not_read_without_its_sign(load, text):
    typed = load(RANGE)
    assert typed.read(text) is None and typed.near(text) is None and typed.refused(text).reason


def test_a_sign_that_is_not_read_is_named(load):
    typed = load(RANGE)
    assert typed.why_not("set to <5") == "'<' before a number is not read, expected it in words"
    assert typed.read("set to (5), #7!").slots == {"n": "5", "m": "7"}
    assert typed.read("A 5-minute timer").intent == "Wait"
