import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from atat.config.schema import FeaturesConfig
from atat.data import audio, audio_segment, feature_archive, feature_store, kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.data.text_tokenization import punctuation
from atat.data.tokenizer import Tokenizer
from atat.semantics.text_normalization import normalize, normalize_tokens

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
WORDS = KEYS.map(lambda word: normalize_tokens(word, "-")).filter(bool)


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


def windows(text):
    return text.replace("\n", "\r\n")


def kind(what, how, *values):
    return pytest.param(*values, marks=pytest.mark.supports("Kaldi files", what, how), id=what)


@pytest.mark.parametrize(
    "change",
    [
        kind(
            "tabs between id and value",
            "read as spaces",
            lambda t: re.sub("(?m) ", "\t", t, count=1),
        ),
        kind("line ends of Windows", "read", windows),
        kind("line ends of old Macs", "read", lambda t: t.replace("\n", "\r")),
        kind("a byte order mark", "left out", lambda t: "\ufeff" + t),
        kind("marks between joined files", "left out", lambda t: t.replace("\nb", "\n\ufeffb")),
        kind("empty lines", "skipped", lambda t: "\n" + t.replace("\n", "\n \n")),
        kind("white space around lines", "left out", lambda t: t.replace("\n", " \t\n \u00a0")),
        kind("several spaces, no-break spaces", "as one", lambda t: t.replace("1 ", "1 \u00a0 ")),
        kind("no line end at the end", "read", lambda t: t.rstrip("\n")),
        kind("a mark and line ends of Windows", "read", lambda t: "\ufeff" + windows(t)),
    ],
)
@pytest.mark.parametrize("name", GOOD)
def test_files_as_other_programs_write_them_are_read_as_they_are_meant(tmp_path, name, change):
    expected = kaldi_dir.read(make(tmp_path / "good"))
    changed = make(tmp_path / "train", **{name: change(GOOD[name])})
    assert (changed / name).read_bytes() != GOOD[name].encode()
    assert kaldi_dir.read(changed) == expected
    assert list(kaldi_dir.ids(changed)) == expected.ids


@pytest.mark.supports("Kaldi files", "words in capitals", "lower case in text and semantics")
@pytest.mark.supports("Kaldi files", "curly apostrophes, decomposed accents", "plain, composed")
def test_words_are_lower_case_in_text_and_semantics_and_tags_stay(tmp_path):
    changes = {"text": "a TURN\tOn  THE Caf\u0065\u0301's\n", "wav.scp": None, "utt2spk": None}
    changes |= {"spk2utt": None, "semantics": "a turnOn( TURN On  THE Caf\u00c9\u2019S )turnOn\n"}
    data = kaldi_dir.read(make(tmp_path / "train", **changes))
    assert data.text == {"a": "turn on the caf\u00e9's"}
    assert data.semantics == {"a": "turnOn( turn on the caf\u00e9's )turnOn"}
    assert kaldi_dir.column(tmp_path / "train", "text") == data.text
    kaldi_dir.write(tmp_path / "copy", data)
    assert kaldi_dir.read(tmp_path / "copy") == data


# As written, and as it is read; of the same words, semantics with a tag around them.
WRITTEN = [
    ("\u201cTurn on, please!\u201d ...", "turn on please"),
    ("at 7:30 p.m.,", "at 7 30 pm"),
    ("by 5PM", "by 5 pm"),
    ("a $1,000 prize", "a 1000 prize"),
    ("50% off", "50 off"),
    ("a Family-Friendly hike - now", "a family-friendly hike now"),
    ("don\u2019t play 'Jaws'", "don't play jaws"),
    ("wi\u00adfi o\u200bn", "wifi on"),
    ("the kids' R&B", "the kids r b"),
    ("\u0915\u093f", "\u0915\u093f"),
]


