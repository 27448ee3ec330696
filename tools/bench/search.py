#!/usr/bin/env python3
"""Our beam search against ESPnet's, with the same weights: CPU time and agreement, as a table.

`tools/bench/search.py` draws decoders of conf/model_tiny.yaml's and conf/model_paper.yaml's size;
`--exp DIR --data DIR` takes a trained one and recorded speech. All engines run in this process on
one thread, an utterance by each in turn, then all of them batched; so ratios hold on a busy machine
too. Ours is exact; ESPnet's scores by CTC only the 1.5 x beam best continuations of a hypothesis.
"""

# B utterances, T memory frames, D width, V vocabulary, L tokens, K hypotheses

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import atat.common.espnet_compat  # noqa: F401  (before espnet2)
from atat.common import cli
from atat.common.text_table import align
from atat.config import config_file
from atat.config.schema import Config
from atat.data import audio, kaldi_dir
from atat.deployment.export import optimize
from atat.deployment.onnx_export import write_decoder
from atat.inference import threads
from atat.inference.beam_search import AutoregressiveDecoder, Hypothesis, search
from atat.inference.network import padded
from atat.inference.onnx_network import OnnxNetwork
from atat.inference.predictor import SpeechToSemantics
from atat.inference.torch_network import TorchDecoder
from atat.models.decoder import Decoder, DecoderState

from espnet.nets.scorer_interface import BatchScorerInterface

CONF = Path(__file__).resolve().parents[2] / "conf"
BLANK, EOS, TASK = 0, 1, 2  # of drawn decoders
NUM_FRAMES = {"tiny": 45, "paper": 90}  # about 3.6 s
LENGTHS = 8, 24  # of outputs, in tokens
LEARNED, LEARNING_RATE = 0.3, 1e-3  # nats a token; of AdamW
SEARCHES = {"beam 4": (4, 0.0), "beam 8, CTC 0.4": (8, 0.4)}
ESPNET, ADAPTED = "ESPnet", "our decoder in ESPnet's search"


@dataclass(frozen=True)
class Utterance:
    """An encoded utterance: memory (T, D) and CTC's log-softmax outputs (T, V), float32."""

    memory_TD: np.ndarray
    ctc_TV: np.ndarray


@dataclass(frozen=True)
class Problem:
    """A decoder and what to search.

    Attributes:
        first: the task token.
        banned: ids that no output has.
    """

    decoder: Decoder
    utterances: list[Utterance]
    first: int = TASK
    eos: int = EOS
    blank: int = BLANK
    banned: tuple[int, ...] = (BLANK, TASK)


@dataclass
class Engine:
    """Gives the best hypothesis of each utterance; time and answers so far.

    Attributes:
        takes: how many utterances at once; None: all.
    """

    run: Callable[[list[Utterance]], list[Hypothesis]]
    takes: int | None = 1
    cpu_s: float = 0.0
    found: list[Hypothesis] = field(default_factory=list)

    def measure(self, utterances: list[Utterance]) -> None:
        """Search these, and count the CPU time of the whole process."""
        begin = time.process_time()
        found = self.run(utterances)
        self.cpu_s += time.process_time() - begin
        self.found += found


class FixedCtc(nn.Module):
    """CTC's outputs of the utterance at hand, where ESPnet has a layer on the memory."""

    log_probs_TV: Tensor

    def log_softmax(self, memory_1TD: Tensor) -> Tensor:
        """(1, T, V); a copy, since ESPnet's scorer writes into it."""
        return self.log_probs_TV[None].clone()


