"""Stage 2 on small splits, undisturbed and not."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atat.common import array_job
from atat.config.schema import FeaturesConfig
from atat.data import feature_archive, feature_store, filter_bank, kaldi_dir
from atat.data.audio import read
from atat.data.feature_archive import FeatureReader
from atat.data.filter_bank import fbank
from atat.data.kaldi_dir import DataDir

SETTINGS = FeaturesConfig()
RATE = 16000


# Stage 2


def write_data(data, split, sounds):
    """A split of wav files: utterance -> samples, or bytes of a damaged file."""
    directory = data.parent / "wavs" / split
    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for key, sound in sounds.items():
        path = directory / f"{key}.wav"
        if isinstance(sound, bytes):
            path.write_bytes(sound)
        else:
            soundfile.write(path, sound, RATE)
        paths[key] = str(path)
    kaldi_dir.write(data / split, DataDir(wav_scp=paths))


def noises(count, seconds=0.5, seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"s-{n:03d}": rng.normal(size=round(seconds * RATE) + 160 * n) * 10 ** (-2 + n / count)
        for n in range(count)
    }


@pytest.fixture
def data(tmp_path):
    write_data(tmp_path / "data", "train", {k: v * 0.1 for k, v in noises(12).items()})
    write_data(tmp_path / "data", "test", {k: v * 0.1 for k, v in noises(3, seed=1).items()})
    kaldi_dir.write(tmp_path / "data" / "train_text", DataDir(text={"s-1": "turn on"}))
    return tmp_path / "data"


def write_split(data, split="train", num_jobs=1, **settings):
    return feature_store.write_split(
        data / split, data.parent / "dump" / split, replace(SETTINGS, **settings), num_jobs
    )


def wav_scp(data, split="train"):
    return kaldi_dir.read(data / split).wav_scp


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_a_split_holds_the_features_of_each_file(data, num_jobs):
    summary, cached = write_split(data, num_jobs=num_jobs)
    assert not cached and (summary.num_utterances, summary.num_dropped) == (12, 0)
    reader = FeatureReader(data.parent / "dump" / "train")
    paths = wav_scp(data)
    assert list(reader.ids) == sorted(paths)
    for key, path in paths.items():
        assert np.array_equal(reader[key], fbank(read(path), SETTINGS))
    assert summary.audio_s == pytest.approx(sum(soundfile.info(p).duration for p in paths.values()))


def test_an_unchanged_split_is_not_computed_again(data, monkeypatch):
    write_split(data)
    monkeypatch.setattr(filter_bank, "fbank", None)  # whoever computes fails
    summary, cached = write_split(data)
    assert cached and summary.num_utterances == 12


@pytest.mark.parametrize("change", ["settings", "list", "audio"])
def test_a_changed_split_is_computed_again(data, change):
    write_split(data)
    settings = {}
    if change == "settings":
        settings = {"num_mel_bins": 40}
    elif change == "list":
        kept = dict(list(wav_scp(data).items())[:-1])
        kaldi_dir.write(data / "train", DataDir(wav_scp=kept))
    else:
        path = next(iter(wav_scp(data).values()))
        soundfile.write(path, np.zeros(9000), RATE)
    assert write_split(data, **settings)[1] is False
    assert write_split(data, **settings)[1] is True


def test_cmvn_is_mean_and_deviation_of_the_speech_frames(data):
    summary, _ = write_split(data)
    dump = data.parent / "dump"
    feature_store.write_cmvn(dump, {"train": summary}, "kaldi")
    reader = FeatureReader(dump / "train")
    frames = []
    for key in reader.ids:
        loudest = reader[key].max(axis=1)
        frames.append(reader[key][loudest > loudest.max() - 3.5 * np.log(10)])
    frames = np.concatenate(frames).astype(float)
    cmvn = np.load(dump / "cmvn.npz")
    assert np.allclose(cmvn["mean"], frames.mean(axis=0), atol=1e-4)
    assert np.allclose(cmvn["std"], frames.std(axis=0), atol=1e-3)
    assert cmvn["num_frames"] == len(frames) and cmvn["splits"].tolist() == ["train"]
    assert cmvn["mean"].dtype == cmvn["std"].dtype == np.float32


def test_cmvn_counts_speech_and_not_silence(tmp_path, speech_16k):
    padded = np.pad(speech_16k, (3 * RATE, 3 * RATE))
    write_data(tmp_path / "data", "plain", {"s-1": speech_16k})
    write_data(tmp_path / "data", "padded", {"s-1": padded})
    means = []
    for split in ("plain", "padded"):
        summary, _ = write_split(tmp_path / "data", split)
        feature_store.write_cmvn(tmp_path, {split: summary}, "kaldi")
        means.append(np.load(tmp_path / "cmvn.npz")["mean"])
    assert np.abs(means[0] - means[1]).max() < 0.5


def test_a_bin_that_does_not_move_is_not_blown_up(tmp_path):
    write_data(tmp_path / "data", "train", {"s-1": np.zeros(RATE)})
    summary, _ = write_split(tmp_path / "data")
    feature_store.write_cmvn(tmp_path, {"train": summary}, "kaldi")
    assert np.allclose(np.load(tmp_path / "cmvn.npz")["std"], 0.1)


def test_an_experiment_with_features_of_another_kind_has_a_directory_of_its_own(data, monkeypatch):
    dump = data.parent / "dump"
    with pytest.raises(FileNotFoundError, match="run stage 2"):
        feature_store.of_kind(data, dump, replace(SETTINGS, kind="whisper"), 1)
    feature_store.write_all(data, dump, SETTINGS, 1)
    assert feature_store.of_kind(data, dump, SETTINGS, 1) == dump
    other = replace(SETTINGS, kind="whisper")
    place = feature_store.of_kind(data, dump, other, 1)
    assert place != dump
    reader = FeatureReader(place / "train")
    for key, path in wav_scp(data).items():
        expected_TF = filter_bank.whisper_mel(read(path), other)
        assert np.array_equal(reader[key], expected_TF)
        assert not np.array_equal(FeatureReader(dump / "train")[key], expected_TF)
    monkeypatch.setattr(filter_bank, "whisper_mel", None)  # whoever computes fails
    assert feature_store.of_kind(data, dump, other, 1) == place


def damaged():
    return {**{k: v * 0.1 for k, v in noises(199).items()}, "s-050": b"not audio"}


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_a_dropped_utterance_is_counted_and_listed(tmp_path, capsys, num_jobs):
    write_data(tmp_path / "data", "train", damaged())
    summary, _ = write_split(tmp_path / "data", num_jobs=num_jobs)
    assert (summary.num_utterances, summary.num_dropped) == (198, 1)
    dump = tmp_path / "dump" / "train"
    (listed,) = (dump / "dropped").read_text().splitlines()
    assert listed.startswith("s-050 ") and "not audio" in listed
    assert "s-050" not in FeatureReader(dump)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train: dropped 1 of 199 utterances (listed in ")


def test_more_than_one_in_a_hundred_is_an_error_unless_allowed(tmp_path):
    sounds = damaged() | {"s-051": np.zeros(100), "s-052": np.zeros(31 * RATE)}
    write_data(tmp_path / "data", "train", sounds)
    Path(wav_scp(tmp_path / "data")["s-053"]).unlink()
    with pytest.raises(ValueError, match=r"train: 2 of 199 .*allow_drops=true.*s-050: .*not audio"):
        write_split(tmp_path / "data")
    assert not (tmp_path / "dump" / "train").exists()
    summary, _ = write_split(tmp_path / "data", allow_drops=True)
    assert summary.num_dropped == 4
    reasons = dict(
        line.split(" ", 1)
        for line in (tmp_path / "dump" / "train" / "dropped").read_text().splitlines()
    )
    assert "0.0063 s long" in reasons["s-051"] and "31.0 s long" in reasons["s-052"]
    assert "No such file" in reasons["s-053"]


def test_no_setting_lets_whisper_hear_more_than_it_knows(tmp_path):
    sounds = noises(2) | {"s-900": np.full(31 * RATE, 0.1)}
    write_data(tmp_path / "data", "train", sounds)
    wide = {"max_duration_s": 36.0, "allow_drops": True}
    assert write_split(tmp_path / "data", kind="whisper", **wide)[0].num_dropped == 1
    (listed,) = (tmp_path / "dump" / "train" / "dropped").read_text().splitlines()
    assert "31.0 s long, the limit is 30.0 s" in listed
    assert write_split(tmp_path / "data", kind="kaldi", **wide)[0].num_dropped == 0


def test_no_bad_file_stops_a_split(tmp_path, capsys):
    write_data(tmp_path / "data", "train", dict(list(damaged().items())[:12]))
    paths = [Path(path) for path in wav_scp(tmp_path / "data").values()]
    loud = np.full((RATE, 2), 3.4e38, np.float32)
    soundfile.write(paths[1], loud, RATE, format="WAV", subtype="FLOAT")
    for path in paths[2:8]:
        path.unlink()
    paths[2].symlink_to(paths[2])
    os.mkfifo(paths[3])
    paths[4].mkdir()
    paths[5].touch()
    paths[6].symlink_to("/dev/zero")
    paths[7].symlink_to(paths[0] / "below")
    summary, _ = write_split(tmp_path / "data", allow_drops=True)
    assert (summary.num_utterances, summary.num_dropped) == (5, 7)
    listed = (tmp_path / "dump" / "train" / "dropped").read_text().splitlines()
    said = ("samples of up to 3.4e+38", "Too many levels of symbolic links", "a pipe or a device")
    said += ("Is a directory", "empty (0 bytes)", "a pipe or a device", "Not a directory")
    for line, path, reason in zip(listed, paths[1:8], said, strict=True):
        assert f" {path}: " in line and reason in line
    assert "dropped 7 of 12" in capsys.readouterr().err


def test_where_the_machine_has_no_files_left_no_recording_is_blamed(tmp_path, monkeypatch):
    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    write_data(tmp_path / "data", "train", noises(2))
    monkeypatch.setattr(feature_store, "read", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        write_split(tmp_path / "data", allow_drops=True)


def test_a_split_that_cannot_be_used_leaves_all_as_they_were(tmp_path, monkeypatch):
    data, dump = tmp_path / "data", tmp_path / "dump"
    for split in ("test", "train"):
        write_data(data, split, noises(4))
    feature_store.write_all(data, dump, SETTINGS, 1)
    before = {path: path.read_bytes() for path in dump.rglob("*") if path.is_file()}
    Path(wav_scp(data)["s-001"]).write_bytes(b"not audio")
    other = replace(SETTINGS, num_mel_bins=40)
    with pytest.raises(ValueError, match="train: 1 of 4 utterances"):
        feature_store.write_all(data, dump, other, 1)
    assert {path: path.read_bytes() for path in dump.rglob("*") if path.is_file()} == before

    # What was finished when it was stopped is kept, to go on from there.
    write_archive = feature_store._write_archive

    def stopped(*arguments):
        if "train" in arguments:
            raise KeyboardInterrupt
        return write_archive(*arguments)

    monkeypatch.setattr(feature_store, "_write_archive", stopped)
    with pytest.raises(KeyboardInterrupt):
        feature_store.write_all(data, dump, other, 1)
    bins = {s: FeatureReader(dump / s)["s-000"].shape[1] for s in ("test", "train")}
    assert bins == {"test": 40, "train": 80}
    assert sorted(path.name for path in dump.iterdir()) == ["cmvn.npz", "test", "train"]


def test_a_split_without_one_usable_file_is_an_error(tmp_path):
    write_data(tmp_path / "data", "train", {"s-1": b"x"})
    with pytest.raises(ValueError, match="not one utterance"):
        write_split(tmp_path / "data", allow_drops=True)


def test_a_full_disk_leaves_the_old_split_and_nothing_half_written(data, monkeypatch):
    write_split(data)
    dump = data.parent / "dump"
    before = {p: p.read_bytes() for p in dump.rglob("*") if p.is_file()}
    written = []

    def write(self, key, feats):
        written.append(key)
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, key, feats)

    real = feature_archive.FeatureWriter.write
    monkeypatch.setattr(feature_archive.FeatureWriter, "write", write)
    with pytest.raises(OSError, match="No space left"):
        write_split(data, num_mel_bins=40)
    assert {p: p.read_bytes() for p in dump.rglob("*") if p.is_file()} == before
    assert [p.name for p in dump.iterdir()] == ["train"]


def command(data, *args):
    config = data.parent / "recipe.yaml"
    config.write_text("features: {cmvn_splits: [train]}\n")
    where = ["--config", str(config), "--data", str(data), "--dump", str(data.parent / "dump")]
    done = subprocess.run(
        [sys.executable, "-m", "atat.features", *where, *args],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_does_all_spoken_splits(data):
    code, out, err = command(data, "--nj", "2")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:4] == ["split", "utterances", "hours", "dropped"]
    assert [row[:2] for row in rows[1:]] == [["test", "3"], ["train", "12"]]
    dump = data.parent / "dump"
    assert sorted(p.name for p in dump.iterdir()) == ["cmvn.npz", "test", "train"]
    assert np.load(dump / "cmvn.npz")["mean"].shape == (80,)
    assert json.loads((dump / "test" / "stage.json").read_text())["num_utterances"] == 3
    code, again, _ = command(data)
    assert code == 0 and again.count("there") == 2


def test_a_later_config_leaves_the_other_settings_of_earlier_ones(data):
    more = [data.parent / f"{name}.yaml" for name in ("splits", "bins")]
    more[0].write_text("features: {cmvn_splits: [test]}\n")
    more[1].write_text("features: {num_mel_bins: 40}\n")
    code, _, err = command(data, *(part for path in more for part in ("--config", str(path))))
    assert code == 0, err
    cmvn = np.load(data.parent / "dump" / "cmvn.npz")
    assert cmvn["mean"].shape == (40,) and cmvn["splits"].tolist() == ["test"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("features.cmvn_splits=[nope]", "got ['nope'], expected some of ['test', 'train']"),
        ("features.cmvn_splits=[]", "expected some of"),
        ("features.num_mel_bin=3", "did you mean 'features.num_mel_bins'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(data, override, said):
    code, _, err = command(data, override)
    assert code == 2 and len(err.splitlines()) == 1 and said in err
    assert not (data.parent / "dump").exists()


def test_heavy_modules_wait_until_they_are_needed():
    heavy = "{'torch', 'scipy', 'soxr', 'soundfile', 'kaldi_native_fbank', 'omegaconf', 'hibari'}"
    code = f"import sys, atat.features, atat.synth; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_data_without_speech_says_so(tmp_path):
    kaldi_dir.write(tmp_path / "data" / "train", DataDir(text={"s-1": "turn on"}))
    code, _, err = command(tmp_path / "data")
    assert code == 2 and "no split has a wav.scp" in err


# Several jobs


def test_shares_of_several_jobs_become_what_one_job_makes(data, tmp_path, monkeypatch):
    write_data(data, "train", noises(12) | {"s-003": b"no audio"})
    settings = replace(SETTINGS, allow_drops=True)
    feature_store.write_all(data, tmp_path / "one", settings, 1)
    dump = tmp_path / "several"
    sizes = [
        feature_store.write_shares(data, dump, settings, 1, array_job.Share(number, 2))
        for number in (1, 2)
    ]
    assert sizes == [8, 7]  # of 12 and 3
    with monkeypatch.context() as patch:
        again = lambda *a, **k: pytest.fail("extracted again")  # noqa: E731
        patch.setattr(feature_store, "_extract_file", again)
        feature_store.write_all(data, dump, settings, 1)
    for split in ("train", "test"):
        for name in ("feats.ark", "feats.scp", "utt2num_frames", "utt2crc32", "dropped"):
            one, several = (tmp_path / d / split / name for d in ("one", "several"))
            assert one.read_bytes() == several.read_bytes(), name
    assert (tmp_path / "one/cmvn.npz").read_bytes() == (dump / "cmvn.npz").read_bytes()
    assert not (dump / ".shares").exists()


@pytest.mark.parametrize("lost", ["a share", "a file of a share", "other settings"])
def test_what_shares_lack_is_extracted(data, tmp_path, lost):
    feature_store.write_all(data, tmp_path / "one", SETTINGS, 1)
    dump = tmp_path / "several"
    old = replace(SETTINGS, level_db=-20.0) if lost == "other settings" else SETTINGS
    for number in (1, 2) if lost != "a share" else (1,):
        feature_store.write_shares(data, dump, old, 1, array_job.Share(number, 2))
    if lost == "a file of a share":
        (dump / ".shares" / "train.2-of-2" / "feats.scp").write_bytes(b"")
    feature_store.write_all(data, dump, SETTINGS, 1)
    for split in ("train", "test"):
        one, several = (tmp_path / d / split / "feats.ark" for d in ("one", "several"))
        assert one.read_bytes() == several.read_bytes()


def test_a_command_with_a_share_says_what_it_did(data, tmp_path, monkeypatch, command):
    from atat import features

    (tmp_path / "recipe.yaml").write_text("features: {cmvn_splits: [train]}\n")
    options = ["--config", tmp_path / "recipe.yaml", "--data", data, "--dump", tmp_path / "dump"]
    monkeypatch.setenv("ATAT_SHARE", "2/2")
    code, out, _ = command(features.main, *options)
    assert (code, out) == (0, out) and out.endswith("share 2-of-2: features of 7 utterances\n")
    monkeypatch.setenv("ATAT_SHARE", "3/2")
    code, _, err = command(features.main, *options)
    assert code == 2 and "ATAT_SHARE: got '3/2', expected NUMBER/COUNT" in err
