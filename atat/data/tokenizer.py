"""The vocabulary. Words are split by SentencePiece; tags and task tokens are atomic.

Paper, section 3.2 and appendix A: one vocabulary for all tasks; only English words are split.
Words are encoded one at a time, so a word has the same tokens wherever it stands: that is what
makes decoding exact and lets a grammar over words become an acceptor over tokens.
"""

import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from atat.common import advice
from atat.common.advice import rerun
from atat.common.files import atomic_directory, sha256
from atat.common.json_file import WRONG_JSON
from atat.config.tasks import TASKS
from atat.data import bpe_pieces
from atat.data.bpe_pieces import WORD_START
from atat.semantics import target_sequence

SPECIALS = ("<blank>", "<pad>", "<unk>", "<eos>")


class Speller(Protocol):
    """What an acceptor needs of a tokenizer: this one or Whisper's."""

    @property
    def unk(self) -> int:
        """In place of what cannot be spelled."""

    @property
    def eos(self) -> int:
        """The end of a sequence."""

    def __len__(self) -> int:
        """Number of token ids."""

    def encode(self, symbol: str, /) -> list[int]:
        """Token ids of a word or a tag."""


class Tokenizer:
    """Target sequences and texts to token ids and back.

    The ids are, in order: the special symbols, the task tokens, the tags, the pieces of words.
    """

    blank, pad, unk, eos = range(4)

    def __init__(self, tags: Iterable[str], word_model: bytes) -> None:
        """
        Args:
            tags: opening and closing tags, `Name(` and `)Name`.
            word_model: a serialised SentencePiece model of the words.
        """
        import sentencepiece

        self._word_model = word_model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=word_model)
        pieces = [
            self._pieces.id_to_piece(i)
            for i in range(self._pieces.get_piece_size())
            if not (self._pieces.is_control(i) or self._pieces.is_unknown(i))
        ]
        self.tags = sorted(set(tags))
        tasks = [f"<{task}>" for task in TASKS]
        self.symbols = [*SPECIALS, *tasks, *self.tags, *pieces]
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.task_ids = {task: self._ids[f"<{task}>"] for task in TASKS}
        self.tag_ids = {self._ids[tag] for tag in self.tags}
        self._cached_ids = lru_cache(maxsize=100_000)(self._ids_of)
        self._comes_back = lru_cache(maxsize=100_000)(self._is_spelled)

    def __len__(self) -> int:
        return len(self.symbols)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.tags, self._word_model)

    @property
    def pieces(self) -> range:
        """The ids of the pieces of words."""
        return range(len(SPECIALS) + len(TASKS) + len(self.tags), len(self.symbols))

    @property
    def fingerprint(self) -> str:
        """Digest of the vocabulary: a model works with the tokenizer it was trained with only."""
        return sha256(*self.symbols)

    @property
    def digest(self) -> str:
        """Of all that decides how sequences are encoded."""
        return sha256(*self.symbols, self._word_model)

    @classmethod
    def train(cls, sequences: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Learn the pieces from the words of target sequences or texts.

        Args:
            sequences: the model's sources and targets; tags are found among the words.
            vocab_size: upper limit for the number of pieces; small corpora have fewer.

        Raises:
            ValueError: there are no words, or more characters than pieces.
        """
        import sentencepiece

        tags: set[str] = set()
        some = False
        wrong: list[Exception] = []  # of the sequences; SentencePiece would hide what it is

        def words() -> Iterator[str]:
            nonlocal some
            try:
                for sequence in sequences:
                    tags.update(target_sequence.tags(sequence))
                    said = target_sequence.words(sequence)
                    some = some or bool(said)
                    yield said
            except (ValueError, OSError) as error:
                wrong.append(error)

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=words(),
                model_writer=model,
                # Frequent words become whole: the fewer tokens, the easier for CTC after
                # subsampling. (Unigram leaves 2.5 pieces a word where bpe has 1.0: it has too few
                # words to start.)
                model_type="bpe",
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                normalization_rule_name="identity",
                bos_id=-1,
                eos_id=-1,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            if some and not wrong:
                if "required_chars" not in str(error):
                    raise
                why = str(error).split("] ")[-1].split(". Increase")[0]
                raise ValueError(
                    f"tokenizer.vocab_size: got {vocab_size}, expected more: every character of "
                    f"the training texts has a piece ({why})"
                ) from error
        if wrong:
            raise wrong[0]
        if not some:
            raise ValueError("no words to learn a tokenizer from: the training splits hold no text")
        return cls(tags, model.getvalue())

    @classmethod
    def borrow(cls, sequences: Iterable[str], vocabulary: Sequence[str]) -> "Tokenizer":
        """Cut words as the byte-level BPE does that a vocabulary is of.

        Args:
            sequences: as `train` takes them; of the vocabulary, the pieces are kept that they need.
            vocabulary: as `bpe_pieces.word_model` takes it.

        Raises:
            ValueError: there are no words.
        """
        tags, words = _tags_and_words(sequences)
        return cls(tags, bpe_pieces.word_model(words, vocabulary))

    def with_tags(self, sequences: Iterable[str]) -> "Tokenizer":
        """The same pieces of words, with the tags of other target sequences.

        Raises:
            ValueError: there are no words in them.
        """
        tags, _ = _tags_and_words(sequences)
        return Tokenizer(tags, self._word_model)

    @classmethod
    def load(cls, directory: str | Path) -> "Tokenizer":
        """Read a tokenizer that `save` wrote.

        Raises:
            FileNotFoundError: it is not there. ValueError: the files do not belong together.
        """
        directory = Path(directory)
        for name in ("tokenizer.json", "words.model"):
            if not (directory / name).is_file():
                raise FileNotFoundError(
                    f"{directory / name}: no tokenizer there ({_again(directory)})"
                )
        again = _again(directory)
        model = (directory / "words.model").read_bytes()
        try:
            about = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
            # The scores of pieces are not in the fingerprint, and decide how words are split.
            same = about.get("words_crc32", checksum := f"{zlib.crc32(model):08x}") == checksum
            tokenizer = cls(about["tags"], model)
            same = same and tokenizer.fingerprint == about["fingerprint"]
        except (*WRONG_JSON, RuntimeError) as e:  # the last one of SentencePiece
            raise ValueError(
                f"{directory}: tokenizer.json and words.model are not a tokenizer ({e!r}); {again}"
            ) from e
        if not same:
            raise ValueError(
                f"{directory}: tokenizer.json and words.model do not belong together; {again}"
            )
        return tokenizer

    def save(self, directory: str | Path) -> None:
        """Write `tokenizer.json` and `words.model`, whole or not at all."""
        about = {
            "tags": self.tags,
            "size": len(self),
            "fingerprint": self.fingerprint,
            "words_crc32": f"{zlib.crc32(self._word_model):08x}",
        }
        with atomic_directory(directory) as temporary:
            (temporary / "tokenizer.json").write_text(json.dumps(about, indent=1), "utf-8")
            (temporary / "words.model").write_bytes(self._word_model)

    def encode(self, sequence: str) -> list[int]:
        """Token ids of a target sequence or a text; what is not in the vocabulary is `unk`."""
        ids: list[int] = []
        for token in sequence.split():
            ids += self._cached_ids(token)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The sequence that token ids spell, without task tokens and special symbols but `unk`."""
        out: list[str] = []
        glue = False  # the last entry is a word that the next piece may continue
        for i in ids:
            symbol = self.symbols[i]
            if i in self.tag_ids:
                out.append(symbol)
                glue = False
            elif i == self.unk or i >= len(SPECIALS) + len(TASKS):
                starts_word = symbol.startswith(WORD_START) or not glue
                piece = symbol.removeprefix(WORD_START)
                if starts_word:
                    out.append(piece)
                else:
                    out[-1] += piece
                glue = True
        return " ".join(token for token in out if token)

    def gives_back(self, sequence: str) -> bool:
        """Whether `decode` makes the same sequence again of what `encode` makes of it: it does if
        it does for each word."""
        return all(map(self._comes_back, sequence.split()))

    def _is_spelled(self, token: str) -> bool:
        return self.decode(self.encode(token)) == token

    def _ids_of(self, token: str) -> list[int]:
        """Of a tag or a word."""
        if target_sequence.is_tag(token):
            return [self._ids.get(token, self.unk)]
        return [
            self._ids.get(piece, self.unk) for piece in self._pieces.encode(token, out_type=str)
        ]


def _tags_and_words(sequences: Iterable[str]) -> tuple[set[str], set[str]]:
    """Each once; ValueError where there are no words."""
    tags: set[str] = set()
    words: set[str] = set()
    for sequence in sequences:
        tags.update(target_sequence.tags(sequence))
        words.update(target_sequence.words(sequence).split())
    if not words:
        raise ValueError("no words to encode: the training splits hold no text")
    return tags, words


def _again(directory: Path) -> str:
    """What makes a tokenizer again: that of the data, or an experiment's copy."""
    exp = directory.parent
    if (exp / "config.yaml").is_file():
        restore = f"`python -m atat.restore --exp {exp}` puts it back, else {advice.TRAIN_AGAIN}"
        return advice.again(exp, restore)
    return f"remove {directory}, and the same ./run.sh makes it again, or {rerun(3, 'run')}"