class Adapted(BatchScorerInterface, nn.Module):
    """Our decoder as ESPnet's search takes one. A hypothesis' state is all hypotheses' state after
    the step before, and which of them it was."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def batch_score(
        self, ys: Tensor, states: list[tuple[DecoderState, int]], xs: Tensor
    ) -> tuple[Tensor, list[tuple[DecoderState, int]]]:
        """Log-probabilities (K, V) after prefixes (K, L), and the states of all K."""
        if states[0] is None:
            mask_1T = torch.ones(1, xs.size(1), dtype=torch.bool)
            state = self.decoder.start(xs[:1], mask_1T, len(ys))
        else:
            state = states[0][0].select(torch.tensor([[number for _, number in states]]))
        log_probs_1KV, state = self.decoder.step(ys[:, -1][None], state)
        return log_probs_1KV[0], [(state, number) for number in range(len(ys))]


def espnet_decoder(decoder: Decoder) -> nn.Module:
    """ESPnet's Transformer decoder with the weights of ours."""
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder

    layer = decoder.layers[0]
    theirs = TransformerDecoder(
        vocab_size=decoder.embedding.num_embeddings,
        encoder_output_size=decoder.embedding.embedding_dim,
        attention_heads=layer.num_heads,
        linear_units=layer.ffn[0].out_features,
        num_blocks=len(decoder.layers),
    )
    theirs.load_state_dict(dict(_renamed(decoder.state_dict(), len(decoder.layers))))
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = decoder.norm.eps  # theirs is 1e-12
    return theirs.eval()


def _renamed(weights: dict[str, Tensor], num_layers: int) -> Iterator[tuple[str, Tensor]]:
    """Our weights by ESPnet's names."""
    yield "embed.0.weight", weights["embedding.weight"]
    yield "output_layer.weight", weights["embedding.weight"]
    yield "output_layer.bias", weights["output_bias"]
    names = {"self_norm": "norm1", "memory_norm": "norm2", "ffn_norm": "norm3"}
    names |= {"self_out": "self_attn.linear_out", "memory_out": "src_attn.linear_out"}
    names |= {"memory_q": "src_attn.linear_q"}
    names |= {"ffn.0": "feed_forward.w_1", "ffn.3": "feed_forward.w_2"}
    for kind in ("weight", "bias"):
        yield f"after_norm.{kind}", weights[f"norm.{kind}"]
        for i in range(num_layers):
            ours, theirs = f"layers.{i}", f"decoders.{i}"
            for name, named in names.items():
                yield f"{theirs}.{named}.{kind}", weights[f"{ours}.{name}.{kind}"]
            for part, weight in zip(
                "qkv", weights[f"{ours}.self_qkv.{kind}"].chunk(3), strict=True
            ):
                yield f"{theirs}.self_attn.linear_{part}.{kind}", weight
            for part, weight in zip(
                "kv", weights[f"{ours}.memory_kv.{kind}"].chunk(2), strict=True
            ):
                yield f"{theirs}.src_attn.linear_{part}.{kind}", weight


def espnet_engine(problem: Problem, decoder: nn.Module, beam: int, ctc_weight: float) -> Engine:
    """ESPnet's search, an utterance at a time, with what its recipes' inference sets."""
    from espnet.nets.batch_beam_search import BatchBeamSearch
    from espnet.nets.scorers.ctc import CTCPrefixScorer

    ctc = FixedCtc()
    searcher = BatchBeamSearch(
        scorers={"decoder": decoder, "ctc": CTCPrefixScorer(ctc, problem.eos)},
        weights={"decoder": 1 - ctc_weight, "ctc": ctc_weight},
        beam_size=beam,
        vocab_size=problem.decoder.embedding.num_embeddings,
        sos=problem.first,
        eos=problem.eos,
        pre_beam_score_key="full",
    ).eval()

    @torch.inference_mode()
    def run(utterances: list[Utterance]) -> list[Hypothesis]:
        (utterance,) = utterances
        ctc.log_probs_TV = torch.from_numpy(utterance.ctc_TV)
        best = searcher(torch.from_numpy(utterance.memory_TD))[0]
        return [Hypothesis(tuple(best.yseq[1:-1].tolist()), float(best.score))]

    return Engine(run)


def our_engine(
    problem: Problem,
    decoder: AutoregressiveDecoder,
    beam: int,
    ctc_weight: float,
    takes: int | None = 1,
) -> Engine:
    """Our search."""

    def run(utterances: list[Utterance]) -> list[Hypothesis]:
        memory_BTD, lengths_B = padded([u.memory_TD for u in utterances])
        ctc_BTV, _ = padded([u.ctc_TV for u in utterances])
        mask_BT = np.arange(memory_BTD.shape[1]) < lengths_B[:, None]
        found = search(
            decoder,
            memory_BTD,
            mask_BT,
            np.full(len(utterances), problem.first),
            eos=problem.eos,
            beam=beam,
            banned=problem.banned,
            ctc_log_probs_BTV=ctc_BTV if ctc_weight else None,
            ctc_weight=ctc_weight,
            blank=problem.blank,
        )
        return [nbest[0] for nbest in found]

    return Engine(run, takes)


