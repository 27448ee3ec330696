"""A disk that takes no more, in stages whose own tests do not have it.

The system's limit on the size of files stands in for the disk: any write beyond it fails, whoever
writes (EFBIG where a full disk says ENOSPC). Stages 1 (rendering), 2, 4 and 5 have tests of their
own, of ENOSPC; docs/reliability.md names them.
"""

import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from atat import report, score, tokenizer
from atat.common.stage_runner import Runner
from atat.common.stages import Order, Part, Step
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from tests import made_up_recipe, toy


@contextmanager
def files_of_at_most(num_bytes: int):
    """Within it, no file of this process grows beyond that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused_then_done(command, root: Path, main, *arguments) -> None:
    """A command on a full disk is one line and leaves all as it was; later it goes on."""
    before = content(root)
    with files_of_at_most(20):
        code, _, err = command(main, *arguments)
    assert code == 1 and len(err.splitlines()) == 1 and "File too large" in err
    assert content(root) == before
    assert command(main, *arguments)[0] == 0 and content(root) != before


def test_splits_are_written_whole_or_not_at_all(tmp_path):
    split = DataDir(text={f"s-{n}": "turn on the light" for n in range(100)})
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        kaldi_dir.write(tmp_path / "train", split)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_is_written_whole_or_not_at_all(tmp_path, command):
    data, _ = toy.write(tmp_path)
    (tmp_path / "recipe.yaml").write_text("tokenizer: {splits: [train], vocab_size: 60}\n")
    for path in (data / "tokenizer").iterdir():
        path.unlink()
    options = ("--config", tmp_path / "recipe.yaml", "--data", data)
    refused_then_done(command, tmp_path, tokenizer.main, *options)


def test_scores_are_written_whole_or_not_at_all(tmp_path, command):
    paths = made_up_recipe.make_recipe(tmp_path, 20)
    exp = paths["expdir"] / "atat"
    for path in exp.glob("decode_*/scores*"):
        path.unlink()
    options = ("--exp", exp, "--data", paths["data"], "--tables", paths["tables"])
    refused_then_done(command, tmp_path, score.main, *options)


def test_a_report_is_written_whole_or_not_at_all(tmp_path, command):
    paths = made_up_recipe.make_recipe(tmp_path, 20)
    options = [word for key, path in paths.items() for word in (f"--{key}", path)]
    refused_then_done(command, tmp_path, report.main, *options)


def test_a_stage_whose_marker_cannot_be_written_is_not_done(tmp_path, capsys):
    part = Part(*(str(tmp_path / name) for name in ("data", "dump", "exp")), ("1 - seed=1",))
    step = Step("stage", 1, "", "prepare", "stage 1 prepare", ("prepare",), part)
    ran = []
    runner = Runner(Order(stop_stage=1), lambda command: ran.append(command) or 0)
    with files_of_at_most(0), pytest.raises(OSError, match="File too large"):
        runner.run([step])
    assert not (tmp_path / "data" / ".done.1").exists()
    before = len(ran)
    runner.run([step])
    runner.run([step])
    assert len(ran) == before + 1 and (tmp_path / "data" / ".done.1").read_text().endswith(
        "seed=1\n"
    )
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [".done.1", ".files.1"]
