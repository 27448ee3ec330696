import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir

GOOD = {
    "wav.scp": "a-1 audio/one two.wav\na-2 x.flac\nb-1 y.wav\n",
    "text": "a-1 lights on\na-2 stop\nb-1 go on\n",
    "semantics": "a-1 lights( lights state( on )state )lights\na-2 stop( stop )stop\nb-1 go( )go\n",
    "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
    "spk2utt": "a a-1 a-2\nb b-1\n",
}
KEYS = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1).filter(
    lambda text: text.split() == [text]
)
WORDS = KEYS.filter(lambda word: "(" not in word and ")" not in word)


def make(path, **changes):
    path.mkdir()
    for name, content in {**GOOD, **changes}.items():
        if content is not None:
            (path / name).write_bytes(content.encode())
    return path


@pytest.mark.supports(
    "Kaldi files",
    "wav.scp, text, semantics, utt2spk, spk2utt",
    "read and checked against each other",
)
def test_read_gives_every_file_of_a_good_directory(tmp_path):
    data = kaldi_dir.read(make(tmp_path / "train"))
    assert data.ids == ["a-1", "a-2", "b-1"]
    assert data.wav_scp["a-1"] == "audio/one two.wav"
    assert data.semantics["b-1"] == "go( )go"
    assert data.spk2utt == {"a": "a-1 a-2", "b": "b-1"}


@pytest.mark.supports("Kaldi files", "a directory without wav.scp, text or semantics", "read")
@pytest.mark.parametrize("absent", [("wav.scp",), ("text",), ("semantics",), ("wav.scp", "text")])
def test_a_split_of_any_kind_is_read(tmp_path, absent):
    data = kaldi_dir.read(make(tmp_path / "train", **dict.fromkeys(absent)))
    for name in absent:
        assert getattr(data, name.replace(".", "_")) is None
    assert len(data.ids) == 3


@pytest.mark.supports(
    "Kaldi files",
    "unsorted or repeated ids, empty values, commands in wav.scp",
    "refused in one line with file and line number",
)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": "a-1 on\na-1 off\na-2 x\nb-1 y\n"}, r"text:2: id 'a-1' .* second time"),
        ({"text": "a-2 x\na-1 on\nb-1 y\n"}, r"text:2: id 'a-1' stands after 'a-2', .* sorted"),
        ({"text": "a-1 on\nb-1 y\n"}, r"wav.scp:2: id 'a-2' is not in text \(1 such"),
        ({"text": "a-1 on\na-2 x\nb-1 y\nb-2 y\n"}, r"text:4: id 'b-2' is not in wav.scp"),
        ({"text": "a-1 on\na-2 \nb-1 y\n"}, r"text:2: id 'a-2' has an empty value"),
        ({"text": "a-1 on\na-2\nb-1 y\n"}, r"text:2: id 'a-2' has an empty value"),
        ({"text": "a-1 on\n\nb-1 y\n"}, r"text:2: got '', expected 'id value'"),
        ({"text": "a-1 on\na-2 x  y\nb-1 y\n"}, r"text:2: .* single spaces"),
        ({"text": "a-1 on\r\na-2 x\r\nb-1 y\r\n"}, r"text:1: .* single spaces"),
        ({"text": "a-1\ton\na-2 x\nb-1 y\n"}, r"text:1: .* expected 'id value'"),
        ({"text": "a-1 on( x )on\na-2 x\nb-1 y\n"}, r"text:1: .* 'on\(' is a tag"),
        ({"text": ""}, r"text: is empty"),
        (
            {"semantics": "a-1 x( y )x\na-2 x( y\nb-1 x( y )x\n"},
            r"semantics:2: id 'a-2': 'x\(' is never closed",
        ),
        ({"wav.scp": "a-1 sox x |\na-2 x\nb-1 y\n"}, r"wav.scp:1: .* command 'sox x \|'"),
        ({"wav.scp": "a-1 -\na-2 x\nb-1 y\n"}, r"wav.scp:1: .* command '-'"),
        ({"utt2spk": "a-1 a\na-2 c\nb-1 b\n"}, r"utt2spk:2: .* expected 'c-<utterance>'"),
        ({"utt2spk": "a-1 a b\na-2 a\nb-1 b\n"}, r"utt2spk:1: .* white space"),
        ({"spk2utt": "a a-1 a-2\n"}, r"spk2utt: does not agree"),
        (dict.fromkeys(("wav.scp", "text", "semantics")), r"has none of wav.scp"),
    ],
)
def test_read_names_the_file_and_line_of_what_is_wrong(tmp_path, changes, reason):
    with pytest.raises(ValueError, match=reason) as error:
        kaldi_dir.validate(make(tmp_path / "train", **changes))
    assert str(tmp_path / "train") in str(error.value)
    assert "\n" not in str(error.value)


