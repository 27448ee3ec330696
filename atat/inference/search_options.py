"""Search options of a call: task, constraint, beam and the like."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from atat.common.nearest_name import nearest
from atat.config.schema import DecodeConfig
from atat.config.tasks import CONSTRAINTS, TASKS
from atat.inference.beam_search import MAX_BEAM, check_options

RIVALS = 4  # hypotheses looked for, to find one of another meaning


@dataclass(frozen=True)
class SearchOptions:
    """Options of beam search and constrained decoding; conf/base.yaml, `decode`, explains each."""

    task: str = "slu"
    beam: int = DecodeConfig.beam
    nbest: int = DecodeConfig.nbest
    max_length: int = DecodeConfig.max_length
    constraint: str = "well_formed"
    ctc_weight: float = 0.0
    length_bonus: float = DecodeConfig.length_bonus

    def __post_init__(self) -> None:
        for name, value, known in (
            ("task", self.task, TASKS),
            ("constraint", self.constraint, CONSTRAINTS),
        ):
            if value not in known:
                raise ValueError(f"{name}: got '{value}', expected one of {', '.join(known)}")
        check_options(self.beam, self.nbest, self.max_length, self.ctc_weight)

    def with_rivals(self) -> "SearchOptions":
        """With more hypotheses kept than are shown, since some may mean the same."""
        if self.nbest == 1:
            return self
        nbest = min(RIVALS * self.nbest, MAX_BEAM)
        return replace(self, nbest=nbest, beam=min(max(self.beam, nbest), MAX_BEAM))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message on a name that there is not: the one that is nearest, if one is near.

    >>> did_you_mean("nbst", ["beam", "nbest"]), did_you_mean("colour", ["beam", "nbest"])
    ("; did you mean 'nbest'?", '')
    """
    near = nearest(name, known)
    return f"; did you mean '{near}'?" if near else ""


def of_call(
    default_task: str,
    given: dict[str, Any],
    decode: DecodeConfig,
    has_ctc: bool,
    calibrated: dict[str, Any] | None,
) -> SearchOptions:
    """The options of a call, as `SpeechToSemantics.options` says.

    Args:
        default_task: where none is given.
        given: by the caller; None is as not given.
        decode: the experiment's.
        has_ctc: whether the model has CTC.
        calibrated: options that confidence was fitted for, if it was.

    Raises:
        ValueError: an option that does not exist, or that this model cannot do.
    """
    defaults = SearchOptions(
        task=default_task,
        beam=decode.beam,
        nbest=decode.nbest,
        max_length=decode.max_length,
        length_bonus=decode.length_bonus,
    )
    if default_task == "slu" and calibrated is not None:  # of audio
        defaults = replace(defaults, **calibrated)
    elif default_task == "slu" and has_ctc and "test" in decode.runs:
        test = decode.runs["test"]
        defaults = replace(defaults, ctc_weight=test.ctc_weight, beam=test.beam or defaults.beam)
    if unknown := given.keys() - asdict(defaults).keys():
        known = list(asdict(defaults))
        if default_task == "slu" and "threshold" not in unknown:  # a call with audio has it too
            known.append("threshold")
        name = min(unknown)
        raise ValueError(
            f"got option '{name}', expected some of {', '.join(known)}{did_you_mean(name, known)}"
        )
    options = replace(defaults, **{k: v for k, v in given.items() if v is not None})
    if options.ctc_weight > 0 and not has_ctc:
        raise ValueError("ctc_weight: expected 0: the model has no CTC (model.ctc_weight is 0)")
    return options
