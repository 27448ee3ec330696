"""Whether a training can start from what `train.init_from` names: known before the first stage."""

from pathlib import Path

from atat.config import config_file
from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer
from atat.training import start_parts


def check(settings: Config) -> None:
    """Look, before the first stage, whether a training can start from its `train.init_from`.

    Raises:
        FileNotFoundError: there is no trained experiment. ValueError: a part that is asked for is
            of another architecture, hears other features or was not trained there, small files
            are damaged, or the model's is cut. The weights' checksum is stage 4's to look at.
    """
    assert settings.train.init_from is not None
    exp = Path(settings.train.init_from)
    start_parts.check_directory(exp)
    there = config_file.load_resolved(exp / "config.yaml")
    differs = start_parts.differing(settings, there)
    tokenizer = Tokenizer.load(exp / "tokenizer")
    for part in start_parts.trained_parts(settings.train.init_parts, there, exp):
        if start_parts.meaning(part, settings) & differs.keys():
            raise ValueError(start_parts.another(part, differs, exp))
    if not differs:
        return
    # What else differs may change shapes, which the models themselves tell.
    import torch

    from atat.models.espnet_model import build
    from atat.training import warm_start

    with torch.device("meta"):
        warm_start.match(build(settings, tokenizer, load_pretrained=False), settings, tokenizer)
