import math

import pytest
import torch
import torch.nn.functional as F

from atat.config import config_file
from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer
from atat.models import losses, shared_batch
from atat.models.espnet_model import build

SEQUENCES = [
    "turnOn( turn on the room( kitchen )room lights )turnOn",
    "setVolume( set the volume to level( forty )level percent )setVolume",
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(SEQUENCES, vocab_size=60)


def small(**model) -> Config:
    settings = Config()
    sizes = dict(width=16, num_heads=2, speech_layers=1, speech_ffn=32, text_layers=1, text_ffn=32)
    sizes |= dict(decoder_layers=1, decoder_ffn=32, front_channels=4, dropout=0.0)
    for name, value in (sizes | model).items():
        setattr(settings.model, name, value)
    return settings


def batch(tokenizer, *, speech: bool = True, text: bool = True) -> dict[str, torch.Tensor]:
    """Two spoken utterances (ASR and SLU, ASR) and one sentence (NLU)."""
    torch.manual_seed(0)
    words = [tokenizer.encode("turn on the kitchen lights"), tokenizer.encode("set the volume")]
    rows, out = [], {}
    if speech:
        out |= dict(speech=torch.randn(2, 90, 80), speech_lengths=torch.tensor([90, 70]))
        out["words"] = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, words)), True, 1)
        out["words_lengths"] = torch.tensor(list(map(len, words)))
        out["active"] = torch.tensor([[5.0, 80.0], [0.0, 70.0]])
        out["flat_start"] = torch.tensor([False])
        rows += [(0, "asr", words[0]), (0, "slu", tokenizer.encode(SEQUENCES[0]))]
        rows += [(1, "asr", words[1])]
    if text:
        source = tokenizer.encode("set the volume to forty percent")
        out |= dict(text=torch.tensor([source]), text_lengths=torch.tensor([len(source)]))
        rows += [(2 if speech else 0, "nlu", tokenizer.encode(SEQUENCES[1]))]
    targets = [torch.tensor(t) for *_, t in rows]
    out["target"] = torch.nn.utils.rnn.pad_sequence(targets, True, tokenizer.pad)
    out["target_lengths"] = torch.tensor(list(map(len, targets)))
    out["target_source"] = torch.tensor([r for r, *_ in rows])
    out["target_task"] = torch.tensor([tokenizer.task_ids[t] for _, t, _ in rows])
    return out


@pytest.mark.parametrize("encoder", ["conformer", "transformer"])
@pytest.mark.parametrize("front", ["max", "stride"])
@pytest.mark.parametrize("subsampling", [4, 8])
def test_an_utterance_has_the_same_states_alone_and_in_a_batch(
    tokenizer, encoder, front, subsampling
):
    model = build(small(speech_encoder=encoder, front=front, subsampling=subsampling), tokenizer)
    model.eval()
    speech = torch.randn(2, 93, 80)
    lengths = torch.tensor([93, 61])
    together, mask, _ = model.encode_speech(speech, lengths)
    alone, _, _ = model.encode_speech(speech[1:, :61], lengths[1:])
    assert mask[1].sum() == alone.size(1) == math.ceil(61 / subsampling)
    torch.testing.assert_close(together[1, : alone.size(1)], alone[0], atol=1e-5, rtol=0)


def test_text_has_the_same_states_alone_and_in_a_batch(tokenizer):
    model = build(small(), tokenizer).eval()
    ids = torch.tensor([tokenizer.encode("turn on the lights")[:4] + [tokenizer.pad] * 3])
    padded, mask = model.encode_text(ids, torch.tensor([4]))
    alone, _ = model.encode_text(ids[:, :4], torch.tensor([4]))
    assert mask.tolist() == [[True] * 4 + [False] * 3]
    torch.testing.assert_close(padded[:, :4], alone, atol=1e-5, rtol=0)