def drawn(config: Config, num_frames: int, num: int, seed: int) -> Problem:
    """A decoder of a size that has learned by heart as many drawn sequences as there are (drawn)
    memories, so that its outputs end and its hypotheses differ in likelihood as a trained one's.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    c, vocab_size = config.model, config.tokenizer.vocab_size
    decoder = Decoder(vocab_size, c.width, c.num_heads, c.decoder_ffn, c.decoder_layers, 0.0)
    memory_BTD = rng.normal(size=(num, num_frames, c.width)).astype(np.float32)
    sequences = [tuple(rng.integers(TASK + 1, vocab_size, n)) for n in rng.integers(*LENGTHS, num)]
    _learn(decoder, torch.from_numpy(memory_BTD), sequences)
    with torch.no_grad():
        decoder.output_bias[[BLANK, TASK]] = -1e4  # for ESPnet, which bans nothing
    shape = num_frames, vocab_size
    utterances = [
        Utterance(memory_TD, _heard(tokens, shape, rng))
        for memory_TD, tokens in zip(memory_BTD, sequences, strict=True)
    ]
    return Problem(decoder.eval(), utterances)


def _learn(decoder: Decoder, memory_BTD: Tensor, sequences: list[tuple[int, ...]]) -> None:
    """Train until it knows them, all of them in each step."""
    inputs_BL, _ = padded([np.array([TASK, *tokens]) for tokens in sequences])
    wanted_BL, lengths_B = padded([np.array([*tokens, EOS]) for tokens in sequences])
    is_token_BL = torch.from_numpy(np.arange(wanted_BL.shape[1]) < lengths_B[:, None])
    wanted_N = torch.from_numpy(wanted_BL)[is_token_BL]
    mask_BT = torch.ones(memory_BTD.shape[:2], dtype=torch.bool)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=LEARNING_RATE)
    inputs = torch.from_numpy(inputs_BL), memory_BTD, mask_BT, torch.arange(len(sequences))
    loss = torch.tensor(torch.inf)
    while loss > LEARNED:
        loss = nn.functional.cross_entropy(decoder(*inputs, is_token_BL), wanted_N)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _heard(tokens: tuple[int, ...], shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Outputs (T, V) of a CTC that is rather sure of some tokens, evenly spaced."""
    logits_TV = rng.normal(size=shape).astype(np.float32)
    logits_TV[:, BLANK] += 10
    frames = (np.arange(len(tokens)) + 0.5) * shape[0] / len(tokens)
    logits_TV[frames.astype(int), tokens] += 12
    return torch.from_numpy(logits_TV).log_softmax(-1).numpy()


def trained(exp: Path, data: Path, num: int) -> Problem:
    """The first `num` recordings of a data directory, for task `asr` of an experiment."""
    model = SpeechToSemantics.load(exp)
    utterances = []
    for path in list(kaldi_dir.column(data, "wav.scp").values())[:num]:
        recording = model.extract_features(audio.read(Path(path)), audio.SAMPLE_RATE_HZ)
        memory_BTD, _, ctc_BTV = map(np.asarray, model.encode_features([recording.feats_TF]))
        utterances.append(Utterance(memory_BTD[0], ctc_BTV[0]))
    tokenizer, decoder = model.tokenizer, model.model.decoder
    if decoder.positions is not None:
        raise ValueError(f"{exp}: its decoder is Whisper's, which ESPnet's decoder cannot be")
    banned = (tokenizer.blank, tokenizer.pad, tokenizer.unk, *tokenizer.task_ids.values())
    with torch.no_grad():
        decoder.output_bias[list(banned)] = -1e4  # for ESPnet, which bans nothing
    first = tokenizer.task_ids["asr"]
    return Problem(decoder, utterances, first, tokenizer.eos, tokenizer.blank, banned)


