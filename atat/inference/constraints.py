"""Constrained decoding: finite-state acceptors over tokens, queried for the whole beam at once.

An acceptor has a `start` state, says which tokens may follow a state, and which state follows. A
state is one integer. Words are spelled as the tokenizer spells them, tags are one token.
"""

# N hypotheses, V vocabulary.

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from atat.common.advice import EXPORT_AGAIN
from atat.data.tokenizer import Speller, Tokenizer
from atat.grammar import automaton
from atat.grammar.automaton import Automaton
from atat.grammar.grammar import Grammar
from atat.semantics import target_sequence
from atat.semantics.tag_nesting import OUTSIDE, Nesting

DEAD = -1  # the state after a token that was not allowed
# What a compiled grammar is made of (`Table`).
ARRAYS = ("_key", "_target", "_token", "_degree", "_first", "_final", "_needed")
NUMBERS = ("start", "num_states", "_vocab_size", "_eos")
MAX_TABLE_BYTES = 1 << 28  # a grammar of ten million arcs
ANY_ROOM = 2**62  # more tokens than are ever needed to reach an end


class Acceptor(Protocol):
    """A finite-state acceptor of token sequences; `start` is its first state."""

    start: int

    def allowed(self, state_N: np.ndarray, room: int = ANY_ROOM) -> np.ndarray:
        """Which tokens may follow each state, (N, V) bool; `eos` where a sequence may end.

        Args:
            state_N: int64.
            room: how many more tokens there can be, the end not counted. A token after which they
                do not suffice to reach an end is not allowed.
        """

    def advance(self, state_N: np.ndarray, token_N: np.ndarray) -> np.ndarray:
        """The states after these tokens, (N,) int64; DEAD where a token was not allowed."""


def make(
    tokenizer: Tokenizer,
    constraint: str,
    with_tags: bool,
    grammar: str | Path | None = None,
    nesting: Nesting | None = None,
) -> Acceptor:
    """The acceptor of a constraint's name.

    Args:
        tokenizer: spells words and tags.
        constraint: "well_formed" or "grammar".
        with_tags: the output is a target sequence (tasks slu, nlu), not a text (asr, mlm).
        grammar: file of the grammar, which "grammar" needs.
        nesting: for "well_formed": the tag nesting of training; None: any tag in any.

    Raises:
        ValueError: no grammar where one is needed, or one that the tokenizer cannot spell.
    """
    if constraint == "well_formed":
        if not with_tags:
            return any_words(tokenizer)
        return WellFormed(tokenizer, nesting)
    if constraint != "grammar":
        raise ValueError(f"got constraint '{constraint}', expected well_formed or grammar")
    if grammar is None:
        raise ValueError("the constraint 'grammar' needs a grammar, and this model came without")
    compiled = Path(grammar).with_name(compiled_name(with_tags))
    if compiled.is_file():
        return Table.load(compiled, tokenizer)
    return from_grammar(Grammar.load(grammar), tokenizer, with_tags)


def compiled_name(with_tags: bool) -> str:
    """The file beside an exported model's grammar that has its acceptor (`Table.save`)."""
    return f"grammar_{'semantics' if with_tags else 'words'}.npz"


def from_grammar(grammar: Grammar, tokenizer: Speller, with_tags: bool) -> "Table":
    """Accepts the target sequences of a grammar, or (without tags) its sentences.

    Raises:
        ValueError: the tokenizer lacks a tag or a letter of the grammar.
    """
    try:
        return _from_automaton(grammar.automaton(with_tags), tokenizer)
    except ValueError as error:
        raise ValueError(f"{grammar.path}: {error}") from error


def from_meaning(grammar: Grammar, frame: target_sequence.Frame, tokenizer: Tokenizer) -> "Table":
    """Accepts the target sequences of a grammar that have this intent and these slots.

    Raises:
        ValueError: there are none, or the tokenizer lacks a tag or a letter of them.
    """
    sentences = grammar.with_meaning(frame)
    if sentences is None:
        raise ValueError(
            f"{grammar.path}: has no sentence that means {target_sequence.build(frame)}"
        )
    return _from_automaton(sentences, tokenizer)


