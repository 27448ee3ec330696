from collections import Counter
from pathlib import Path

import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atat.evaluation import metrics
from atat.semantics import bracket_trees, target_sequence
from atat.semantics.target_sequence import Frame, Node

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"
BRACKETS = (
    "[IN:GET_DISTANCE How far is [SL:DESTINATION [IN:GET_RESTAURANT_LOCATION the "
    "[SL:TYPE_FOOD coffee ] shop ] ] ]"
)
SEQUENCE = (  # docs/paper.md, verbatim
    "GetDistance( How far is Destination( GetRestaurantLocation( the TypeFood( coffee )TypeFood "
    "shop )GetRestaurantLocation )Destination )GetDistance"
)

PARTS = st.from_regex(r"[A-Z][A-Z0-9]{0,3}", fullmatch=True)
TAGS = st.lists(PARTS, min_size=1, max_size=3).map(lambda p: "".join(x.capitalize() for x in p))
WORDS = st.text(st.characters(exclude_characters="[]()", exclude_categories=["Z", "C"]), min_size=1)
TREES = st.recursive(
    st.builds(Node, TAGS, st.lists(WORDS, max_size=3).map(tuple)),
    lambda inner: st.builds(Node, TAGS, st.lists(WORDS | inner, max_size=4).map(tuple)),
    max_leaves=12,
)


def test_the_papers_example_verbatim():
    assert bracket_trees.to_sequence(BRACKETS) == SEQUENCE
    assert bracket_trees.to_brackets(SEQUENCE) == BRACKETS


@given(TREES)
def test_every_tree_comes_back_from_brackets_and_from_its_sequence(tree):
    assert bracket_trees.read(bracket_trees.write(tree)) == tree
    sequence = target_sequence.build(tree)
    assert bracket_trees.to_sequence(bracket_trees.to_brackets(sequence)) == sequence


@given(st.lists(st.sampled_from(["[IN:A_B", "[SL:C", "]", "word", "[XX:D", "[IN:a", "[", "a]"])))
def test_any_string_of_brackets_is_read_exactly_or_refused(tokens):
    text = " ".join(tokens)
    try:
        tree = bracket_trees.read(text)
    except ValueError:
        return
    assert bracket_trees.write(tree) == text


@given(TREES)
def test_different_names_have_different_tags(tree):
    names = [t[4:] for t in bracket_trees.write(tree).split() if t.startswith("[")]
    labels = [t[:-1] for t in target_sequence.tags(target_sequence.build(tree)) if t.endswith("(")]
    assert len(set(zip(names, labels, strict=True))) == len(set(names)) == len(set(labels))


@pytest.mark.parametrize(
    ("brackets", "reason"),
    [
        ("", "the tree is empty"),
        ("[IN:GET_EVENT what", "'[IN:GET_EVENT' is never closed"),
        ("[IN:GET_EVENT [SL:DATE_TIME now ]", "'[IN:GET_EVENT' is never closed"),
        ("[IN:GET_EVENT [SL:DATE_TIME now", "'[SL:DATE_TIME' is never closed"),
        ("[IN:GET_EVENT what ] ]", "token 4 ']' stands after the end"),
        ("] what", "token 1 ']' closes nothing"),
        ("what [IN:GET_EVENT ]", "token 1 'what' stands before the tree"),
        ("[IN:GET_EVENT [SI:DATE_TIME now ] ]", "token 2 '[SI:DATE_TIME' is an unknown bracket"),
        ("[IN:GET_EVENT now] ]", "'now]' is an unknown bracket"),
        ("[IN:getEvent now ]", "unknown bracket"),
        ("[IN:GET__EVENT now ]", "unknown bracket"),
        ("[IN:GET_2 now ]", "unknown bracket"),
        ("[SL:DATE_TIME now ]", "got SL, expected IN"),
        ("[IN:A [IN:B now ] ]", "token 2 '[IN:B': got IN, expected SL"),
        ("[IN:A [SL:B " * 60 + "] ] " * 60, "nested deeper than 100"),
    ],
)
def test_what_is_not_a_tree_is_refused_with_the_reason(brackets, reason):
    with pytest.raises(ValueError) as error:
        bracket_trees.read(brackets)
    assert reason in str(error.value)


