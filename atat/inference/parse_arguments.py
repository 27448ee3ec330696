"""The options of `atat.parse`, and which of them go together."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from atat.common import cli
from atat.config.tasks import CONSTRAINTS, TASKS

NOT_UNDERSTOOD = 3  # exit code, on request


def arguments(description: str) -> argparse.ArgumentParser:
    """The options of the command that `description` describes."""
    parser = cli.parser(description)
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="audio (wav, mp3, ...); - is standard input")
    add("--exp", type=Path, metavar="DIR", help="a trained experiment")
    add("--grammar", type=Path, metavar="FILE", help="without training, by Whisper: a grammar")
    add("--whisper", metavar="SOURCE", help="its weights: directory, Hugging Face name, package")
    add("--text", action="append", default=[], help="a sentence to understand; may be repeated")
    add(
        "--mic",
        type=cli.seconds,
        nargs="?",
        const=math.inf,
        metavar="SECONDS",
        help="record SECONDS from the microphone; without SECONDS, listen until Ctrl-C",
    )
    add("--stream", action="store_true", help="raw 16-bit mono samples on standard input")
    add("--rate", type=cli.positive_int, metavar="HZ", help="of --stream; default: 16000")
    add("--pause_s", type=cli.seconds, help="ends an utterance of a stream; default: 0.6")
    add("--task", choices=TASKS, help="default: slu for audio, nlu for text")
    add("--beam", type=cli.positive_int, help="default: the experiment's")
    add("--nbest", type=cli.positive_int, default=1, help="predictions to show of each input")
    add(
        "--constraint",
        choices=CONSTRAINTS,
        help="constrained decoding: none, tags that match and nest as in training (default, but "
        "for calibrated experiments), sentences of the grammar",
    )
    add("--ctc_weight", type=float, help="share of CTC in the score, 0 to 1; default: as scored")
    add("--max_duration_s", type=cli.seconds, help="refuse longer audio; default: the experiment's")
    add("--threshold", type=float, help="least confidence that is accepted; default: calibrated")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ..., or auto")
    add("--num_threads", type=cli.positive_int, default=1, help="of torch, on a CPU")
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
    return parser


def check(args: argparse.Namespace, error: Callable[[str], NoReturn]) -> None:
    """Say by `error` which options do not go together."""
    if (args.exp is None) == (args.grammar is None):
        got = "neither --exp nor --grammar" if args.exp is None else "both --exp and --grammar"
        error(f"got {got}, expected a trained experiment or a grammar")
    if args.whisper is not None and args.grammar is None:
        error("got --whisper without --grammar, expected it with one")
    inputs = bool(args.files or args.text)
    endless = is_endless(args)
    if not inputs and not endless and args.mic is None:
        error("got nothing to understand, expected audio files, -, --text, --mic, --stream")
    if endless and (inputs or (args.stream and args.mic is not None)):
        error("got other inputs beside an endless one, expected --stream or --mic alone")
    if (args.rate is not None and not args.stream) or (args.pause_s is not None and not endless):
        error("got --rate or --pause_s without --stream, expected it with one")
    if args.threshold is not None and not has_speech(args):
        error("got --threshold for text alone, which has none; expected audio")
    if args.files and not (args.text or args.mic) and not any(map(_is_file, args.files)):
        error(f'{args.files[0]}: no such file; a sentence? --text "{" ".join(args.files)}"')
    if args.files.count("-") > 1:
        error("got - twice: there is one standard input")


def _is_file(name: str) -> bool:
    """Whether it may be meant as a file, there or not; "turn" of a sentence is not."""
    return name == "-" or not {".", "/"}.isdisjoint(name) or Path(name).exists()


def is_endless(args: argparse.Namespace) -> bool:
    """Whether it listens until somebody stops it."""
    return args.stream or args.mic == math.inf


def has_speech(args: argparse.Namespace) -> bool:
    """Whether anything is audio."""
    return is_endless(args) or bool(args.files) or args.mic is not None
