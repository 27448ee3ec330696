"""AT-AT: one model from speech or text to words or semantics (Rongali et al., AAAI 2021)."""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.path and sys.path[0] == os.getcwd():
    # A command: Python looks into the current directory first, and would run a yaml.py there.
    sys.path.append(sys.path.pop(0))
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # for the processes that it starts

__version__ = "0.2.0"
__all__ = ["SpeechToSemantics"]


def __getattr__(name: str):
    # torch costs seconds to import: only who asks for the model pays.
    if name == "SpeechToSemantics":
        from atat.inference.predictor import SpeechToSemantics

        return SpeechToSemantics
    raise AttributeError(f"module 'atat' has no attribute '{name}'")
