"""What the writer wrote is read by kaldiio and by our reader; damage is noticed."""

import multiprocessing
import pickle

import kaldiio
import numpy as np
import pytest

from atat.data.feature_archive import FeatureReader, FeatureWriter, is_whole

RNG = np.random.default_rng(0)
FEATS = {f"spk-{n:03d}": RNG.normal(size=(n + 1, 80)).astype("f4") for n in range(30)}


@pytest.fixture
def directory(tmp_path):
    with FeatureWriter(tmp_path) as writer:
        for key, feats in FEATS.items():
            writer.write(key, feats)
    return tmp_path


def test_reader_gives_what_was_written(directory):
    reader = FeatureReader(directory)
    assert list(reader.ids) == list(FEATS) and len(reader) == len(FEATS)
    assert dict(reader.num_frames) == {key: len(feats) for key, feats in FEATS.items()}
    for key in reversed(FEATS):
        assert reader[key].dtype == np.float32 and np.array_equal(reader[key], FEATS[key])
        assert reader[key].flags.writeable and reader[key].flags.aligned
    assert "spk-003" in reader and "spk-0031" not in reader and "zzz" not in reader
    with pytest.raises(KeyError, match="no features of 'spk-9'"):
        reader["spk-9"]
    with pytest.raises(KeyError):
        reader.num_frames["spk-0031"]


@pytest.mark.supports(
    "Kaldi files",
    "feats.ark and feats.scp that stage 2 writes",
    "kaldiio reads them",
)
def test_kaldiio_reads_it_from_its_directory(directory, monkeypatch):
    monkeypatch.chdir(directory)
    loaded = kaldiio.load_scp("feats.scp")
    assert {key: value.tolist() for key, value in loaded.items()} == {
        key: value.tolist() for key, value in FEATS.items()
    }
    assert {k: v.tolist() for k, v in kaldiio.load_ark("feats.ark")} == {
        k: v.tolist() for k, v in FEATS.items()
    }


def test_a_moved_directory_is_still_whole(directory):
    moved = directory.rename(directory.with_name("moved"))
    assert np.array_equal(FeatureReader(moved)["spk-005"], FEATS["spk-005"])


def first_sum(reader):
    return float(reader[reader.ids[0]].sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reader_goes_to_other_processes(directory, method):
    reader = FeatureReader(directory)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(first_sum, (reader,)) == first_sum(reader)


def test_pickling_takes_no_features_along(directory):
    assert len(pickle.dumps(FeatureReader(directory))) < 500


def test_an_empty_archive_is_empty(tmp_path):
    with FeatureWriter(tmp_path):
        pass
    reader = FeatureReader(tmp_path)
    assert not len(reader.ids) and "a" not in reader


@pytest.mark.parametrize("name", ["feats.ark", "feats.scp", "utt2num_frames"])
def test_a_missing_file_says_how_it_is_made_again(directory, name):
    (directory / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is not there; .*stage 2"):
        FeatureReader(directory)


def cut_ark(directory):
    data = (directory / "feats.ark").read_bytes()
    (directory / "feats.ark").write_bytes(data[:-4])


def drop_last(name):
    def damage(directory):
        lines = (directory / name).read_text().splitlines(keepends=True)
        (directory / name).write_text("".join(lines[:-1]))

    return damage


def swap_first(directory):
    for name in ("feats.scp", "utt2num_frames"):
        first, second, *rest = (directory / name).read_text().splitlines(keepends=True)
        (directory / name).write_text("".join([second, first, *rest]))


def other_archive(directory):
    path = directory / "feats.scp"
    path.write_text(path.read_text().replace("feats.ark", "other.ark"))


def move_first(directory):  # where it would be read from the middle of another
    path = directory / "feats.scp"
    path.write_text(path.read_text().replace(":8\n", ":9\n", 1))


def lengthen_first(directory):
    path = directory / "utt2num_frames"
    path.write_text(path.read_text().replace("spk-000 1\n", "spk-000 2\n"))


@pytest.mark.parametrize(
    "damage",
    [
        cut_ark,
        move_first,
        lengthen_first,
        drop_last("utt2crc32"),
        drop_last("feats.scp"),
        drop_last("utt2num_frames"),
        swap_first,
        other_archive,
    ],
)
def test_files_that_do_not_belong_together_are_refused(directory, damage):
    damage(directory)
    with pytest.raises(ValueError, match=r"remove .*stage 2"):
        FeatureReader(directory)


def test_an_archive_cut_after_opening_is_noticed(directory):
    reader = FeatureReader(directory)
    cut_ark(directory)
    with pytest.raises(ValueError, match="ends within 'spk-029'"):
        reader["spk-029"]


def test_any_flipped_bit_of_numbers_is_noticed_once_they_are_read(directory):
    path = directory / "feats.ark"
    whole = path.read_bytes()
    reader = FeatureReader(directory)
    rng = np.random.default_rng(0)
    for _ in range(60):
        row = int(rng.integers(len(FEATS)))
        key = reader.ids[row]
        place = int(reader._offsets[row] + rng.integers(FEATS[key].nbytes))
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"numbers of '{key}'"):
            FeatureReader(directory)[key]
        assert not is_whole(directory)
    path.write_bytes(whole)
    assert is_whole(directory)


@pytest.mark.supports("Versions", "features of before there were checksums", "read as they are")
def test_an_archive_of_before_there_were_checksums_is_read(directory):
    (directory / "utt2crc32").unlink()
    assert np.array_equal(FeatureReader(directory)["spk-005"], FEATS["spk-005"])


def test_emptied_files_are_not_whole_though_none_contradicts_another(directory):
    for path in directory.iterdir():
        path.write_bytes(b"")
    assert not is_whole(directory)
