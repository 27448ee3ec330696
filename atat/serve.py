"""Serve a trained model: files, PCM, text and streams in, intent and slots as JSON out.

`python -m atat.serve --model DIR` listens on this machine alone and has a page with a microphone
(http://127.0.0.1:8000). `--host 0.0.0.0` lets others in, who need the token. docs/service.md has
the API; /docs of the service describes it too.
"""

import logging
import os
import sys
from pathlib import Path

from atat.common import cli
from atat.serving.service_settings import TOKEN_ENV, ServiceSettings


def arguments() -> cli.Parser:
    """The options of the command."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add(
        "--model", type=Path, metavar="DIR", required=True, help="an experiment, or an exported one"
    )
    add("--host", default=ServiceSettings.host, help="name or address to listen on")
    add("--port", type=int, default=8000, help="0 takes a free one, which is printed")
    add(
        "--token",
        help=f"what clients must know; rather in the environment, {TOKEN_ENV}, where `ps` does not "
        "show it",
    )
    add(
        "--allow_host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which clients call, behind a proxy; may be repeated",
    )
    add(
        "--max_sessions",
        type=cli.positive_int,
        default=ServiceSettings.max_sessions,
        help="streams at once; more are refused",
    )
    add(
        "--max_waiting",
        type=cli.positive_int,
        default=ServiceSettings.max_waiting,
        help="requests at once; more are refused with 503",
    )
    add("--max_mb", type=float, default=ServiceSettings.max_mb, help="of a request, in MiB")
    add("--max_duration_s", type=float, help="of an utterance; default: the model's limit")
    add(
        "--num_threads",
        type=cli.positive_int,
        default=ServiceSettings.num_threads,
        help="in which the model runs: utterances at once",
    )
    add("--log_text", type=cli.boolean, default=False, help="log what was understood")
    return parser


def main() -> None:
    """Serve a model, from the command line."""
    parser = arguments()
    args = parser.parse_args()
    if not 0 <= args.port < 2**16:
        parser.error(f"got --port {args.port}, expected 0 to 65535")
    settings = ServiceSettings(
        host=args.host,
        token=args.token or os.environ.get(TOKEN_ENV) or None,
        allowed_hosts=tuple(name.lower() for name in args.allow_host),
        max_sessions=args.max_sessions,
        max_waiting=args.max_waiting,
        max_mb=args.max_mb,
        max_duration_s=args.max_duration_s,
        num_threads=args.num_threads,
        log_text=args.log_text,
    )
    from atat.serving import service_process

    listening = service_process.listen(args.host, args.port)
    from atat.data.filter_bank import longest_s
    from atat.inference.predictor import SpeechToSemantics

    # As many utterances at once as there are threads, each in one.
    model = SpeechToSemantics.load(args.model, num_threads=1)
    longest_s(model.settings.features, settings.max_duration_s)  # warns now, not in a request
    from atat.serving.http_server import create_app

    app = create_app(model, settings)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("atat.serving").setLevel(logging.INFO)
    token = "with a token" if settings.token else "without a token"
    print(
        f"atat.serve: {service_process.address_of(listening)} ({token}); Ctrl-C ends it", flush=True
    )
    service_process.run(app, listening)
    print("atat.serve: ended", flush=True)


if __name__ == "__main__":
    cli.run(main)