def compare(problem: Problem, beam: int, ctc_weight: float, rounds: int) -> dict[str, Engine]:
    """Run every engine on every utterance."""
    ours = problem.decoder
    options = beam, ctc_weight
    with tempfile.TemporaryDirectory() as directory:
        write_decoder(ours, Path(directory))
        for path in Path(directory).glob("*.onnx"):
            optimize(path)
        about = {"has_ctc": True, "ctc_tasks": [], "num_parameters": 0, "max_positions": None}
        ort = OnnxNetwork(Path(directory), about, "cpu", 1, len(ours.output_bias)).decoder
        on_torch = TorchDecoder(ours, torch.device("cpu"))
        engines = {
            ESPNET: espnet_engine(problem, espnet_decoder(ours), *options),
            ADAPTED: espnet_engine(problem, Adapted(ours), *options),
            "ours, one by one": our_engine(problem, on_torch, *options),
            "ours, batched": our_engine(problem, on_torch, *options, takes=None),
            "ours exported, one by one": our_engine(problem, ort, *options),
            "ours exported, batched": our_engine(problem, ort, *options, takes=None),
        }
        for engine in engines.values():
            engine.run(problem.utterances[:1])  # not counted
        for _ in range(rounds):
            for utterance in problem.utterances:
                for engine in engines.values():
                    if engine.takes == 1:
                        engine.measure([utterance])
            for engine in engines.values():
                if engine.takes is None:
                    engine.measure(problem.utterances)
    return engines


def rows(engines: dict[str, Engine]) -> Iterator[list[str]]:
    """A row an engine: speed, and how its best hypotheses agree with ESPnet's."""
    espnet = engines[ESPNET]
    for name, engine in engines.items():
        pairs = list(zip(espnet.found, engine.found, strict=True))
        gaps = [abs(a.score - b.score) for a, b in pairs if a.tokens == b.tokens]
        better = sum(a.tokens != b.tokens and b.score > a.score for a, b in pairs)
        yield [
            name,
            f"{len(pairs) / engine.cpu_s:.1f}",
            f"{espnet.cpu_s / engine.cpu_s:.1f}",
            f"{100 * len(gaps) / len(pairs):.1f}",
            f"{100 * better / len(pairs):.1f}",
            f"{max(gaps, default=np.nan):.0e}",
        ]


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--sizes", nargs="+", choices=NUM_FRAMES, default=list(NUM_FRAMES), help="of conf/")
    add("--exp", type=Path, metavar="DIR", help="a trained experiment with CTC, instead")
    add("--data", type=Path, metavar="DIR", help="speech for it, a Kaldi data directory")
    add("--num", type=cli.positive_int, default=24, help="utterances")
    add("--rounds", type=cli.positive_int, default=1, help="times each is searched")
    add("--seed", type=int, default=1)
    args = parser.parse_args()
    if (args.exp is None) != (args.data is None):
        raise ValueError("got one of --exp and --data, expected both or neither")
    logging.disable(logging.WARNING)  # ESPnet's, of each utterance
    threads.limit(1)
    torch.set_num_threads(1)
    header = ["engine", "utterances/CPU s", "times ESPnet", "same, %", "other and better, %"]
    for size in [args.exp.name] if args.exp is not None else args.sizes:
        if args.exp is not None:
            problem = trained(args.exp, args.data, args.num)
        else:
            config = config_file.load([CONF / f"model_{size}.yaml"])
            problem = drawn(config, NUM_FRAMES[size], args.num, args.seed)
        for name, (beam, ctc_weight) in SEARCHES.items():
            engines = compare(problem, beam, ctc_weight, args.rounds)
            lengths = [len(h.tokens) for h in engines[ESPNET].found]
            about = f"{len(problem.utterances)} utterances of {np.mean(lengths):.1f} tokens"
            print(f"\n{size}, {name}: {about}")
            print(align([[*header, "largest difference of scores"], *rows(engines)]), flush=True)


if __name__ == "__main__":
    cli.run(main)
