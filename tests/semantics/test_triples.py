"""Triples as target sequences: the paper's examples, the corpus's intents, and every way back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.semantics import target_sequence
from atat.semantics.triples import Triple, from_sequence, to_sequence

# docs/paper.md, "Target sequences": the sequences as they stand there.
PAPER = [
    (
        Triple("activate", "lights", "kitchen"),
        "Turn on the kitchen lights",
        "Activate( Turn on the Location( kitchen )Location Object( lights )Object )Activate",
    ),
    (
        Triple("decrease", "volume"),
        "Far too loud",
        "Decrease( Volume( Far too loud )Volume )Decrease",
    ),
    (
        Triple("increase", "heat", "washroom"),
        "turn up the bathroom temperature",
        "Increase( Heat( turn up the Location( bathroom )Location temperature )Heat )Increase",
    ),
]
RULES = [
    # No object: the action only.
    (
        Triple("change language"),
        "switch languages",
        "ChangeLanguage( switch languages )ChangeLanguage",
    ),
    # Whole words: "heating" is not "heat".
    (Triple("increase", "heat"), "more heating", "Increase( Heat( more heating )Heat )Increase"),
    (Triple("increase", "heat"), "Heat up", "Increase( Object( Heat )Object up )Increase"),
    # Said by its own name too.
    (
        Triple("deactivate", "lights", "washroom"),
        "washroom lights off",
        "Deactivate( Location( washroom )Location Object( lights )Object off )Deactivate",
    ),
    # The first occurrence.
    (
        Triple("activate", "music"),
        "music i want music",
        "Activate( Object( music )Object i want music )Activate",
    ),
]
# The 31 intents of the corpus.
ROOMS = ["none", "kitchen", "bedroom", "washroom"]
INTENTS = [
    *(Triple(a, o, r) for a in ("increase", "decrease") for o in ("heat",) for r in ROOMS),
    *(Triple(a, "lights", r) for a in ("activate", "deactivate") for r in ROOMS),
    *(Triple(a, "volume") for a in ("increase", "decrease")),
    *(Triple(a, o) for a in ("activate", "deactivate") for o in ("music", "lamp")),
    *(Triple("bring", o) for o in ("newspaper", "shoes", "socks", "juice")),
    *(Triple("change language", o) for o in ("none", "chinese", "english", "korean", "german")),
]


@pytest.mark.parametrize(("triple", "transcript", "sequence"), PAPER + RULES)
def test_sequences_are_the_papers(triple, transcript, sequence):
    assert to_sequence(triple, transcript) == sequence
    assert from_sequence(sequence) == triple


def test_every_intent_of_the_corpus_comes_back_with_its_object_said_or_not():
    assert len(set(INTENTS)) == 31
    for triple in INTENTS:
        said = triple.location.replace("washroom", "bathroom").replace("none", "")
        for transcript in (f"please {said} now", f"please {said} {triple.object} now"):
            sequence = to_sequence(triple, transcript)
            assert from_sequence(sequence) == triple
            assert target_sequence.words(sequence) == " ".join(transcript.split())


WORDS = ["heat", "heating", "kitchen", "bathroom", "washroom", "change", "language", "turn", "Up"]
NAMES = st.lists(st.sampled_from([w.lower() for w in WORDS]), min_size=1, max_size=2).map(" ".join)
TRIPLES = st.builds(Triple, NAMES, st.just("none") | NAMES, st.just("none") | NAMES)


@given(TRIPLES, st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))
def test_what_is_written_can_be_read_back_and_keeps_the_words(triple, transcript):
    try:
        sequence = to_sequence(triple, transcript)
    except ValueError as e:
        assert str(e).startswith("(")  # names the triple; when: the next test
        return
    assert from_sequence(sequence) == triple
    assert target_sequence.words(sequence) == transcript


@given(TRIPLES, st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))
def test_a_triple_is_refused_only_if_its_location_cannot_be_tagged(triple, transcript):
    """Oracle: the words of the location, found as a string of whole words."""
    said = {triple.location, "bathroom" if triple.location == "washroom" else triple.location}
    is_said = triple.location == "none" or any(
        f" {name} " in f" {transcript.lower()} " for name in said
    )
    # `bathroom` is how the washroom is said: no location of its own.
    expected = is_said and triple.location != "bathroom"
    try:
        to_sequence(triple, transcript)
        assert expected
    except ValueError:
        assert not expected


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [
        ("Activate( lights on", "'Activate(' is never closed"),
        ("", "the sequence is empty"),
        ("activate( on )activate", "got the tag 'activate'"),
        ("Activate( on Heat( up )Heat )Activate", "words stand between 'Activate' and 'Heat'"),
        ("Activate( Heat( Lamp( up )Lamp )Heat )Activate", "tag 'Lamp' inside 'Heat'"),
        ("Activate( Heat( a )Heat Lamp( b )Lamp )Activate", "tag 'Heat' inside 'Activate'"),
        ("Activate( Heat( Object( heat )Object )Heat )Activate", "a second object"),
        (
            "Activate( Location( bedroom )Location Location( kitchen )Location )Activate",
            "a second location",
        ),
        ("Activate( Location( )Location )Activate", "tag 'Location' is empty"),
        ("Activate( Object( Location( x )Location )Object )Activate", "has a tag inside"),
        ("Activate( Object( none )Object )Activate", "'none' has a tag"),
        ("Activate( None( on )None )Activate", "'none' has a tag"),
    ],
)
def test_a_sequence_that_is_no_triple_has_a_reason(sequence, reason):
    with pytest.raises(ValueError, match=r".") as error:
        from_sequence(sequence)
    assert reason in str(error.value)


@given(st.text() | st.text(st.sampled_from("AHe )(")))
def test_any_text_is_a_triple_or_a_value_error(text):
    with suppress(ValueError):
        assert isinstance(from_sequence(text), Triple)


@pytest.mark.parametrize(
    ("triple", "transcript"),
    [
        (Triple("activate", "lights", "kitchen"), "turn on the lights"),
        (Triple("activate", "lights", "bathroom"), "bathroom lights"),  # reads as the washroom
        (Triple("activate", "location"), "turn it on"),
        (Triple("Activate", "lights"), "lights"),
        (Triple("activate", "2 lamps"), "on"),
    ],
)
def test_a_triple_that_could_not_be_read_back_is_refused(triple, transcript):
    with pytest.raises(ValueError):
        to_sequence(triple, transcript)
