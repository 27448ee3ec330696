"""Inference with a trained model: audio or text in, intent and slots out.

from atat import SpeechToSemantics
model = SpeechToSemantics.load("egs/commands/exp/atat")
model("kitchen.wav").slots                      # {'room': 'kitchen'}
model(["a.wav", "b.flac"])                      # a list of results, decoded as a batch
model(samples, sample_rate=8000)                # NumPy array or tensor
model(text="turn on the lights", nbest=3).nbest
"""

# B utterances, T feature frames, F mel bins, L text tokens

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.config import config_file
from atat.config.schema import Config
from atat.config.tasks import TAGGED_TASKS
from atat.data.text_tokenization import punctuation, text_tokenizer
from atat.data.tokenizer import Tokenizer
from atat.grammar.grammar import Grammar
from atat.grammar.spelling import spell_out
from atat.inference import confidence, constraints, recorded_audio, threads
from atat.inference.beam_search import Hypothesis
from atat.inference.encoded_search import EncodedSearch
from atat.inference.hub import HubModel
from atat.inference.length_batches import MAX_TEXT_TOKENS, encoder_frames, search_batches, text_size
from atat.inference.network import Encoded, Network, encode_in_parts
from atat.inference.one_or_several import one_or_several
from atat.inference.recorded_audio import Recording
from atat.inference.result import About, Result
from atat.inference.search_options import SearchOptions, of_call
from atat.inference.search_results import best_first, result_of
from atat.inference.typed_text import NBEST, TypedText, said
from atat.models import exported_model
from atat.models.checkpoint import check_experiment
from atat.semantics import tag_nesting
from atat.semantics.text_normalization import normalize

if TYPE_CHECKING:
    from atat.inference.audio_arguments import AudioSource
    from atat.models.espnet_model import AtatModel

# The n best of an utterance, what is known with them, and why the best is not taken, if it is not.
Found = tuple[list[Hypothesis], About, str | None]