def from_sequences(sequences: Iterable[str], tokenizer: Tokenizer) -> "Table":
    """Accepts the given target sequences or texts.

    Raises:
        ValueError: the tokenizer lacks a tag or a letter of them.
    """
    return _from_automaton(automaton.from_sequences(s.split() for s in sequences), tokenizer)


def any_words(tokenizer: Tokenizer) -> "Table":
    """Accepts every text: no tags, no special symbols."""
    words = np.array(word_ids(tokenizer))
    zeros = np.zeros_like(words)
    return Table(zeros, words, zeros, np.array([True]), len(tokenizer), tokenizer.eos)


class Table:
    """A finite automaton as a list of arcs, sorted by state and token."""

    def __init__(
        self,
        source: np.ndarray,
        token: np.ndarray,
        target: np.ndarray,
        final: np.ndarray,
        vocab_size: int,
        eos: int,
        start: int = 0,
    ) -> None:
        """
        Args:
            source: int64, (num_arcs,), the state that each arc leaves.
            token: its id; no two arcs have the same source and token.
            target: the state that it leads to.
            final: bool, (num_states,), where a sequence may end.
            vocab_size: number of tokens.
            eos: id of the end of sequence, which no arc has.
            start: the state before the first token.
        """
        order = np.lexsort((token, source))
        degree = np.bincount(source, minlength=len(final))
        # Arrays by state end with DEAD's row, so that index -1 finds it; those by key with a key
        # that no token has, so that a search always finds some arc.
        self._key = np.append(source[order] * vocab_size + token[order], np.iinfo(np.int64).max)
        self._target = np.append(target[order], DEAD)
        self._token = token[order]
        self._degree = np.append(degree, 0)
        self._first = np.append(np.cumsum(degree) - degree, 0)
        self._final = np.append(final, False)
        self._needed = np.append(_num_needed(source, target, final)[target[order]], 0)
        self.start, self.num_states = start, len(final)
        self._vocab_size, self._eos = vocab_size, eos

    def save(self, path: Path) -> None:
        """Write it for `load`."""
        np.savez_compressed(path, **self.__dict__)

    @classmethod
    def load(cls, path: Path, tokenizer: Speller) -> "Table":
        """Read what `save` wrote.

        Args:
            path: of the file.
            tokenizer: whose tokens it accepts.

        Raises:
            ValueError: the file is something else.
        """
        table = cls.__new__(cls)
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_TABLE_BYTES:
                    raise ValueError(f"more than {MAX_TABLE_BYTES} bytes")
            with np.load(path, allow_pickle=False) as arrays:
                parts = {name: arrays[name] for name in arrays.files}
        except Exception as e:  # of zipfile, zlib and NumPy, a dozen kinds
            damaged = f"{path}: not a compiled grammar, or a damaged one ({e}); {EXPORT_AGAIN}"
            raise ValueError(damaged) from e
        numbers = {name: int(parts[name]) for name in NUMBERS if _is_number(parts, name)}
        table.__dict__.update(parts | numbers)
        if not table._is_whole(len(tokenizer), tokenizer.eos):
            raise ValueError(
                f"{path}: its parts are not a grammar of this model's tokens; {EXPORT_AGAIN}"
            )
        return table

    def _is_whole(self, vocab_size: int, eos: int) -> bool:
        """Whether what was loaded is as `__init__` makes it: no index leads elsewhere."""
        if self.__dict__.keys() != {*ARRAYS, *NUMBERS} or not all(
            isinstance(getattr(self, name), int) for name in NUMBERS
        ):
            return False
        num_states, num_arcs = self.num_states, len(np.atleast_1d(self._token))
        sizes = dict.fromkeys(("_degree", "_first", "_final"), num_states + 1)
        sizes |= dict.fromkeys(("_key", "_target", "_needed"), num_arcs + 1) | {"_token": num_arcs}
        for name in ARRAYS:
            part, kind = getattr(self, name), bool if name == "_final" else np.int64
            if part.dtype != kind or part.shape != (sizes[name],):
                return False
        if not ((self._degree >= 0) & (self._degree <= num_arcs)).all():
            return False
        if self._degree.sum() != num_arcs:
            return False
        source = np.arange(num_states).repeat(self._degree[:-1])
        end = self._degree[-1], self._first[-1], self._final[-1], self._target[-1]
        return bool(
            (self._vocab_size, self._eos) == (vocab_size, eos)
            and 0 <= self.start < num_states
            and end == (0, 0, False, DEAD)
            and len(source) == num_arcs
            and (self._first[:-1] == np.cumsum(self._degree[:-1]) - self._degree[:-1]).all()
            and ((self._token >= 0) & (self._token < vocab_size)).all()
            and ((self._target >= DEAD) & (self._target < num_states)).all()
            and (self._key[:-1] == source * vocab_size + self._token).all()
            and (np.diff(self._key) > 0).all()
            and self._key[-1] == np.iinfo(np.int64).max
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The automaton for other runtimes, int32.

        Returns:
            `first` (num_states + 1,): the first arc of each state, and the number of arcs; `token`,
            `target`, and `needed` (num_arcs,), how many tokens more an end needs after it; `final`
            (num_states,).
        """
        needed = np.minimum(self._needed[:-1], np.iinfo(np.int32).max)
        first = np.append(self._first[:-1], len(self._token))
        parts = {"first": first, "token": self._token, "target": self._target[:-1]}
        parts |= {"needed": needed, "final": self._final[:-1]}
        return {name: part.astype(np.int32) for name, part in parts.items()}

    def allowed(self, state_N: np.ndarray, room: int = ANY_ROOM) -> np.ndarray:
        """As `Acceptor.allowed`."""
        degree_N = self._degree[state_N]
        rows = np.arange(len(state_N)).repeat(degree_N)  # of each arc that leaves, its hypothesis
        begin_N = self._first[state_N] - (degree_N.cumsum() - degree_N)
        arcs = np.arange(len(rows)) + begin_N[rows]
        allowed_NV = np.zeros((len(state_N), self._vocab_size), bool)
        allowed_NV[rows, self._token[arcs]] = self._needed[arcs] < room
        allowed_NV[:, self._eos] = self._final[state_N]
        return allowed_NV

    def advance(self, state_N: np.ndarray, token_N: np.ndarray) -> np.ndarray:
        """The states after these tokens, (N,) int64; DEAD where a token was not allowed."""
        key_N = state_N * self._vocab_size + token_N
        arc_N = self._key.searchsorted(key_N)
        return np.where(self._key[arc_N] == key_N, self._target[arc_N], DEAD)


class WellFormed:
    """Accepts every target sequence with one root and matching tags that stand where they may,
    whatever the words.

    The open tags are a state's digits to base `num_labels + 2`, the innermost last: 0 is the start,
    1 to num_labels are labels, the greatest digit alone is the end.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        nesting: Nesting | None = None,
        max_depth: int = 8,
    ) -> None:
        """
        Args:
            tokenizer: has the tags.
            nesting: tag nesting: label -> labels that may stand directly inside it, and
                `tag_nesting.OUTSIDE` -> those that may stand at the root; None: any anywhere.
            max_depth: most tags open at a time; fewer where 64 bits do not hold as many.
        """
        labels = sorted(tag[:-1] for tag in tokenizer.tags if tag.endswith("("))
        self.start = 0
        self._base = len(labels) + 2
        self._end = self._base - 1
        while self._base**max_depth >= 2**63:
            max_depth -= 1
        self._max_depth = max_depth

        opens = np.zeros(len(tokenizer), np.int64)  # token -> label opened, 0: none
        closes = np.zeros(len(tokenizer), bool)
        by_top = np.zeros((self._base, len(tokenizer)), bool)  # innermost label -> tokens allowed
        by_top[1 : self._end, word_ids(tokenizer)] = True
        by_top[self._end, tokenizer.eos] = True
        for number, label in enumerate(labels, start=1):
            (opening,), (closing,) = tokenizer.encode(f"{label}("), tokenizer.encode(f"){label}")
            opens[opening], closes[closing] = number, True
            for top, outer in enumerate((OUTSIDE, *labels)):
                by_top[top, opening] = nesting is None or label in nesting.get(outer, ())
            by_top[number, closing] = True
        self._opens_V, self._closes_V, self._by_top = opens, closes, by_top
        # What a token adds to the number of open tags.
        self._adds_V = (opens > 0).astype(np.int64) - closes
        # A state that reaches so high a power has so many open tags.
        self._powers = self._base ** np.arange(max_depth, dtype=np.int64)

    def allowed(self, state_N: np.ndarray, room: int = ANY_ROOM) -> np.ndarray:
        """As `Acceptor.allowed`."""
        allowed_NV = self._by_top[state_N % self._base]
        depth_N1 = self._depth(state_N)[:, None]
        # Each open tag has to be closed, one that is opened now too; the end closes nothing.
        in_time_NV = depth_N1 + self._adds_V < room
        allowed_NV &= in_time_NV | (state_N == self._end)[:, None]
        allowed_NV &= (depth_N1 < self._max_depth) | (self._opens_V == 0)
        return allowed_NV & (state_N >= 0)[:, None]

    def advance(self, state_N: np.ndarray, token_N: np.ndarray) -> np.ndarray:
        """The states after these tokens, (N,) int64; DEAD where a token was not allowed."""
        opened_N, is_open_N = self._opens_V[token_N], self._opens_V[token_N] > 0
        outer_N = state_N // self._base
        closed_N = np.where(outer_N == 0, self._end, outer_N)
        next_N = np.where(self._closes_V[token_N], closed_N, state_N)
        next_N = np.where(is_open_N, state_N * self._base + opened_N, next_N)
        is_allowed_N = self._by_top[state_N % self._base, token_N] & (state_N >= 0)
        is_allowed_N &= ~is_open_N | (self._depth(state_N) < self._max_depth)
        return np.where(is_allowed_N & (state_N != self._end), next_N, DEAD)

    def _depth(self, state_N: np.ndarray) -> np.ndarray:
        """Open tags of each state, (N,) int64."""
        return (state_N[:, None] >= self._powers).sum(1)


