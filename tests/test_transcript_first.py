"""A model that writes what is said, then what it means (`model.transcript_first`)."""

import json
from dataclasses import replace

import numpy as np
import pytest

from atat import SpeechToSemantics
from atat.config import validation
from atat.config.schema import Source
from atat.data.tokenizer import Tokenizer
from atat.deployment.export import export
from atat.inference import confidence, constraints, decode_inputs, decode_runs
from atat.inference.beam_search import Hypothesis
from atat.models import exported_model
from atat.semantics import target_sequence
from atat.serving import static_site
from atat.training.training_data import TrainingData
from tests import toy
from tests.conftest import SEQUENCES, toy_settings, write_experiment


def settings_of():
    settings = toy_settings()
    settings.model.transcript_first = True
    settings.model.ctc_weight, settings.model.token_residual = 0.0, False
    return settings


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, toy_wavs):
    """As `toy_experiment`, of the same four sounds."""
    return write_experiment(tmp_path_factory.mktemp("transcript") / "exp", settings_of(), toy_wavs)


@pytest.fixture(scope="module")
def model(experiment):
    return SpeechToSemantics.load(experiment)


@pytest.mark.parametrize("constraint", ["none", "well_formed", "grammar"])
def test_the_semantics_are_what_is_given_back(model, toy_wavs, constraint):
    beam = 1 if constraint == "none" else 3  # what is free rambles, with so little training
    results = model(list(toy_wavs.values()), constraint=constraint, beam=beam)
    assert [r.semantics for r in results] == SEQUENCES
    read = model.search_texts(
        [model.tokenizer.decode(transcript_of(model, path)) for path in toy_wavs.values()],
        model.options("nlu", constraint=constraint, beam=beam),
    )
    assert [model.tokenizer.decode(found[0].tokens) for found in read] == SEQUENCES


def transcript_of(model, path):
    feats = model.extract_features(path).feats_TF
    ((best, *_),) = model.search_features([feats], model.options("slu"))
    return best.transcript


def test_the_longest_output_is_that_of_the_semantics(model, toy_wavs):
    path = toy_wavs["anna-1"]
    length = len(model.tokenizer.encode(SEQUENCES[1]))
    assert model(path, max_length=length).semantics == SEQUENCES[1]


def test_another_acceptor_begins_behind_the_transcript_too(model, toy_wavs):
    accepted = constraints.from_sequences([SEQUENCES[3]], model.tokenizer)
    encoded = model.encode_features([model.extract_features(toy_wavs["anna-0"]).feats_TF])
    (found,) = model.search_encoded(*encoded, model.options("slu"), accepted)
    assert model.tokenizer.decode(found[0].tokens) == SEQUENCES[3]


def test_its_cost_is_a_token_of_both_parts(model, toy_wavs):
    feats = [model.extract_features(toy_wavs["anna-2"]).feats_TF]
    options = replace(model.options("slu"), constraint="none")
    (examined,) = confidence.examine(model, feats, options)
    best = examined.hypotheses[0]
    # By the network, token by token: what is said, <nlu>, what it means, the end.
    nlu, eos = model.tokenizer.task_ids["nlu"], model.tokenizer.eos
    memory, mask, _ = model.encode_features(feats)
    decoder, costs = model.network.decoder, []
    state, last = decoder.start(memory, mask, 1), model.tokenizer.task_ids["asr"]
    for token in (*best.transcript, nlu, *best.tokens, eos):
        log_probs_BKV, state = decoder.step(np.array([[last]]), state)
        costs.append(-float(log_probs_BKV[0, 0, token]))
        last = token
    cost = np.mean(costs)
    assert examined.measures.cost == pytest.approx(confidence.log_cost(cost))


def test_exported_it_gives_the_same(experiment, model, toy_wavs, tmp_path):
    export(experiment, tmp_path / "out", "float32")
    exported = SpeechToSemantics.load(tmp_path / "out")
    for path in toy_wavs.values():
        ours, theirs = model(path, nbest=3), exported(path, nbest=3)
        assert [r.semantics for r in theirs.nbest] == [r.semantics for r in ours.nbest]
        assert theirs.score == pytest.approx(ours.score, abs=1e-3)
    said = [model.tokenizer.decode(transcript_of(model, path)) for path in toy_wavs.values()]
    ours, theirs = (m.search_texts(said, model.options("nlu", nbest=2)) for m in (model, exported))
    assert [[h.tokens for h in found] for found in theirs] == [
        [h.tokens for h in found] for found in ours
    ]
    with pytest.raises(ValueError, match=r"writes what is said before its semantics"):
        static_site.write(tmp_path / "out", tmp_path / "site", tmp_path)


def test_words_that_are_heard_once_are_not_scored_twice():
    settings = settings_of()
    validation.check(settings)
    settings.model.ctc_weight = 1.0
    with pytest.raises(ValueError, match=r"model\.ctc_weight: got 1\.0, expected 0 with model\.tr"):
        validation.check(settings)


def test_one_that_was_exported_before_has_another_form(experiment, tmp_path):
    export(experiment, tmp_path / "out", "float32")
    index = exported_model.read_index(tmp_path / "out")
    del index["network"]["reads_from"]
    (tmp_path / "out" / exported_model.FILE).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="lacks 'reads_from': its outputs have no <nlu>"):
        SpeechToSemantics.load(tmp_path / "out")


