"""The search of what is encoded already: from the options of a task to beam search's."""

# B utterances, S memory positions, D width, V vocabulary

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from atat.config.schema import Config
from atat.config.tasks import TAGGED_TASKS, token_of
from atat.data.tokenizer import Tokenizer
from atat.inference import transcripts
from atat.inference.beam_search import Hypothesis, search
from atat.inference.constraints import Acceptor, AfterTranscript
from atat.inference.network import Encoded, Network
from atat.inference.search_options import SearchOptions


def searched_task(settings: Config, options: SearchOptions) -> SearchOptions:
    """The options of the search that answers a task, whose constraint is to be used."""
    if transcripts.are_of_slu(settings, options.task):
        return replace(options, task="slu")
    return options


def search_encoded(
    network: Network,
    tokenizer: Tokenizer,
    settings: Config,
    encoded: Encoded,
    options: SearchOptions,
    acceptor: Acceptor | None,
    read: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """The n best of each utterance of a batch.

    Args:
        network: trained.
        tokenizer: that it was trained with.
        settings: of the experiment.
        encoded: decoder memory, float (B, S, D), its mask, bool (B, S), and CTC's log-softmax
            outputs, float (B, S, V); these are None for text, or without CTC.
        options: of the search.
        acceptor: of constrained decoding, for the task of `searched_task`; None: free.
        read: the words of sentences that the decoder reads in its own output
            (model.text_encoder: decoder); all of one length.
    """
    memory_BSD, mask_BS, ctc_BSV = encoded
    task = searched_task(settings, options).task
    reads = transcripts.are_read(settings)
    two_parts = transcripts.stand_first(settings, task) and read is None
    separator = tokenizer.task_ids["nlu"] if reads else None
    if two_parts and acceptor is not None:
        acceptor = AfterTranscript(acceptor, tokenizer, separator)
    banned = {tokenizer.blank, tokenizer.pad, tokenizer.unk, *tokenizer.task_ids.values()}
    eos, given_BP = tokenizer.eos, None
    if separator is not None:
        if read is not None:
            given_BP = np.array([[*words, separator] for words in read], np.int64)
        elif task == "asr":
            eos = separator
            banned.add(tokenizer.eos)
        else:
            banned.remove(separator)
    if task not in TAGGED_TASKS:  # one decoder writes both, and may mix them up
        banned |= set(tokenizer.tag_ids)
    first = token_of(task, settings.model.shared_semantics_token)
    if reads and first == "slu":
        first = "asr"
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
        max_length=min((1 + two_parts) * options.max_length, network.max_tokens),
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
        found_B = [transcripts.taken_off(f, tokenizer.tag_ids, separator) for f in found_B]
    return [transcripts.alone(f) for f in found_B] if task != options.task else found_B