def _is_number(parts: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether a part is one whole number."""
    return name in parts and parts[name].ndim == 0 and parts[name].dtype.kind == "i"


def _num_needed(source: np.ndarray, target: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Fewest tokens from each state to one where a sequence may end, (num_states,) int64."""
    needed = np.where(final, 0, ANY_ROOM)
    while True:
        shorter = needed.copy()
        np.minimum.at(shorter, source, np.minimum(needed[target] + 1, ANY_ROOM))
        if (shorter == needed).all():
            return needed
        needed = shorter


def word_ids(tokenizer: Tokenizer) -> list[int]:
    """Pieces of words: what is neither special nor a task token nor a tag."""
    others = {tokenizer.blank, tokenizer.pad, tokenizer.unk, tokenizer.eos}
    others |= tokenizer.tag_ids | set(tokenizer.task_ids.values())
    return [token for token in range(len(tokenizer)) if token not in others]


def _from_automaton(words: Automaton, tokenizer: Speller) -> Table:
    """The automaton over words and tags as one over tokens."""

    def spelling(symbol: str) -> list[int]:
        tokens = tokenizer.encode(symbol)
        if tokenizer.unk in tokens or not tokens:
            kind = "tag" if target_sequence.is_tag(symbol) else "word"
            raise ValueError(
                f"the {kind} '{symbol}' is not in the model's vocabulary; "
                "train a model with this grammar, or use the grammar that it was trained with"
            )
        return tokens

    spelled = automaton.spell(words, spelling)
    arcs = [
        (state, token, target)
        for state, arcs_of in enumerate(spelled.arcs)
        for token, target in arcs_of.items()
    ]
    source, token, target = np.array(arcs, np.int64).reshape(-1, 3).T
    return Table(
        source,
        token,
        target,
        np.array(spelled.final, bool),
        len(tokenizer),
        tokenizer.eos,
        spelled.start,
    )
