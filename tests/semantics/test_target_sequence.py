import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame, Node

LABELS = st.text(st.characters(exclude_characters="()"), min_size=1, max_size=6).filter(
    lambda text: not any(c.isspace() for c in text)
)
TREES = st.recursive(
    st.builds(Node, LABELS, st.lists(LABELS, max_size=4).map(tuple)),
    lambda nodes: st.builds(Node, LABELS, st.lists(LABELS | nodes, max_size=4).map(tuple)),
    max_leaves=8,
)
FRAMES = st.builds(
    Frame,
    LABELS,
    st.lists(st.tuples(LABELS, st.lists(LABELS, max_size=3).map(" ".join)), max_size=4).map(tuple),
)
# The paper's own examples (docs/paper.md, "Target sequences") and what they mean.
PAPER = [
    (
        "PlayMusic( Play songs by ArtistName( Iron Maiden )ArtistName )PlayMusic",
        Frame("PlayMusic", (("ArtistName", "Iron Maiden"),)),
        "Play songs by Iron Maiden",
    ),
    (
        "GetDistance( How far is Destination( GetRestaurantLocation( the TypeFood( coffee "
        ")TypeFood shop )GetRestaurantLocation )Destination )GetDistance",
        Frame(
            "GetDistance",
            (("Destination", ""), ("GetRestaurantLocation", "the shop"), ("TypeFood", "coffee")),
        ),
        "How far is the coffee shop",
    ),
    (
        "Activate( Turn on the Location( kitchen )Location Object( lights )Object )Activate",
        Frame("Activate", (("Location", "kitchen"), ("Object", "lights"))),
        "Turn on the kitchen lights",
    ),
    (
        "Decrease( Volume( Far too loud )Volume )Decrease",
        Frame("Decrease", (("Volume", "Far too loud"),)),
        "Far too loud",
    ),
    (
        "Increase( Heat( turn up the Location( bathroom )Location temperature )Heat )Increase",
        Frame("Increase", (("Heat", "turn up the temperature"), ("Location", "bathroom"))),
        "turn up the bathroom temperature",
    ),
]


@pytest.mark.parametrize(("sequence", "frame", "words"), PAPER)
def test_paper_examples_mean_what_the_paper_says(sequence, frame, words):
    assert target_sequence.frame(sequence) == frame
    assert target_sequence.words(sequence) == words
    assert target_sequence.build(target_sequence.parse(sequence)) == sequence


@given(TREES)
def test_parse_inverts_build_for_trees(tree):
    assert target_sequence.parse(target_sequence.build(tree)) == tree


@given(FRAMES)
def test_frame_inverts_build_for_frames(frame):
    assert target_sequence.frame(target_sequence.build(frame)) == frame


@given(
    st.lists(st.sampled_from(["a(", ")a", "b(", ")b", "x", "y", "", "(", ")", "a(b", "(x)"])).map(
        " ".join
    )
    | st.text(st.sampled_from("ab() \t\n"))
    | st.text()
)
def test_any_string_is_read_exactly_or_refused_with_a_reason(text):
    try:
        tree = target_sequence.parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert target_sequence.build(tree) == text


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [
        ("", "empty"),
        ("play", "before the first tag"),
        (")a", "before the first tag"),
        ("a( x", "never closed"),
        ("a( b( x )b", "never closed"),
        ("a( b( x )a )b", r"expected '\)b'"),
        ("a( x )a y", "after the end of 'a'"),
        ("a( x )a b( y )b", "after the end of 'a'"),
        ("a(  x )a", "single spaces"),
        (" a( x )a", "single spaces"),
        ("a( x )a ", "after the end"),
        ("a( x\ty )a", "neither a word"),
        ("a( x(y )a", "neither a word"),
        ("a( ( )a", "neither a word"),
        ("a( " * 101 + ")a " * 100 + ")a", "deeper than 100"),
    ],
)
def test_malformed_sequences_are_refused_with_the_reason(sequence, reason):
    with pytest.raises(ValueError, match=reason):
        target_sequence.parse(sequence)


def test_deepest_sequence_round_trips_through_every_function():
    sequence = " ".join(["a("] * 100 + [")a"] * 100)
    assert target_sequence.build(target_sequence.parse(sequence)) == sequence
    assert len(target_sequence.frame(sequence).slots) == 99


@pytest.mark.parametrize("bad", ["", "a b", "a(", ")a", "a\n"])
def test_build_refuses_what_cannot_be_read_back(bad):
    with pytest.raises(ValueError, match="tag"):
        target_sequence.build(Node(bad))
    with pytest.raises(ValueError, match="word"):
        target_sequence.build(Node("a", (bad,)))


@given(TREES)
def test_tags_and_words_together_are_the_sequence(tree):
    sequence = target_sequence.build(tree)
    tags, words = target_sequence.tags(sequence), target_sequence.words(sequence).split()
    assert sorted(tags + words) == sorted(sequence.split())
    assert all(map(target_sequence.is_tag, tags)) and not any(map(target_sequence.is_tag, words))


def test_frames_are_the_same_up_to_slot_order_but_not_up_to_repetition():
    a, b = ("x", "one"), ("y", "two")
    assert Frame("i", (a, b)).key == Frame("i", (b, a)).key
    assert Frame("i", (a, a, b)).key != Frame("i", (a, b)).key
    assert Frame("i", (a,)).key != Frame("j", (a,)).key
