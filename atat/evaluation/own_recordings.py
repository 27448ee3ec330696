"""A user's own recordings: understood as any other audio, and scored."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common.files import atomic_write
from atat.common.provenance import commit
from atat.common.text_table import align
from atat.data.kaldi_dir import DataDir
from atat.evaluation import metrics, scoring
from atat.evaluation.evaluation_data import readable, warn_of_labels
from atat.evaluation.metrics import Metric
from atat.inference.parsing import predict
from atat.models.checkpoint import digest
from atat.semantics.target_sequence import Frame

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics

TITLES = metrics.TITLES | {"understood": "understood", "understood_wrong": "understood, and wrong"}
MAX_MISTAKES = 50  # that are shown

Line = dict[str, Any]  # as of hyp.jsonl, with `understood`


def understand(model: "SpeechToSemantics", recordings: DataDir) -> list[Line]:
    """A line each, with hypothesis, confidence and whether it is understood.

    What cannot be read is said, and left out; labels that the model cannot give are said.

    Args:
        model: trained.
        recordings: with wav_scp and semantics.

    Raises:
        ValueError: not one can be read.
    """
    assert recordings.wav_scp is not None and recordings.semantics is not None
    wavs = readable(recordings.wav_scp, model.settings.features)
    warn_of_labels(model, {i: recordings.semantics[i] for i in wavs})
    lines = []
    found = predict(model, [("file", path) for path in wavs.values()])
    for key, (_, result) in zip(wavs, found, strict=True):
        if isinstance(result, Exception):  # it could be read a moment ago
            raise result
        best = result.nbest[0].semantics if result.nbest else ""
        line: Line = {"id": key, "task": "slu", "hypothesis": best, "score": result.score}
        if result.confidence is not None:
            line["confidence"] = result.confidence
        if not best:
            line["reason"] = result.reason
        lines.append(line | {"understood": result.is_understood})
    return lines


def compare(
    lines: list[Line], recordings: DataDir, path: Path, key: Callable[[str], Frame]
) -> dict[str, Metric]:
    """Add reference and verdict to each line; the metrics of all, `understood` among them.

    Args:
        lines: as `understand` gave them.
        recordings: their references.
        path: the directory of these.
        key: what EM Hyp compares, see `metrics.judge`.
    """
    references = scoring.with_known_words(recordings, "slu")
    outcomes = scoring.judge(lines, "slu", references, path, key)
    scores = scoring.scores_of(lines, outcomes, references)
    believed = [line for line in lines if line["understood"]]
    wrong = sum(not line["em_hyp"] for line in believed)
    scores["understood"] = metrics.proportion(len(believed), len(lines))
    scores["understood_wrong"] = metrics.proportion(wrong, len(lines))
    return {name: scores[name] for name in TITLES if name in scores}


def table(scores: dict[str, Metric]) -> str:
    """The scores as text, a row each."""
    rows = [[TITLES[name], scoring.percent(score)] for name, score in scores.items()]
    return align([["", "%"], *rows])


def mistakes(lines: Sequence[Line]) -> list[str]:
    """What was wrong, an utterance a line."""
    wrong = [f"wrong: {line['id']}: {line['reason']}" for line in lines if not line["em_hyp"]]
    more = len(wrong) - MAX_MISTAKES
    return wrong[:MAX_MISTAKES] + ([f"and {more} more (--out DIR keeps all)"] if more > 0 else [])


def write(
    out: Path, exp: Path, lines: Sequence[Line], scores: dict[str, Metric], num_left_out: int
) -> None:
    """Write `hyp.jsonl` and `scores.json`.

    Args:
        out: their directory; others of its files stay.
        exp: directory of the model.
        lines: with verdicts.
        scores: as `compare` gave them.
        num_left_out: recordings that could not be read.
    """
    about: dict[str, Any] = {"exp": str(exp), "model": digest(exp), "commit": commit()}
    about |= {"n": len(lines), "num_left_out": num_left_out}
    with atomic_write(out / "hyp.jsonl") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    with atomic_write(out / "scores.json") as file:
        file.write(json.dumps({**about, "scores": scores}, indent=1) + "\n")
