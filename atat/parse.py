"""Predict intent and slots of audio files or typed sentences: a line of JSON each, in order.

`python -m atat.parse --exp DIR a.wav b.flac` reads files, `-` a file on standard input, `--text
"turn on the lights"` a sentence, `--mic 4` four seconds of the microphone; `--mic` alone and
`--stream` (raw PCM) listen until Ctrl-C, a line an utterance. `--grammar mine.yaml` in place of
`--exp DIR` needs no training: Whisper, constrained to the sentences of the grammar. What is not
understood has no intent, and a reason. An input that cannot be used gives one line on standard
error; the others are still decoded, and the exit code is 2.
"""

import sys
from typing import Any

from atat.common import cli
from atat.config.tasks import TAGGED_TASKS
from atat.data.microphone import record
from atat.inference.parse_arguments import (
    NOT_UNDERSTOOD,
    arguments,
    check,
    has_speech,
    is_endless,
)
from atat.inference.parsing import line, load, predict, show
from atat.serving.listening import listen


def main() -> None:
    """Parse audio and text, from the command line."""
    parser = arguments(__doc__)
    args = parser.parse_args()
    check(args, parser.error)
    names = ("task", "beam", "nbest", "constraint", "ctc_weight")
    options = {name: getattr(args, name) for name in names}
    model = load(args, options, has_speech(args))
    has_tags = args.task in (None, *TAGGED_TASKS)
    if is_endless(args):
        understood = listen(model, args, options, has_tags)
        sys.exit(0 if understood or not args.exit_code else NOT_UNDERSTOOD)
    inputs: list[tuple[str, Any]] = [("file", name) for name in args.files]
    inputs += [("text", text) for text in args.text]
    sources = [source for _, source in inputs]
    if args.mic is not None:
        sources.append("microphone")
        inputs.append(("file", record(args.mic)))
    inputs = [
        (kind, cli.standard_input() if (kind, source) == ("file", "-") else source)
        for kind, source in inputs
    ]
    failed = missed = False
    outcomes = predict(model, inputs, args.max_duration_s, args.threshold, **options)
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
