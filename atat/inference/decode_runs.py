"""The runs of `decode.runs`: what each decodes, and its hypotheses (`hyp.jsonl`, `run.json`)."""

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common import parallel
from atat.common.array_job import Share
from atat.common.provenance import commit
from atat.common.text_table import align
from atat.config import config_file
from atat.config.schema import Config, DecodeRun
from atat.config.tasks import WORD_TASKS
from atat.inference import decode_array_jobs
from atat.inference.decode_inputs import Inputs, without_long
from atat.inference.hypotheses import Line, RunRecord, empty_line, write_run
from atat.inference.length_batches import batches
from atat.models import checkpoint

if TYPE_CHECKING:
    import numpy as np

    from atat.inference.beam_search import Hypothesis
    from atat.inference.predictor import SpeechToSemantics
    from atat.inference.search_options import SearchOptions

# The n best of a batch's utterances, their confidences or None, and CPU seconds.
Found = tuple[list[list["Hypothesis"]], list[float | None], float]
SOURCES = ("speech", "text", "hypotheses")
MIN_FRAMES_EACH = 60_000  # of features, ten minutes: fewer do not pay for another process


def load_settings(exp: Path, overrides: list[str]) -> Config:
    """The experiment's own settings; only those of decoding can still change.

    Raises:
        ValueError: an override of something else.
    """
    trained = config_file.load_resolved(exp / "config.yaml")
    if not overrides:
        return trained
    settings = config_file.load([exp / "config.yaml"], overrides)
    for override in overrides:
        if override.startswith("decode.runs="):  # all of them are given, not some changed
            given = config_file.load([], [override]).decode.runs
            settings.decode.runs = {name: settings.decode.runs[name] for name in given}
    for part in fields(Config):
        if part.name != "decode" and getattr(settings, part.name) != getattr(trained, part.name):
            raise ValueError(
                f"got {' '.join(overrides)}, expected decode.NAME=value only: '{part.name}' was "
                "settled in training (stage 4 trains with other settings)"
            )
    return settings


def chosen_runs(settings: Config, only: str | None) -> dict[str, DecodeRun]:
    """The runs to decode, by name, each after the one whose hypotheses are its input.

    Raises:
        ValueError: there is none, or not the one that is asked for, or an input that cannot be.
    """
    runs = settings.decode.runs
    if not runs:
        raise ValueError("decode.runs is empty in the experiment's config.yaml: nothing to decode")
    for name, run in runs.items():
        check_source(name, run, runs)
    if only is None:
        return dict(sorted(runs.items(), key=lambda item: item[1].source == "hypotheses"))
    if only not in runs:
        raise ValueError(f"--run: got '{only}', expected one of {', '.join(sorted(runs))}")
    return {only: runs[only]}


def runs_over(settings: Config, split: str, only: Iterable[str] | None) -> dict[str, DecodeRun]:
    """The runs from speech to semantics over a split, or those of them that are asked for.

    Args:
        settings: the experiment's.
        split: a key of data directories.
        only: names of runs; None or none: all.

    Raises:
        ValueError: there is none, or not those that are asked for.
    """
    able = {
        name: run
        for name, run in chosen_runs(settings, None).items()
        if run.source == "speech" and run.task in ("slu", "nlu")
    }
    runs = {name: run for name, run in able.items() if run.split == split}
    if not runs:
        raise ValueError(
            f"--split: got '{split}', expected one whose speech a run of decode.runs understands: "
            f"{', '.join(sorted({run.split for run in able.values()})) or 'there is none'}"
        )
    unknown = set(only or ()) - runs.keys()
    if unknown:
        raise ValueError(
            f"--run: got {', '.join(sorted(unknown))}, expected runs of decode.runs that "
            f"understand the speech of '{split}': {', '.join(runs)}"
        )
    return {name: run for name, run in runs.items() if not only or name in only}


def search_options(run: DecodeRun, settings: Config) -> dict[str, Any]:
    """The search options of a run, as `SpeechToSemantics.options` takes them.

    Args:
        run: of `decode.runs`.
        settings: the experiment's. A model without CTC (the paper's) has none in its scores,
            whatever a recipe's runs say.
    """
    decode = settings.decode
    return {
        "task": run.task,
        "constraint": run.constraint,
        "ctc_weight": run.ctc_weight if settings.model.ctc_weight > 0 else 0.0,
        "beam": run.beam or decode.beam,
        "max_length": decode.max_length,
        "length_bonus": decode.length_bonus,
    }