def test_a_mixed_batch_has_the_losses_of_its_parts(tokenizer):
    model = build(small(), tokenizer).eval()
    mixed, stats, weight = model(**batch(tokenizer))
    speech, speech_stats, _ = model(**batch(tokenizer, text=False))
    text, text_stats, _ = model(**batch(tokenizer, speech=False))
    assert weight == 3
    assert set(stats) >= {
        "loss",
        "acc",
        "em",
        "loss_asr",
        "loss_slu",
        "loss_nlu",
        "loss_ctc",
        "em_nlu",
    }
    torch.testing.assert_close(mixed, speech + text, atol=1e-4, rtol=0)
    torch.testing.assert_close(stats["loss_slu"], speech_stats["loss_slu"], atol=1e-5, rtol=0)
    torch.testing.assert_close(stats["loss_nlu"], text_stats["loss_nlu"], atol=1e-5, rtol=0)
    assert "loss_slu" not in text_stats


def test_statistics_are_those_of_every_target_alone(tokenizer):
    model = build(small(), tokenizer).eval()
    given = batch(tokenizer)
    # Text before speech among the targets: which kind one is of stands in target_source alone.
    for name in [name for name in given if name.startswith("target")]:
        given[name] = given[name].flip(0)
    speech, speech_mask, _ = model.encode_speech(given["speech"], given["speech_lengths"])
    text, text_mask = model.encode_text(given["text"], given["text_lengths"])
    losses, correct, exact = {"asr": [], "slu": [], "nlu": []}, [], []
    for target, length, source, task in zip(
        *(given[f"target{name}"] for name in ("", "_lengths", "_source", "_task")), strict=True
    ):
        memory, mask = (speech, speech_mask) if source < 2 else (text, text_mask)
        tokens = torch.cat([task[None], target[:length]])[None]
        row = torch.tensor([source if source < 2 else 0])
        logits = model.decoder(tokens, memory, mask, row)[0]
        label = torch.cat([target[:length], torch.tensor([tokenizer.eos])])
        name = tokenizer.symbols[task].strip("<>")
        smooth = model.label_smoothing
        losses[name] += F.cross_entropy(
            logits, label, label_smoothing=smooth, reduction="none"
        ).tolist()
        correct += (logits.argmax(dim=-1) == label).tolist()
        exact.append(correct[-len(label) :] == [True] * len(label))
    _, stats, _ = model(**given)
    for name, values in losses.items():
        assert float(stats[f"loss_{name}"]) == pytest.approx(sum(values) / len(values), abs=1e-4)
    assert float(stats["acc"]) == pytest.approx(sum(correct) / len(correct))
    assert float(stats["em"]) == pytest.approx(sum(exact) / len(exact))


def test_exact_match_is_of_targets_that_are_right_to_their_end(tokenizer):
    model = build(small(), tokenizer).eval()
    given = batch(tokenizer)
    right = model.decoder.forward

    def answers(token_RL, memory, mask, source_R, wanted_RL):
        """The right tokens, but for the end of transcripts."""
        size = right(token_RL, memory, mask, source_R, wanted_RL).size(-1)
        next_RL = torch.roll(token_RL, -1, dims=1)
        next_RL.scatter_(1, wanted_RL.sum(dim=1, keepdim=True) - 1, tokenizer.eos)
        transcript_R = token_RL[:, 0] == tokenizer.task_ids["asr"]
        next_RL[transcript_R] = next_RL[transcript_R].masked_fill(
            next_RL[transcript_R] == tokenizer.eos, tokenizer.blank
        )
        return F.one_hot(next_RL[wanted_RL], size).float() * 50

    model.decoder.forward = answers
    _, stats, _ = model(**given)
    assert float(stats["em_slu"]) == float(stats["em_nlu"]) == float(stats["acc_slu"]) == 1.0
    assert float(stats["em_asr"]) == 0.0 and 0.5 < float(stats["acc_asr"]) < 1.0
    assert float(stats["em"]) == 0.5  # two of the four


