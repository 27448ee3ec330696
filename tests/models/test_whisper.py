"""Whisper's encoder, decoder, features and weights, against Hugging Face's implementation."""

import hashlib
import importlib
import math
import shutil
import struct

import numpy as np
import pytest
import torch

from atat.config import config_file, schema
from atat.config.schema import FeaturesConfig
from atat.config.tasks import TASKS
from atat.data.bpe_pieces import WORD_START
from atat.data.filter_bank import whisper_mel
from atat.data.tokenizer import SPECIALS, Tokenizer
from atat.models import whisper, whisper_checkpoint
from atat.models.espnet_model import build
from atat.training.run_directory import prepare_experiment

WIDTH, NUM_HEADS, FFN, NUM_LAYERS, NUM_BINS = 32, 2, 48, 3, 20
SENTENCES = ["Order( drink( latte )drink )Order", "two lattes please"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(SENTENCES, vocab_size=40)


@pytest.fixture(scope="module")
def theirs():
    """Whisper with small random weights."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=60,
            num_mel_bins=NUM_BINS,
            d_model=WIDTH,
            encoder_layers=NUM_LAYERS,
            decoder_layers=NUM_LAYERS,
            encoder_attention_heads=NUM_HEADS,
            decoder_attention_heads=NUM_HEADS,
            encoder_ffn_dim=FFN,
            decoder_ffn_dim=FFN,
            max_source_positions=whisper.MAX_FRAMES,
            max_target_positions=whisper.MAX_TOKENS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
            decoder_start_token_id=1,
        )
    ).eval()
    for parameter in model.parameters():  # biases, which would be zero, among them
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="module")
def checkpoint(theirs, tokenizer):
    known = {*tokenizer.tags, *SPECIALS, *(f"<{task}>" for task in TASKS)}
    pieces = [s.replace(WORD_START, "\u0120") for s in tokenizer.symbols if s not in known]
    names = ["\u0120order", "\u0120drink", "<|endoftext|>", "<|startoftranscript|>"]
    vocabulary = [*pieces, *names]
    vocabulary += [f"x{i}" for i in range(60 - len(vocabulary))]
    return whisper_checkpoint.Checkpoint(
        "tiny", whisper_checkpoint._from_hugging_face(theirs.state_dict()), vocabulary
    )


def settings(**model: object) -> schema.Config:
    """Of a model of the checkpoint's sizes."""
    sizes = {"width": WIDTH, "num_heads": NUM_HEADS, "dropout": 0.0, "token_residual": False}
    sizes |= {"speech_encoder": "whisper", "speech_layers": NUM_LAYERS, "speech_ffn": FFN}
    sizes |= {"decoder": "whisper", "decoder_layers": NUM_LAYERS, "decoder_ffn": FFN}
    sizes |= {"ctc_weight": 0.0, "text_layers": 1, "text_ffn": 32}
    delta = {
        "model": sizes | model,
        "features": {"kind": "whisper", "num_mel_bins": NUM_BINS},
    }
    return config_file.load([], [], [delta])


@pytest.fixture
def started(checkpoint, tokenizer, monkeypatch):
    """Make a model that starts from the checkpoint."""
    monkeypatch.setattr(whisper_checkpoint, "load", lambda source: checkpoint)

    def make(**changes: object):
        chosen = settings(speech_pretrained="tiny", **changes)
        model = build(chosen, tokenizer)
        whisper.start(model, chosen.model, tokenizer)
        return model.eval()

    return make


@torch.inference_mode()
def test_the_encoder_is_theirs(started, theirs):
    features_BTF = torch.randn(2, 2 * whisper.MAX_FRAMES, NUM_BINS)
    lengths = torch.full((2,), 2 * whisper.MAX_FRAMES)
    ours_BSD, mask_BS = started().speech_encoder(features_BTF, lengths)
    theirs_BSD = theirs.model.encoder(features_BTF.transpose(1, 2)).last_hidden_state
    assert mask_BS.all()
    torch.testing.assert_close(ours_BSD, theirs_BSD, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_decoder_is_theirs(started, theirs, checkpoint, tokenizer):
    model = started()
    ours = [len(tokenizer) - 1, len(tokenizer) - 3]  # pieces of words, which both have
    shared = [
        checkpoint.vocabulary.index(tokenizer.symbols[i].replace(WORD_START, "\u0120"))
        for i in ours
    ]
    memory_BSD = torch.randn(1, 9, WIDTH)
    mask_BS = torch.ones(1, 9, dtype=torch.bool)
    logits_RLV = model.decoder(torch.tensor([ours]), memory_BSD, mask_BS, torch.tensor([0]))
    expected_BLV = theirs.proj_out(
        theirs.model.decoder(
            input_ids=torch.tensor([shared]),
            encoder_hidden_states=memory_BSD,
        ).last_hidden_state
    )
    torch.testing.assert_close(
        logits_RLV[..., ours], expected_BLV[..., shared], atol=1e-4, rtol=1e-4
    )


@torch.inference_mode()
def test_one_token_at_a_time_is_all_at_once(started):
    decoder = started().decoder
    memory_BSD, mask_BS = torch.randn(1, 7, WIDTH), torch.ones(1, 7, dtype=torch.bool)
    tokens = torch.tensor([[5, 9, 11, 8]])
    whole_RLV = decoder(tokens, memory_BSD, mask_BS, torch.tensor([0])).log_softmax(dim=-1)
    state = decoder.start(memory_BSD, mask_BS, 1)
    for position in range(tokens.size(1)):
        step_BKV, state = decoder.step(tokens[:, position : position + 1], state)
        torch.testing.assert_close(step_BKV[:, 0], whole_RLV[:, position], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_an_utterance_has_the_same_states_in_a_batch(started):
    model = started()
    feats_BTF = torch.randn(2, 61, NUM_BINS)
    lengths_B = torch.tensor([61, 39])  # odd: the second convolution reads one frame beyond
    together, mask_BS, _ = model.encode_speech(feats_BTF, lengths_B)
    alone, _, _ = model.encode_speech(feats_BTF[1:, :39], lengths_B[1:])
    assert mask_BS.sum(dim=1).tolist() == [31, 20]
    torch.testing.assert_close(together[1:, :20], alone, atol=1e-5, rtol=1e-5)


def test_features_are_theirs():
    from transformers import WhisperFeatureExtractor

    settings = FeaturesConfig(kind="whisper")
    draw = np.random.default_rng(0)
    samples = 0.1 * draw.standard_normal(16000 * 30).astype(np.float32)
    samples *= np.hanning(len(samples)).astype(np.float32)
    theirs_FT = WhisperFeatureExtractor()(samples, sampling_rate=16000)["input_features"][0]
    feats = torch.from_numpy(whisper_mel(samples, settings))[None]
    ours_BTF = whisper.normalize(feats, torch.tensor([feats.size(1)]))
    np.testing.assert_allclose(ours_BTF[0].T.numpy(), theirs_FT, atol=2e-3)


def test_too_short_audio_is_refused():
    with pytest.raises(ValueError, match=r"expected a frame of 0\.025 s or more"):
        whisper_mel(np.zeros(300, np.float32), FeaturesConfig(kind="whisper"))


def test_rows_of_the_embedding_go_over_by_symbol(started, checkpoint, tokenizer):
    model = started()
    rows = checkpoint.weights["decoder.embedding.weight"]
    index = {piece: i for i, piece in enumerate(checkpoint.vocabulary)}
    ours = model.decoder.embedding.weight
    row = {symbol: ours[i] for i, symbol in enumerate(tokenizer.symbols)}
    piece = tokenizer.symbols[-1]
    torch.testing.assert_close(row[piece], rows[index[piece.replace(WORD_START, "\u0120")]])
    assert torch.equal(row["<eos>"], rows[index["<|endoftext|>"]])
    start = row["<slu>"] - rows[index["<|startoftranscript|>"]]
    assert 0 < start.std() < 0.2 * rows.std()  # a little noise, by the scale of the rows
    own = {tokenizer.symbols[i] for i in model.pretrained["decoder.embedding.weight"].tolist()}
    assert own >= {"<eos>", piece} and not own & {*tokenizer.tags, "<slu>", "<pad>"}
    # What is read has the mean and scale of what is heard.
    norm = model.text_encoder.layers.after_norm
    assert torch.equal(norm.bias, checkpoint.weights["speech_encoder.norm.bias"])
    assert torch.equal(norm.weight, checkpoint.weights["speech_encoder.norm.weight"])
    assert not torch.equal(row["<slu>"], row["<nlu>"])  # they start alike, but for some noise
    assert not torch.equal(row["Order("], row[")Order"])
    torch.testing.assert_close(row["<slu>"], row["<nlu>"], atol=0.2, rtol=0)
    named = (rows[index["\u0120order"]] + 0) - row["Order("]
    assert float(named.detach().abs().max()) < 0.1


def test_a_name_has_the_row_that_it_has_with_a_capital():
    vocabulary = [*"loxs", "\u0120", "sl", "slo", "\u0120O", "\u0120Oslo", "<|startoftranscript|>"]
    rows_VD = torch.randn(len(vocabulary), WIDTH)
    borrowed = Tokenizer.borrow(["oslo"], vocabulary)
    ours_VD, own_K = whisper._embedding(rows_VD, vocabulary, borrowed)
    name = borrowed.symbols.index("▁oslo")
    assert name in own_K
    assert borrowed.encode("oslo") == [name]
    torch.testing.assert_close(ours_VD[name], rows_VD[vocabulary.index("\u0120Oslo")])


def test_layers_may_be_left_out(started, checkpoint):
    model = started(speech_layers=2, decoder_layers=1)
    last = checkpoint.weights["speech_encoder.layers.2.ffn.0.weight"]
    torch.testing.assert_close(model.speech_encoder.layers[1].ffn[0].weight.data, last)


def test_frozen_layers_are_not_trained(started):
    encoder = started(speech_frozen_layers=2).speech_encoder
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained and all(name.startswith(("layers.2.", "norm.")) for name in trained)
    encoder = started(speech_frozen_layers=3).speech_encoder
    assert not any(p.requires_grad for p in encoder.parameters())


def test_the_encoder_alone_may_be_taken(started):
    model = started(decoder="transformer")
    assert model.pretrained
    assert all(name.startswith("speech_encoder.") for name in model.pretrained)


def test_other_sizes_are_refused(started):
    with pytest.raises(ValueError, match=r"expected the checkpoint's sizes: model.width=32"):
        started(speech_ffn=64)


def test_another_encoder_has_no_place_for_it(checkpoint, tokenizer):
    chosen = settings(speech_encoder="conformer", decoder="transformer", speech_pretrained="tiny")
    chosen.features.kind = "kaldi"
    with pytest.raises(
        ValueError, match=r"encoder conformer and model\.decoder transformer, expected whisper"
    ):
        whisper.match(build(chosen, tokenizer), chosen.model, tokenizer)


def test_a_checkpoint_that_is_not_there_costs_no_trained_model(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tokenizer.save(tmp_path / "data" / "tokenizer")
    exp = tmp_path / "exp"
    exp.mkdir()
    (exp / "model.pth").write_bytes(b"trained")
    with pytest.raises(ValueError, match="got 'no/such', expected a directory of Whisper"):
        prepare_experiment(settings(speech_pretrained="no/such"), tmp_path / "data", exp, True)
    assert (exp / "model.pth").read_bytes() == b"trained"


def test_features_of_another_kind_are_refused(tokenizer):
    chosen = settings()
    chosen.features.kind = "kaldi"
    with pytest.raises(ValueError, match=r"features\.kind: got kaldi for model\.speech_encoder"):
        build(chosen, tokenizer)


def test_more_tokens_than_positions_are_refused(started):
    decoder = started().decoder
    memory, mask = torch.randn(1, 3, WIDTH), torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="got a sequence of 449 tokens, expected at most 448"):
        decoder(torch.zeros(1, 449, dtype=torch.long), memory, mask, torch.tensor([0]))


def write_ctranslate2(path, variables, aliases=()):
    """A `model.bin` with these arrays: float32, float16, int8."""
    numbers = {"float32": 0, "int8": 1, "float16": 4}

    def name_of(text):
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    content = struct.pack("<I", 6) + name_of("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, values in variables.items():
        content += name_of(name) + struct.pack("<B", values.ndim)
        content += struct.pack(f"<{values.ndim}I", *values.shape)
        content += struct.pack("<BI", numbers[str(values.dtype)], values.nbytes) + values.tobytes()
    content += struct.pack("<I", len(aliases))
    content += b"".join(name_of(alias) + name_of(name) for alias, name in aliases)
    path.write_bytes(content)


def test_a_ctranslate2_directory_is_read(tmp_path):
    draw = np.random.default_rng(0)
    conv = draw.standard_normal((4, 2, 3)).astype(np.float16)
    variables = {
        "encoder/conv1/weight": conv,
        "encoder/num_heads": np.array(2, np.int8),
        "encoder/layer_0/self_attention/linear_0/weight": np.array([[2, 4], [3, 5]], np.int8),
        "encoder/layer_0/self_attention/linear_0/weight_scale": np.array([2, 4], np.float32),
        "decoder/layer_1/attention/linear_1/bias": np.ones(3, np.float32),
        "decoder/position_encodings/encodings": np.zeros((5, 2), np.float32),
        "decoder/embeddings/weight": np.ones((2, 2), np.float32),
    }
    write_ctranslate2(
        tmp_path / "model.bin",
        variables,
        [("decoder/projection/weight", "decoder/embeddings/weight")],
    )
    (tmp_path / "vocabulary.txt").write_text("a\n\u0120b\n", encoding="utf-8")
    checkpoint = whisper_checkpoint.load(str(tmp_path))
    assert checkpoint.vocabulary == ["a", "\u0120b"]
    assert set(checkpoint.weights) == {
        "speech_encoder.conv1.weight",
        "speech_encoder.layers.0.self_qkv.weight",
        "decoder.layers.1.memory_kv.bias",
        "decoder.positions",
        "decoder.embedding.weight",
    }
    np.testing.assert_array_equal(checkpoint.weights["speech_encoder.conv1.weight"], conv)
    assert checkpoint.weights["speech_encoder.layers.0.self_qkv.weight"].tolist() == [
        [1.0, 2.0],
        [0.75, 1.25],
    ]


@pytest.mark.parametrize("content", [b"", b"\6\0\0\0", b"\x09\0\0\0", b"PK" * 50])
def test_what_is_no_ctranslate2_model_is_refused(tmp_path, content):
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(ValueError, match="not a CTranslate2 model that can be read"):
        whisper_checkpoint.load(str(tmp_path))


def test_a_cut_off_file_is_refused(tmp_path):
    write_ctranslate2(tmp_path / "model.bin", {"a": np.ones(100, np.float32)})
    whole = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="ends within 'a'"):
        whisper_checkpoint.load(str(tmp_path))


def test_a_name_that_nothing_has_is_refused(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"got 'no/such', expected a directory of Whisper"):
        whisper_checkpoint.load("no/such")


def test_a_published_name_is_found_in_the_cache_else_in_a_package_with_the_known_digest(
    tmp_path, monkeypatch, theirs
):
    package = tmp_path / "carrier_of_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    variables = {
        "encoder/conv1/weight": np.ones((4, 2, 3), np.float32),
        "decoder/position_encodings/encodings": np.zeros((5, 2), np.float32),
    }
    write_ctranslate2(package / "model.bin", variables)
    (package / "vocabulary.txt").write_text("a\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    digest = hashlib.sha256((package / "model.bin").read_bytes()).hexdigest()
    known = {"someone/whisper": (("carrier_of_weights",), digest)}
    monkeypatch.setattr(whisper_checkpoint, "PACKAGES", known)
    monkeypatch.setattr(whisper_checkpoint, "_is_cached", lambda name: False)
    assert "speech_encoder.conv1.weight" in whisper_checkpoint.load("someone/whisper").weights
    known["someone/whisper"] = (("carrier_of_weights",), "0" * 64)
    with pytest.raises(ValueError, match=r"got SHA-256 .*, expected 0000000000000000\.\.\."):
        whisper_checkpoint.load("someone/whisper")
    # In the cache it is Hugging Face's to read; here nothing is, so its error is what shows.
    monkeypatch.setattr(whisper_checkpoint, "_is_cached", lambda name: True)
    with pytest.raises(ValueError, match="got 'someone/whisper', expected a directory"):
        whisper_checkpoint.load("someone/whisper")


def test_weights_in_two_packages_are_joined_and_one_alone_is_refused(tmp_path, monkeypatch):
    variables = {
        "encoder/conv1/weight": np.ones((4, 2, 3), np.float32),
        "decoder/position_encodings/encodings": np.zeros((5, 2), np.float32),
    }
    write_ctranslate2(tmp_path / "model.bin", variables)
    whole = (tmp_path / "model.bin").read_bytes()
    for number, part in ((1, whole[:40]), (2, whole[40:])):
        package = tmp_path / f"half_of_weights{number}" / "data"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").touch()
        (package / f"model.bin.part{number}").write_bytes(part)
        (package / "vocabulary.txt").write_text("a\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256(whole).hexdigest()
    packages = ("half_of_weights1", "half_of_weights2")
    monkeypatch.setattr(whisper_checkpoint, "PACKAGES", {"someone/large": (packages, digest)})
    monkeypatch.setattr(whisper_checkpoint, "_is_cached", lambda name: False)
    assert "speech_encoder.conv1.weight" in whisper_checkpoint.load("someone/large").weights
    shutil.rmtree(tmp_path / "half_of_weights2")
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="weights that half_of_weights1 and half_of_weights2 had"):
        whisper_checkpoint.load("someone/large")


def test_a_hugging_face_directory_is_read(tmp_path, theirs):
    theirs.save_pretrained(tmp_path)
    from transformers import WhisperTokenizer

    vocabulary = {"<|endoftext|>": 0, "a": 1, "\u0120": 2, "\u0120a": 3}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[("\u0120", "a")])
    tokenizer.save_pretrained(tmp_path)
    checkpoint = whisper_checkpoint.load(str(tmp_path))
    assert checkpoint.vocabulary[3] == "\u0120a"
    assert len(checkpoint.vocabulary) == 60
    torch.testing.assert_close(
        checkpoint.weights["decoder.embedding.weight"],
        theirs.model.decoder.embed_tokens.weight.data,
    )
    assert checkpoint.sizes.startswith(f"model.width={WIDTH} ")


def test_what_is_below_the_range_is_lifted_to_it():
    speech = torch.tensor([[[0.0, -100.0], [math.log(10.0), 0.0]]])
    scaled = whisper.normalize(speech, torch.tensor([2]))
    assert scaled.tolist() == [[[1.0, pytest.approx((1 - 8 + 4) / 4)], [1.25, 1.0]]]


def adapted(**changes: object) -> schema.Config:
    """Of a model whose decoder is Whisper's, above a frozen encoder of its width."""
    frozen = {"frozen_encoder": "tiny", "frozen_encoder_width": WIDTH, "subsampling": 4}
    return settings(speech_encoder="adapter", speech_layers=2, **(frozen | changes))


@torch.inference_mode()
def test_an_adapter_gives_whispers_states_at_first(tokenizer):
    model = build(adapted(), tokenizer).eval()
    states_BSD, lengths_B = torch.randn(2, 6, WIDTH), torch.tensor([6, 4])
    found_BSD, mask_BS = model.speech_encoder(states_BSD, lengths_B)
    assert torch.equal(found_BSD, states_BSD)
    assert mask_BS.sum(dim=1).tolist() == [6, 4]


def test_an_adapter_learns_and_does_not_look_into_the_padding(tokenizer):
    encoder = build(adapted(), tokenizer).eval().speech_encoder
    states_BSD, lengths_B = torch.randn(2, 6, WIDTH), torch.tensor([6, 4])
    encoder(states_BSD, lengths_B)[0].square().sum().backward()
    assert all(layer.self_out.weight.grad.abs().sum() > 0 for layer in encoder.layers)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        padded = encoder(states_BSD, lengths_B)[0][1, :4]
        alone = encoder(states_BSD[1:, :4], lengths_B[1:])[0][0]
    assert not torch.equal(alone, states_BSD[1, :4])
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{"subsampling": 8}, {"width": 2 * WIDTH}])
def test_an_adapter_needs_the_states_as_they_are(tokenizer, changes):
    with pytest.raises(ValueError, match=r"model\.speech_encoder: adapter stands on"):
        build(adapted(**changes), tokenizer)


def test_above_a_frozen_encoder_the_decoder_alone_is_whispers(checkpoint, tokenizer, monkeypatch):
    monkeypatch.setattr(whisper_checkpoint, "load", lambda source: checkpoint)
    chosen = adapted(speech_pretrained="tiny")
    model = build(chosen, tokenizer)
    whisper.start(model, chosen.model, tokenizer)
    assert {name.split(".")[0] for name in model.pretrained} == {"decoder"}
    mine = model.decoder.layers[0].memory_q.weight
    assert torch.equal(mine, checkpoint.weights["decoder.layers.0.memory_q.weight"])