@pytest.mark.supports("Kaldi files", "digits, signs, punctuation", "the words of typed text")
@pytest.mark.supports("Kaldi files", "hyphens", "kept inside of words, as of typed text")
@pytest.mark.parametrize(("written", "words"), WRITTEN)
def test_words_are_those_that_the_same_text_has_when_it_is_typed(tmp_path, written, words):
    changes = {"text": f"a {written}\n", "semantics": f"a onX( {written} )onX\n"}
    changes |= dict.fromkeys(("wav.scp", "utt2spk", "spk2utt"))
    data = kaldi_dir.read(make(tmp_path / "train", **changes))
    assert (data.text, data.semantics) == ({"a": words}, {"a": f"onX( {words} )onX"})
    vocabulary = Tokenizer.train([data.semantics["a"], "e-mail"], 100)
    assert normalize(written, punctuation(vocabulary)) == words


def test_what_semantics_part_stays_apart(tmp_path):
    """A possessive behind a tag is a word of its own there, as a recipe writes it."""
    changes = {"text": "a call Mom 's at 7 p.m.\n", **dict.fromkeys(("wav.scp", "utt2spk"))}
    changes |= {"semantics": "a call( call who( Mom )who 's at at( 7 )at half( p.m. )half )call\n"}
    data = kaldi_dir.read(make(tmp_path / "train", spk2utt=None, **changes))
    assert data.text == {"a": "call mom 's at 7 pm"}
    semantics = "call( call who( mom )who 's at at( 7 )at half( pm )half )call"
    assert data.semantics == {"a": semantics}


def test_semantics_may_have_other_words_than_text(tmp_path):
    text = {"text": "a-1 uh lights on\na-2 stop it\nb-1 go on\n"}
    assert kaldi_dir.read(make(tmp_path / "train", **text)).semantics["b-1"] == "go( )go"


@pytest.mark.parametrize(
    "name",
    [
        kind(name, "left alone", name)
        for name in (
            *("spk2gender", "utt2dur", "reco2dur", "utt2num_frames", "cmvn.scp", "feats.scp"),
            *("utt2lang", "frame_shift", "text.tc", "reco2file_and_channel"),
        )
    ],
)
def test_further_files_of_kaldi_are_left_alone(tmp_path, name):
    path = make(tmp_path / "train", **{name: "\xff not \0 read"})
    before = kaldi_dir.fingerprint([path])
    assert kaldi_dir.read(path).ids == ["a-1", "a-2", "b-1"]
    assert kaldi_dir.splits(tmp_path) == ["train"]
    (path / name).unlink()
    assert kaldi_dir.fingerprint([path]) == before


# Parts of recordings


@pytest.fixture
def call(tmp_path):
    """A recording of three seconds whose sound says the second."""
    samples = np.repeat([0.1, 0.2, 0.3], 16000) * np.sin(np.arange(48000) / 5)
    soundfile.write(tmp_path / "call.flac", samples, 16000)
    return tmp_path / "call.flac"


def segmented(path, call, segments, **changes):
    files = {"wav.scp": f"call {call}\n", "segments": segments, "spk2utt": None, "utt2spk": None}
    files |= {"text": "a-1 on\na-2 off\n", "semantics": None}
    return make(path, **files | changes)


SEGMENTS = "a-1 call 0.5 1.5\na-2 call 1.50 3\n"


@pytest.mark.supports("Kaldi files", "segments", "utterances are parts of recordings")
def test_with_segments_an_utterance_is_a_part_of_a_recording(tmp_path, call):
    data = kaldi_dir.read(segmented(tmp_path / "train", call, SEGMENTS))
    assert data.wav_scp == {"a-1": f"{call}#t=0.5,1.5", "a-2": f"{call}#t=1.50,3"}
    whole = audio.read(call)
    np.testing.assert_allclose(audio.read(data.wav_scp["a-1"]), whole[8000:24000], atol=1e-4)
    np.testing.assert_allclose(audio.read(Path(data.wav_scp["a-2"])), whole[24000:], atol=1e-4)
    assert kaldi_dir.column(tmp_path / "train", "wav.scp") == data.wav_scp
    assert list(kaldi_dir.ids(tmp_path / "train")) == data.ids
    kaldi_dir.write(tmp_path / "copy", data)  # as few_shot and adapt do
    assert kaldi_dir.read(tmp_path / "copy") == data


def test_segments_count_in_the_fingerprint(tmp_path, call):
    path = segmented(tmp_path / "train", call, SEGMENTS)
    before = kaldi_dir.fingerprint([path])
    (path / "segments").write_text(SEGMENTS.replace("3", "2"))
    assert kaldi_dir.fingerprint([path]) != before


