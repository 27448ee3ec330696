"""What trainings need beside data: looked for before the stages that make the data."""

from collections.abc import Iterable

from atat.config.schema import Config
from atat.config.tasks import TEXT_TASKS
from atat.training import trackers


def check(trainings: Iterable[Config], here: bool) -> None:
    """Raise ValueError where one of the trainings could not begin.

    Torch and transformers take seconds, so they are imported where something needs them alone.

    Args:
        trainings: settings of each.
        here: whether they run on this machine; another's GPUs and packages are not known.
    """
    trainings = list(trainings)
    if here:
        trackers.check(tracker for c in trainings for tracker in c.train.trackers)
        if (num_gpus := max((c.train.num_gpus for c in trainings), default=0)) > 0:
            from atat.training.launch import check_gpu

            check_gpu(num_gpus)
    readers: dict[str | None, list[Config]] = {}
    for c in trainings:
        if c.model.text_encoder == "pretrained":
            readers.setdefault(c.model.text_pretrained, []).append(c)
    for name, of_it in readers.items():
        from atat.data.text_tokenization import check_pretrained

        try:
            check_pretrained(name)
        except ValueError as e:
            tasks = {task for c in of_it for source in c.train.sources for task in source.tasks}
            if tasks & set(TEXT_TASKS):
                raise
            raise ValueError(
                f"{e}; or, as no source has nlu, model.text_encoder=transformer"
            ) from e
