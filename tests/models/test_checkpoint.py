import pytest

from atat.models import checkpoint


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("egs/commands/exp/atat", "no such experiment directory; did you mean {mine}?"),
        ("egs/commands/exp_mine/e2e", "no such experiment directory; did you mean {mine}?"),
        ("egs/comands/exp_mine/atat", "no such experiment directory; did you mean {mine}?"),
        ("exp_mine/atat", "no such experiment directory; did you mean {mine}?"),
        ("exp_mine", "no such experiment directory; did you mean {mine}?"),
        ("egs/commands/exp_mine", "nothing is trained here; did you mean {mine}?"),
        ("egs/commands", "nothing is trained here; did you mean {mine}?"),
        ("egs", "nothing is trained here; did you mean {mine}?"),
        ("other", "nothing is trained here; `./run.sh` trains one (stage 4)"),
        ("other/exp/atat", "no such experiment directory; ./run.sh trains one"),
    ],
)
def test_a_model_that_is_near_is_named(tmp_path, monkeypatch, asked, said):
    mine = tmp_path / "egs" / "commands" / "exp_mine" / "atat"
    mine.mkdir(parents=True)
    (mine / checkpoint.FILE).touch()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    for top in (tmp_path, tmp_path.relative_to(tmp_path)):  # absolute and relative
        with pytest.raises(FileNotFoundError) as error:
            checkpoint.check_experiment(top / asked)
        expected = said.format(mine=top / mine.relative_to(tmp_path))
        assert str(error.value).endswith(expected), error.value


def test_of_many_models_that_are_near_the_like_are_named(tmp_path):
    for name in ("exp/atat", "exp/e2e", "exp_mine/atat", "exp_mine/e2e", "exp_old/e2e"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / checkpoint.FILE).touch()
    expected = " or ".join(f"{tmp_path / name}" for name in ("exp/e2e", "exp_mine/e2e"))
    with pytest.raises(FileNotFoundError, match=f"did you mean {expected} or "):
        checkpoint.check_experiment(tmp_path / "exp_new" / "e2e")
