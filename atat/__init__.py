"""AT-AT: one model from speech or text to words or semantics (Rongali et al., AAAI 2021)."""

__version__ = "0.2.0"
__all__ = ["SpeechToSemantics"]


def __getattr__(name: str):
    # torch costs seconds to import: only who asks for the model pays.
    if name == "SpeechToSemantics":
        from atat.inference.predictor import SpeechToSemantics

        return SpeechToSemantics
    raise AttributeError(f"module 'atat' has no attribute '{name}'")
