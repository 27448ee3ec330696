"""Where results go: an experiment's directory has those of its own data, and of no others.

The report and the model's card show what stands there as measured on the recipe's test.
"""

from pathlib import Path

from atat.data.tokenizer import Tokenizer


def results_place(exp: Path, data: Path, out: Path | None) -> Path:
    """The directory that takes results: `out` where it is given, else the experiment's.

    An experiment's own data have its vocabulary beside them (stage 3), wherever both are now.

    Args:
        exp: directory of a trained experiment, or of an exported model.
        data: directory of the splits.
        out: of the results of other data; None: there are none.

    Raises:
        ValueError: the data are not the experiment's own, and `out` is not given; or their
            tokenizer is damaged.
    """
    if out is not None:
        return out
    beside = data / "tokenizer"
    vocabulary = Tokenizer.load(exp / "tokenizer").fingerprint
    if not beside.is_dir() or Tokenizer.load(beside).fingerprint != vocabulary:
        raise ValueError(
            f"--data: {data} has not the tokenizer of {exp}, whose own results its results would "
            "replace; expected --out DIR for them"
        )
    return exp
