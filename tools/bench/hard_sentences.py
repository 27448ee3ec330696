#!/usr/bin/env python3
"""Sentences that are hard to act on rightly: how many are right, refused, wrong, by kind.

Where the meaning is clear, right is wanted, and refused is no harm: paraphrases and restarts need
not be in the grammar. Wrong is another meaning, or any where the sentence is to be refused.

  tools/bench/hard_sentences.py --exp egs/commands/exp/atat
  tools/bench/hard_sentences.py --grammar egs/commands/grammar.yaml --engine nanotts --show true
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from atat.common import cli
from atat.common.files import atomic_write
from atat.common.text_table import align
from atat.inference.result import Result

SENTENCES = Path(__file__).resolve().parents[2] / "egs" / "commands" / "hard_sentences.tsv"
COLUMNS = ["kind", "sentence", "wanted"]
REFUSE = "refuse"
OUTCOMES = ("right", "refused", "wrong")


class Sentence(NamedTuple):
    """A sentence, its kind, and the (intent, slots) that is wanted; None where it is refused."""

    kind: str
    sentence: str
    wanted: tuple[str, dict] | None


def load(path: Path) -> list[Sentence]:
    """Read a file of sentences.

    Raises:
        ValueError: it is not one, with file and line; FileNotFoundError: it is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or rows[0] != COLUMNS:
        raise ValueError(f"{path}:1: expected the columns {', '.join(COLUMNS)}, apart by tabs")
    sentences = []
    for number, row in enumerate(rows[1:], 2):
        try:
            kind, sentence, wanted = row
            frame = None if wanted == REFUSE else json.loads(wanted)
            meaning = None if frame is None else (frame["intent"], frame["slots"])
        except (ValueError, KeyError, TypeError) as e:
            raise ValueError(
                f"{path}:{number}: expected kind, sentence, and refuse or "
                f'{{"intent": ..., "slots": {{...}}}} ({e})'
            ) from e
        sentences.append(Sentence(kind, sentence, meaning))
    return sentences


def outcome(wanted: tuple[str, dict] | None, result: Result) -> str:
    """One of OUTCOMES: "right" is what is wanted, refusing what is to be refused "refused"."""
    if not result.is_understood:
        return "refused"
    return "right" if wanted == (result.intent, result.slots) else "wrong"


def table(counts: Counter, kinds: list[str]) -> str:
    """A row a kind and one of all."""
    rows = [["kind", "n", *OUTCOMES]]
    for kind in (*kinds, "all"):
        own = [sum(counts[k, o] for k in kinds if kind in (k, "all")) for o in OUTCOMES]
        rows.append([kind, str(sum(own)), *map(str, own)])
    return align(rows)


def speech(sentences: list[str], engine: str, cache: Path) -> list[Path | None]:
    """Rendered audio of each; None where the synthesiser fails."""
    from atat.synthesis import synthetic_speech

    return synthetic_speech.render(
        synthetic_speech.plan(sentences, {engine: 1.0}, seed=1), cache, num_jobs=1
    )


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", type=Path, metavar="DIR", help="a trained experiment")
    add("--grammar", type=Path, metavar="FILE", help="without training: a grammar, and Whisper")
    add("--sentences", type=Path, default=SENTENCES, metavar="TSV", help=", ".join(COLUMNS))
    add("--engine", help="spoken by this synthesiser, as atat.synth names it; default: typed")
    add("--cache", type=Path, default=Path("cache/tts"), help="of rendered speech")
    add("--show", type=cli.boolean, default=False, help="what is wrong, on standard error")
    add("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    if (args.exp is None) == (args.grammar is None):
        parser.error("expected one of --exp and --grammar")
    sentences = load(args.sentences)
    if args.grammar is not None:
        from atat.inference.whisper_grammar import WhisperGrammar

        model = WhisperGrammar.load(args.grammar, with_speech=args.engine is not None)
    else:
        from atat.inference.predictor import SpeechToSemantics

        model = SpeechToSemantics.load(args.exp)
    texts = [sentence for _, sentence, _ in sentences]
    if args.engine is None:
        results = [model(text=text) for text in cli.progress(texts)]
    else:
        paths = speech(texts, args.engine, args.cache)
        results = [None if path is None else model(path) for path in cli.progress(paths)]
    counts, lines = Counter(), []
    for (kind, sentence, wanted), result in zip(sentences, results, strict=True):
        if result is None:
            continue
        verdict = outcome(wanted, result)
        counts[kind, verdict] += 1
        about = {"kind": kind, "sentence": sentence, "outcome": verdict}
        lines.append(about | {"intent": result.intent, "slots": result.slots})
        if args.show and verdict == "wrong":
            print(f"{kind}: '{sentence}' -> {result.intent} {result.slots}", file=sys.stderr)
    print(table(counts, list(dict.fromkeys(kind for kind, _, _ in sentences))))
    if args.out:
        with atomic_write(args.out) as file:
            json.dump(lines, file, indent=1)


if __name__ == "__main__":
    cli.run(main)