def test_read_refuses_bytes_that_are_not_text(tmp_path):
    (make(tmp_path / "train") / "text").write_bytes(b"a-1 \xff\n")
    with pytest.raises(ValueError, match="text: not UTF-8"):
        kaldi_dir.read(tmp_path / "train")


def test_read_of_an_absent_directory_says_which_stage_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run stage 1"):
        kaldi_dir.read(tmp_path / "train")


def test_read_of_an_absent_split_names_the_splits_that_are_there(tmp_path):
    make(tmp_path / "valid")
    make(tmp_path / "train")
    with pytest.raises(FileNotFoundError, match=r"tset: .*\(there are: train, valid\); correct"):
        kaldi_dir.read(tmp_path / "tset")


def test_write_sorts_by_code_point_and_derives_spk2utt(tmp_path):
    text = {"b-1": "x", "B-1": "y", "ä-1": "z"}
    speakers = {key: key.split("-")[0] for key in text}
    kaldi_dir.write(tmp_path / "train", DataDir(text=text, utt2spk=speakers))
    assert (tmp_path / "train" / "text").read_text() == "B-1 y\nb-1 x\nä-1 z\n"
    assert (tmp_path / "train" / "spk2utt").read_text() == "B B-1\nb b-1\nä ä-1\n"


def test_a_refused_write_leaves_the_old_directory_and_nothing_else(tmp_path):
    good = DataDir(text={"a-1": "on"})
    kaldi_dir.write(tmp_path / "train", good)
    for bad in ({"a-1": ""}, {"a 1": "on"}, {"a-1": "on\noff"}, {}):
        with pytest.raises(ValueError):
            kaldi_dir.write(tmp_path / "train", DataDir(text=bad))
    with pytest.raises(ValueError, match="has none of"):
        kaldi_dir.write(tmp_path / "train", DataDir(utt2spk={"a-1": "a"}))
    assert kaldi_dir.read(tmp_path / "train") == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["train"]


def test_splits_lists_data_directories_only(tmp_path):
    make(tmp_path / "valid", **{"wav.scp": None})
    make(tmp_path / "train")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "grammar.yaml").touch()
    assert kaldi_dir.splits(tmp_path) == ["train", "valid"]
    with pytest.raises(FileNotFoundError, match="run stage 1"):
        kaldi_dir.splits(tmp_path / "tokenizer")


@given(
    entries=st.dictionaries(
        st.tuples(KEYS, KEYS),
        st.tuples(KEYS.map("dir name/{}.wav".format), st.lists(WORDS, min_size=1)),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_written_is_read_back(tmp_path_factory, entries):
    data = DataDir({}, {}, {}, {})
    for (speaker, utterance), (path, words) in entries.items():
        key = f"{speaker}-{utterance}"
        data.wav_scp[key], data.text[key], data.utt2spk[key] = path, " ".join(words), speaker
        data.semantics[key] = f"a( {' '.join(words)} )a"
    path = tmp_path_factory.mktemp("data") / "train"
    kaldi_dir.write(path, data)
    assert kaldi_dir.read(path) == data
    assert list(kaldi_dir.read(path).text) == sorted(data.text)
