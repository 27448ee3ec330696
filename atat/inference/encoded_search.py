"""The search of what is encoded already: from the options of a task to beam search's."""

# B utterances, S memory positions, D width, V vocabulary

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from atat.config.schema import Config
from atat.config.tasks import TAGGED_TASKS, token_of
from atat.data.tokenizer import Tokenizer
from atat.inference.beam_search import Hypothesis, search
from atat.inference.constraints import Acceptor, any_words
from atat.inference.network import Encoded, Network
from atat.inference.search_options import SearchOptions
from atat.inference.transcripts import AfterTranscript, EndedBy, distinct, taken_off


@dataclass(frozen=True)
class EncodedSearch:
    """Searches with one model.

    Attributes:
        network: trained.
        tokenizer: that it was trained with.
        settings: of the experiment.
    """

    network: Network
    tokenizer: Tokenizer
    settings: Config

    def encoded(
        self,
        encoded: Encoded,
        options: SearchOptions,
        acceptor: Acceptor | None,
        given: Sequence[Sequence[int]] | None = None,
    ) -> list[list[Hypothesis]]:
        """The n best of each utterance of a batch.

        Args:
            encoded: decoder memory, float (B, S, D), its mask, bool (B, S), and CTC's log-softmax
                outputs, float (B, S, V); these are None for text, or without CTC.
            options: of the search.
            acceptor: of constrained decoding; None: free.
            given: words of the sentences of a text, all of one length, where the decoder reads them
                in its own output (`model.transcript_first`).

        Raises:
            ValueError: a task that this model cannot do, or as `search`.
        """
        if given is None and options.task in TAGGED_TASKS and not self._reads_what_it_hears:
            return self._heard_then_read(encoded, options, acceptor)
        tokenizer, model = self.tokenizer, self.settings.model
        memory_BSD, mask_BS, ctc_BSV = encoded
        task, eos, given_BP = options.task, tokenizer.eos, None
        banned = {tokenizer.blank, tokenizer.pad, tokenizer.unk, *tokenizer.task_ids.values()}
        separator, two_parts = tokenizer.task_ids["nlu"], False
        if model.transcript_first and given is not None:
            if task not in TAGGED_TASKS:
                raise ValueError(
                    f"task: got {task} for text, expected nlu: with model.transcript_first the "
                    "words of a text are given"
                )
            task, given_BP = "nlu", np.array([[*words, separator] for words in given], np.int64)
        elif model.transcript_first and task in TAGGED_TASKS:
            task, two_parts = "slu", True
            banned.remove(separator)
            if acceptor is not None:
                acceptor = AfterTranscript(acceptor, tokenizer, separator)
        elif model.transcript_first and task == "asr":  # only the first part
            eos = separator
            banned.add(tokenizer.eos)
            if acceptor is not None:
                acceptor = EndedBy(acceptor, tokenizer.eos, separator)
        if task not in TAGGED_TASKS:  # one decoder writes both, and may mix them up
            banned |= set(tokenizer.tag_ids)
        first = token_of(task, model.shared_semantics_token, model.transcript_first)
        room = self.network.max_tokens - (0 if given_BP is None else given_BP.shape[1])
        memory_mask_BS = mask_BS
        if ctc_BSV is not None and task in self.network.ctc_tasks:
            memory_BSD, memory_mask_BS = self.network.encode_posteriors(ctc_BSV, mask_BS)
        found_B = search(
            self.network.decoder,
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
        return [taken_off(found, separator) for found in found_B] if two_parts else found_B

    def written(
        self, tokens: Sequence[Sequence[int]], options: SearchOptions, acceptor: Acceptor | None
    ) -> list[list[Hypothesis]]:
        """The n best of each sentence of a batch, token ids each; others as of `encoded`."""
        if not self.settings.model.transcript_first:
            return self.encoded((*self.network.encode_text(tokens), None), options, acceptor)
        found: dict[int, list[Hypothesis]] = {}
        lengths_B = np.array([len(ids) for ids in tokens])
        for length in np.unique(lengths_B):  # what is given has no padding
            rows = np.flatnonzero(lengths_B == length).tolist()
            given = [tokens[i] for i in rows]
            encoded = (*self.network.encode_text(given), None)
            some = self.encoded(encoded, options, acceptor, given)
            found.update(zip(rows, some, strict=True))
        return [found[i] for i in range(len(tokens))]

    @property
    def _reads_what_it_hears(self) -> bool:
        """Whether semantics may follow from words with the sound behind them, in one search: with
        `model.transcript_first`, where some speech was taught with semantics."""
        taught = {task for source in self.settings.train.sources for task in source.tasks}
        return not self.settings.model.transcript_first or "slu" in taught or not taught

    def _heard_then_read(
        self, encoded: Encoded, options: SearchOptions, acceptor: Acceptor | None
    ) -> list[list[Hypothesis]]:
        """Semantics of speech by a model that has only read some: the best transcripts, each read
        as written sentences are; the score is that of both. Arguments as of `encoded`."""
        to_hear = replace(options, task="asr", nbest=options.beam)
        heard_B = self.encoded(encoded, to_hear, any_words(self.tokenizer))
        pairs = [(b, heard) for b, found in enumerate(heard_B) for heard in found]
        to_read = replace(options, task="nlu", ctc_weight=0.0)
        read = self.written([heard.tokens for _, heard in pairs], to_read, acceptor)
        found_B: list[list[Hypothesis]] = [[] for _ in heard_B]
        for (b, heard), found in zip(pairs, read, strict=True):
            found_B[b] += [Hypothesis(h.tokens, heard.score + h.score, heard.tokens) for h in found]
        return [
            distinct(sorted(found, key=lambda h: -h.score))[: options.nbest] for found in found_B
        ]
