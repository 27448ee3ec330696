#!/usr/bin/env python3
"""What `./run.sh --grammar` gives for the grammars of egs/commands/grammars: a table, one row each.

Reads what the runs have left and writes nothing that they did not measure; a grammar that has not
been run says so, with the command that runs it.

  for one in egs/commands/grammars/*.yaml; do ./run.sh --grammar "$one"; done
  tools/bench/grammars.py --out egs/commands/grammars/RESULTS.md
"""

import textwrap
from pathlib import Path
from typing import Any

from atat.common import cli
from atat.common.files import atomic_write
from atat.common.json_file import read_json
from atat.evaluation.scoring import percent
from atat.grammar.grammar import Grammar

ROOT = Path(__file__).resolve().parent.parent.parent
GRAMMARS = Path("egs/commands/grammars")
RUN = "test_grammar"
HEADER = (
    *("grammar", "intents", "sentences", "EM Hyp", "Macro EM", "n", "accepted"),
    *("false accepts an hour", "worst condition", "training min (CPU)", "commit"),
)


def row(path: Path) -> list[str]:
    """The cells of a grammar; the command that is to be run where its experiment is not there."""
    grammar = Grammar.load(ROOT / path)
    name, exp = path.stem, ROOT / "egs" / "commands" / f"exp_{path.stem}" / "atat"
    cells = [name, str(len(grammar.intents)), f"{grammar.count():,}"]
    if not (exp / f"decode_{RUN}" / "scores.json").is_file():
        return [*cells, f"not run: ./run.sh --grammar {path}", *[""] * (len(HEADER) - 4)]
    scores, env = read_json(exp / f"decode_{RUN}" / "scores.json"), read_json(exp / "env.json")
    em_hyp, macro = scores["em_hyp"], scores.get("em_hyp_macro")
    measured = read_json(exp / "confidence.json")["about"]["measured_on_the_other_half"]
    return [
        *cells,
        percent(em_hyp),
        percent(macro) if macro else "one intent",
        str(em_hyp["n"]),
        percent(measured["accepted"]) if "accepted" in measured else "",
        false_accepts(measured.get("false_accepts")),
        worst_condition(read_json(exp / "conditions" / "scores.json")),
        minutes(exp),
        env["commit"],
    ]


def false_accepts(rate: dict[str, Any] | None) -> str:
    """An hour, as the calibration has measured them; "" where it had nothing to measure on."""
    if rate is None:
        return ""
    return f"{rate['value']:.1f} ({rate['low']:.1f}-{rate['high']:.1f}) in {rate['hours']:.2f} h"


def worst_condition(tried: dict[str, Any]) -> str:
    """The condition that costs most, and how many are right in it."""
    line = min(tried["scores"], key=lambda line: line["em_hyp"]["value"])
    return f"{line['condition']}: {percent(line['em_hyp'])}"


def minutes(exp: Path) -> str:
    """Of training, by the clock and of computing, as its log has them."""
    from atat.training import train_log

    last = train_log.read(exp / "train.jsonl")[-1]
    return f"{last['minutes']:.1f} ({last['cpu_minutes']:.1f})"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--out", type=Path, help="Markdown file to write; printed otherwise")
    args = parser.parse_args()
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / GRAMMARS).glob("*.yaml"))
    lines = [HEADER, ["---"] * len(HEADER), *map(row, paths)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    about = (
        "`./run.sh --grammar egs/commands/grammars/NAME.yaml`, seed 1, the recipe's settings at "
        "the commit beside. "
        "Trained on rendered speech, tested by a synthesiser not heard in training (nanotts), "
        f"held to the grammar (the run {RUN}); `about.json` of each run says how many test "
        "sentences training had. Accepted, and false accepts: of the half of validation and of two "
        "hours of other audio that the threshold was not fitted on. In brackets 95 % intervals."
    )
    text = (
        "# Results: grammars of other shapes\n\n"
        "Written by `tools/bench/grammars.py`: run it again instead of editing this.\n\n"
        f"{textwrap.fill(about, 119, break_long_words=False, break_on_hyphens=False)}\n\n"
        f"{table}\n"
    )
    if args.out:
        with atomic_write(args.out) as file:
            file.write(text)
    else:
        print(text)


if __name__ == "__main__":
    cli.run(main)
