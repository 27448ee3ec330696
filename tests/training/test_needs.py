import subprocess
import sys

import pytest
import torch

from atat.config.schema import Source
from atat.training import needs
from tests.tiny_training import settings

MORE = torch.cuda.device_count() + 1


def reading(*tasks: str):
    """Settings of a training with a pretrained text encoder that is not there."""
    c = settings(sources=[Source("train", list(tasks))])
    c.model.text_encoder, c.model.text_pretrained = "pretrained", "./none"
    return c


def test_what_the_machine_of_the_training_lacks_is_said(monkeypatch):
    with pytest.raises(ValueError, match=rf"train.num_gpus: got {MORE}, expected {MORE - 1}"):
        needs.check([settings(), settings(num_gpus=MORE)], here=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"train\.trackers: wandb is not installed"):
        needs.check([settings(trackers=["wandb"])], here=True)
    needs.check([settings(num_gpus=MORE, trackers=["wandb"])], here=False)
    needs.check([], here=True)


@pytest.mark.parametrize("here", [True, False])
def test_a_text_encoder_that_is_not_there_is_said(here):
    with pytest.raises(ValueError, match=r"no tokenizer in '\./none'.*there is a network$"):
        needs.check([reading("asr"), reading("asr", "nlu")], here)


def test_where_no_text_is_read_another_text_encoder_will_do():
    with pytest.raises(ValueError, match=r"as no source has nlu, model.text_encoder=transformer$"):
        needs.check([settings(), reading("asr", "slu")], here=True)


def test_a_training_that_needs_nothing_imports_neither_torch_nor_transformers():
    code = (
        "import sys; from atat.config.schema import Config; from atat.training import needs;"
        "needs.check([Config()], here=True); print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
