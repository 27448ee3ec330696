"""AT-AT: one model from speech or text to words or semantics (Rongali et al., AAAI 2021)."""

__version__ = "0.2.0"
__all__ = ["Reading", "Result", "SpeechToSemantics", "WhisperGrammar"]

_MODULES = {
    "Reading": "atat.inference.result",
    "Result": "atat.inference.result",
    "SpeechToSemantics": "atat.inference.predictor",
    "WhisperGrammar": "atat.inference.whisper_grammar",
}


def __getattr__(name: str):
    # torch costs seconds to import: only who asks for the model pays.
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'atat' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