def test_task_weights_scale_their_losses(tokenizer):
    settings = small()
    settings.train.task_weights = {"nlu": 0.0}
    torch.manual_seed(1)
    model = build(settings, tokenizer).eval()
    mixed, *_ = model(**batch(tokenizer))
    speech, *_ = model(**batch(tokenizer, text=False))
    torch.testing.assert_close(mixed, speech, atol=1e-4, rtol=0)


def test_every_parameter_of_every_task_learns(tokenizer):
    model = build(small(subsampling=4), tokenizer).train()
    loss, *_ = model(**batch(tokenizer))
    loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias of attention keys shifts all scores of a query alike: softmax does not see it.
    assert [n for n in silent if "linear_k.bias" not in n and "depthwise_conv.bias" not in n] == []


def test_the_task_token_changes_what_comes_out(tokenizer):
    model = build(small(), tokenizer).eval()
    memory, mask, _ = model.encode_speech(torch.randn(1, 50, 80), torch.tensor([50]))
    outs = [
        model.decoder(torch.tensor([[tokenizer.task_ids[t]]]), memory, mask, torch.tensor([0]))
        for t in ("asr", "slu", "nlu")
    ]
    assert (outs[0] - outs[1]).abs().max() > 1e-3 and (outs[1] - outs[2]).abs().max() > 1e-3


def certain_of(tokens: list[int], num_frames: int, size: int) -> torch.Tensor:
    """CTC's outputs (1, num_frames, size): each token for two frames, then a blank."""
    best = [t for token in tokens for t in (token, token, 0)]
    best += [0] * (num_frames - len(best))
    probs_TV = torch.full((num_frames, size), 1e-9)
    probs_TV[torch.arange(num_frames), torch.tensor(best)] = 1.0
    return probs_TV.log()[None]


def test_words_that_ctc_hears_for_sure_are_read_as_written_ones(tokenizer):
    assert tokenizer.blank == 0
    model = build(small(ctc_to_text_share=0.5), tokenizer).eval()
    ids = tokenizer.encode("turn on the kitchen lights")
    frames = 3 * len(ids) + 2
    heard, mask = model.encode_posteriors(
        certain_of(ids, frames, len(tokenizer)), torch.ones(1, frames, dtype=torch.bool)
    )
    written, _ = model.encode_text(torch.tensor([ids]), torch.tensor([len(ids)]))
    assert mask.all() and mask.shape == (1, len(ids))
    torch.testing.assert_close(heard, written, atol=1e-4, rtol=0)


def test_in_training_a_share_of_speech_is_what_the_text_encoder_reads(tokenizer):
    b = batch(tokenizer, text=False)
    torch.manual_seed(0)
    for share, reads in ((0.0, False), (0.9, True), (1.0, True)):
        model = build(small(ctc_to_text_share=share), tokenizer).train()
        loss, *_ = model(**b)
        loss.backward()
        gradients = [p.grad for p in model.text_encoder.parameters() if p.grad is not None]
        assert any(g.any() for g in gradients) == reads
        assert model.ctc.weight.grad.any()  # CTC learns either way
        if share == 1:
            continue
        # What is decided beside training is made of speech states, where some training was.
        model.eval()
        model.config.ctc_to_text_share = 0.0
        expected, *_ = model(**b)
        model.config.ctc_to_text_share = share
        torch.testing.assert_close(model(**b)[0], expected)


def test_all_of_speech_is_read_so_in_validation_too_where_all_training_was(tokenizer):
    model, b = build(small(ctc_to_text_share=1.0), tokenizer).eval(), batch(tokenizer, text=False)
    read, *_ = model(**b)
    model.config.ctc_to_text_share = 0.0
    direct, *_ = model(**b)
    assert not torch.isclose(read, direct, atol=1e-4)


