"""SentencePiece models that cut words as a byte-level BPE does: Whisper's, or another like GPT-2's.

A decoder that comes with embeddings of its own (`model.decoder: whisper`) knows a word by the
pieces that it has learned to write it in; pieces learned anew from a corpus would be strangers to
it. Its vocabulary has fifty thousand, most of which a corpus never needs, and each costs a column
of every output: so a model gets those that its training texts are cut into.
"""

import itertools
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BYTE_SPACE = "\u0120"  # how byte-level BPE writes the space before a word
WORD_START = "\u2581"  # how SentencePiece does
# Of letters alone: all else that byte-level BPE writes stands for bytes, which have no case.
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def word_model(words: Iterable[str], vocabulary: Sequence[str]) -> bytes:
    """A SentencePiece model of the pieces that words are cut into, and of those on the way there.

    Args:
        words: of the training texts.
        vocabulary: pieces in byte-level BPE's spelling, in the order in which they were merged.

    Returns:
        A serialised BPE model, whose pieces are written with WORD_START. Characters that the
        vocabulary lacks (it spells what is not ASCII as bytes) are pieces of their own.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2  # has no types

    rank = index([piece.replace(BYTE_SPACE, WORD_START) for piece in vocabulary])
    characters = {*string.ascii_lowercase, WORD_START}
    merged: set[str] = set()
    for word in set(words):
        characters.update(word)
        merged.update(_merges(WORD_START + word, rank))
    model = proto.ModelProto()
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.bos_id = model.trainer_spec.eos_id = -1
    model.normalizer_spec.name = "identity"
    model.pieces.add(piece="<unk>", type=proto.ModelProto.SentencePiece.UNKNOWN)
    # The better the score, the earlier two pieces are merged.
    for piece in sorted(merged, key=lambda piece: rank[piece]):
        model.pieces.add(piece=piece, score=-rank[piece])
    for character in sorted(characters):
        model.pieces.add(piece=character, score=-len(rank))
    return model.SerializeToString()


def index(vocabulary: Sequence[str]) -> dict[str, int]:
    """Piece -> its place in a vocabulary, and the same of its lower case where that is no piece: a
    model that writes capitals knows names with these alone.

    >>> index(["may", "May", "Oslo"])
    {'may': 0, 'May': 1, 'Oslo': 2, 'oslo': 2}
    """
    found = {piece: i for i, piece in enumerate(vocabulary)}
    for i, piece in enumerate(vocabulary):
        found.setdefault(piece.translate(LOWER), i)
    return found


def _merges(word: str, rank: Mapping[str, int]) -> list[str]:
    """All pieces of two characters and more that come about when a word is cut.

    >>> _merges("lattes", {"la": 3, "tt": 1, "te": 2, "es": 4, "latt": 5})
    ['tt', 'la', 'es', 'latt']
    """
    pieces, found = list(word), list[str]()
    while True:
        pairs = [left + right for left, right in itertools.pairwise(pieces)]
        known = [pair for pair in pairs if pair in rank]
        if not known:
            return found
        best = min(known, key=lambda pair: rank[pair])
        at = pairs.index(best)
        pieces[at : at + 2] = [best]
        found.append(best)