def test_a_part_of_a_long_recording_is_not_held_against_the_limit_of_the_whole(tmp_path, call):
    part = audio_segment.join(str(call), "1", "2.5")
    assert len(audio.read(part, max_duration_s=2)) == 24000
    with pytest.raises(ValueError, match=r"call.flac#t=1,2.5: .*1.5"):
        audio.read(part, max_duration_s=1)


def test_features_are_of_the_parts(tmp_path, call):
    (tmp_path / "data").mkdir()
    segmented(tmp_path / "data" / "train", call, SEGMENTS)
    settings = FeaturesConfig(cmvn_splits=["train"])
    feature_store.write_all(tmp_path / "data", tmp_path / "dump", settings, 1)
    reader = feature_archive.FeatureReader(tmp_path / "dump" / "train")
    lengths = [len(reader[key]) for key in ("a-1", "a-2")]
    np.testing.assert_allclose(lengths, [100, 150], atol=4)
    for is_there in (True, False):
        done = feature_store.write_all(tmp_path / "data", tmp_path / "dump", settings, 1)
        assert done["train"][1] == is_there
        call.write_bytes(call.read_bytes())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a-2 call 1.5", "got 'call 1.5', expected 'recording start end', in seconds"),
        ("a-2 call 1.5 2 1", "got 'call 1.5 2 1', expected"),
        ("a-2 call 1.5 -1", "got the end -1, .*: write the recording's length"),
        ("a-2 call 1,5 2,5", "got 'call 1,5 2,5', expected"),
        ("a-2 call nan 2", "got 'call nan 2', expected"),
        ("a-2 call 2 1.5", "ends at 1.5 s, expected it after its start, 2 s"),
        ("a-2 cell 1 2", "its recording 'cell' is not in wav.scp"),
    ],
)
def test_a_segment_that_is_none_is_named(tmp_path, call, line, reason):
    with pytest.raises(ValueError, match=rf"segments:2: id 'a-2': {reason}"):
        kaldi_dir.read(segmented(tmp_path / "train", call, f"a-1 call 0 1\n{line}\n"))


def test_a_segment_outside_of_its_recording_is_named_when_it_is_read(tmp_path, call):
    assert len(audio.read(f"{call}#t=2,3.4")) == 16000  # times are rounded
    for start, end in (("2", "3.6"), ("3", "3.1"), ("7", "8")):
        with pytest.raises(
            ValueError, match=rf"call.flac#\S+ got a segment from {start} to {end} s"
        ):
            audio.read(audio_segment.join(str(call), start, end))
    (tmp_path / "no.wav").write_text("no audio")
    with pytest.raises(ValueError, match=r"no\.wav#t=0,1: not audio"):
        audio.read(f"{tmp_path / 'no.wav'}#t=0,1")
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        audio.read(f"{tmp_path / 'gone.wav'}#t=0,1")


def test_a_file_may_have_a_name_like_a_part(tmp_path, call):
    odd = shutil.copy(call, tmp_path / "call.flac#t=0,1")
    assert len(audio.read(odd)) == 48000
    assert audio_segment.file_of(odd) == str(odd)


