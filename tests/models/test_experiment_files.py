import pytest

from atat.models import experiment_files


@pytest.mark.parametrize(
    ("content", "got"), [(b"b", "others"), (b"bb", "2 bytes"), (None, "nothing")]
)
def test_a_changed_file_is_told_from_what_was_kept(content, got, tmp_path):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: .*got {got}, expected 1 bytes of its own"):
        experiment_files.check(tmp_path, {"config.yaml": b"a"})
