"""AT-AT: one model from speech or text to words or semantics (Rongali et al., AAAI 2021)."""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.path and sys.path[0] == os.getcwd():
    # A command: Python looks into the current directory first, and would run a yaml.py there.
    sys.path.append(sys.path.pop(0))
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # for the processes that it starts

TYPE_CHECKING = False  # typing's would have to be imported
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"
__all__ = ["Reading", "Result", "SpeechToSemantics", "WhisperGrammar"]

_MODULES = {
    "Reading": "atat.inference.result",
    "Result": "atat.inference.result",
    "SpeechToSemantics": "atat.inference.predictor",
    "WhisperGrammar": "atat.inference.whisper_grammar",
}


def __getattr__(name: str) -> "Any":
    # torch costs seconds to import: only who asks for the model pays.
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'atat' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
