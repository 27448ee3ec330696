"""A model with random weights, as a training leaves it and as an export does: seeds for models.py.

`python -m tools.fuzz.toy_model DIR` makes it; it needs torch, which what reads an exported model
does not load.
"""

import os
import subprocess
import sys
from pathlib import Path

EXPERIMENT, EXPORTED = "experiment", "exported"
DIRECTORY = "ATAT_FUZZ_MODELS"  # environment variable: where they are

GRAMMAR = """context:
  expressions:
    turnOn:
      - turn on the $room:room [light, lights]
    setVolume:
      - set the volume to $level:level (percent)
  slots:
    room: [kitchen, living room]
    level: [ten, twenty]
"""
SEQUENCES = (
    "turnOn( turn on the room( kitchen )room light )turnOn",
    "turnOn( turn on the room( living room )room lights )turnOn",
    "setVolume( set the volume to level( ten )level percent )setVolume",
    "setVolume( set the volume to level( twenty )level )setVolume",
)


def directory_of_models() -> Path:
    """Where the two are."""
    return Path(os.environ[DIRECTORY])


def ensure(directory: Path) -> None:
    """Make both unless they are there, in a process of its own; those who come later find them."""
    if not (directory / EXPORTED / "model.json").is_file():
        command = [sys.executable, "-m", "tools.fuzz.toy_model", str(directory)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    os.environ[DIRECTORY] = str(directory)


def make(directory: Path) -> None:
    """Write both."""
    import torch

    from atat.common import espnet_compat  # noqa: F401  before what loads ESPnet
    from atat.config import config_file
    from atat.config.schema import Config
    from atat.data.tokenizer import Tokenizer
    from atat.deployment.export import export
    from atat.inference import confidence
    from atat.inference.predictor import SpeechToSemantics
    from atat.models import checkpoint
    from atat.models.espnet_model import build
    from atat.semantics import tag_nesting

    torch.manual_seed(1)
    settings = Config()
    model, decode = settings.model, settings.decode
    model.width, model.num_heads, model.front_channels, model.dropout = 16, 2, 2, 0.0
    model.speech_layers = model.text_layers = model.decoder_layers = 1
    model.speech_ffn = model.text_ffn = model.decoder_ffn = 16
    decode.beam, decode.max_length = 2, 6
    exp = directory / EXPERIMENT
    tokenizer = Tokenizer.train(SEQUENCES, vocab_size=60)
    config_file.save(settings, exp / "config.yaml")
    tokenizer.save(exp / "tokenizer")
    tag_nesting.save(tag_nesting.of(SEQUENCES), exp)
    (exp / "grammar.yaml").write_text(GRAMMAR, encoding="utf-8")
    weights = build(settings, tokenizer).state_dict()
    names = ("config.yaml", "grammar.yaml", "nesting.json")
    beside = {name: (exp / name).read_bytes() for name in names}
    checkpoint.write(weights, model, tokenizer, exp, beside)
    loaded = SpeechToSemantics.load(exp)
    options = loaded.options(constraint="grammar", ctc_weight=0.3)
    fitted = confidence.Confidence(
        options={name: getattr(options, name) for name in confidence.CALIBRATED},
        names=["margin"],
        mean=[1.0],
        scale=[1.0],
        weights=[2.0],
        bias=0.0,
        threshold=0.5,
        about={},
    )
    confidence.save(fitted, exp)
    export(exp, directory / EXPORTED, "float32")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
