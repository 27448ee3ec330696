"""The search of what is encoded already: from the options of a task to beam search's."""

# B utterances, S memory positions, D width, V vocabulary

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from atat.config.schema import Config
from atat.config.tasks import TAGGED_TASKS, token_of
from atat.data.tokenizer import Tokenizer
from atat.inference.beam_search import Hypothesis, search
from atat.inference.constraints import Acceptor, any_words
from atat.inference.network import Encoded, Network
from atat.inference.search_options import SearchOptions
from atat.inference.transcripts import AfterTranscript, EndedBy, taken_off


def search_encoded(
    network: Network,
    tokenizer: Tokenizer,
    settings: Config,
    encoded: Encoded,
    options: SearchOptions,
    acceptor: Acceptor | None,
    given: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """The n best of each utterance of a batch.

    Args:
        network: trained.
        tokenizer: that it was trained with.
        settings: of the experiment.
        encoded: decoder memory, float (B, S, D), its mask, bool (B, S), and CTC's log-softmax
            outputs, float (B, S, V); these are None for text, or without CTC.
        options: of the search.
        acceptor: of constrained decoding; None: free.
        given: words of the sentences of a text, all of one length, where the decoder reads them in
            its own output (`model.transcript_first`).
    """
    if given is None and options.task in TAGGED_TASKS and not _reads_what_it_hears(settings):
        return _heard_then_read(network, tokenizer, settings, encoded, options, acceptor)
    memory_BSD, mask_BS, ctc_BSV = encoded
    task, eos, given_BP = options.task, tokenizer.eos, None
    banned = {tokenizer.blank, tokenizer.pad, tokenizer.unk, *tokenizer.task_ids.values()}
    separator = tokenizer.task_ids["nlu"] if settings.model.transcript_first else None
    two_parts = separator is not None and given is None and task in TAGGED_TASKS
    if separator is not None:
        if given is not None:
            if task not in TAGGED_TASKS:
                raise ValueError(
                    f"task: got {task} for text, expected nlu: with model.transcript_first the "
                    "words of a text are given"
                )
            task, given_BP = "nlu", np.array([[*words, separator] for words in given], np.int64)
        elif two_parts:
            task = "slu"
            banned.remove(separator)
            if acceptor is not None:
                acceptor = AfterTranscript(acceptor, tokenizer, separator)
        elif task == "asr":  # only the first part
            eos = separator
            banned.add(tokenizer.eos)
            if acceptor is not None:
                acceptor = EndedBy(acceptor, tokenizer.eos, separator)
    if task not in TAGGED_TASKS:  # one decoder writes both, and may mix them up
        banned |= set(tokenizer.tag_ids)
    first = token_of(task, settings.model.shared_semantics_token, separator is not None)
    room = network.max_tokens - (0 if given_BP is None else given_BP.shape[1])
    memory_mask_BS = mask_BS
    if ctc_BSV is not None and task in network.ctc_tasks:
        memory_BSD, memory_mask_BS = network.encode_posteriors(ctc_BSV, mask_BS)
    found_B = search(
        network.decoder,
        memory_BSD,
        memory_mask_BS,
        np.full(len(memory_BSD), tokenizer.task_ids[first]),
        eos=eos,
        given_BP=given_BP,
        beam=options.beam,
        nbest=options.nbest,
        max_length=min((1 + two_parts) * options.max_length, room),
        banned=banned,
        acceptor=acceptor,
        ctc_log_probs_BTV=ctc_BSV,
        ctc_mask_BT=mask_BS,
        ctc_weight=options.ctc_weight,
        ctc_silent_tokens=tokenizer.tag_ids,
        blank=tokenizer.blank,
        length_bonus=options.length_bonus,
    )
    if two_parts:
        assert separator is not None
        return [taken_off(found, separator) for found in found_B]
    return found_B


def _reads_what_it_hears(settings: Config) -> bool:
    """Whether semantics may follow from words with the sound behind them, in one search: with
    `model.transcript_first`, where some speech was taught with semantics."""
    taught = {task for source in settings.train.sources for task in source.tasks}
    return not settings.model.transcript_first or "slu" in taught or not taught


def _heard_then_read(
    network: Network,
    tokenizer: Tokenizer,
    settings: Config,
    encoded: Encoded,
    options: SearchOptions,
    acceptor: Acceptor | None,
) -> list[list[Hypothesis]]:
    """Semantics of speech by a model that has only read some: the best transcripts, each read as
    written sentences are; the score is that of both. Arguments as of `search_encoded`."""
    about = network, tokenizer, settings
    heard_B = search_encoded(
        *about, encoded, replace(options, task="asr", nbest=options.beam), any_words(tokenizer)
    )
    given = [(b, heard) for b, found in enumerate(heard_B) for heard in found]
    read = search_written(
        *about, [h.tokens for _, h in given], replace(options, task="nlu", ctc_weight=0.0), acceptor
    )
    found_B: list[list[Hypothesis]] = [[] for _ in heard_B]
    for (b, heard), found in zip(given, read, strict=True):
        both = (Hypothesis(h.tokens, heard.score + h.score, heard.tokens) for h in found)
        found_B[b].extend(both)
    return [_best(found, options.nbest) for found in found_B]


def _best(found: list[Hypothesis], nbest: int) -> list[Hypothesis]:
    """The n best, each once whatever its transcript."""
    kept: dict[tuple[int, ...], Hypothesis] = {}
    for h in sorted(found, key=lambda h: -h.score):
        kept.setdefault(h.tokens, h)
    return list(kept.values())[:nbest]


def search_written(
    network: Network,
    tokenizer: Tokenizer,
    settings: Config,
    tokens: Sequence[Sequence[int]],
    options: SearchOptions,
    acceptor: Acceptor | None,
) -> list[list[Hypothesis]]:
    """The n best of each sentence of a batch, token ids each; other arguments as of
    `search_encoded`."""
    about = network, tokenizer, settings
    if not settings.model.transcript_first:
        return search_encoded(*about, (*network.encode_text(tokens), None), options, acceptor)
    found: dict[int, list[Hypothesis]] = {}
    lengths_B = np.array([len(ids) for ids in tokens])
    for length in np.unique(lengths_B):  # what is given is no padding
        rows = np.flatnonzero(lengths_B == length).tolist()
        given = [tokens[i] for i in rows]
        encoded = (*network.encode_text(given), None)
        some = search_encoded(*about, encoded, options, acceptor, given)
        found.update(zip(rows, some, strict=True))
    return [found[i] for i in range(len(tokens))]
