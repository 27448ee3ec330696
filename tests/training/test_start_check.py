"""What settings alone tell of a start, held against what the weights tell: `warm_start.match`."""

import shutil
import subprocess
import sys

import pytest
import torch

from atat.config import config_file
from atat.config.schema import Source
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint
from atat.models.espnet_model import build
from atat.training import start_check, warm_start
from tests import toy
from tests.tiny_training import settings

WORDS = Tokenizer.train(toy.SENTENCES, 60)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """What a training of every task leaves behind."""
    exp = tmp_path_factory.mktemp("start") / "exp"
    c = settings(sources=[Source("train", ["asr", "mlm", "slu", "nlu"])])
    config_file.save(c, exp / "config.yaml")
    WORDS.save(exp / "tokenizer")
    checkpoint.write(build(c, WORDS).state_dict(), c.model, WORDS, exp)
    return exp


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.dropout": 0.3},
        {"model.width": 64},
        {"model.speech_layers": 2},
        {"model.decoder_ffn": 32},
        {"model.num_heads": 4},
        {"model.ctc_weight": 0.0, "model.token_residual": False},
        {"model.transcript_first": True},
        {"features.frame_shift_ms": 12.5},
        {"features.num_mel_bins": 40},
        {"train.init_parts": ["decoder"], "features.num_mel_bins": 40},
        {"train.init_parts": ["ears"]},
    ],
    ids=str,
)
def test_what_the_weights_refuse_is_refused_before(start, changes):
    c = settings(init_from=str(start))
    for title, value in changes.items():
        section, name = title.split(".")
        setattr(getattr(c, section), name, value)

    def said(check):
        try:
            check()
        except (ValueError, FileNotFoundError) as error:
            return str(error)
        return ""

    def by_weights():
        with torch.device("meta"):
            warm_start.match(build(c, WORDS), c, WORDS)

    assert said(lambda: start_check.check(c)) == said(by_weights)


@pytest.mark.parametrize("num_bytes", [-5, 0, 3, 2000])
def test_weights_that_are_cut_are_refused_before_without_reading_them(tmp_path, start, num_bytes):
    exp = shutil.copytree(start, tmp_path / "exp")
    path = exp / checkpoint.FILE
    content = path.read_bytes()
    path.write_bytes(content[:num_bytes])
    with pytest.raises(ValueError, match=r"model\.safetensors: .*stage 4 of its recipe$"):
        start_check.check(settings(init_from=str(exp)))
    path.write_bytes(content + b"more")
    with pytest.raises(ValueError, match=r"model\.safetensors: .* bytes, expected"):
        start_check.check(settings(init_from=str(exp)))


def test_a_start_of_the_same_settings_is_looked_at_without_torch(tmp_path, start):
    config_file.save(settings(init_from=str(start)), tmp_path / "here.yaml")
    script = (
        "import sys; from atat.config import config_file; from atat.training import start_check; "
        "start_check.check(config_file.load_resolved(sys.argv[1])); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "here.yaml")])
    assert done.returncode == 0
