"""What splits that are trained on and splits of the test have in common."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from atat.config.schema import Config
from atat.data import kaldi_dir

NUM_NAMED = 3  # of what should not be there, as examples


def check_apart(settings: Config, data: Path) -> None:
    """Raise ValueError where a test has utterances, by ids or audio files, that training sees.

    Training sees the splits of train.sources and, to choose epochs, of train.valid_splits; those of
    decode.runs are the tests, whatever they are called. One that is both is decoded on purpose.

    Args:
        settings: of an experiment.
        data: directory of the splits; a test that is not there is nobody's mistake yet.

    Raises:
        FileNotFoundError, ValueError: also for a split that training lacks, or that is damaged.
    """
    roles = {source.split: "train.sources" for source in settings.train.sources}
    roles |= {s: "train.valid_splits" for s in settings.train.valid_splits if s not in roles}
    decoded = {run.split for run in settings.decode.runs.values()} - roles.keys()
    tests = [data / test for test in sorted(decoded) if (data / test).is_dir()]
    for what, of in (("utterances", kaldi_dir.ids), ("recordings", _files)):
        test_of = {one: test.name for test in tests for one in of(test)}
        for split, role in roles.items():
            both = [one for one in of(data / split) if one in test_of] if test_of else []
            if both:
                named = ", ".join(both[:NUM_NAMED]) + ", ..." * (len(both) > NUM_NAMED)
                raise ValueError(
                    f"{len(both)} {what} of '{test_of[both[0]]}' (decode.runs) are in '{split}' "
                    f"({role}) too: {named}; correct the corpus's lists: a test is not trained on"
                )


def _files(split: Path) -> Iterable[str]:
    """Paths of a split's audio; none where it has text alone."""
    has_audio = (split / "wav.scp").is_file()
    return kaldi_dir.column(split, "wav.scp").values() if has_audio else ()


def said(test: str, num: int, met: Mapping[str, int]) -> str:
    """What `num_met` has found, for a report.

    >>> said("test", 1000, {"train_low": 16, "train_rest": 107})
    'of the 1,000 utterances of test, the words of 16 in train_low, 107 in train_rest'
    """
    counts = ", ".join(f"{count:,} in {split}" for split, count in met.items())
    return f"of the {num:,} utterances of {test}, the words of {counts}"


def num_met(test: Path, training: Iterable[Path]) -> tuple[int, list[int]]:
    """How many utterances of a test have words, and how many have those of one in training.

    Args:
        test: directory of the split.
        training: those of splits that are trained on.

    Returns:
        the first number, and the second for each directory of `training`.

    Raises:
        ValueError: a `text` breaks a rule of the format.
    """
    words = Counter(kaldi_dir.texts(test))
    met = ({text for text in kaldi_dir.texts(path) if text in words} for path in training)
    return words.total(), [sum(words[text] for text in texts) for texts in met]
