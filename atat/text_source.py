"""The tokens of a written source: our own, or those of a pretrained text encoder's tokenizer."""

from collections.abc import Callable

from atat.config import ModelConfig
from atat.tokenizer import Tokenizer


def text_tokenizer(c: ModelConfig, tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """Text -> ids for `AtatModel.encode_text`.

    Raises:
        ValueError: the pretrained encoder's tokenizer cannot be loaded.
    """
    if c.text_encoder != "pretrained":
        return tokenizer.encode
    from transformers import AutoTokenizer

    try:
        pretrained = AutoTokenizer.from_pretrained(c.text_pretrained)
    except (OSError, ValueError) as e:
        raise ValueError(
            f"model.text_pretrained: no tokenizer in '{c.text_pretrained}' "
            f"({str(e).splitlines()[0]}); give a local directory or a Hugging Face name"
        ) from e
    return lambda text: pretrained.encode(text, truncation=True)
