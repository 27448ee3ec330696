"""Runs of stage 5 that are not the model's: of Whisper as published, or of a CRF's tags."""

from pathlib import Path
from typing import TYPE_CHECKING

from atat.config.schema import DecodeRun
from atat.data.text_tokenization import punctuation
from atat.inference import crf_tagger
from atat.inference.decode_inputs import Inputs
from atat.inference.hypotheses import RunInput, RunRecord

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics


def is_of_the_model(run: DecodeRun) -> bool:
    """Whether the model decodes it."""
    return (run.tagger, run.recognizer) == (None, None)


def decode_by_another(
    name: str,
    run: DecodeRun,
    data: Path,
    beam: int,
    found: Inputs,
    directory: Path,
    num_jobs: int,
    like: "SpeechToSemantics",
    model: str,
) -> RunRecord:
    """Decode it, and write `hyp.jsonl` and `run.json`.

    Args:
        name: a key of decode.runs.
        run: its value.
        data: directory of the splits.
        beam: of a recogniser's search.
        found: what a tagger reads.
        directory: `decode_<run>/`, which is replaced.
        num_jobs: processes.
        like: the experiment's, whose words a recogniser's are written as.
        model: digest of the experiment's, whose results these stand among.

    Raises:
        FileNotFoundError, ValueError: as `whisper_words.recognize` and `crf_tagger.tag`.
    """
    if run.recognizer is not None:
        from atat.inference.whisper_words import recognize  # with torch

        words = like.settings.data.spelled_out, punctuation(like.tokenizer)
        return recognize(name, run, data, beam, directory, num_jobs, *words, model)
    assert found.texts is not None, "open_inputs has text for a tagger"
    about: RunInput = {"run": name, "split": run.split, "source": run.source, "input": run.input}
    about["model"] = model
    return crf_tagger.tag(data / crf_tagger.SPLIT, found.texts, about, directory)
