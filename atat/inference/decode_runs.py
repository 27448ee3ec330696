"""The runs of `decode.runs`: what each decodes, and its hypotheses (`hyp.jsonl`, `run.json`)."""

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common import parallel
from atat.common.provenance import commit
from atat.common.text_table import align
from atat.config import config_file
from atat.config.schema import Config, DecodeRun
from atat.config.tasks import WORD_TASKS
from atat.data import kaldi_dir
from atat.inference.hypotheses import Line, RunRecord, empty_line, read_hypotheses, write_run
from atat.inference.length_batches import MAX_TEXT_TOKENS, batches, text_size
from atat.semantics import target_sequence

if TYPE_CHECKING:
    import numpy as np

    from atat.data.feature_archive import FeatureReader
    from atat.inference.beam_search import Hypothesis
    from atat.inference.options import SearchOptions
    from atat.inference.predictor import SpeechToSemantics

# The n best of a batch's utterances, their confidences or None, and CPU seconds.
Found = tuple[list[list["Hypothesis"]], list[float | None], float]
SOURCES = ("speech", "text", "hypotheses")
MIN_FRAMES_EACH = 60_000  # of features, ten minutes: fewer do not pay for another process


@dataclass
class Inputs:
    """What a run decodes: features of speech, or sentences.

    Attributes:
        ids: of all utterances of the split, sorted.
        sizes: id -> feature frames (speech) or their equivalent (`text_size`), of those that can be
            decoded.
        reader: id -> features; None for text.
        texts: id -> sentence; None for speech.
        dropped: id -> why there is nothing to decode.
    """

    ids: list[str]
    sizes: dict[str, int]
    reader: "FeatureReader | dict[str, np.ndarray] | None" = None
    texts: dict[str, str] | None = None
    dropped: dict[str, str] = field(default_factory=dict)


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


def search_options(run: DecodeRun) -> dict[str, Any]:
    """The search options of a run, as `SpeechToSemantics.options` takes them."""
    return {name: getattr(run, name) for name in ("task", "constraint", "ctc_weight", "beam")}


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


def open_inputs(run: DecodeRun, data: Path, dump: Path, exp: Path) -> Inputs:
    """Open what a run decodes.

    Args:
        run: one of decode.runs.
        data: directory of the splits, whose text is read for text runs and no references ever.
        dump: directory of their features.
        exp: directory of the experiment, with the hypotheses of other runs.

    Raises:
        FileNotFoundError: the split or its features are not there, or the other run's hypotheses.
        ValueError: the features are of other utterances than the split.
    """
    if run.source == "text":
        texts = _column(data / run.split / "text")
        return Inputs(sorted(texts), {i: text_size(text) for i, text in texts.items()}, texts=texts)
    if run.source == "hypotheses":
        return heard_by(exp / f"decode_{run.input}" / "hyp.jsonl")
    from atat.data.feature_archive import FeatureReader  # with NumPy

    reader = FeatureReader(dump / run.split)
    # What stage 2 dropped is still in the split, and will count as wrong.
    reasons = _reasons(dump / run.split / "dropped")
    dropped = {i: f"dropped by stage 2: {reason}" for i, reason in reasons.items()}
    ids = sorted(_column(data / run.split / "wav.scp"))
    if set(ids) != {*reader.ids, *dropped}:
        raise ValueError(
            f"{dump / run.split}: its utterances are not those of {data / run.split}; rerun stage 2"
        )
    return Inputs(ids, dict(reader.num_frames), reader=reader, dropped=dropped)


