"""The tokens of a written source: our own, or those of a pretrained text encoder's tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from atat.common.files import atomic_directory
from atat.config.schema import ModelConfig
from atat.config.tasks import TASKS
from atat.data.bpe_pieces import WORD_START
from atat.data.tokenizer import SPECIALS, Tokenizer
from atat.semantics.text_normalization import normalize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def text_tokenizer(c: ModelConfig, tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """Text -> ids for `AtatModel.encode_text`.

    Raises:
        ValueError: the pretrained encoder's tokenizer cannot be loaded.
    """
    if c.text_encoder != "pretrained":
        return tokenizer.encode
    pretrained = _pretrained_tokenizer(c.text_pretrained)
    return lambda text: pretrained.encode(text, truncation=True)


def punctuation(tokenizer: Tokenizer) -> str:
    """Characters that stand in the words of training text beside those of all words: letters with
    their accents, digits and apostrophes.

    With them typed text keeps "e-mail" or "7:30" whole, if training has such words.
    """
    pieces = tokenizer.symbols[len(SPECIALS) + len(TASKS) + len(tokenizer.tags) :]
    found = {c for piece in pieces for c in piece.removeprefix(WORD_START) if normalize(c) != c}
    return "".join(sorted(found - set("'_")))


def keep_description(c: ModelConfig, directory: Path) -> None:
    """Write a pretrained text encoder's sizes and tokenizer (not its weights, which the model has):
    with them an experiment can be used where the pretrained model is not."""
    from transformers import AutoConfig

    tokenizer = _pretrained_tokenizer(c.text_pretrained)
    assert c.text_pretrained is not None  # as it has a tokenizer
    with atomic_directory(directory) as temporary:
        sizes = AutoConfig.from_pretrained(c.text_pretrained, trust_remote_code=False)
        sizes.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def check_pretrained(name: str | None) -> None:
    """Raise ValueError where there is no pretrained text encoder's tokenizer of that name."""
    _pretrained_tokenizer(name)


def _pretrained_tokenizer(name: str | None) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as e:
        raise ValueError(
            f"model.text_pretrained: no tokenizer in '{name}' ({str(e).splitlines()[0]}); give a "
            "local directory, or a name that Hugging Face knows while there is a network"
        ) from e
