"""Synthesise a text (TTS) with an installed engine.

python -m atat.synth --list
python -m atat.synth --say "turn on the lights" --engine espeak --out lights.wav
"""

from pathlib import Path

from atat.common import cli
from atat.synthesis import engines
from atat.synthesis.synthetic_speech import Request, render_one, voices_of


def _list_engines() -> None:
    for name in engines.NAMES:
        try:
            engine = engines.load(name)
            voices = engine.voices()
            print(f"{name} {engine.version}: {len(voices)} voices: {' '.join(voices)}")
        except ValueError as e:
            print(f"{name}: not here: {e}")


def main() -> None:
    """Say a text, or list the voices, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--list", action="store_true", help="list synthesisers and voices")
    parser.add_argument("--say", metavar="TEXT", help="a text to say")
    parser.add_argument("--engine", default="espeak", help=", ".join(engines.NAMES))
    parser.add_argument("--voice", help="the engine's first if not given")
    parser.add_argument("--rate", type=float, default=1.0, help="tempo; 2 is twice as fast")
    parser.add_argument("--pitch", type=float, default=1.0, help="2 is an octave higher")
    parser.add_argument("--speaker_factor", type=float, default=1.0, help="formants and pitch")
    parser.add_argument("--seed", type=int, default=0, help="of the engine's noise")
    parser.add_argument("--out", metavar="WAV", type=Path, help="the file to write with --say")
    args = parser.parse_args()
    if args.list:
        _list_engines()
    if args.say is None:
        if not args.list:
            parser.error("got nothing to do, expected --list or --say TEXT --out WAV")
        return
    if args.out is None:
        parser.error("got --say without --out, expected --out WAV")
    name = args.engine if args.voice is None else f"{args.engine}/{args.voice}"
    engine, voice = voices_of(name)[0]
    request = Request(
        engine, voice, args.say, args.speaker_factor, args.rate, args.pitch, args.seed
    )
    failure = render_one((args.out, request))
    if failure is not None:
        raise ValueError(failure)


if __name__ == "__main__":
    cli.run(main)
