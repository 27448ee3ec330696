"""SLURP's format of predictions: write a run's hypotheses in it, or score such a file.

One JSON object a line: `scenario`, `action`, `entities` (each with `type` and `filler`), and
`file`, the recording, or `slurp_id` where the sentence was read. SLURP's scorer takes it; so does
the second form here, whose scores are those of that scorer, with intervals:

  python -m atat.prepare.slurp_predictions --exp DIR --data DIR --run test --out predictions.jsonl
  python -m atat.prepare.slurp_predictions --predictions FILE --gold dataset/slurp/test.jsonl
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from atat.common import cli
from atat.common.advice import rerun
from atat.common.files import atomic_write
from atat.common.json_file import read_json
from atat.config.tasks import TAGGED_TASKS
from atat.data import kaldi_dir
from atat.evaluation import entity_metrics, metrics, scoring
from atat.evaluation.entity_metrics import Meaning
from atat.evaluation.metrics import Metric, Overlap
from atat.inference.hypotheses import read_hypotheses
from atat.prepare import corpus, slurp
from atat.semantics import target_sequence

KEYS = ("file", "slurp_id")


def of_run(directory: Path, data: Path) -> list[dict[str, Any]]:
    """The predictions of a decoded run; a malformed hypothesis has no scenario, action, entities.

    Args:
        directory: has `hyp.jsonl` and `run.json` of stage 5.
        data: the splits of stage 1.

    Raises:
        ValueError: the run has words alone, or is of other data.
    """
    run = read_json(directory / "run.json")
    if run.get("task") not in TAGGED_TASKS:
        raise ValueError(
            f"{directory}: a run of task '{run.get('task')}' has no semantics, expected one of "
            f"{' or '.join(TAGGED_TASKS)}"
        )
    split = kaldi_dir.read(data / str(run.get("split")))
    found = []
    for line in read_hypotheses(directory / "hyp.jsonl"):
        if line["id"] not in (split.wav_scp or split.text or {}):
            raise ValueError(
                f"{directory / 'hyp.jsonl'}: utterance {line['id']} is not in "
                f"{data / run['split']}; decode these data; {rerun(5)}"
            )
        key = {"slurp_id": line["id"]}
        if split.wav_scp is not None:
            key = {"file": Path(split.wav_scp[line["id"]]).name}
        found.append(_prediction(line["hypothesis"]) | key)
    return found


def read(path: Path) -> dict[str, Meaning]:
    """Recording or sentence -> what was predicted.

    Raises:
        ValueError: a line is not of the format, or a second one is of the same recording; names
            file and line. FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected predictions, a JSON object a line")
    found: dict[str, Meaning] = {}
    kinds = set()
    for where, line in slurp.read_lines(path):
        kind = next((key for key in KEYS if key in line), "")
        try:
            name = str(line[kind])
            entities = tuple((str(e["type"]), str(e["filler"]).lower()) for e in line["entities"])
            meaning = Meaning(str(line["scenario"]), str(line["action"]), entities)
        except (KeyError, TypeError) as e:
            raise ValueError(
                f"{where}: expected scenario, action, entities (type and filler) and file or "
                f"slurp_id ({type(e).__name__}: {e})"
            ) from e
        if name in found:
            raise ValueError(f"{where}: a second prediction of {name}, expected one each")
        kinds.add(kind)
        if len(kinds) > 1:
            raise ValueError(
                f"{where}: has '{kind}', the lines before it the other of file, "
                "slurp_id; expected the same in all"
            )
        found[name] = meaning
    return found


def references(path: Path) -> dict[str, Meaning]:
    """Recording, and sentence (by slurp_id) -> what is right, of one of SLURP's lists.

    Raises:
        ValueError, FileNotFoundError: as `slurp.read_list`.
    """
    found: dict[str, Meaning] = {}
    for sentence in slurp.read_list(path):
        meaning = Meaning(sentence.scenario, sentence.action, sentence.entities)
        found |= dict.fromkeys((sentence.id, *sentence.files), meaning)
    return found


def score(gold: dict[str, Meaning], predicted: dict[str, Meaning]) -> dict[str, Metric]:
    """Scores of the utterances that both have: what is not predicted is left out, as SLURP does.

    Raises:
        ValueError: there is none.
    """
    names = [name for name in gold if name in predicted]
    if not names:
        raise ValueError("no prediction is of an utterance of the list; are they of another one?")
    pairs = [(gold[name], predicted[name]) for name in names]
    same = sum(a[:2] == b[:2] for a, b in pairs)
    found = {"intent_accuracy": metrics.proportion(same, len(pairs))}
    if any(a.entities for a, _ in pairs):
        found["slot_f1"] = metrics.f1([_overlap(a, b) for a, b in pairs])
    found |= entity_metrics.scores(entity_metrics.counts(*zip(*pairs, strict=True)))
    return {name: found[name] for name in metrics.TITLES if name in found}


def main() -> None:
    """Write or score predictions, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", type=Path, metavar="DIR", help="write those of this experiment")
    parser.add_argument("--data", type=Path, metavar="DIR", help="its splits")
    parser.add_argument("--run", default="test", help="its decode_RUN")
    parser.add_argument("--out", type=Path, metavar="FILE", help="predictions, or scores as JSON")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="score these")
    parser.add_argument("--gold", type=Path, metavar="FILE", help="against this list of SLURP")
    args = parser.parse_args()
    writes = bool(args.exp and args.data and args.out)
    if writes == bool(args.predictions and args.gold) or bool(args.exp) == bool(args.predictions):
        parser.error("expected --exp, --data and --out to write, or --predictions and --gold")
    if writes:
        (directory,) = scoring.run_directories(args.exp, args.run)
        found = of_run(directory, args.data)
        with atomic_write(args.out) as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in found)
        print(f"{args.out}: {len(found)} predictions")
        return
    predicted = read(args.predictions)
    gold = references(args.gold)
    scores = score(gold, predicted)
    by_file = any(Path(name).suffix for name in predicted)
    print(_coverage({name for name in gold if bool(Path(name).suffix) == by_file}, set(predicted)))
    print(scoring.table([(args.predictions.name, scores)]))
    if args.out:
        with atomic_write(args.out) as file:
            file.write(json.dumps(scores, indent=2) + "\n")


def _prediction(sequence: str) -> dict[str, Any]:
    try:
        frame = target_sequence.frame(" ".join(sequence.split()))
    except ValueError:
        return {"scenario": "", "action": "", "entities": []}
    scenario, action, entities = entity_metrics.meaning(frame)
    fillers = [{"type": name, "filler": filler} for name, filler in entities]
    return {"scenario": scenario, "action": action, "entities": fillers}


def _overlap(reference: Meaning, predicted: Meaning) -> Overlap:
    ours, theirs = Counter(reference.entities), Counter(predicted.entities)
    return Overlap((ours & theirs).total(), ours.total(), theirs.total())


def _coverage(expected: set[str], got: set[str]) -> str:
    """How many utterances are predicted, and what is not, as an example."""
    said = f"{len(expected & got)} of {len(expected)} predicted"
    if missing := expected - got:
        said += f"; the others are left out, as SLURP's scorer does: {corpus.examples(missing)}"
    if others := got - expected:
        said += f"; {len(others)} predictions are of none of them"
    return said


if __name__ == "__main__":
    cli.run(main)
