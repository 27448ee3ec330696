"""The three layouts of corpora of trees: what is read, and what is refused with which words."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.common import cli
from atat.prepare import corpus, top_format
from atat.semantics import bracket_trees, target_sequence
from atat.semantics.target_sequence import Node
from tests.prepare.tree_corpora import ROWS, write_stop, write_top, write_topv2

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"
SEQUENCES = [
    "GetEvent( what's on DateTime( tomorrow )DateTime 's or DateTime( 5 30 pm )DateTime )GetEvent",
    "UpdateDirections( don't take PathAvoid( the kids road )PathAvoid )UpdateDirections",
    "CreateAlarm( wake me up )CreateAlarm",
    "UnsupportedWeather( will it snow )UnsupportedWeather",
]


@pytest.mark.supports("Corpora", "TOP, TOPv2 and STOP, each in its own layout", "recognised")
@pytest.mark.parametrize(
    ("write", "layout"), [(write_top, "TOP"), (write_topv2, "TOPv2"), (write_stop, "STOP")]
)
def test_each_layout_is_recognised_and_gives_the_same_sentences(tmp_path, write, layout):
    source = top_format.detect(write(tmp_path / "corpus"))
    assert source.layout == layout
    for split in top_format.SPLITS:
        sentences = top_format.read(source, split)
        assert sorted(s.semantics for s in sentences) == sorted(SEQUENCES)
        assert all(s.text == target_sequence.words(s.semantics) for s in sentences)
        assert len({s.id for s in sentences}) == len(ROWS)
        assert [s.is_unsupported for s in sentences].count(True) == 1
        domains = {s.domain for s in sentences}
        assert domains == ({""} if layout == "TOP" else {row[0] for row in ROWS})
        for sentence in sentences:
            assert (sentence.wav is None) == (layout != "STOP")
            assert sentence.wav is None or sentence.wav.is_file()


@pytest.mark.supports(
    "Corpora", "TOP, TOPv2, STOP: a byte order mark, line ends of Windows", "read"
)
@pytest.mark.parametrize("write", [write_top, write_topv2, write_stop])
def test_lists_that_were_saved_elsewhere_are_read_alike(tmp_path, write):
    root = write(tmp_path / "corpus")
    for path in root.rglob("*.tsv"):
        content = path.read_text(encoding="utf-8")
        path.write_text("\ufeff" + content, encoding="utf-8", newline="\r\n")
    sentences = top_format.read(top_format.detect(root), "train")
    assert sorted(s.semantics for s in sentences) == sorted(SEQUENCES)


def test_domains_are_chosen_and_unknown_ones_refused(tmp_path):
    source = top_format.detect(write_topv2(tmp_path / "corpus"))
    assert [s.domain for s in top_format.read(source, "eval", ["alarm"])] == ["alarm"]
    with pytest.raises(ValueError, match="got 'alarms', expected some of alarm, event, navigation"):
        top_format.read(source, "eval", ["event", "alarms"])
    top = top_format.detect(write_top(tmp_path / "top"))
    assert len(top_format.read(top, "eval", ["event"])) == len(ROWS)  # TOP does not say which


def test_what_is_not_a_corpus_of_trees_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found none of TOP \(train.tsv, .*TOPv2.*STOP"):
        top_format.detect(tmp_path)
    (write_top(tmp_path / "top") / "eval.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no eval.tsv in it, which TOP has"):
        top_format.read(top_format.detect(tmp_path / "top"), "eval")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("train.tsv", "what\t[IN:A what ]\n", "train.tsv:1: got 2 columns, expected 3"),
        ("a_train.tsv", "domain\tutterance\n", "a_train.tsv:1: no column 'semantic_parse'"),
        ("a_train.tsv", "", "a_train.tsv:1: no column 'domain'"),
        (
            "a_train.tsv",
            "domain\tutterance\tsemantic_parse\na\tb\n",
            "a_train.tsv:2: got 2 columns, expected 3, as line 1",
        ),
        ("train.tsv", "x" * 30_000, "train.tsv:1: got a line of more than 20000 letters"),
        ("train.tsv", b"\xff\t\t\n", "train.tsv: not UTF-8 text"),
        ("train.tsv", "a\ta\t[IN:A b ]\n", "1 of 1 trees cannot be used, as: "),
        ("train.tsv", "a\ta\t[IN:A b ]\n", "train.tsv:1: the tree has the words 'b', the utter"),
        ("train.tsv", "a\ta\t[IN:A a\n", "train.tsv:1: '[IN:A' is never closed"),
        ("train.tsv", "?\t?\t[IN:A ? ]\n", "the utterance '?' has no words"),
        (
            "manifests/train.tsv",
            "\t".join(top_format.STOP_COLUMNS) + "\n../a.wav\td\tb\t[IN:A b ]",
            "train.tsv:2: got file_id '../a.wav', expected a path inside the corpus",
        ),
    ],
)
def test_a_file_of_another_form_is_one_line_that_says_where(tmp_path, name, content, reason):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        top_format.read(top_format.detect(tmp_path), "train")
    assert reason in str(error.value)


def test_a_few_broken_trees_are_dropped_and_said(tmp_path, capsys):
    rows = [*ROWS * 25, ("event", "what", "[IN:GET_EVENT that ]")]
    source = top_format.detect(write_top(tmp_path / "corpus", rows))
    assert len(top_format.read(source, "train")) == 100
    said = capsys.readouterr().err
    assert "1 of 101 trees cannot be used, as: " in said and "train.tsv:101: the tree" in said
    more = [*ROWS * 125, *(("event", "what", f"[IN:GET_EVENT that{n} ]") for n in range(4))]
    top_format.read(top_format.detect(write_top(tmp_path / "corpus", more)), "train")
    said = capsys.readouterr().err
    assert "4 of 504 trees" in said and "'that2'" in said and "'that3'" not in said
    source = top_format.detect(write_top(tmp_path / "corpus", rows[1:]))
    assert len(top_format.read(source, "train")) == 99  # one in a hundred is still dropped
    with pytest.raises(ValueError, match="1 of 99 trees cannot be used"):
        top_format.read(top_format.detect(write_top(tmp_path / "corpus", rows[2:])), "train")


WORDS = st.text(st.characters(exclude_characters="[]", exclude_categories=["Z", "C"]), min_size=1)
TREES = st.recursive(
    st.builds(Node, st.just("A"), st.lists(WORDS, max_size=3).map(tuple)),
    lambda inner: st.builds(Node, st.just("B"), st.lists(WORDS | inner, max_size=4).map(tuple)),
    max_leaves=6,
)


@given(TREES)
def test_any_tree_becomes_a_sequence_of_the_words_that_are_said_or_is_refused(tree):
    said = " ".join(
        t for t in bracket_trees.write(tree).split() if t != "]" and not t.startswith("[")
    )
    try:
        sequence = top_format.sequence_of(said, bracket_trees.write(tree))
    except ValueError as error:
        assert "has no words" in str(error)
        return
    assert bracket_trees.to_sequence(bracket_trees.to_brackets(sequence)) == sequence
    letters = [
        corpus.normalize(text).replace(" ", "").replace("'", "")
        for text in (target_sequence.words(sequence), said)
    ]
    assert letters[0] == letters[1]


def test_check_shows_what_differs_from_what_was_published(tmp_path, capsys):
    top_format.check(write_top(tmp_path / "top"))
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path / 'top'}: TOP\n")
    rows = [line.split() for line in out.splitlines()]
    assert ["train", "sentences", "4", "31,279", "differs"] in rows
    assert ["slots", "2", "36", "differs"] in rows
    assert "4 of 4 sentences of test are in train" in out
    top_format.check(write_topv2(tmp_path / "v2"))
    out = capsys.readouterr().out
    assert ["alarm", "test", "1", "7,123", "differs"] in [line.split() for line in out.splitlines()]
    assert "! the domain 'music' is missing in train" in out
    stop = write_stop(tmp_path / "s", with_audio=False)
    top_format.check(stop, recorded=())
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["alarm", "test", "1", "-"] in rows
    assert ["recordings", "of", "eval", "0", "-"] in rows
    assert "low-resource splits are not here" in out
    with pytest.raises(ValueError, match="test: audio of 4 of 4 utterances is missing"):
        top_format.check(stop, recorded=("test",))


def test_what_cannot_be_used_is_no_corpus(tmp_path):
    top = write_top(tmp_path / "top")
    with pytest.raises(ValueError, match="is TOP, expected TOPv2 or STOP"):
        top_format.check(top, ("TOPv2", "STOP"))
    (top / "train.tsv").write_text("")
    with pytest.raises(ValueError, match="train has no sentence"):
        top_format.check(top)
    stop = write_stop(tmp_path / "s")
    train, test = (stop / "stop" / "manifests" / f"{split}.tsv" for split in ("train", "test"))
    test.write_text("\n".join(train.read_text().splitlines()[:2]) + "\n")
    with pytest.raises(ValueError, match="1 recordings are listed in both train and test"):
        top_format.check(stop)


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the corpora are not on this machine")
def test_the_corpora_here_are_read_whole(capsys):
    top = top_format.detect(CORPORA / "top-dataset-semantic-parsing")
    assert [len(top_format.read(top, s)) for s in ("eval", "test")] == [4462, 9042]
    v2 = top_format.detect(CORPORA / "topv2-english")
    assert [len(top_format.read(v2, s)) for s in top_format.SPLITS] == [2993, 1389, 6513]
    assert "weather_eval.tsv:26: the tree has the words 'What is he" in capsys.readouterr().err


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: top_format.check(tmp_path))
    assert stop.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
