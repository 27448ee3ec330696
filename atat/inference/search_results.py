"""What beam search found of an input, as its result."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from atat.config.tasks import TAGGED_TASKS
from atat.data.tokenizer import Tokenizer
from atat.grammar.grammar import Grammar
from atat.inference import confidence
from atat.inference.beam_search import Hypothesis
from atat.inference.result import About, Reading, Result, read
from atat.inference.search_options import SearchOptions
from atat.inference.typed_text import as_written


def best_first(judged: Sequence[Hypothesis], more: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The hypotheses of two searches of one utterance, as `result_of` takes them.

    Args:
        judged: of the search that confidence was fitted for, whose first is the result, whatever a
            wider search finds.
        more: of a wider search, for more meanings.

    >>> one, two, three = (Hypothesis((n,), -float(n)) for n in (1, 2, 3))
    >>> [h.tokens for h in best_first([one, three], [one, two])]
    [(1,), (1,), (2,), (3,)]
    """
    rest = sorted([*judged[1:], *more], key=lambda h: h.score, reverse=True)
    return [*judged[:1], *rest]


def result_of(
    hypotheses: Sequence[Hypothesis],
    options: SearchOptions,
    tokenizer: Tokenizer,
    grammar: Grammar | None,
    about: About,
    doubt: str | None = None,
) -> Result:
    """The result of an input.

    Args:
        hypotheses: what was found, best first.
        options: of the search.
        tokenizer: of the hypotheses.
        grammar: by which values are written; None: as they are said.
        about: what else is known.
        doubt: why the best is not taken; None where it is.
    """
    if not hypotheses:
        reason = (
            f"found nothing that the constraint '{options.constraint}' accepts and that has "
            f"at most {options.max_length} tokens (decode.max_length)"
        )
        return Result(None, {}, "", None, reason, **about)
    readings: dict[str, Reading] = {}
    for h in hypotheses:
        one = read(tokenizer.decode(h.tokens), h.score, options.task in TAGGED_TASKS)
        readings.setdefault(repr(confidence.meaning(one)), one)  # the best of each meaning
    nbest = tuple(readings.values())[: options.nbest]
    if grammar is None or options.task not in TAGGED_TASKS:
        result = Result(**asdict(nbest[0]), nbest=nbest, **about)
    else:
        result = as_written(grammar, nbest, options.nbest, **about)
    if doubt is not None and result.reason is None:
        result = replace(result, intent=None, slots={}, spoken_slots=None, reason=doubt)
    return result