def test_a_shared_token_makes_semantics_of_text_and_speech_one_task(tokenizer):
    torch.manual_seed(0)
    b = batch(tokenizer, speech=False)
    losses = []
    for shared, task in ((False, "nlu"), (False, "slu"), (True, "nlu")):
        torch.manual_seed(1)
        model = build(small(shared_semantics_token=shared), tokenizer).eval()
        _, stats, _ = model(**b | {"target_task": torch.tensor([tokenizer.task_ids[task]])})
        losses.append(stats[f"loss_{task}"])  # curves still tell them apart
    own, of_speech, shared = losses
    torch.testing.assert_close(shared, of_speech)
    assert not torch.isclose(own, of_speech, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"ctc_to_text_share": 0.5, "ctc_weight": 0.0, "token_residual": False},
            "model.ctc_to_text_share needs",
        ),
        ({"ctc_weight": 0.0}, "model.token_residual needs"),
    ],
)
def test_settings_that_need_ctc_say_so(tokenizer, model, message):
    with pytest.raises(ValueError, match=message):
        build(small(**model), tokenizer)


@pytest.mark.parametrize("transcript_first", [False, True])
def test_a_process_whose_text_is_there_for_the_others_has_a_gradient(
    tokenizer, monkeypatch, transcript_first
):
    reads = dict(transcript_first=True, ctc_weight=0.0, token_residual=False)
    model = build(small(**(reads if transcript_first else {})), tokenizer)
    model.shared = True
    monkeypatch.setattr(shared_batch, "total", torch.Tensor.detach)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    given = batch(tokenizer, speech=False)
    for name in ("target", "target_lengths", "target_source", "target_task"):
        given[name] = given[name][:0]
    loss, *_ = model(**given, num_sources=torch.tensor([1]))
    loss.backward()
    assert model.decoder.embedding.weight.grad.abs().sum() == 0.0


def test_ctc_loss_is_that_of_the_words_alone(tokenizer):
    model = build(small(subsampling=4), tokenizer).eval()
    b = batch(tokenizer, text=False)
    _, _, ctc = model.encode_speech(b["speech"], b["speech_lengths"])
    total = 0.0
    for row, frames in ((0, 23), (1, 18)):
        words = b["words"][row, : b["words_lengths"][row]]
        assert frames == math.ceil(int(b["speech_lengths"][row]) / 4)
        # Sum over all alignments by the forward recursion, in plain Python.
        labels = [0] + [x for w in words.tolist() for x in (w, 0)]
        p = ctc[row].detach().exp()
        alpha = [0.0] * len(labels)
        alpha[0], alpha[1] = float(p[0, 0]), float(p[0, labels[1]])
        for t in range(1, frames):
            new = []
            for s, label in enumerate(labels):
                a = alpha[s] + (alpha[s - 1] if s else 0.0)
                if s > 1 and label != 0 and label != labels[s - 2]:
                    a += alpha[s - 2]
                new.append(a * float(p[t, label]))
            alpha = new
        total -= math.log(alpha[-1] + alpha[-2])
    _, stats, _ = model(**b)
    assert float(stats["loss_ctc"]) == pytest.approx(
        total / int(b["words_lengths"].sum()), rel=1e-3
    )


def test_a_flat_start_on_whispers_encoder_ends_with_the_speech(tokenizer):
    """Its states are two feature frames each, whatever model.subsampling says."""
    settings = small(speech_encoder="whisper", width=64, num_heads=1)
    settings.features.kind = "whisper"
    model = build(settings, tokenizer).eval()
    words = torch.tensor([tokenizer.encode("turn on the kitchen lights")])
    _, mask_BS, ctc_BSV = model.encode_speech(torch.randn(1, 100, 80), torch.tensor([100]))
    assert mask_BS.sum() == 50
    ctc_BSV = torch.zeros_like(ctc_BSV, requires_grad=True)
    loss, _ = losses.flat_start_loss(
        ctc_BSV,
        mask_BS.sum(1),
        words,
        torch.tensor([words.size(1)]),
        torch.tensor([[0.0, 100.0]]) / model.subsampling,
        model.num_characters_V,
        model.blank,
    )
    loss.backward()
    labels_S = ctc_BSV.grad[0].argmin(dim=-1)
    assert labels_S[-1] == words[0, -1] and not (labels_S == model.blank).any()


