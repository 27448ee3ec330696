"""Outputs of two parts: what is said, then its semantics (`model.transcript_first`)."""

from collections.abc import Container
from dataclasses import replace

from atat.config.schema import Config
from atat.config.tasks import TAGGED_TASKS
from atat.inference.beam_search import Hypothesis


def stand_first(settings: Config, task: str) -> bool:
    """Whether outputs of a task have a transcript before their semantics."""
    return settings.model.transcript_first and task in TAGGED_TASKS


def are_read(settings: Config) -> bool:
    """Whether semantics follow from what stands before them in the decoder's output alone, behind
    the token <nlu> (model.text_encoder: decoder)."""
    return settings.model.text_encoder == "decoder"


def are_of_slu(settings: Config, task: str) -> bool:
    """Whether a task is to be answered by the transcripts of `slu`: `asr`, where it was not taught
    by itself."""
    taught = {task for source in settings.train.sources for task in source.tasks}
    return stand_first(settings, "slu") and task == "asr" and "asr" not in taught


def taken_off(
    found: list[Hypothesis], tags: Container[int], separator: int | None = None
) -> list[Hypothesis]:
    """Hypotheses whose words before the first tag are their transcript; of those that are then
    alike, the best. One without any tag is all transcript, and has no semantics.

    Args:
        found: best first.
        tags: ids of the tags.
        separator: id of a token between both parts; None: there is none.

    >>> taken_off([Hypothesis((7, 1, 7), -1.0), Hypothesis((8, 1, 7), -2.0)], {1})
    [Hypothesis(tokens=(1, 7), score=-1.0, transcript=(7,))]
    """
    kept: dict[tuple[int, ...], Hypothesis] = {}
    for h in found:
        ends = tags if separator is None else {separator}
        places = (place for place, token in enumerate(h.tokens) if token in ends)
        end = next(places, len(h.tokens))
        tokens = h.tokens[end + (separator is not None) :]
        kept.setdefault(tokens, Hypothesis(tokens, h.score, h.tokens[:end]))
    return list(kept.values())


def alone(found: list[Hypothesis]) -> list[Hypothesis]:
    """The transcripts of hypotheses, each once; the score is still that of both parts.

    >>> alone([Hypothesis((1, 7), -1.0, (7,)), Hypothesis((2, 7), -2.0, (7,))])
    [Hypothesis(tokens=(7,), score=-1.0, transcript=())]
    """
    kept: dict[tuple[int, ...], Hypothesis] = {}
    for h in found:
        kept.setdefault(h.transcript, replace(h, tokens=h.transcript, transcript=()))
    return list(kept.values())