def check_source(name: str, run: DecodeRun, runs: dict[str, DecodeRun]) -> None:
    """Raises ValueError where a run's source or input is not one that there is."""
    where = f"decode.runs.{name}"
    if run.source not in SOURCES:
        raise ValueError(f"{where}: source: got '{run.source}', expected {' or '.join(SOURCES)}")
    if run.tagger is not None and (run.tagger != "crf" or run.source == "speech"):
        raise ValueError(
            f"{where}: tagger: got '{run.tagger}' for {run.source}, expected crf for hypotheses or "
            "text, or none"
        )
    if run.recognizer is not None and (run.source, run.task) != ("speech", "asr"):
        raise ValueError(
            f"{where}: recognizer: got '{run.recognizer}' for {run.task} of {run.source}, expected "
            "asr of speech"
        )
    if run.source != "hypotheses":
        if run.input is not None:
            raise ValueError(f"{where}: got an input, which only the source hypotheses has")
        return
    heard = {k: r for k, r in runs.items() if r.task in WORD_TASKS and r.source == "speech"}
    if run.input not in heard:
        raise ValueError(
            f"{where}: input: got '{run.input}', expected a run that gives the words of speech: "
            f"{', '.join(sorted(heard)) or 'there is none'}"
        )
    if heard[run.input].split != run.split:
        raise ValueError(
            f"{where}: its split is '{run.split}', expected that of its input, "
            f"'{heard[run.input].split}'"
        )


def decode_run(
    model: "SpeechToSemantics",
    name: str,
    run: DecodeRun,
    options: "SearchOptions",
    inputs: Inputs,
    directory: Path,
    exp: Path | None = None,
    num_jobs: int = 1,
) -> RunRecord:
    """Decode one run and write `hyp.jsonl` and `run.json` into its directory.

    Args:
        model: trained. With `decode.confidence` in its settings, and where it is calibrated for
            these options, a line of speech has its `confidence`, 0 to 1, too; a second, greedy
            search is needed.
        name: the run's, a key of decode.runs.
        run: its settings; split, source and input are recorded.
        options: of the search.
        inputs: as `open_inputs` gives them.
        directory: `decode_<run>/`, which is replaced, scores of an earlier decoding included.
        exp: the directory of the model, which other processes load it from; None: only this one.
        num_jobs: processes, where there is enough to decode for them.

    Returns:
        The content of `run.json`.
    """
    inputs = without_long(inputs, model.num_text_tokens, model.max_text_tokens)
    judged = model.settings.decode.confidence and inputs.reader is not None
    lines, seconds, cpu_seconds = _decode_all(
        model, name, run.task, options, inputs, exp, num_jobs, judged
    )
    record: RunRecord = {
        "run": name,
        "split": run.split,
        "source": run.source,
        "input": run.input,
        "task": options.task,
        "beam": options.beam,
        "constraint": options.constraint,
        "ctc_weight": options.ctc_weight,
        "length_bonus": options.length_bonus,
        "num_utterances": len(lines),
        "num_dropped": len(inputs.dropped),
        "audio_seconds": _audio_seconds(model.settings, inputs),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "commit": commit(),
    }
    if exp is not None:
        record["model"] = checkpoint.digest(exp)
    write_run(directory, lines.values(), record)
    return record


def decode_share(
    model: "SpeechToSemantics",
    name: str,
    run: DecodeRun,
    options: "SearchOptions",
    inputs: Inputs,
    exp: Path,
    num_jobs: int,
    share: Share,
) -> int:
    """Decode one of several jobs' share of a run; `decode_run` takes it from there.

    Args: as of `decode_run`, and which share.

    Returns:
        The number of utterances in this share.
    """
    inputs = without_long(inputs, model.num_text_tokens, model.max_text_tokens)
    judged = model.settings.decode.confidence and inputs.reader is not None
    digest = _digest(model, options, inputs, exp, judged)
    lines, *seconds = _decode_all(
        *(model, name, run.task, options, inputs, exp, num_jobs, judged), share=share
    )
    decode_array_jobs.write_share(exp, name, share, digest, list(lines.values()), seconds)
    return len(lines)


def _digest(
    model: "SpeechToSemantics", options: "SearchOptions", inputs: Inputs, exp: Path, judged: bool
) -> str:
    return decode_array_jobs.inputs_digest(
        exp, options, model.settings.decode, inputs.sizes, judged
    )


