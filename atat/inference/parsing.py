"""Audio files, recordings and sentences of a command line, and the results as JSON."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from atat.inference.result import Result

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics
    from atat.inference.whisper_grammar import WhisperGrammar

TOGETHER = 16  # files decoded as one batch


def predict(
    model: "SpeechToSemantics | WhisperGrammar",
    inputs: list[tuple[str, Any]],
    max_duration_s: float | None = None,
    threshold: float | None = None,
    **options: Any,
) -> Iterator[tuple[str, "Result | ValueError | OSError"]]:
    """Results of inputs of all kinds, in order, decoded together in batches.

    Args:
        model: trained, or Whisper held to a grammar.
        inputs: kind ("file" or "text") and source of each: a sentence, a path, an open file, or
            (samples, sample rate in Hz).
        max_duration_s: longer audio is refused; None: the experiment's limit.
        threshold: least confidence that is accepted, 0 to 1; None: the calibrated one.
        options: of the search, as `SpeechToSemantics` takes them.

    Yields:
        The input's kind, and its result, or the error that says why there is none.
    """
    for first in range(0, len(inputs), TOGETHER):
        group = inputs[first : first + TOGETHER]
        outcomes: list[Any] = [None] * len(group)
        heard: list[tuple[int, Any]] = []  # of the kind that this model hears
        for i, (kind, source) in enumerate(group):
            try:
                if kind == "text":
                    outcomes[i] = model(text=source, **options | {"ctc_weight": 0.0})
                else:
                    samples, rate = source if isinstance(source, tuple) else (source, None)
                    heard.append((i, model.extract_features(samples, rate, max_duration_s)))
            except (ValueError, OSError) as e:
                outcomes[i] = e
        if heard:
            results = model.predict([recording for _, recording in heard], threshold, **options)
            for (i, _), result in zip(heard, results, strict=True):
                outcomes[i] = result
        yield from zip((kind for kind, _ in group), outcomes, strict=True)


def line(name: str, kind: str, result: Result, with_nbest: bool, has_tags: bool = True) -> str:
    """A result as a line of JSON; keys without a value are left out.

    Args:
        name: of the input: a path or a sentence.
        kind: "file" or "text", the key of the name.
        result: of that input.
        with_nbest: with the n best.
        has_tags: false where words were asked for, which have no intent and slots.
    """
    about = result.to_dict()
    nbest = about.pop("nbest")
    if has_tags:
        about = {"is_understood": about.pop("is_understood"), **about}
    else:
        about, *nbest = ({"words": r["semantics"], **r} for r in (about, *nbest))
        for reading in (about, *nbest):
            for key in ("is_understood", "intent", "slots", "semantics"):
                reading.pop(key, None)
    for reading in (about, *nbest):
        if reading["score"] is not None:
            reading["score"] = round(reading["score"], 4)
    for key in ("reason", "unknown", "duration_s", "error"):
        if not about[key]:
            del about[key]
    for key in ("confidence", "accepted", "slot_confidence", "spoken_slots"):
        if about[key] is None:
            del about[key]
    if with_nbest:
        about["nbest"] = nbest
    return json.dumps({kind: name, **about}, ensure_ascii=False)


def show(text: str) -> None:
    """Print a line of JSON, with escapes for what the encoding of standard output does not have."""
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        print(json.dumps(json.loads(text)), flush=True)


def load(
    args: argparse.Namespace, options: dict[str, Any], with_speech: bool
) -> "SpeechToSemantics | WhisperGrammar":
    """The model that a command line names, its options checked once for all inputs.

    Args:
        args: of `atat.parse`.
        options: of the search, by name.
        with_speech: false loads nothing that typed text does not need.

    Raises:
        ValueError, FileNotFoundError: no such model, or options that it does not have.
    """
    if args.grammar is not None:
        if with_speech:
            import torch

            torch.set_num_threads(args.num_threads)
        from atat.inference.whisper_grammar import WhisperGrammar  # with NumPy

        WhisperGrammar.options(**options)
        WhisperGrammar.threshold(args.threshold)
        return WhisperGrammar.load(
            args.grammar, args.whisper, args.device, with_speech, args.spoken_values
        )

    from atat.inference import confidence
    from atat.inference.predictor import SpeechToSemantics

    model = SpeechToSemantics.load(
        args.exp, args.device, spoken_values=args.spoken_values, num_threads=args.num_threads
    )
    chosen = asdict(model.options(**options))
    confidence.judge(model.confidence, chosen, args.threshold)
    return model
