def __getattr__(name: str) -> type:
    # As users write it; torch costs seconds to import, so only who asks for the model pays.
    if name == "SpeechToSemantics":
        from atat.inference.predictor import SpeechToSemantics

        return SpeechToSemantics
    raise AttributeError(f"module 'atat.inference' has no attribute '{name}'")
