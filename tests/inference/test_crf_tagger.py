import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat import crf
from atat.config.schema import DecodeRun, Source
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.inference import crf_tagger, decode_runs
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Node

LABELS = st.sampled_from(["Place", "Shop", "B-x"])
WORD = st.sampled_from(["a", "b", "O"])
TREES = st.recursive(  # every tag has a word inside
    st.builds(Node, LABELS, st.lists(WORD, min_size=1, max_size=2).map(tuple)),
    lambda inner: st.builds(
        Node, LABELS, st.lists(WORD | inner, min_size=1, max_size=4).map(tuple)
    ),
    max_leaves=10,
)
PLACES = ["rome", "oslo", "old town", "paris", "bonn"]
SEQUENCES = [
    *(f"GetWay( how do i get to Place( {place} )Place )GetWay" for place in PLACES),
    *(
        f"GetEvent( what is on in Place( {place} )Place When( tonight )When )GetEvent"
        for place in PLACES
    ),
    *(
        f"GetWay( the way to Place( GetShop( the Food( {food} )Food shop )GetShop )Place )GetWay"
        for food in ("tea", "coffee", "cake")
    ),
]


def words_of(node):
    return [w for c in node.children for w in ([c] if isinstance(c, str) else words_of(c))]


@given(TREES)
def test_paths_give_the_tree_again(tree):
    labels = crf_tagger.paths(tree)
    assert len(labels) == len(words_of(tree))
    assert crf_tagger.tree(tree.label, words_of(tree), labels) == tree


@given(st.lists(st.tuples(WORD, st.lists(st.sampled_from(["B-x", "I-x", "B-y", "I-y"])))))
def test_any_labels_give_a_tree_of_the_words(pairs):
    labels = [" ".join(path) or crf_tagger.NO_TAG for _, path in pairs]
    words = [word for word, _ in pairs]
    tree = crf_tagger.tree("Go", words, labels)
    assert words_of(tree) == words and target_sequence.parse(target_sequence.build(tree)) == tree


@pytest.fixture
def data(tmp_path):
    pytest.importorskip("pycrfsuite")
    ids = {f"t-{n:02d}": sequence for n, sequence in enumerate(SEQUENCES)}
    texts = {key: target_sequence.words(sequence) for key, sequence in ids.items()}
    kaldi_dir.write(tmp_path / "data" / "train_text", DataDir(text=texts, semantics=ids))
    return tmp_path / "data"


def test_what_it_learned_it_tags_with_places_in_new_sentences(tmp_path, data):
    crf_tagger.train(kaldi_dir.read(data / "train_text"), tmp_path)
    tagger = crf_tagger.Tagger(tmp_path)
    for sequence in SEQUENCES:
        assert tagger(target_sequence.words(sequence))[0] == sequence
    sequence, score = tagger("how do i get to the tea shop")
    assert target_sequence.parse(sequence).label == "GetWay" and score <= 0.0
    assert target_sequence.words(tagger("quite other words")[0]) == "quite other words"


def write_heard(directory, heard, task="asr"):
    directory.mkdir(parents=True)
    lines = [json.dumps({"id": key, "hypothesis": text}) for key, text in heard.items()]
    (directory / "hyp.jsonl").write_text("\n".join(lines))
    (directory / "run.json").write_text(json.dumps({"split": "test", "task": task}))
    return directory


def test_the_second_stage_writes_what_stage_5_writes(tmp_path, data, command):
    heard = {"u-1": "how do i get to oslo", "u-2": ""}
    texts = write_heard(tmp_path / "exp" / "decode_test_asr", heard)
    out = tmp_path / "exp" / "decode_test_crf"
    code, _, err = command(crf.main, "--train", data / "train_text", "--texts", texts, "--out", out)
    assert code == 0, err
    lines = [json.loads(line) for line in (out / "hyp.jsonl").read_text().splitlines()]
    assert lines[0]["hypothesis"] == "GetWay( how do i get to Place( oslo )Place )GetWay"
    assert (lines[1]["hypothesis"], lines[1]["reason"]) == ("", "no words were recognised")
    about = json.loads((out / "run.json").read_text())
    expected = {"run": "test_crf", "split": "test", "source": "hypotheses", "input": "test_asr"}
    assert {key: about[key] for key in expected} == expected
    assert (about["task"], about["num_utterances"], about["num_dropped"]) == ("nlu", 2, 1)


@pytest.mark.parametrize(
    ("tagger", "source", "is_right"),
    [("crf", "hypotheses", True), ("crf", "speech", False), ("svm", "hypotheses", False)],
)
def test_stage_5_takes_a_crf_for_words_only(tagger, source, is_right):
    heard = DecodeRun(task="asr")
    tagged = DecodeRun(
        source=source, input="heard" if is_right else None, tagger=tagger, task="nlu"
    )
    runs = {"heard": heard, "tagged": tagged}
    if is_right:
        decode_runs.check_source("tagged", tagged, runs)
        return
    with pytest.raises(
        ValueError, match=f"decode.runs.tagged: tagger: got '{tagger}' for {source}"
    ):
        decode_runs.check_source("tagged", tagged, runs)


@pytest.mark.parametrize("wrong", ["task", "train", "texts"])
def test_a_mistake_is_one_line(tmp_path, data, command, wrong):
    texts = write_heard(tmp_path / "heard", {"u-1": "a"}, "slu" if wrong == "task" else "asr")
    kaldi_dir.write(data / "words", DataDir(text={"u-1": "a"}))
    train = data / ("words" if wrong == "train" else "train_text")
    texts = tmp_path / "nothing" if wrong == "texts" else texts
    arguments = ["--train", train, "--texts", texts, "--out", tmp_path / "decode_x"]
    code, _, err = command(crf.main, *arguments)
    assert code == 2 and len(err.splitlines()) == 1
    assert not (tmp_path / "decode_x").exists()


@pytest.mark.parametrize(
    "part", [{"fraction": 0.1}, {"exclude_intents": ["Go"]}, {"exclude_pairs": 0.2}]
)
def test_it_has_no_labels_that_its_experiment_has_not(part):
    crf_tagger.check_sources([Source("train_text", ["nlu"]), Source("train", ["slu"], 0.1)])
    with pytest.raises(ValueError, match="learns from all of 'train_text'"):
        crf_tagger.check_sources([Source("train_text", ["nlu"], **part)])
