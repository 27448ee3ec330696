"""Search options of a call: task, constraint, beam and the like."""

from dataclasses import dataclass, replace

from atat.config.tasks import CONSTRAINTS, TASKS
from atat.inference.beam_search import MAX_BEAM, check_options

RIVALS = 4  # hypotheses looked for, to find one of another meaning


@dataclass(frozen=True)
class SearchOptions:
    """Options of beam search and constrained decoding; conf/base.yaml, `decode`, explains each."""

    task: str = "slu"
    beam: int = 4
    nbest: int = 1
    max_length: int = 80
    constraint: str = "well_formed"
    ctc_weight: float = 0.0
    length_bonus: float = 0.0

    def __post_init__(self):
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