def test_words_of_a_text_are_not_asked_for(model):
    with pytest.raises(ValueError, match="task: got asr for text, expected nlu"):
        model.search_texts(["turn on"], model.options("asr", constraint="none"))


@pytest.mark.parametrize("constraint", ["none", "well_formed"])
def test_words_alone_are_the_first_part(model, toy_wavs, constraint):
    for path in toy_wavs.values():
        words = model(path, task="asr", constraint=constraint, beam=1)
        both = model(path, constraint=constraint, beam=1)
        assert words.semantics == model.tokenizer.decode(transcript_of(model, path))
        assert words.intent is None and words.score > both.score


def test_semantics_follow_from_what_is_written_whatever_was_heard(model, toy_wavs):
    paths = list(toy_wavs.values())
    feats = [model.extract_features(path).feats_TF for path in paths]
    heard = model.search_features(feats, model.options("nlu"))  # semantics: slu and nlu are one
    words = [model.tokenizer.decode(found[0].transcript) for found in heard]
    read = model.search_texts(words, model.options("nlu"))
    assert [found[0].tokens for found in read] == [found[0].tokens for found in heard]
    # In any order, though sentences of one length are read together; and each alone.
    assert model.search_texts(words[::-1], model.options("nlu")) == read[::-1]
    for sentence, found in zip(words, read, strict=True):
        (alone,) = model.search_texts([sentence], model.options("nlu"))
        assert [h.tokens for h in alone] == [h.tokens for h in found]


@pytest.mark.parametrize("constraint", ["none", "well_formed", "grammar"])
def test_one_that_has_only_read_semantics_reads_what_it_hears_as_it_is_written(
    experiment, toy_wavs, constraint
):
    reader = SpeechToSemantics.load(experiment)
    reader.settings.train.sources = [Source("train", ["asr"]), Source("train_text", ["nlu"])]
    feats = [reader.extract_features(path).feats_TF for path in toy_wavs.values()]
    options = reader.options("slu", constraint=constraint, nbest=2, beam=3)
    heard = reader.search_features(feats, replace(options, task="asr", constraint="well_formed"))
    for found, transcripts in zip(reader.search_features(feats, options), heard, strict=True):
        best = found[0]
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        assert len({h.tokens for h in found}) == len(found) <= 2
        # The sum of both searches, neither of which knows the other.
        (score,) = [h.score for h in transcripts if h.tokens == best.transcript]
        words = reader.tokenizer.decode(best.transcript)
        ((read, *_),) = reader.search_texts([words], replace(options, task="nlu"))
        assert best.tokens == read.tokens
        assert best.score == pytest.approx(score + read.score, abs=1e-4)
    tags = [reader.tokenizer.decode(f[0].tokens) for f in reader.search_features(feats, options)]
    assert tags == SEQUENCES


def test_a_sentence_leaves_room_for_its_semantics(model, monkeypatch):
    monkeypatch.setattr(type(model.network), "max_tokens", 12)
    assert model.max_text_tokens == 6
    long = " ".join(["turn"] * 7)
    with pytest.raises(ValueError, match=r"got \d+ tokens, expected at most 6"):
        model.search_texts([long], model.options("nlu"))
    assert model.search_texts(["turn"], model.options("nlu", beam=1, constraint="none"))


def test_a_pretrained_text_encoder_would_read_nothing():
    settings = settings_of()
    settings.model.text_encoder = "pretrained"
    with pytest.raises(ValueError, match=r"model\.text_encoder: got 'pretrained', expected transf"):
        validation.check(settings)


def test_what_is_said_stands_in_the_lines_of_a_run(experiment, model, toy_data, tmp_path):
    run, options = model.settings.decode.runs["test"], model.options("slu")
    inputs = decode_inputs.open_inputs(run, *toy_data, experiment)
    decode_runs.decode_run(model, "test", run, options, inputs, tmp_path / "decode_test")
    lines = map(json.loads, (tmp_path / "decode_test" / "hyp.jsonl").read_text().splitlines())
    found = {line["hypothesis"]: line["transcript"] for line in lines}
    assert found == {s: target_sequence.words(s) for s in SEQUENCES}


def test_the_free_search_of_confidence_has_room_for_a_long_transcript(model, toy_wavs, monkeypatch):
    feats = [model.extract_features(toy_wavs["anna-2"]).feats_TF]
    asked = []

    def search(self, *encoded_and_options):
        asked.append(encoded_and_options[-1])
        return [[Hypothesis(tuple(tag_ids[:2]), -1.0, tuple(range(20)))]]

    tag_ids = sorted(model.tokenizer.tag_ids)
    monkeypatch.setattr(SpeechToSemantics, "search_encoded", search)
    confidence.examine(model, feats, model.options("slu"))
    assert 2 * asked[1].max_length >= 20 + 2 + confidence.FREE_ROOM


def test_a_split_without_words_cannot_teach_it(tmp_path):
    data, dump = toy.write(tmp_path, ["go( to( rome )to )go"])
    (data / "train" / "text").unlink()
    tokenizer = Tokenizer.load(data / "tokenizer")
    sources = [Source("train", ["slu"])]
    assert len(TrainingData(sources, data, dump, tokenizer).speech) == 1
    with pytest.raises(ValueError, match=r"transcript_first: it has no text of what is said"):
        TrainingData(sources, data, dump, tokenizer, transcript_first=True)
