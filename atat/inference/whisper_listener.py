"""Whisper as it was published, on our own encoder, decoder and beam search."""

# N samples, T feature frames, F mel bins, S encoder frames, D width, V vocabulary

import re
from pathlib import Path

import numpy as np
import torch

from atat.config.schema import FeaturesConfig
from atat.data import audio, filter_bank
from atat.inference import constraints, devices
from atat.inference.beam_search import Hypothesis, search
from atat.inference.torch_network import TorchDecoder
from atat.models import whisper, whisper_checkpoint
from atat.models.decoder import Decoder, DecoderState

WINDOW_S = 30.0
PROMPT = ("<|startoftranscript|>", "<|notimestamps|>")  # of the English models
END = "<|endoftext|>"
MAX_TOKENS = 60
PLAIN = re.compile(r"\u0120?([a-z]+('[a-z]+)?|'[a-z]+)")  # \u0120: byte-level BPE's space


class Words:
    """Whisper's byte-level BPE tokens, as far as an acceptor needs a tokenizer."""

    unk = -1

    def __init__(self, tokenizer_file: Path, vocabulary: list[str]) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._vocabulary = vocabulary
        self.eos = vocabulary.index(END)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def encode(self, word: str) -> list[int]:
        """Tokens of one word after a space."""
        return self._tokenizer.encode(f" {word}", add_special_tokens=False).ids

    def decode(self, tokens: tuple[int, ...]) -> str:
        """What Whisper writes, with its capitals, digits and punctuation."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


class Prompted:
    """A decoder with a prompt: it has taken a token before search gives it the first."""

    def __init__(self, decoder: Decoder, token: int) -> None:
        self._decoder, self._token = decoder, token
        self.step = decoder.step

    def start(self, memory_BTD: torch.Tensor, mask_BT: torch.Tensor, num_hyps: int) -> DecoderState:
        """As `Decoder.start`, after the prompt."""
        state = self._decoder.start(memory_BTD, mask_BT, num_hyps)
        token_BK = mask_BT.new_full((len(mask_BT), num_hyps), self._token, dtype=torch.int64)
        return self._decoder.step(token_BK, state)[1]


class Listener:
    """Whisper's encoder and decoder, of the English models."""

    def __init__(self, source: str, window_s: float | None = WINDOW_S, device: str = "cpu") -> None:
        """
        Args:
            source: of the weights, as `whisper_checkpoint.load` takes it.
            window_s: audio is padded with silence to so many seconds, and cut there; None: neither.
            device: cpu, cuda, cuda:1, ..., or auto.
        """
        tokenizer = tokenizer_file(source)
        checkpoint = whisper_checkpoint.load(source)
        weights = checkpoint.weights
        width, num_bins, _ = weights["speech_encoder.conv1.weight"].shape
        ffn = len(weights["speech_encoder.layers.0.ffn.0.bias"])
        heads = width // whisper.HEAD_WIDTH
        self.encoder = whisper.WhisperEncoder(
            num_bins, width, heads, ffn, checkpoint.depth("speech_encoder"), 0.0
        )
        vocab_size = len(weights["decoder.embedding.weight"])
        self.decoder = Decoder(
            vocab_size, width, heads, ffn, checkpoint.depth("decoder"), 0.0, whisper.MAX_TOKENS
        )
        for part, module in (("speech_encoder", self.encoder), ("decoder", self.decoder)):
            own = {n.removeprefix(f"{part}."): w for n, w in weights.items() if n.startswith(part)}
            if part == "decoder":
                own["output_bias"] = torch.zeros(vocab_size)
            module.load_state_dict(own)
            module.eval()
            devices.place(module, device)
        vocabulary = checkpoint.vocabulary + [""] * (vocab_size - len(checkpoint.vocabulary))
        missing = [token for token in (*PROMPT, END) if token not in vocabulary]
        if missing:
            raise ValueError(f"{source}: its vocabulary has no {missing[0]}, expected Whisper's")
        self.words = Words(tokenizer, vocabulary)
        self.prompt = [vocabulary.index(token) for token in PROMPT]
        self.special = [i for i, token in enumerate(vocabulary) if token.startswith("<|")]
        # What a grammar's sentences are made of: no capitals, digits and punctuation.
        self.not_plain = [
            i
            for i, token in enumerate(vocabulary)
            if i != self.words.eos and not PLAIN.fullmatch(token)
        ]
        self.settings = FeaturesConfig(kind="whisper", num_mel_bins=num_bins)
        self.window_s, self.device = window_s, devices.resolved(device)
        parts = (self.encoder, self.decoder)
        self.num_parameters = sum(p.numel() for module in parts for p in module.parameters())

    def features(self, samples_N: np.ndarray) -> np.ndarray:
        """Log mel power, float32 (T, F), of one recording at 16 kHz."""
        if self.window_s is not None:
            num = round(self.window_s * audio.SAMPLE_RATE_HZ)
            samples_N = np.pad(samples_N[:num], (0, max(num - len(samples_N), 0)))
        return filter_bank.whisper_mel(samples_N, self.settings)

    @torch.inference_mode()
    def encode(self, feats_TF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States (1, S, D) of one recording, and their mask (1, S)."""
        feats_1TF = torch.from_numpy(feats_TF)[None].to(self.device)
        lengths_1 = torch.tensor([feats_1TF.size(1)], device=self.device)
        states, mask = self.encoder(whisper.normalize(feats_1TF, lengths_1), lengths_1)
        return states.numpy(force=True), mask.numpy(force=True)

    def search(
        self,
        states: tuple[np.ndarray, np.ndarray],
        beam: int,
        nbest: int = 1,
        accepted: constraints.Acceptor | None = None,
        banned: list[int] | None = None,
    ) -> list[Hypothesis]:
        """The n best hypotheses of one recording, best first.

        Args:
            states: as `encode` gives them.
            beam: hypotheses that go on, as `beam_search.search` takes it.
            nbest: how many to keep.
            accepted: of constrained decoding; None: no constraint.
            banned: ids that no hypothesis has: `special` (by default) or `not_plain`.
        """
        (found,) = search(
            TorchDecoder(Prompted(self.decoder, self.prompt[0]), torch.device(self.device)),
            *states,
            np.array([self.prompt[1]]),
            eos=self.words.eos,
            beam=beam,
            nbest=nbest,
            max_length=MAX_TOKENS,
            banned=self.special if banned is None else banned,
            acceptor=accepted,
        )
        return found


def tokenizer_file(source: str) -> Path:
    """The tokenizer.json that belongs to weights, as `whisper_checkpoint.load` takes them.

    Raises:
        ValueError: there are no weights, or not this beside them.
    """
    directory = whisper_checkpoint.find(source)
    if directory is None:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(source, "tokenizer.json")
        except HFValidationError:
            cached = None
        if not isinstance(cached, str):
            raise ValueError(
                f"weights of Whisper: got '{source}', expected a directory, an installed package "
                "that has one, or a Hugging Face name that has been downloaded before"
            )
        return Path(cached)
    if not (directory / "tokenizer.json").is_file():
        raise ValueError(f"{source}: has no tokenizer.json, which spells words in tokens")
    return directory / "tokenizer.json"
