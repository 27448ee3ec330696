"""Put back what is damaged of a trained experiment, from what else is there of it."""

from pathlib import Path

from atat.common.files import check_zip
from atat.models import checkpoint, experiment_files, exported_model
from atat.training import launch

AVERAGED = Path("checkpoints") / "valid.acc.ave.pth"


def restore(exp: Path) -> list[str]:
    """Put back the small files from the model file, or that from the checkpoints.

    Args:
        exp: directory of a trained experiment.

    Returns:
        Names of the files that were put back; none where all are as they were.

    Raises:
        FileNotFoundError: nothing is trained there.
        ValueError: what is damaged is nowhere else; of an exported model that is all.
    """
    if exported_model.is_exported(exp):
        exported_model.check(exp)  # of what is damaged it says what to do
        return []
    path = checkpoint.model_path(exp)
    if not path.is_file() and not (exp / AVERAGED).is_file():
        checkpoint.check_experiment(exp)  # says what is missing
    try:
        checkpoint.check_file(path)
    except (ValueError, FileNotFoundError) as e:
        _from_checkpoints(exp, e)
        return [checkpoint.FILE]
    kept = {}
    if path.name == checkpoint.FILE:
        kept = experiment_files.copies(checkpoint.read_header(path))
    if not kept:
        raise ValueError(
            f"{path}: has no copies of the files beside it (it is of before 0.2): take what is "
            f"damaged from elsewhere, or {checkpoint.AGAIN}"
        )
    return experiment_files.put_back(exp, kept)


def _from_checkpoints(exp: Path, why: Exception) -> None:
    """Write the model file again, of the averaged weights that the training has left."""
    averaged = exp / AVERAGED
    if not averaged.is_file():
        raise ValueError(
            f"{checkpoint.model_path(exp)}: is damaged, and the checkpoints of which it could be "
            f"made are gone; {checkpoint.AGAIN}"
        ) from why
    check_zip(averaged)
    launch.finish(averaged, exp)
