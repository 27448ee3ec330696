import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.data import ctm
from atat.data.ctm import Word

TEXTS = {"a-1": "turn it on", "a-2": "stop"}
GOOD = """\
a-1 1 0.10 0.25 TURN 0.98
a-1 1 0.35 0.10 <eps>
a-1 1 0.45 0.15 <unk>
a-1 1 0.60 0.30 on
a-2 A 0 1.5 stop
"""


@pytest.mark.supports("Kaldi files", "CTM word alignments", "read")
def test_kaldis_files_are_read(tmp_path):
    (tmp_path / "ctm").write_text(GOOD)
    read = dict(ctm.read(tmp_path / "ctm", TEXTS))
    assert read == {
        "a-1": [Word("TURN", 0.1, 0.25), Word("<unk>", 0.45, 0.15), Word("on", 0.6, 0.3)],
        "a-2": [Word("stop", 0.0, 1.5)],
    }


@pytest.mark.supports("Kaldi files", "ctm: comments, tabs, line ends of Windows, a mark", "read")
def test_what_other_programs_put_around_the_words_is_skipped(tmp_path):
    (tmp_path / "ctm").write_text(GOOD)
    plain = list(ctm.read(tmp_path / "ctm", TEXTS))
    text = GOOD.replace(" ", "\t", 7).replace("\n", " \r\n")
    (tmp_path / "ctm").write_text(f"\ufeff;; made by hand\r\n\r\n{text}", newline="")
    assert list(ctm.read(tmp_path / "ctm", TEXTS)) == plain


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.10 0.25", "-0.10 0.25", r"ctm:1: got 'a-1 1 -0.10 0.25 TURN 0.98', expected"),
        ("0.10 0.25", "0.10 nan", r"ctm:1: got"),
        ("0.10 0.25", "0.10 9999999", r"ctm:1: got"),
        ("0 1.5 stop", "0 1.5", r"ctm:5: got 'a-2 A 0 1.5'"),
        ("0 1.5 stop\n", "0 1.5 stop\nx\u00a0\n", r"ctm:6: got 'x'"),
        ("0 1.5 stop", "0 1,5\u200b stop", r"ctm:5: got 'a-2 A 0 1,5<U\+200B> stop'"),
        ("0.60", "0.40", r"ctm:4: 'on' starts before"),
        (
            "on\n",
            "off\n",
            r"ctm:1: 'a-1': got .*'TURN <unk> off', expected .* 'turn it on'",
        ),
        ("a-1 1 0.60 0.30 on\n", "", r"ctm:1: 'a-1': got the words 'TURN <unk>'"),
        ("a-2 A", "a-3 A", r"ctm:5: 'a-3' is no utterance of this split"),
        ("stop\n", "stop\na-1 1 0.9 0.1 on\n", r"ctm:6: utterance 'a-1' stands here again"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, message):
    assert old in GOOD
    (tmp_path / "ctm").write_text(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message):
        list(ctm.read(tmp_path / "ctm", TEXTS))


def test_another_encoding_is_one_line(tmp_path):
    (tmp_path / "ctm").write_bytes(b"a-1 1 0 1 caf\xe9\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        list(ctm.read(tmp_path / "ctm", TEXTS))


@given(
    st.lists(
        st.lists(
            st.tuples(st.from_regex(r"[a-z']{1,6}", fullmatch=True), st.integers(0, 99_999)),
            min_size=1,
            max_size=4,
        ),
        max_size=4,
    )
)
def test_what_is_written_is_read_to_the_millisecond(tmp_path_factory, utterances):
    alignments = {}
    for number, words in enumerate(utterances):
        starts = sorted(ms for _, ms in words)
        alignments[f"u-{number}"] = [
            Word(word, start / 1000, ms / 1000)
            for (word, ms), start in zip(words, starts, strict=True)
        ]
    texts = {key: " ".join(word.word for word in words) for key, words in alignments.items()}
    path = tmp_path_factory.mktemp("ctm") / "ctm"
    ctm.write(path, alignments.items())
    assert dict(ctm.read(path, texts)) == alignments


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_reason(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("ctm") / "ctm"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert not list(ctm.read(path, {}))
    except ValueError as e:
        assert str(path) in str(e)
