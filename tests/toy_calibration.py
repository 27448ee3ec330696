"""A confidence of the toy experiment's model, as `atat.calibrate` would leave one."""

from atat.inference.confidence import CALIBRATED, Confidence

GRAMMAR_OPTIONS = {"constraint": "grammar", "ctc_weight": 0.3}


def toy_confidence(model, threshold=0.5, **changes):
    """Sure where the margin is above 1 nat."""
    options = model.options(**GRAMMAR_OPTIONS)
    parts = {
        "options": {name: getattr(options, name) for name in CALIBRATED},
        "names": ["margin"],
        "mean": [1.0],
        "scale": [1.0],
        "weights": [2.0],
        "bias": 0.0,
        "threshold": threshold,
        "about": {},
    }
    return Confidence(**parts | changes)
