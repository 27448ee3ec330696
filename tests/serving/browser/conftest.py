"""A model without a network, and node with a copy of the page's modules."""

from types import SimpleNamespace

import pytest

from atat import SpeechToSemantics
from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer
from atat.serving import static_site
from tests.conftest import GRAMMAR
from tests.serving.browser.javascript import javascript

SEQUENCES = [
    "turnOn( turn on the room( living room )room light )turnOn",
    "turnOn( turn on the room( kitchen )room lights )turnOn",
    "setVolume( set the volume to level( ten )level percent )setVolume",
    "setVolume( set the volume to level( twenty )level )setVolume",
]
NESTING = {"": {"turnOn", "setVolume"}, "turnOn": {"room"}, "setVolume": {"level", "room"}}
NESTING |= {"room": set(), "level": {"level"}}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """As `javascript`, of one copy of the modules."""
    directory = tmp_path_factory.mktemp("javascript")
    return lambda body, data: javascript(directory, body, data)


@pytest.fixture(scope="session")
def bare_model(tmp_path_factory):
    """Without a network, which these tests do not need."""
    path = tmp_path_factory.mktemp("grammar") / "grammar.yaml"
    path.write_text(GRAMMAR)
    network = SimpleNamespace(has_ctc=True, num_parameters=0, device="cpu")
    tokenizer = Tokenizer.train(SEQUENCES, vocab_size=60)
    return SpeechToSemantics(network, tokenizer, Config(), path, NESTING)


@pytest.fixture(scope="session")
def about(bare_model):
    """What the page knows of the toy model."""
    return static_site.describe(bare_model, "toy")
