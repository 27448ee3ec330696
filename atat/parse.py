"""Predict intent and slots of audio files or typed sentences: a line of JSON each, in order.

`python -m atat.parse --exp DIR a.wav b.flac` reads files, `-` a file on standard input, `--text
"turn on the lights"` a sentence, `--mic 4` four seconds of the microphone; `--mic` alone and
`--stream` (raw PCM) listen until Ctrl-C, a line an utterance. `--grammar mine.yaml` in place of
`--exp DIR` needs no training: Whisper, constrained to the sentences of the grammar. What is not
understood has no intent, and a reason. An input that cannot be used gives one line on standard
error; the others are still decoded, and the exit code is 2.
"""

import math
import sys
from pathlib import Path
from typing import Any

from atat.common import cli
from atat.config.tasks import TAGGED_TASKS
from atat.data.microphone import record
from atat.inference.parsing import line, load, show, understand
from atat.serving.listening import listen

NOT_UNDERSTOOD = 3  # exit code, on request


def main() -> None:
    """Parse audio and text, from the command line."""
    parser = cli.parser(__doc__)
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
        help="record so long from the microphone; without SECONDS, listen until Ctrl-C",
    )
    add("--stream", action="store_true", help="raw 16-bit mono samples on standard input")
    add("--rate", type=cli.positive_int, metavar="HZ", help="of --stream; default: 16000")
    add("--pause_s", type=cli.seconds, help="ends an utterance of a stream; default: 0.6")
    add("--task", choices=("slu", "nlu", "asr", "mlm"), help="default: slu for audio, nlu for text")
    add("--beam", type=cli.positive_int, help="default: the experiment's")
    add("--nbest", type=cli.positive_int, default=1, help="predictions to show of each input")
    add(
        "--constraint",
        choices=("none", "well_formed", "grammar"),
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
    args = parser.parse_args()
    if (args.exp is None) == (args.grammar is None):
        got = "neither --exp nor --grammar" if args.exp is None else "both --exp and --grammar"
        parser.error(f"got {got}, expected a trained experiment or a grammar")
    if args.whisper is not None and args.grammar is None:
        parser.error("got --whisper without --grammar, expected it with one")
    inputs: list[tuple[str, Any]] = [("file", name) for name in args.files]
    inputs += [("text", text) for text in args.text]
    endless = args.stream or args.mic == math.inf
    if not inputs and not endless and args.mic is None:
        parser.error("got nothing to understand, expected audio files, -, --text, --mic, --stream")
    if endless and (inputs or (args.stream and args.mic is not None)):
        parser.error("got other inputs beside an endless one, expected --stream or --mic alone")
    if (args.rate is not None and not args.stream) or (args.pause_s is not None and not endless):
        parser.error("got --rate or --pause_s without --stream, expected it with one")
    with_speech = endless or bool(args.files) or args.mic is not None
    if args.threshold is not None and not with_speech:
        parser.error("got --threshold for text alone, which has none; expected audio")
    if args.files.count("-") > 1:
        parser.error("got - twice: there is one standard input")
    names = ("task", "beam", "nbest", "constraint", "ctc_weight")
    options = {name: getattr(args, name) for name in names}
    model = load(args, options, with_speech)
    has_tags = args.task in (None, *TAGGED_TASKS)
    if endless:
        understood = listen(model, args, options, has_tags)
        sys.exit(0 if understood or not args.exit_code else NOT_UNDERSTOOD)
    sources = [source for _, source in inputs]
    if args.mic is not None:
        sources.append("microphone")
        inputs.append(("file", record(args.mic)))
    inputs = [
        (kind, cli.standard_input() if (kind, source) == ("file", "-") else source)
        for kind, source in inputs
    ]
    failed = missed = False
    outcomes = understand(model, inputs, args.max_duration_s, args.threshold, **options)
    for name, (kind, outcome) in zip(sources, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failed = True
            print(f"atat.parse: error: {' '.join(str(outcome).split())}", file=sys.stderr)
        else:
            missed |= has_tags and not outcome.is_understood
            show(line(name, kind, outcome, args.nbest > 1, has_tags))
    if failed:
        sys.exit(cli.USAGE)
    if missed and args.exit_code:
        sys.exit(NOT_UNDERSTOOD)


if __name__ == "__main__":
    cli.run(main)