class SpeechToSemantics(HubModel):
    """A trained model with its tokenizer and settings: `load` one, and call it.

    model = SpeechToSemantics.load("egs/commands/exp/atat")
    result = model("kitchen.wav")
    result.intent, result.slots         # 'turnOnLight', {'room': 'kitchen'}
    model(text="turn on the lights")    # typed
    help(model.__call__)                # what else it takes

    May be called from several threads, copied and pickled.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        settings: Config,
        grammar: str | Path | None = None,
        nested: tag_nesting.Nesting | None = None,
        spoken_values: bool = False,
    ) -> None:
        """
        Args:
            network: of the experiment.
            tokenizer: that it was trained with.
            settings: the experiment's.
            grammar: file of the grammar, for the constraint "grammar".
            nested: the tag nesting of training, for the constraint "well_formed"; None: any.
            spoken_values: slots have the words that are said, not what the grammar writes for them.
        """
        self.network, self.tokenizer, self.settings = network, tokenizer, settings
        self.grammar, self.nested, self.spoken_values = grammar, nested, spoken_values
        self.confidence: confidence.Confidence | None = None
        self.name: str | None = None  # of the experiment's directory
        self._acceptors: dict[tuple[str, bool], constraints.Acceptor] = {}

    def __repr__(self) -> str:
        about = [f"{self.network.num_parameters / 1e6:.1f} M parameters"]
        about.append(f"on {self.network.device}")
        about += ["with a grammar"] if self.grammar is not None else []
        about += ["calibrated"] if self.confidence is not None else []
        name = "" if self.name is None else f"{self.name}: "
        return f"<{type(self).__name__} {name}{', '.join(about)}>"

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without what is made again when it is needed."""
        made_again = {"typed", "_encode_text"}
        return {k: v for k, v in self.__dict__.items() if k not in made_again} | {"_acceptors": {}}

    @classmethod
    def load(
        cls,
        exp_dir: str | Path,
        device: str = "cpu",
        with_confidence: bool = True,
        spoken_values: bool = False,
        num_threads: int | None = 1,
    ) -> "SpeechToSemantics":
        """Read an experiment that stage 4 finished, or a model that `atat.export` wrote.

        Args:
            exp_dir: the directory; an exported model runs on onnxruntime, without torch.
            device: cpu, cuda, cuda:1, ... as torch names it; auto: cuda where there is one.
            with_confidence: read its confidence.json, where there is one.
            spoken_values: slots as they are said ("twenty five"), not as its grammar writes them.
            num_threads: that compute on a CPU: with more than there are idle cores torch collapses.
                torch and NumPy have one number for the whole process; None leaves theirs.

        Raises:
            FileNotFoundError: there is no experiment, or no model in it.
            ValueError: its files do not belong together, or are not what they should be.
        """
        exp_dir = Path(exp_dir)
        check_experiment(exp_dir)
        settings = config_file.load_resolved(exp_dir / "config.yaml")
        tokenizer = Tokenizer.load(exp_dir / "tokenizer")
        if num_threads is not None:
            threads.limit(num_threads)
        # Each imports its library: only what is used needs to be installed.
        if exported_model.is_exported(exp_dir):
            from atat.inference import onnx_network

            network: Network = onnx_network.load(
                exp_dir, len(tokenizer), device, num_threads or 1, settings.model.transcript_first
            )
        else:
            from atat.inference import torch_network

            network = torch_network.load(exp_dir, settings, tokenizer, device, num_threads)
        grammar = exp_dir / "grammar.yaml"
        loaded = cls(
            network,
            tokenizer,
            settings,
            grammar if grammar.is_file() else None,
            tag_nesting.load(exp_dir),
            spoken_values,
        )
        loaded.name = str(exp_dir)
        if with_confidence:
            loaded.confidence = confidence.load(exp_dir)
        return loaded

    def __call__(
        self,
        source: "AudioSource | Sequence[AudioSource] | None" = None,
        *,
        text: str | Sequence[str] | None = None,
        sample_rate: float | None = None,
        max_duration_s: float | None = None,
        threshold: float | None = None,
        allow_url: bool = False,
        **options: Any,
    ) -> Result | list[Result]:
        """Predict intent and slots of audio or text.

        Args:
            source: audio, or a list of it; one of

                - a path, the bytes of a file, a file open for binary reading;
                - samples, a NumPy array or tensor: (num_samples,), (num_samples, channels), (1,
                  num_samples) or (2, num_samples), floats within [-1, 1] or int8, int16, int32;
                - `(rate, samples)` or `(samples, rate)`;
                - `{"array": samples, "sampling_rate": rate}`;
                - an http(s) address, if `allow_url`.
            text: a sentence or a list of them, instead of audio.
            sample_rate: in Hz, of samples that come without one.
            max_duration_s: longer audio is refused; the features' limit by default.
            threshold: least confidence of audio that is accepted, 0 to 1, instead of the calibrated
                one.
            allow_url: fetch addresses (at most 64 MiB in 30 s). Leave it off where others choose
                the source: they would reach what this machine can.
            options: task slu (default for audio), nlu (default for text), asr or mlm; constraint
                "none", "well_formed" (default) or "grammar"; ctc_weight 0 to 1; beam, nbest,
                max_length, length_bonus (default: `options`).

        Returns:
            A result for a single input, a list of results for a list. An input of a list that
            cannot be used has a result with `error`, and the others are understood.

        Raises:
            ValueError, OSError: a single input, or an option, that cannot be used, by name.
        """
        return one_or_several(
            source,
            text,
            threshold,
            lambda one: self.extract_features(one, sample_rate, max_duration_s, allow_url),
            lambda recordings: self.predict(recordings, threshold, **options),
            lambda texts: self.predict_texts(texts, **options),
        )

    def extract_features(
        self,
        source: "AudioSource",
        sample_rate: float | None = None,
        max_duration_s: float | None = None,
        allow_url: bool = False,
    ) -> Recording:
        """Extract features of one audio input; arguments and errors as of a call with one."""
        about = (self.settings.features, sample_rate, max_duration_s, allow_url)
        return recorded_audio.extract_features(source, *about)

    def predict(
        self, recordings: Sequence[Recording], threshold: float | None = None, **options: Any
    ) -> list[Result]:
        """Results in order, from what `extract_features` gave, in batches of like length.

        Args:
            recordings: features of each.
            threshold: as in a call.
            options: as in a call.
        """
        chosen = self.options("slu", **options)
        judge, doubt = confidence.judging(self.confidence, asdict(chosen), threshold)
        searched = chosen.with_rivals()
        spoken = [recording for recording in recordings if recording.reason is None]

        def find(batch: list[int]) -> Iterable[Found]:
            feats = [spoken[i].feats_TF for i in batch]
            if judge is None:
                return ((found, {}, doubt) for found in self.search_features(feats, searched))
            # Of the search that it was fitted for, however many are shown.
            examined = confidence.examine(self, feats, replace(chosen, nbest=1))
            more = self.search_features(feats, searched) if chosen.nbest > 1 else [[]] * len(batch)
            pairs = zip(examined, more, strict=True)
            return ((best_first(e.hypotheses, m), *judge(e)) for e, m in pairs)

        understood = iter(
            self._in_batches(
                [len(recording.feats_TF) for recording in spoken],
                find,
                chosen,
                [{"duration_s": r.duration_s, "seconds": r.seconds} for r in spoken],
            )
        )
        # Silence is refused whatever the threshold.
        refused: About = {} if judge is None else {"confidence": 0.0, "accepted": False}
        return [
            next(understood)
            if r.reason is None
            else Result(
                *(None, {}, "", None, r.reason),
                **(refused | {"duration_s": r.duration_s, "seconds": r.seconds}),
            )
            for r in recordings
        ]

    def predict_texts(self, texts: Sequence[str], **options: Any) -> list[Result]:
        """Predict intent and slots of sentences; options as in a call.

        Where there is a grammar, its sentences are parsed by it; the model decodes the others, and
        its results are accepted where `TypedText.second` does.
        """
        chosen = self.options("nlu", **options)
        if self.typed is None or chosen.task not in TAGGED_TASKS:
            return self._read_texts(texts, chosen)
        parsed = [self.typed.read(text, chosen.nbest) for text in texts]
        results = {i: result for i, result in enumerate(parsed) if result is not None}
        left = [i for i in range(len(texts)) if i not in results]
        wider = replace(chosen, nbest=max(chosen.nbest, NBEST))
        for i, guess in zip(left, self._read_texts([texts[i] for i in left], wider), strict=True):
            result = self.typed.second(texts[i], guess)
            results[i] = replace(result, nbest=result.nbest[: chosen.nbest])
        return [results[i] for i in range(len(texts))]

    @cached_property
    def typed(self) -> TypedText | None:
        """The parser of typed text by the experiment's grammar, if it has one."""
        if self.grammar is None:
            return None
        grammar = Grammar.load(self.grammar)
        grammar.spoken_values = self.spoken_values
        return TypedText(grammar)

    def _read_texts(self, texts: Sequence[str], chosen: SearchOptions) -> list[Result]:
        """The model's results of sentences."""
        sentences = [self._words(text) for text in texts]
        for text, sentence in zip(texts, sentences, strict=True):
            if not sentence:
                raise ValueError(f"text {text!r}: has no words")
        return self._in_batches(
            [text_size(sentence) for sentence in sentences],
            lambda batch: (
                (found, {}, None)
                for found in self.search_texts([sentences[i] for i in batch], chosen.with_rivals())
            ),
            chosen,
            [{"unknown": self._unknown(sentence), "seconds": 0.0} for sentence in sentences],
        )

    def options(self, default_task: str = "slu", **given: Any) -> SearchOptions:
        """The search options of a call: what is given and not None, else the experiment's.

        Of audio: those that it is calibrated for, else CTC's share and the beam of its run `test`,
        so that a user's recordings are decoded as the scored ones.

        Args:
            default_task: where none is given: slu for audio, nlu for text.
            given: fields of `SearchOptions`.

        Raises:
            ValueError: an option that does not exist, or that this model cannot do.
        """
        options = of_call(
            default_task,
            given,
            self.settings.decode,
            has_ctc=self.network.has_ctc,
            calibrated=None if self.confidence is None else self.confidence.options,
        )
        self._acceptor(options)
        return options

    def search_features(
        self, feats: Sequence[np.ndarray], options: SearchOptions
    ) -> list[list[Hypothesis]]:
        """The n best of each utterance, decoded as one batch.

        Args:
            feats: log mel features, float32 (T, F) each, as stage 2 writes them.
            options: of the search.
        """
        return self.search_encoded(*self.encode_features(feats), options)

    def encode_features(self, feats: Sequence[np.ndarray]) -> Encoded:
        """Decoder memory, its mask and CTC's scores, as `Network.encode_speech`."""
        feats = [np.asarray(f) for f in feats]
        return encode_in_parts(self.network, feats, encoder_frames(self.settings))

    def search_texts(self, texts: Sequence[str], options: SearchOptions) -> list[list[Hypothesis]]:
        """The n best of each sentence of training's words (`normalize`), decoded as one batch."""
        tokens = [self._encode_text(text) for text in texts]
        for text, ids in zip(texts, tokens, strict=True):
            if len(ids) > self.max_text_tokens:
                raise ValueError(
                    f"text '{text[:40]}...': got {len(ids)} tokens, expected at most "
                    f"{self.max_text_tokens}"
                )
        return self._search.written(tokens, options, self._acceptor(options))

    @property
    def max_text_tokens(self) -> int:
        """Most tokens of a sentence: as the text encoder takes them; where the decoder reads
        (`model.transcript_first`), half of its output."""
        room = self.network.max_tokens // 2
        return (
            min(MAX_TEXT_TOKENS, room) if self.settings.model.transcript_first else MAX_TEXT_TOKENS
        )

    @property
    def model(self) -> "AtatModel":
        """The torch model of an experiment (an exported one has none)."""
        return self.network.model

    def num_text_tokens(self, text: str) -> int:
        """Number of tokens of a sentence, `max_text_tokens` of which are taken."""
        return len(self._encode_text(text))

    @cached_property
    def _encode_text(self) -> Callable[[str], list[int]]:
        return text_tokenizer(self.settings.model, self.tokenizer)

    def _words(self, text: str) -> str:
        """The words of a typed sentence as training has them: a grammar's are spelled out, others
        with `data.spelled_out`."""
        if self.typed:
            return said(text)
        return normalize(
            spell_out(text) if self.settings.data.spelled_out else text,
            punctuation(self.tokenizer),
        )

    def _unknown(self, sentence: str) -> tuple[str, ...]:
        return tuple(w for w in sentence.split() if self.tokenizer.unk in self.tokenizer.encode(w))

    def _in_batches(
        self,
        sizes: Sequence[int],
        find: Callable[[list[int]], Iterable[Found]],
        options: SearchOptions,
        abouts: Sequence[About],
    ) -> list[Result]:
        """A result each, in order; `abouts` hold what is known already, seconds spent among it."""
        results: dict[int, Result] = {}
        grammar = None if self.typed is None else self.typed.grammar
        for batch in search_batches(sizes, self.settings.decode, options.with_rivals().beam):
            start = time.perf_counter()
            found = list(find(batch))
            share = (time.perf_counter() - start) / len(batch)
            for i, (hypotheses, judged, doubt) in zip(batch, found, strict=True):
                about = abouts[i] | judged | {"seconds": round(abouts[i]["seconds"] + share, 4)}
                results[i] = result_of(hypotheses, options, self.tokenizer, grammar, about, doubt)
        return [results[i] for i in range(len(sizes))]

    def search_encoded(
        self,
        memory_BTD: np.ndarray,
        mask_BT: np.ndarray,
        ctc_BTV: np.ndarray | None,
        options: SearchOptions,
        accepted: constraints.Acceptor | None = None,
    ) -> list[list[Hypothesis]]:
        """The n best of each utterance of a batch that is encoded already.

        Args:
            memory_BTD: encoder states, float (B, S, D).
            mask_BT: bool, True where a state is real.
            ctc_BTV: CTC's log-softmax outputs; None for text, or without CTC.
            options: of the search.
            accepted: of constrained decoding, instead of the constraint of the options.
        """
        acceptor = accepted or self._acceptor(options)
        return self._search.encoded((memory_BTD, mask_BT, ctc_BTV), options, acceptor)

    @property
    def _search(self) -> EncodedSearch:
        return EncodedSearch(self.network, self.tokenizer, self.settings)

    def _acceptor(self, options: SearchOptions) -> constraints.Acceptor | None:
        """The acceptor of a constraint; made once."""
        if options.constraint == "none":
            return None
        key = options.constraint, options.task in TAGGED_TASKS
        if key not in self._acceptors:
            self._acceptors[key] = constraints.make(self.tokenizer, *key, self.grammar, self.nested)
        return self._acceptors[key]
