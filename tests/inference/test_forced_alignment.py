import itertools
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from atat.config.schema import Config, FeaturesConfig
from atat.data import ctm, kaldi_dir
from atat.data.feature_archive import FeatureWriter
from atat.data.tokenizer import Tokenizer
from atat.inference import forced_alignment
from atat.inference.network import padded
from tests.conftest import SEQUENCES
from tests.toy import log_softmax

BLANK = 0


def outputs(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator)).log_softmax(-1)


def collapse(path):
    return [label for label, _ in itertools.groupby(path) if label != BLANK]


def positions(path):
    """Of each frame's label among the labels, -1 for blank."""
    out, position, last = [], -1, BLANK
    for label in path:
        position += label not in (BLANK, last)
        out.append(-1 if label == BLANK else position)
        last = label
    return out


@pytest.mark.parametrize("labels", [[1], [1, 2], [2, 2], [1, 2, 1], [1, 1, 2], [3, 3, 3]])
def test_the_path_is_the_best_of_all_paths(labels):
    num_frames = 6
    for seed in range(8):
        log_probs_TV = outputs(num_frames, 4, seed=seed)
        score, best = max(
            (float(log_probs_TV[torch.arange(num_frames), torch.tensor(path)].sum()), path)
            for path in itertools.product(range(4), repeat=num_frames)
            if collapse(path) == labels
        )
        path_BT, score_B = forced_alignment.viterbi(
            log_probs_TV[None],
            torch.tensor([num_frames]),
            torch.tensor([labels]),
            torch.tensor([len(labels)]),
            BLANK,
        )
        assert float(score_B) == pytest.approx(score, abs=1e-4)
        assert path_BT[0].tolist() == positions(best)


def test_padding_changes_nothing():
    log_probs_BTV = outputs(3, 9, 5, seed=1)
    frames, labels = [9, 6, 4], [[1, 2, 2], [3], [4, 1]]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in labels], True, 1)
    path_BT, score_B = forced_alignment.viterbi(
        log_probs_BTV, torch.tensor(frames), padded, torch.tensor([3, 1, 2]), BLANK
    )
    for b in range(3):
        path, score = forced_alignment.viterbi(
            log_probs_BTV[b : b + 1, : frames[b]],
            torch.tensor(frames[b : b + 1]),
            torch.tensor([labels[b]]),
            torch.tensor([len(labels[b])]),
            BLANK,
        )
        assert torch.equal(path[0], path_BT[b, : frames[b]]) and score[0] == score_B[b]
        assert (path_BT[b, frames[b] :] == -1).all()


@pytest.mark.parametrize(("num_frames", "fits"), [(2, False), (3, True)])
def test_a_repeated_label_needs_a_frame_of_blank(num_frames, fits):
    _, score_B = forced_alignment.viterbi(
        outputs(1, 3, 4, seed=0),
        torch.tensor([num_frames]),
        torch.tensor([[2, 2]]),
        torch.tensor([2]),
        BLANK,
    )
    assert bool(torch.isfinite(score_B)) == fits


def test_words_share_the_blanks_between_them_up_to_their_reach():
    path = np.array([-1] * 9 + [0, 0, -1, 1] + [-1] * 10 + [2, -1, -1, 3] + [-1] * 5)
    spans = forced_alignment.word_spans(path, np.array([0, 0, 1, 2]), reach=3.0)
    assert spans.tolist() == [[6.0, 16.0], [20.0, 25.0], [25.0, 30.0]]


TOKENIZER = Tokenizer.train(SEQUENCES, 60)
FRAME_S = 0.04  # of the encoder below: 4 feature frames