@pytest.mark.supports(
    "Kaldi files",
    "unsorted or repeated ids, empty values, commands in wav.scp",
    "refused in one line with file and line number",
)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": "a-1 on\na-1 off\na-2 x\nb-1 y\n"}, r"text:2: id 'a-1': .* second time"),
        ({"text": "a-2 x\na-1 on\nb-1 y\n"}, r"text:2: id 'a-1': stands after 'a-2', .* sorted"),
        ({"text": "a-1 on\nb-1 y\n"}, r"wav.scp:2: id 'a-2' is not in text \(1 such"),
        ({"text": "a-1 on\na-2 x\nb-1 y\nb-2 y\n"}, r"text:4: id 'b-2' is not in wav.scp"),
        ({"text": "a-1 on\na-2 \nb-1 y\n"}, r"text:2: id 'a-2': has an empty value"),
        ({"text": "a-1 on\na-2\nb-1 y\n"}, r"text:2: id 'a-2': has an empty value"),
        ({"text": "a-1 on\na-2 ...\nb-1 y\n"}, r"text:2: id 'a-2': has no words"),
        ({"text": "a-1 on\na-1\u200b off\na-2 x\nb-1 y\n"}, r"'a-1<U\+200B>' is not in wav.scp"),
        ({"text": "a-1 on\na-2\0 x\nb-1 y\n"}, r"text:2: has zero bytes: is UTF-16"),
        (
            {"text": "a-1 Lights-on\na-2 stop\nb-1 go on\n"},
            r"semantics:1: id 'a-1': writes 'lights on' what text writes 'lights-on'",
        ),
        ({"text": "a-1 on( x )on\na-2 x\nb-1 y\n"}, r"text:1: .* 'on\(' is a tag"),
        ({"text": ""}, r"text: is empty"),
        (
            {"semantics": "a-1 x( y )x\na-2 x( y\nb-1 x( y )x\n"},
            r"semantics:2: id 'a-2': 'x\(' is never closed",
        ),
        ({"wav.scp": "a-1 sox x |\na-2 x\nb-1 y\n"}, r"wav.scp:1: .* command 'sox x \|'"),
        ({"wav.scp": "a-1 x\na-2 x\nb-1 flac -cd b.flac |\r\n"}, r"wav.scp:3: .* not run"),
        ({"wav.scp": "a-1 -\na-2 x\nb-1 y\n"}, r"wav.scp:1: .* command '-'"),
        ({"wav.scp": "a-1 x\na-2 raw.ark:17\nb-1 y\n"}, r"wav.scp:2: .* in an archive"),
        ({"utt2spk": "a-1 a\na-2 c\nb-1 b\n"}, r"utt2spk:2: .* expected 'c-<utterance>'"),
        ({"utt2spk": "a-1 a b\na-2 a\nb-1 b\n"}, r"utt2spk:1: .* white space"),
        ({"segments": "a-1 a 0 1\n", "wav.scp": None}, r"segments: .* there is no wav.scp"),
        ({"spk2utt": "a a-1 a-2\n"}, r"spk2utt: does not agree"),
        (dict.fromkeys(("wav.scp", "text", "semantics")), r"has none of wav.scp"),
    ],
)
def test_read_names_the_file_and_line_of_what_is_wrong(tmp_path, changes, reason):
    with pytest.raises(ValueError, match=reason) as error:
        kaldi_dir.validate(make(tmp_path / "train", **changes))
    assert str(tmp_path / "train") in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_written_by_hand_is_not_made_by_stage_1(tmp_path):
    """Only what a recipe wrote can be written again."""
    (tmp_path / "mine").mkdir()
    make(tmp_path / "mine" / "test", text="b-1 on\na-1 off\n")
    with pytest.raises(
        ValueError, match=r"mine: has none of wav.scp, .*; did you mean (.*)\?"
    ) as e:
        kaldi_dir.read(tmp_path / "mine")
    assert str(e.value).endswith(f"did you mean {tmp_path / 'mine' / 'test'}?")
    with pytest.raises(ValueError, match="sorted by code point") as e:
        kaldi_dir.read(tmp_path / "mine" / "test")
    assert str(e.value).endswith("; correct the line; if a recipe wrote it, rerun stage 1")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"has none of wav.scp, .*; if a recipe wrote it, rerun"):
        kaldi_dir.read(tmp_path / "none")


def test_read_refuses_bytes_that_are_not_text(tmp_path):
    path = make(tmp_path / "train") / "text"
    for content, reason in [
        (b"a-1 on\na-2 caf\xe9\nb-1 y\n", r"text:2: byte 0xe9 is not UTF-8 .*iconv -f latin1"),
        (GOOD["text"].encode("utf-16"), r"text:1: is UTF-16, expected UTF-8 \(iconv"),
        (GOOD["text"].encode("utf-16-le"), r"text:1: has zero bytes: is UTF-16"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
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
    for bad in ({"a-1": ""}, {"a 1": "on"}, {"a-1": "on\noff"}, {"a-1": "on\roff"}, {}):
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
