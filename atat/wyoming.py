"""Serve a model to Home Assistant, by the Wyoming protocol: speech to text, and intents of text.

`python -m atat.wyoming --model DIR` listens on this machine alone. The protocol has no
authentication: whoever reaches another `--uri` may use the model. docs/home_assistant.md says how
Home Assistant is told of it.
"""

import asyncio
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from atat import __version__
from atat.common import cli
from atat.config.tasks import CONSTRAINTS


def arguments() -> cli.Parser:
    """The options of the command."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="DIR", help="a trained or exported model")
    add("--uri", default="tcp://127.0.0.1:10300", help="tcp://HOST:PORT; port 0: one that is free")
    add("--name", help="of the model, as it is shown; default: its directory's")
    add("--threshold", type=float, help="least confidence that is accepted; default: calibrated")
    add(
        "--transcripts",
        choices=("semantics", "asr"),
        default="semantics",
        help="semantics: the words of what was understood, none where nothing was; asr: the words "
        "that were heard, whatever they are",
    )
    add(
        "--constraint",
        choices=CONSTRAINTS,
        help="constrained decoding of speech; default: as calibrated",
    )
    add("--max_duration_s", type=cli.positive_int, help="longest speech; default: the model's")
    add("--max_sessions", type=cli.positive_int, default=16, help="connections at once")
    add(
        "--idle_s",
        type=cli.positive_int,
        default=30,
        help="seconds without an event until one ends",
    )
    add("--num_threads", type=cli.positive_int, default=1, help="of one computation")
    add("--log_text", type=cli.boolean, default=False, help="log why something is not understood")
    return parser


def main() -> None:
    """Serve a model, from the command line."""
    args = arguments().parse_args()
    from atat.serving import wyoming_server

    host, port = wyoming_server.address(args.uri)
    if not wyoming_server.is_loopback(host):
        print(
            f"atat.wyoming: warning: {args.uri}: the protocol has no authentication: whoever "
            "reaches this address may use the model",
            file=sys.stderr,
        )
    from atat import SpeechToSemantics
    from atat.data.filter_bank import longest_s
    from atat.inference import confidence

    model = SpeechToSemantics.load(args.model, num_threads=args.num_threads)
    options = {} if args.constraint is None else {"constraint": args.constraint}
    confidence.judge(model.confidence, asdict(model.options("slu", **options)), args.threshold)
    service = wyoming_server.Service(
        model,
        name=args.name or args.model.resolve().name,
        version=__version__,
        max_duration_s=longest_s(model.settings.features, args.max_duration_s),
        threshold=args.threshold,
        transcripts=args.transcripts,
        max_sessions=args.max_sessions,
        idle_s=args.idle_s,
        options=options,
        log_text=args.log_text,
    )
    service.warm_up()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)

    def ready(port: int) -> None:
        print(f"{service.name}: listening on tcp://{host}:{port}; Ctrl-C ends it", flush=True)

    asyncio.run(wyoming_server.serve(service, host, port, ready))


if __name__ == "__main__":
    cli.run(main)
