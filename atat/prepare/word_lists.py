"""Lists of English words, in no order, for speech whose words no sentence gives away.

CTC that has heard nothing but a corpus's sentences knows them by heart, and writes what they had
for what another domain has. In a list every word has to be heard, and there are far more of them.
"""

import random

from atat.data.bpe_pieces import BYTE_SPACE
from atat.models import whisper_checkpoint
from atat.synthesis import pronunciation

FREQUENT_IN = "openai/whisper-tiny.en"
LENGTHS = range(3, 9)  # words of a list


def frequent_words() -> list[str]:
    """Words that have a token of their own in Whisper's vocabulary, and are in the dictionary of
    pronunciations, sorted: some 18,000, names of people and places among them.

    Raises:
        ValueError: Whisper's weights are not there.
    """
    tokens = whisper_checkpoint.load(FREQUENT_IN).vocabulary
    words = {token[1:].lower() for token in tokens if token.startswith(BYTE_SPACE)}
    words = {word for word in words if len(word) > 2 and word.isascii() and word.isalpha()}
    return sorted(words - set(pronunciation.not_in_dictionary(words)))


def draw(num: int, seed: int) -> list[str]:
    """Lists in which all words are about as frequent.

    Args:
        num: how many; of none nothing is read.
        seed: of the draw.

    Raises:
        ValueError: as `frequent_words`.
    """
    if not num:
        return []
    chance = random.Random(f"{seed} word lists")
    words = frequent_words()
    bag: list[str] = []
    lists = []
    for _ in range(num):
        length = chance.choice(LENGTHS)
        while len(bag) < length:
            bag += chance.sample(words, len(words))
        lists.append(" ".join(bag.pop() for _ in range(length)))
    return lists
