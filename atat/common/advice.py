"""What to do where a file of a model is damaged, which depends on where the model comes from."""

from pathlib import Path

EXPORTED_INDEX = "model.json"  # a directory that has it is an exported model, not an experiment
EXPORT_AGAIN = "export it again (python -m atat.export), or copy it whole"


def again(model_dir: Path, otherwise: str) -> str:
    """What puts a model's file right: an exported model has no stages that could be run again.

    Args:
        model_dir: of the model.
        otherwise: what helps where it is an experiment.

    >>> again(Path("exp/atat"), "rerun stage 4")
    'rerun stage 4'
    """
    return EXPORT_AGAIN if (model_dir / EXPORTED_INDEX).is_file() else otherwise