def _decode_all(
    model: "SpeechToSemantics",
    name: str,
    task: str,
    options: "SearchOptions",
    inputs: Inputs,
    exp: Path | None,
    num_jobs: int,
    judged: bool,
    share: Share | None = None,
) -> tuple[dict[str, Line], float, float]:
    """Id -> line of every utterance, seconds, and CPU seconds of all processes; arguments as of
    `decode_run`, whether confidences are wanted, and of which share if not of all."""
    start = time.perf_counter()
    lines = {i: empty_line(i, task) for i in inputs.ids}
    names = _batches(inputs, model.settings.decode.batch_frames)
    seconds = cpu_seconds = 0.0
    if share is not None:
        names = share.of(names)
        lines = {i: lines[i] for batch in names for i in batch}
    elif exp is not None:
        ready = decode_array_jobs.DecodedShares(
            exp, name, _digest(model, options, inputs, exp, judged)
        )
        names = [batch for batch in names if not ready.lines.keys() >= set(batch)]
        lines |= ready.lines
        seconds, cpu_seconds = ready.seconds  # of all jobs, one after the other
    entries = _entries(inputs, names)
    find = functools.partial(_find, model=model, options=options, judged=judged)
    if exp is None or sum(inputs.sizes.values()) < num_jobs * MIN_FRAMES_EACH:
        num_jobs = 1
    elif num_jobs > 1:
        find = functools.partial(_find_by, exp=exp, options=options, judged=judged)
    found = parallel.run(find, entries, num_jobs, total=len(names), desc=name, chunk_size=1)
    for batch, (hypotheses_B, confidence_B, spent) in zip(names, found, strict=True):
        cpu_seconds += spent
        for i, hypotheses, sure in zip(batch, hypotheses_B, confidence_B, strict=True):
            line = lines[i]
            if sure is not None:
                line["confidence"] = sure
            line["nbest"] = [
                {"hypothesis": model.tokenizer.decode(h.tokens), "score": round(h.score, 4)}
                for h in hypotheses
            ]
            if line["nbest"]:
                best = line["nbest"][0]
                line["hypothesis"], line["score"] = best["hypothesis"], best["score"]
                if hypotheses[0].transcript:
                    line["transcript"] = model.tokenizer.decode(hypotheses[0].transcript)
            else:
                line["reason"] = f"nothing that '{options.constraint}' accepts was found"
    for i, reason in inputs.dropped.items():
        if i in lines:
            lines[i]["reason"] = reason
    return lines, seconds + time.perf_counter() - start, cpu_seconds


def decoded(
    model: "SpeechToSemantics", inputs: Inputs, options: "SearchOptions"
) -> Iterator[tuple[str, list["Hypothesis"]]]:
    """Decode every utterance that can be, in batches of like length.

    Args:
        model: trained.
        inputs: as `open_inputs` gives them.
        options: of the search.

    Yields:
        Utterance id and its n best hypotheses, best first; none where the constraint accepts none.
    """
    names = _batches(inputs, model.settings.decode.batch_frames)
    for batch, entries in zip(names, _entries(inputs, names), strict=True):
        yield from zip(batch, _find(entries, model, options)[0], strict=True)


def _batches(inputs: Inputs, limit: int) -> list[list[str]]:
    """Ids in batches of like length."""
    ids = list(inputs.sizes)
    return [[ids[i] for i in batch] for batch in batches(list(inputs.sizes.values()), limit)]


def _entries(inputs: Inputs, names: Iterable[list[str]]) -> Iterator[list["np.ndarray | str"]]:
    """What there is to decode of each batch, read when it is due."""
    source = inputs.texts if inputs.reader is None else inputs.reader
    assert source is not None, "neither features nor sentences"
    return ([source[i] for i in batch] for batch in names)


def _find(
    entries: Sequence["np.ndarray | str"],
    model: "SpeechToSemantics",
    options: "SearchOptions",
    judged: bool = False,
) -> Found:
    """Decode a batch: features alone, or sentences alone.

    Confidences are None where they are not asked for, or the model has none for these options.
    """
    start = time.process_time()
    texts = [entry for entry in entries if isinstance(entry, str)]
    feats = [entry for entry in entries if not isinstance(entry, str)]
    if judged:
        from atat.inference import confidence

        judge = confidence.judge(model.confidence, asdict(options), None)
        if judge is not None:
            examined = confidence.examine(model, feats, options)
            found = [one.hypotheses[: options.nbest] for one in examined]
            sure = [judge(one)[0]["confidence"] for one in examined]
            return found, sure, time.process_time() - start
    found = model.search_texts(texts, options) if texts else model.search_features(feats, options)
    return found, [None] * len(entries), time.process_time() - start


def _find_by(
    entries: Sequence["np.ndarray | str"], exp: Path, options: "SearchOptions", judged: bool
) -> Found:
    """The same, in one of the processes that share the work."""
    return _find(entries, model_of(exp, judged), options, judged)


@functools.cache
def model_of(exp: Path, with_confidence: bool = False) -> "SpeechToSemantics":
    """The model of an experiment, loaded once a process."""
    from atat.inference.predictor import SpeechToSemantics

    return SpeechToSemantics.load(exp, with_confidence=with_confidence)


def _audio_seconds(settings: Config, inputs: Inputs) -> float | None:
    """Seconds of speech in the features; None for text."""
    if inputs.reader is None:
        return None
    return round(sum(inputs.sizes.values()) * settings.features.frame_shift_ms / 1000, 2)


def table(records: Sequence[RunRecord]) -> str:
    """The runs with their times, as text."""
    rows = [["run", "task", "constraint", "utterances", "seconds", "ms each", "real-time factor"]]
    for record in records:
        seconds, audio_seconds = record["seconds"], record["audio_seconds"]
        rows.append(
            [
                record["run"],
                record["task"],
                record["constraint"],
                str(record["num_utterances"]),
                f"{seconds:.1f}",
                f"{1000 * seconds / record['num_utterances']:.1f}",
                f"{seconds / audio_seconds:.4f}" if audio_seconds else "",
            ]
        )
    return align(rows)