def test_a_word_that_the_other_form_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="word '\\('"):
        bracket_trees.to_sequence("[IN:GET_EVENT ( now ]")
    with pytest.raises(ValueError, match="word 'a\\[b'"):
        bracket_trees.to_brackets("GetEvent( a[b )GetEvent")
    for label in ("getEvent", "Get_Event", "get", "É"):
        with pytest.raises(ValueError, match="is of no tree"):
            bracket_trees.to_brackets(f"{label}( now ){label}")


def test_what_a_tree_asks_for_has_no_carrier_words():
    inside = "GetRestaurantLocation( TypeFood( coffee )TypeFood )GetRestaurantLocation"
    assert bracket_trees.frame(SEQUENCE) == Frame("GetDistance", (("Destination", inside),))
    # An intent without slots inside a slot keeps nothing but its label; a slot keeps its words.
    flat = bracket_trees.to_sequence("[IN:A x [SL:B [IN:C y ] ] [SL:D z z ] [SL:E ] ]")
    assert bracket_trees.frame(flat) == Frame("A", (("B", "C( )C"), ("D", "z z"), ("E", "")))


@given(TREES, TREES)
def test_frames_are_equal_exactly_if_the_trees_are_but_for_carriers_and_order(one, other):
    def bare(node, depth=0):  # the definition, by depth, with the root's slots as a multiset
        inner = [bare(c, depth + 1) for c in node.children if isinstance(c, Node)]
        words = [c for c in node.children if isinstance(c, str)]
        inner = inner if inner or depth % 2 == 0 else words
        return node.label, sorted(inner, key=repr) if depth == 0 else inner

    frames = [bracket_trees.frame(target_sequence.build(tree)).key for tree in (one, other)]
    assert (frames[0] == frames[1]) == (bare(one) == bare(other))
    shuffled = Node(one.label, tuple(reversed(one.children)))
    assert bracket_trees.frame(target_sequence.build(shuffled)).key == frames[0]


LABELS = st.sampled_from(["GetEvent", "Name", "Date"])
PAIRS = st.recursive(
    st.builds(Node, LABELS, st.lists(st.just("x"), max_size=2).map(tuple)),
    lambda inner: st.builds(Node, LABELS, st.lists(st.just("x") | inner, max_size=3).map(tuple)),
    max_leaves=6,
)


def parseval(brackets):
    """Labelled brackets as nltk reads them: label, and how many words are before and inside."""
    text = " ".join("(" if t == "[" else t for t in brackets.replace("[", "[ ").split())
    tree = nltk.Tree.fromstring(text.replace("]", ")"))
    leaves = tree.treepositions("leaves")
    found = Counter()
    for place in tree.treepositions():
        if isinstance(tree[place], nltk.Tree):
            before = sum(leaf < place for leaf in leaves)
            found[tree[place].label().partition(":")[2], before, len(tree[place].leaves())] += 1
    return found


@given(st.lists(st.tuples(PAIRS, PAIRS), min_size=1, max_size=4))
@settings(max_examples=50)
def test_precision_and_recall_of_brackets_are_those_of_parseval(pairs):
    # Black et al. 1991: matched constituents over those of the test, and of the reference.
    outcomes = [metrics.judge(*map(target_sequence.build, pair)) for pair in pairs]
    gold, test = (
        [parseval(bracket_trees.write(tree)) for tree in side] for side in zip(*pairs, strict=True)
    )
    matched = sum((a & b).total() for a, b in zip(gold, test, strict=True))
    score = metrics.f1([outcome.brackets for outcome in outcomes])
    assert score["precision"] == matched / sum(part.total() for part in test)
    assert score["recall"] == matched / sum(part.total() for part in gold)


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the corpora are not on this machine")
def test_every_tree_of_top_and_topv2_comes_back():
    paths = [CORPORA / "top-dataset-semantic-parsing" / f"{s}.tsv" for s in ("eval", "test")]
    paths += sorted((CORPORA / "topv2-english").glob("*.tsv"))
    count = 0
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            brackets = line.rpartition("\t")[2]
            if brackets.startswith("[IN:"):
                assert bracket_trees.write(bracket_trees.read(brackets)) == " ".join(
                    brackets.split()
                )
                count += 1
    assert count == 4462 + 9042 + 10896