def test_exact_match_is_that_of_greedy_decoding(tokenizer):
    model = build(small(), tokenizer)
    b = batch(tokenizer)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    seen = set()
    for _ in range(120):
        loss, *_ = model(**b)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        _, stats, _ = model.eval()(**b)
        model.train()
        seen.add(round(float(stats["em"]), 2))
    assert 0.0 in seen and 1.0 in seen  # it learns by heart: from nothing right to all right
    model.eval()
    memory, mask, _ = model.encode_speech(b["speech"], b["speech_lengths"])
    state = model.decoder.start(memory[:1], mask[:1], 1)
    token, out = torch.tensor([[tokenizer.task_ids["slu"]]]), []
    while len(out) < 30:
        log_probs, state = model.decoder.step(token, state)
        token = log_probs.argmax(-1)
        if token.item() == tokenizer.eos:
            break
        out.append(token.item())
    assert tokenizer.decode(out) == SEQUENCES[0]


def test_the_colour_of_a_microphone_changes_nothing(tokenizer):
    model = build(small(utterance_mean=True), tokenizer).eval()
    speech = torch.randn(2, 40, 80) + 10
    lengths = torch.tensor([40, 30])
    # Within the range in which no frame falls below the floor or out of what counts as speech.
    coloured = speech + torch.linspace(-2, 2, 80)
    plain = model.normalize(speech, lengths)
    torch.testing.assert_close(model.normalize(coloured, lengths), plain, atol=1e-4, rtol=0)
    assert plain[1, :30].mean(dim=0).abs().max() < 1e-4
    model.config.utterance_mean = False
    assert (model.normalize(coloured, lengths) - model.normalize(speech, lengths)).abs().max() > 1


def test_gain_changes_nothing_but_the_level_and_silence_is_lifted(tokenizer):
    model = build(small(), tokenizer).eval()
    speech = torch.randn(1, 30, 80) + 10
    quiet = speech.clone()
    quiet[:, :5] = -15.9  # digital silence
    normal = model.normalize(quiet, torch.tensor([30]))
    assert normal[:, :5].min() > float(normal.max()) - 14
    assert torch.isfinite(model.normalize(torch.full((1, 5, 80), -15.9), torch.tensor([5]))).all()


def test_the_papers_model_has_the_papers_size(tokenizer):
    settings = config_file.load([config_file.BASE.parent / "model_paper.yaml"])
    settings.model.text_encoder, settings.model.text_layers = "transformer", 1  # BERT apart
    model = build(settings, tokenizer)
    d, ffn = 256, 2048
    attention, norm = 4 * (d * d + d), 2 * d
    feed_forward = d * ffn + ffn + ffn * d + d
    encoder = 12 * (attention + feed_forward + 2 * norm) + norm
    decoder = 6 * (2 * attention + feed_forward + 3 * norm) + norm
    front = (9 * d + d) + (9 * d * d + d) + (20 * d * d + d)
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(model.speech_encoder) == encoder + front
    vocabulary = len(tokenizer) * (d + 1)
    assert count(model.decoder) == decoder + vocabulary
    # Paper, section 3: about 28 M for speech encoder and decoder with 5,000 symbols.
    assert 26e6 < encoder + front + decoder + 5000 * (d + 1) < 30e6
    assert model.ctc is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("front", "avg"), ("subsampling", 6), ("speech_encoder", "lstm")],
)
def test_unknown_choices_say_what_is_expected(tokenizer, key, value):
    with pytest.raises(ValueError, match=f"model.{key}: got '?{value}'?, expected"):
        build(small(**{key: value}), tokenizer)


def test_the_token_residual_needs_ctc(tokenizer):
    with pytest.raises(ValueError, match="token_residual"):
        build(small(ctc_weight=0.0), tokenizer)
