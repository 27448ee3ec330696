"""Understand audio files or typed sentences: a line of JSON each, in the order given.

`python -m atat.parse --exp DIR a.wav b.flac` reads files, `-` a file on standard input, `--text
"turn on the lights"` a sentence, `--mic 4` four seconds of the microphone. `--grammar mine.yaml` in
place of `--exp DIR` needs no training: Whisper, held to the sentences of the grammar. What is not
understood has no intent, and a reason. An input that cannot be used gives one line on standard
error; the others are still understood, and the exit code is 2.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common import cli
from atat.config.tasks import TAGGED_TASKS
from atat.data.microphone import record

if TYPE_CHECKING:
    from atat.inference import SpeechToSemantics
    from atat.reading import Result
    from atat.whisper_grammar import WhisperGrammar

TOGETHER = 16  # files decoded as one batch
NOT_UNDERSTOOD = 3  # exit code, on request


def understand(
    model: "SpeechToSemantics | WhisperGrammar",
    inputs: list[tuple[str, Any]],
    max_duration_s: float | None = None,
    threshold: float | None = None,
    **options: Any,
) -> Iterator[tuple[str, "Result | ValueError | OSError"]]:
    """What the model makes of each input, in order.

    Args:
        inputs: kind ("file" or "text") and source of each: a sentence, a path, an open file, or
            (samples, sample rate).
        max_duration_s, threshold, options: as `SpeechToSemantics`.

    Yields:
        The input's kind, and its result, or the error that says why there is none.
    """
    for first in range(0, len(inputs), TOGETHER):
        group = inputs[first : first + TOGETHER]
        outcomes: list[Any] = [None] * len(group)
        heard = []
        for i, (kind, source) in enumerate(group):
            try:
                if kind == "text":
                    outcomes[i] = model(text=source, **options | {"ctc_weight": 0.0})
                else:
                    samples, rate = source if isinstance(source, tuple) else (source, None)
                    heard.append((i, model.hear(samples, rate, max_duration_s)))
            except (ValueError, OSError) as e:
                outcomes[i] = e
        if heard:
            results = model.understand([recording for _, recording in heard], threshold, **options)
            for (i, _), result in zip(heard, results, strict=True):
                outcomes[i] = result
        yield from zip((kind for kind, _ in group), outcomes, strict=True)


def line(name: str, kind: str, result: "Result", with_nbest: bool, has_tags: bool = True) -> str:
    """A result as a line of JSON; what has nothing to say is left out.

    Args:
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
    for key in ("reason", "unknown", "duration_s"):
        if not about[key]:
            del about[key]
    for key in ("confidence", "accepted", "slot_confidence", "spoken_slots"):
        if about[key] is None:
            del about[key]
    if with_nbest:
        about["nbest"] = nbest
    return json.dumps({kind: name, **about}, ensure_ascii=False)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got '{text}', expected seconds above 0")
    return value


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="audio (wav, flac, ogg); - is standard input")
    add("--exp", type=Path, metavar="DIR", help="a trained experiment")
    add("--grammar", type=Path, metavar="FILE", help="without training, by Whisper: a grammar")
    add(
        "--whisper", metavar="SOURCE", help="directory, Hugging Face name or package of its weights"
    )
    add("--text", action="append", default=[], help="a sentence to understand; may be repeated")
    add("--mic", type=_seconds, metavar="SECONDS", help="record so long from the microphone")
    add("--task", choices=("slu", "nlu", "asr", "mlm"), help="default: slu for audio, nlu for text")
    add("--beam", type=cli.positive_int, help="default: the experiment's")
    add("--nbest", type=cli.positive_int, default=1, help="readings to show of each input")
    add(
        "--constraint",
        choices=("none", "well_formed", "grammar"),
        help="what may come out: anything, sequences with matching tags (default, but for "
        "calibrated experiments), sentences of the grammar",
    )
    add("--ctc_weight", type=float, help="share of CTC in the score, 0 to 1; default: as scored")
    add("--max_duration_s", type=_seconds, help="refuse longer audio; default: the experiment's")
    add("--threshold", type=float, help="least confidence that is accepted; default: calibrated")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add("--num_threads", type=cli.positive_int, default=1, help="for the arithmetic on a CPU")
    add(
        "--exit_code",
        type=cli.boolean,
        default=False,
        help=f"true: leave with {NOT_UNDERSTOOD} where an input was not understood (and with 2 "
        "where one could not be used)",
    )
    add(
        "--spoken_values",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="slots in the words that are said (twenty five), not as the grammar writes them (25)",
    )
    args = parser.parse_args()
    if (args.exp is None) == (args.grammar is None):
        got = "neither --exp nor --grammar" if args.exp is None else "both --exp and --grammar"
        parser.error(f"got {got}, expected a trained experiment or a grammar")
    if args.whisper is not None and args.grammar is None:
        parser.error("got --whisper without --grammar, expected it with one")
    inputs: list[tuple[str, Any]] = [("file", name) for name in args.files]
    inputs += [("text", text) for text in args.text]
    if not inputs and args.mic is None:
        parser.error("got nothing to understand, expected audio files, -, --text or --mic")
    with_speech = bool(args.files) or args.mic is not None
    if args.threshold is not None and not with_speech:
        parser.error("got --threshold for text alone, which has none; expected audio")
    if args.files.count("-") > 1:
        parser.error("got - twice: there is one standard input")
    options = {
        "task": args.task,
        "beam": args.beam,
        "nbest": args.nbest,
        "constraint": args.constraint,
        "ctc_weight": args.ctc_weight,
    }
    model = load(args, options, with_speech)
    names = [source for _, source in inputs]
    if args.mic is not None:
        names.append("microphone")
        inputs.append(("file", record(args.mic)))
    inputs = [
        (kind, sys.stdin.buffer if (kind, source) == ("file", "-") else source)
        for kind, source in inputs
    ]

    has_tags = args.task in (None, *TAGGED_TASKS)
    failed = missed = False
    outcomes = understand(model, inputs, args.max_duration_s, args.threshold, **options)
    for name, (kind, outcome) in zip(names, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failed = True
            print(f"atat.parse: error: {' '.join(str(outcome).split())}", file=sys.stderr)
        else:
            missed |= has_tags and not outcome.is_understood
            print(line(name, kind, outcome, args.nbest > 1, has_tags), flush=True)
    if failed:
        sys.exit(cli.USAGE)
    if missed and args.exit_code:
        sys.exit(NOT_UNDERSTOOD)


def load(
    args: argparse.Namespace, options: dict[str, Any], with_speech: bool
) -> "SpeechToSemantics | WhisperGrammar":
    """What understands. A mistake in the options is the same for every input: it is said once."""
    if args.exp is not None:
        from atat.models.checkpoint import check_experiment

        check_experiment(args.exp)
    if with_speech or args.exp is not None:
        import torch

        torch.set_num_threads(args.num_threads)
    if args.grammar is not None:
        from atat.whisper_grammar import WhisperGrammar

        WhisperGrammar.options(**options)
        WhisperGrammar.threshold(args.threshold)
        return WhisperGrammar.load(
            args.grammar, args.whisper, args.device, with_speech, args.spoken_values
        )

    from atat import confidence
    from atat.inference import SpeechToSemantics

    model = SpeechToSemantics.load(args.exp, args.device, spoken_values=args.spoken_values)
    chosen = asdict(model.options(**options))
    confidence.judge(model.confidence, chosen, args.threshold)
    return model


if __name__ == "__main__":
    cli.run(main)