def heard_by(path: Path) -> Inputs:
    """The words that a run has recognised, from its `hyp.jsonl`: in the words of training.

    Raises:
        FileNotFoundError: the run is not decoded. ValueError: as `read_hypotheses`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; decode that run first (--run)")
    # A model that has hardly learned the task may give tags too.
    texts = {
        line["id"]: target_sequence.words(line["hypothesis"]) for line in read_hypotheses(path)
    }
    useless = {
        i: f"{path.parent.name} recognised no words" for i, text in texts.items() if not text
    }
    # A token has a character at least, and only a model that never learned the task rambles on.
    useless |= {
        i: f"{path.parent.name} recognised {len(text)} characters, expected at most "
        f"{MAX_TEXT_TOKENS}"
        for i, text in texts.items()
        if len(text) > MAX_TEXT_TOKENS
    }
    sizes = {i: text_size(text) for i, text in texts.items() if i not in useless}
    return Inputs(sorted(texts), sizes, texts=texts, dropped=useless)


def decode_run(
    model: "SpeechToSemantics",
    name: str,
    run: DecodeRun,
    options: "SearchOptions",
    inputs: Inputs,
    directory: Path,
    exp: Path | None = None,
    num_jobs: int = 1,
    with_confidence: bool = False,
) -> RunRecord:
    """Decode one run and write `hyp.jsonl` and `run.json` into its directory.

    Args:
        model: trained.
        name: the run's, a key of decode.runs.
        run: its settings; split, source and input are recorded.
        options: of the search.
        inputs: as `open_inputs` gives them.
        directory: `decode_<run>/`, which is replaced, scores of an earlier decoding included.
        exp: the directory of the model, which other processes load it from; None: only this one.
        num_jobs: processes, where there is enough to decode for them.
        with_confidence: of speech, and where the model is calibrated for these options: a line has
            its `confidence`, 0 to 1, too; a second, greedy search is needed.

    Returns:
        The content of `run.json`.
    """
    judged = with_confidence and inputs.reader is not None
    start = time.perf_counter()
    lines, cpu_seconds = _decode_all(model, name, run.task, options, inputs, exp, num_jobs, judged)
    seconds = time.perf_counter() - start
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
    write_run(directory, lines.values(), record)
    return record


def _decode_all(
    model: "SpeechToSemantics",
    name: str,
    task: str,
    options: "SearchOptions",
    inputs: Inputs,
    exp: Path | None,
    num_jobs: int,
    judged: bool,
) -> tuple[dict[str, Line], float]:
    """Id -> line of every utterance, and CPU seconds of all processes; arguments as of
    `decode_run`, and whether confidences are wanted."""
    lines = {i: empty_line(i, task) for i in inputs.ids}
    names, entries = _batches(inputs, model.settings.decode.batch_frames)
    find = functools.partial(_find, model=model, options=options, judged=judged)
    if exp is None or sum(inputs.sizes.values()) < num_jobs * MIN_FRAMES_EACH:
        num_jobs = 1
    elif num_jobs > 1:
        find = functools.partial(_find_by, exp=exp, options=options, judged=judged)
    cpu_seconds = 0.0
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
            else:
                line["reason"] = f"nothing that '{options.constraint}' accepts was found"
    for i, reason in inputs.dropped.items():
        lines[i]["reason"] = reason
    return lines, cpu_seconds


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
    for batch, entries in zip(*_batches(inputs, model.settings.decode.batch_frames), strict=True):
        yield from zip(batch, _find(entries, model, options)[0], strict=True)


def _batches(
    inputs: Inputs, limit: int
) -> tuple[list[list[str]], Iterator[list["np.ndarray | str"]]]:
    """Ids in batches of like length, and what there is to decode of each, read when it is due."""
    ids, source = list(inputs.sizes), inputs.texts if inputs.reader is None else inputs.reader
    assert source is not None, "neither features nor sentences"
    names = [[ids[i] for i in batch] for batch in batches(list(inputs.sizes.values()), limit)]
    return names, ([source[i] for i in batch] for batch in names)


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


def _column(path: Path) -> dict[str, str]:
    """Id -> value of one file of a data directory (`kaldi_dir.read` opens references too)."""
    return kaldi_dir.column(_present(path).parent, path.name)


def _reasons(path: Path) -> dict[str, str]:
    """Id -> why stage 2 dropped it."""
    with _present(path).open(encoding="utf-8") as file:
        entries = (line.rstrip("\n").partition(" ") for line in file)
        return {key: value for key, _, value in entries}


def _present(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, which a run of decode.runs needs; run stage 1"
        )
    return path


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
