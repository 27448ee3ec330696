"""What to do where a file is damaged or missing, which depends on where it comes from."""

import os
from pathlib import Path

EXPORTED_INDEX = "model.json"  # a directory that has it is an exported model, not an experiment
EXPORT_AGAIN = "export it again (python -m atat.export), or copy it whole"
# Of a model's own files: the run that finds them broken may be about another model.
TRAIN_AGAIN = "rerun stage 4 of its recipe"
COMMAND = "ATAT_COMMAND"  # in a stage's environment: the driver's command, to be pasted


def rerun(stage: int, verb: str = "rerun") -> str:
    """How a stage is done, again: the command, where the driver runs this process, else in words.

    Args:
        stage: its number.
        verb: of the words.

    >>> os.environ.pop(COMMAND, None) and None
    >>> rerun(5)
    'rerun stage 5'
    """
    if not (command := os.environ.get(COMMAND)):
        return f"{verb} stage {stage}"
    more = " --overwrite true" if stage == 4 else ""  # else a trained model stands in the way
    return f"run: {command} --stage {stage}{more}"


def again(model_dir: Path, otherwise: str) -> str:
    """What puts a model's file right: an exported model has no stages that could be run again.

    Args:
        model_dir: of the model.
        otherwise: what helps where it is an experiment.

    >>> again(Path("exp/atat"), "rerun stage 4")
    'rerun stage 4'
    """
    return EXPORT_AGAIN if (model_dir / EXPORTED_INDEX).is_file() else otherwise