def encode_features(feats):
    """CTC is sure of the token that the first bin of every fourth feature frame names."""
    feats_BTF, lengths_B = padded(feats)
    token_BS = feats_BTF[:, ::4, 0].astype(int)
    mask_BS = np.arange(token_BS.shape[1]) < ((lengths_B + 3) // 4)[:, None]
    sure_BSV = 10.0 * np.eye(len(TOKENIZER))[token_BS]
    return np.zeros((len(feats), 0)), mask_BS, log_softmax(sure_BSV)


def planted(frames: dict[int, str], num_frames: int) -> np.ndarray:
    """(T, 80) features with the tokens of a word from an encoder frame on."""
    feats = np.zeros((4 * num_frames, 80), dtype=np.float32)
    for first, word in frames.items():
        for number, token in enumerate(TOKENIZER.encode(word)):
            feats[4 * (first + number)] = token
    return feats


def split(root, feats: dict[str, np.ndarray], texts: dict[str, str]):
    """Write the utterances as stages 1 and 2 would; their data and dump directories."""
    kaldi_dir.write(root / "data", kaldi_dir.DataDir({i: f"{i}.wav" for i in texts}, texts))
    (root / "dump").mkdir()
    with FeatureWriter(root / "dump") as writer:
        for i in sorted(feats):
            writer.write(i, feats[i])
    return root / "data", root / "dump"


def model(**features):
    settings = Config(features=FeaturesConfig(**features))
    settings.model.subsampling = 4
    return SimpleNamespace(
        model=SimpleNamespace(subsampling=4),
        network=SimpleNamespace(has_ctc=True),
        encode_features=encode_features,
        tokenizer=TOKENIZER,
        settings=settings,
    )


def test_words_are_written_where_ctc_hears_them(tmp_path):
    sizes = [len(TOKENIZER.encode(word)) for word in ("set", "volume", "ten")]
    assert max(sizes) > 1  # a word may be several tokens
    feats = {"a": planted({10: "set", 25: "volume", 60: "ten"}, 80), "b": planted({3: "ten"}, 20)}
    data, dump = split(tmp_path, feats, {"a": "set volume ten", "b": "ten"})
    assert "aligned 2 of 2 utterances ->" in forced_alignment.write_ctm(model(), data, dump)
    read = dict(ctm.read(data / "ctm", kaldi_dir.read(data).text))
    reach = 5  # encoder frames: 0.2 s
    first, second, third = sizes
    expected = [(10 - reach, 10 + first + reach), (25 - reach, 25 + second + reach)]
    expected.append((60 - reach, 60 + third + reach))
    assert 10 + first + 2 * reach < 25  # else they would share
    got = [(w.start_s / FRAME_S, (w.start_s + w.duration_s) / FRAME_S) for w in read["a"]]
    np.testing.assert_allclose(got, expected, atol=0.03)
    assert read["b"] == [ctm.Word("ten", 0.0, round((3 + third + reach) * FRAME_S, 3))]


def test_a_word_ends_with_the_audio(tmp_path):
    data, dump = split(tmp_path, {"a": planted({6: "ten"}, 10)[:38]}, {"a": "ten"})
    forced_alignment.write_ctm(model(), data, dump)
    ((_, (word,)),) = ctm.read(data / "ctm", {"a": "ten"})
    # 38 feature frames every 10 ms, the last of 25 ms; 10 encoder frames would be 400 ms.
    assert word.start_s + word.duration_s == pytest.approx(0.395)


def test_a_trained_model_aligns_and_a_mistake_is_one_line(toy_experiment, toy_data, tmp_path):
    data, dump = (shutil.copytree(directory, tmp_path / directory.name) for directory in toy_data)
    command = [sys.executable, "-m", "atat.align", "--exp", str(toy_experiment)]
    command += ["--data", str(data), "--dump", str(dump), "--split"]
    done = subprocess.run([*command, "test"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test: aligned 4 of 4 utterances" in done.stdout
    assert (data / "test" / "ctm.by").read_text() == f"{toy_experiment.name}\n"
    read = dict(ctm.read(data / "test" / "ctm", kaldi_dir.read(data / "test").text))
    for utterance, seconds in zip(sorted(read), (1.6, 3.0, 2.4, 2.0), strict=True):
        times = [t for w in read[utterance] for t in (w.start_s, w.start_s + w.duration_s)]
        assert (np.diff(times) > -0.002).all() and times[0] >= 0 and times[-1] <= seconds
    done = subprocess.run([*command, "tset"], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "tset: no such data directory" in done.stderr


def test_times_count_from_the_file_where_its_edges_are_trimmed(tmp_path):
    time = np.arange(8000) / 16000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    samples = np.concatenate([np.zeros(16000), tone, np.zeros(16000)])
    samples += np.random.default_rng(0).normal(0, 1e-4, len(samples))
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    start_s = forced_alignment.speech_start_s(str(tmp_path / "a.wav"), FeaturesConfig(trim_db=35.0))
    assert start_s == pytest.approx(0.8, abs=0.05)  # 0.2 s of padding before the tone
    assert forced_alignment.speech_start_s("nowhere.wav", FeaturesConfig()) == 0.0


def test_where_the_features_begin_is_added(tmp_path, monkeypatch):
    data, dump = split(tmp_path, {"a": planted({10: "ten"}, 40)}, {"a": "ten"})
    monkeypatch.setattr(forced_alignment, "speech_start_s", lambda path, settings: 1.5)
    forced_alignment.write_ctm(model(), data, dump)
    ((_, (word,)),) = ctm.read(data / "ctm", {"a": "ten"})
    assert word.start_s == pytest.approx(1.5 + 5 * FRAME_S)


def test_what_cannot_be_aligned_is_counted_and_limited(tmp_path):
    feats = {"a": planted({10: "ten"}, 40), "b": planted({3: "ten"}, 5)}
    data, dump = split(tmp_path, feats, {"a": "ten", "b": "ten ten ten ten ten ten"})
    with pytest.raises(ValueError, match=r"aligned 1 of 2 utterances; .* frames: b \(limit 1%"):
        forced_alignment.write_ctm(model(), data, dump)
    assert not (data / "ctm").exists()
    assert "aligned 1 of 2" in forced_alignment.write_ctm(model(), data, dump, allow_drops=True)
    assert [i for i, _ in ctm.read(data / "ctm", {"a": "ten"})] == ["a"]


def test_without_ctc_or_text_or_features_there_is_one_line(tmp_path):
    data, dump = split(tmp_path, {"a": planted({10: "ten"}, 40)}, {"a": "ten"})
    without = model()
    without.network.has_ctc = False
    with pytest.raises(ValueError, match="has no CTC"):
        forced_alignment.write_ctm(without, data, dump)
    kaldi_dir.write(data, kaldi_dir.DataDir(text={"a": "ten"}))
    with pytest.raises(ValueError, match=r"data: needs wav\.scp and text"):
        forced_alignment.write_ctm(model(), data, dump)
    kaldi_dir.write(data, kaldi_dir.DataDir({"z": "z.wav"}, {"z": "ten"}))
    with pytest.raises(ValueError, match=r"has no utterance of .*data; rerun stage 2"):
        forced_alignment.write_ctm(model(), data, dump)
