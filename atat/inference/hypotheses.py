"""A decoded run: its hypotheses, a line of JSON an utterance, in `hyp.jsonl`, and `run.json`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from atat.common.advice import rerun
from atat.common.files import atomic_directory
from atat.common.json_file import read_json
from atat.models import checkpoint


class Scored(TypedDict):
    """One of the n best: a target sequence or words, and its log-probability."""

    hypothesis: str
    score: float


class Line(TypedDict):
    """A line of `hyp.jsonl`: an utterance.

    Attributes:
        hypothesis: the best; "" where there is none, and `reason` says why.
        transcript: what was said, where the model writes it first (`model.transcript_first`).
        confidence: 0 to 1, where it was asked for.
    """

    id: str
    task: str
    hypothesis: str
    score: float | None
    nbest: list[Scored]
    transcript: NotRequired[str]
    confidence: NotRequired[float]
    reason: NotRequired[str]


class RunInput(TypedDict):
    """What was decoded: the run's name, and its split, source and input as in `decode.runs`.

    Attributes:
        model: digest of the one that the experiment had then (`checkpoint.digest`).
    """

    run: str
    split: str
    source: str
    input: str | None
    model: NotRequired[str]


class RunRecord(RunInput):
    """The content of `run.json`.

    Attributes:
        task, constraint, beam, ctc_weight, length_bonus: of the search, the last three where there
            was one.
        tagger: crf, where it gave the semantics. recognizer: Whisper, where it gave the words.
        num_dropped: utterances that could not be decoded.
        audio_seconds: of speech; None for text.
        seconds, cpu_seconds: that decoding took.
        commit: of the code.
    """

    task: str
    tagger: NotRequired[str]
    recognizer: NotRequired[str]
    beam: NotRequired[int]
    constraint: str
    ctc_weight: NotRequired[float]
    length_bonus: NotRequired[float]
    num_utterances: int
    num_dropped: int
    audio_seconds: float | None
    seconds: float
    cpu_seconds: float
    commit: str


def empty_line(key: str, task: str) -> Line:
    """The line of an utterance without a hypothesis."""
    return {"id": key, "task": task, "hypothesis": "", "score": None, "nbest": []}


def write_run(directory: Path, lines: Iterable[Line], record: RunRecord) -> None:
    """Write `hyp.jsonl` and `run.json`.

    Args:
        directory: `decode_<run>/`; replaced as a whole, scores of an earlier decoding included.
        lines: one an utterance.
        record: what the run was.
    """
    with atomic_directory(directory) as temporary:
        with (temporary / "hyp.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (temporary / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def is_outdated(directory: Path, exp: Path, model: str | None) -> bool:
    """Whether a run was decoded by another model than the experiment has now.

    A record of before 0.2 does not name its model: then it is outdated where it is the older one.

    Args:
        directory: `decode_<run>/`, with its `run.json`.
        exp: directory of the experiment, or of the exported model.
        model: digest of what it has now; None: nothing.
    """
    record = directory / "run.json"
    if model is None or not record.is_file():
        return False
    if (decoded_by := read_json(record).get("model")) is not None:
        return bool(decoded_by != model)
    return record.stat().st_mtime_ns < checkpoint.last_written(exp).stat().st_mtime_ns


def read_hypotheses(path: Path) -> list[dict[str, Any]]:
    """The lines of a `hyp.jsonl`: objects with at least `id` and `hypothesis`, both strings.

    Raises:
        ValueError: a line is something else, or an id comes twice; names file and line.
    """
    lines: dict[str, dict[str, Any]] = {}
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError) as e:
                raise ValueError(f"{path}:{number}: not valid JSON: {e}; {rerun(5)}") from e
            if not isinstance(line, dict) or not all(
                isinstance(line.get(key), str) for key in ("id", "hypothesis")
            ):
                got = text[:80].decode(errors="replace").strip()
                raise ValueError(
                    f"{path}:{number}: got {got}, expected an object with the strings 'id' and "
                    f"'hypothesis'; {rerun(5)}"
                )
            if line["id"] in lines:
                raise ValueError(f"{path}:{number}: id '{line['id']}' is there twice; {rerun(5)}")
            lines[line["id"]] = line
    if not lines:
        raise ValueError(f"{path}: is empty; {rerun(5)}")
    return list(lines.values())
