"""Forced alignment of words with speech, by a trained CTC."""

# B utterances, T encoder frames, N labels (tokens of words), K = 2 N + 1 states, W words, V
# vocabulary

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atat.common import cli, parallel
from atat.common.advice import rerun
from atat.config.schema import FeaturesConfig
from atat.data import audio, ctm, filter_bank, kaldi_dir
from atat.data.feature_archive import FeatureReader
from atat.inference.length_batches import batches

if TYPE_CHECKING:
    from torch import Tensor

    from atat.inference.predictor import SpeechToSemantics

# CTC marks a word by spikes somewhere within it. Blank frames between two words are shared by them,
# each taking this much at most, so that a pause stays a pause.
REACH_S = 0.2
MAX_DROPPED = 0.01


def viterbi(
    log_probs_BTV: "Tensor",
    frames_B: "Tensor",
    labels_BN: "Tensor",
    lengths_B: "Tensor",
    blank: int,
) -> "tuple[Tensor, Tensor]":
    """The most probable CTC path of each label sequence (Graves et al. 2006, section 4).

    Args:
        log_probs_BTV: CTC's log-softmax outputs, float.
        frames_B: int64, how many frames are real, 1 or more.
        labels_BN: int64, padded with anything.
        lengths_B: int64, how many labels are real, 1 or more.
        blank: id of CTC's blank.

    Returns:
        path_BT int64, the position (0 to N - 1) of each frame's label, -1 for blank and padding;
        score_B, the path's log-probability: -inf where no path fits, the path means nothing then.
    """
    import torch

    batch, num_frames, _ = log_probs_BTV.shape
    num_states = 2 * labels_BN.size(1) + 1  # blank, label, blank, ..., label, blank
    symbol_BK = labels_BN.new_full((batch, num_states), blank)
    symbol_BK[:, 1::2] = labels_BN
    may_skip_BK = torch.zeros_like(symbol_BK, dtype=torch.bool)  # the blank before a label
    may_skip_BK[:, 3::2] = labels_BN[:, 1:] != labels_BN[:, :-1]
    emit_BTK = log_probs_BTV.gather(2, symbol_BK[:, None].expand(-1, num_frames, -1))

    best_BK = torch.full_like(emit_BTK[:, 0], -torch.inf)
    best_BK[:, :2] = emit_BTK[:, 0, :2]
    moves = [torch.zeros_like(symbol_BK)]  # how many states forward, into each state
    for t in range(1, num_frames):
        one_BK = torch.nn.functional.pad(best_BK, (1, 0), value=-torch.inf)[:, :-1]
        two_BK = torch.nn.functional.pad(best_BK, (2, 0), value=-torch.inf)[:, :-2]
        two_BK = two_BK.masked_fill(~may_skip_BK, -torch.inf)
        new_BK, move_BK = torch.stack((best_BK, one_BK, two_BK)).max(dim=0)
        real_B1 = (t < frames_B)[:, None]
        best_BK = torch.where(real_B1, new_BK + emit_BTK[:, t], best_BK)
        moves.append(torch.where(real_B1, move_BK, 0))

    ends_B2 = torch.stack((2 * lengths_B, 2 * lengths_B - 1), dim=1)  # blank or the last label
    score_B, which_B = best_BK.gather(1, ends_B2).max(dim=1)
    state_B1 = ends_B2.gather(1, which_B[:, None])
    states = []
    for move_BK in reversed(moves):
        states.append(state_B1)
        # Where no path fits, moves may lead before the first state.
        state_B1 = (state_B1 - move_BK.gather(1, state_B1)).clamp(min=0)
    state_BT = torch.cat(states[::-1], dim=1)
    path_BT = torch.where(state_BT % 2 == 1, state_BT // 2, -1)
    padding_BT = torch.arange(num_frames, device=path_BT.device) >= frames_B[:, None]
    return path_BT.masked_fill(padding_BT, -1), score_B


def word_spans(path_T: np.ndarray, word_N: np.ndarray, reach: float) -> np.ndarray:
    """From the labels of frames to the first frame and the one after the last of every word.

    Args:
        path_T: label at each frame, -1 for blank; every label occurs.
        word_N: the word that each label belongs to, from 0, ascending.
        reach: frames of blank that a word takes at most, on either side.

    Returns:
        float (W, 2); neighbours share the blanks between them.

    >>> word_spans(np.array([-1, 0, -1, 1, -1, -1, 2]), np.array([0, 0, 1]), 5.0).tolist()
    [[0.0, 5.0], [5.0, 7.0]]
    """
    frame_M = np.flatnonzero(path_T >= 0)
    word_M = word_N[path_T[frame_M]]
    words = np.arange(word_N[-1] + 1)
    first_W = frame_M[np.searchsorted(word_M, words, side="left")]
    after_W = frame_M[np.searchsorted(word_M, words, side="right") - 1] + 1
    half_gaps = (first_W[1:] - after_W[:-1]) / 2
    before_W = np.concatenate(([first_W[0]], half_gaps)).clip(max=reach)
    behind_W = np.concatenate((half_gaps, [len(path_T) - after_W[-1]])).clip(max=reach)
    return np.stack((first_W - before_W, after_W + behind_W), axis=1)


def align(
    model: "SpeechToSemantics", reader: FeatureReader, texts: dict[str, str]
) -> Iterator[tuple[str, list[ctm.Word] | None]]:
    """Every utterance with its words, in no order; None where it has more tokens than frames.

    Times are seconds from the beginning of the features.

    Args:
        model: with CTC.
        reader: has the features of all utterances in `texts`.
        texts: utterance id -> its words.

    Raises:
        ValueError: the model has no CTC.
    """
    import torch

    if not model.network.has_ctc:
        raise ValueError(
            "the experiment has no CTC (its model.ctc_weight is 0), which is what aligns: take "
            "another one"
        )
    settings = model.settings
    frame_s = model.model.subsampling * settings.features.frame_shift_ms / 1000
    ids = sorted(texts)
    sizes = [reader.num_frames[i] for i in ids]
    for batch in batches(sizes, settings.decode.batch_frames):
        names = [ids[index] for index in batch]
        words = [texts[i].split() for i in names]
        tokens = [[model.tokenizer.encode(word) for word in row] for row in words]
        labels = [torch.tensor([i for word in row for i in word]) for row in tokens]
        feats = [np.array(reader[i]) for i in names]
        _, mask_BT, ctc_BTV = (torch.from_numpy(x) for x in model.encode_features(feats))
        frames_B = mask_BT.sum(dim=1)
        path_BT, score_B = viterbi(
            ctc_BTV,
            frames_B,
            torch.nn.utils.rnn.pad_sequence(labels, batch_first=True),
            torch.tensor([len(row) for row in labels]),
            model.tokenizer.blank,
        )
        for b, name in enumerate(names):
            if not torch.isfinite(score_B[b]):
                yield name, None
                continue
            word_N = np.repeat(np.arange(len(words[b])), [len(word) for word in tokens[b]])
            path_T = path_BT[b, : frames_B[b]].numpy()
            spans_W2 = frame_s * word_spans(path_T, word_N, REACH_S / frame_s)
            end_s = feature_seconds(len(feats[b]), settings.features)
            yield name, _words(words[b], spans_W2.clip(max=end_s))


def feature_seconds(num_frames: int, settings: FeaturesConfig) -> float:
    """Duration of the audio that so many feature frames come from."""
    return ((num_frames - 1) * settings.frame_shift_ms + settings.frame_length_ms) / 1000


def speech_start_s(path: str, settings: FeaturesConfig) -> float:
    """Where in an audio file its features begin, in seconds."""
    if settings.trim_db is None:
        return 0.0
    samples = audio.read(path, settings.sample_rate_hz, settings.max_duration_s)
    return filter_bank.speech_range(samples, settings)[0] / settings.sample_rate_hz


def write_ctm(
    model: "SpeechToSemantics",
    data_dir: Path,
    dump_dir: Path,
    num_jobs: int = 1,
    allow_drops: bool = False,
) -> str:
    """Align a split and write its `ctm`.

    Args:
        model: with CTC.
        data_dir: `data/<split>`, with wav.scp and text.
        dump_dir: the split's features.
        num_jobs: processes that read audio.
        allow_drops: go on when more than 1 % of the utterances cannot be aligned.

    Returns:
        What was done, a sentence.

    Raises:
        ValueError: the split has no text or the model no CTC; more than 1 % of the utterances
            cannot be aligned and `allow_drops` is off. Nothing is written then.
    """
    directory = kaldi_dir.read(data_dir)
    if directory.text is None or directory.wav_scp is None:
        raise ValueError(f"{data_dir}: needs wav.scp and text, expected both; choose another split")
    reader = FeatureReader(dump_dir)
    texts = {i: text for i, text in directory.text.items() if i in reader}
    if not texts:
        raise ValueError(f"{dump_dir}: has no utterance of {data_dir}; {rerun(2)}")
    found: dict[str, list[ctm.Word] | None] = {}
    with cli.progress(total=len(texts), desc=f"align {data_dir.name}") as bar:
        for name, words in align(model, reader, texts):
            found[name] = words
            bar.update()
    aligned = {name: words for name, words in found.items() if words is not None}
    dropped = sorted(found.keys() - aligned.keys())
    said = f"aligned {len(aligned)} of {len(found)} utterances"
    if dropped:
        said += f"; the others have more tokens than encoder frames: {', '.join(dropped[:3])}"
    if len(dropped) > MAX_DROPPED * len(found) and not allow_drops:
        raise ValueError(
            f"{data_dir}: {said} (limit {MAX_DROPPED:.0%}; --allow_drops true goes on)"
        )
    kept = sorted(aligned)
    starts = parallel.run(
        functools.partial(speech_start_s, settings=model.settings.features),
        (directory.wav_scp[name] for name in kept),
        num_jobs,
        total=len(kept),
        desc="trimming",
    )
    shifted = (
        (name, [ctm.Word(w.word, w.start_s + start_s, w.duration_s) for w in aligned[name]])
        for name, start_s in zip(kept, starts, strict=True)
    )
    ctm.write(data_dir / "ctm", shifted)
    return f"{said} -> {data_dir / 'ctm'}"


def _words(words: list[str], spans_W2: np.ndarray) -> list[ctm.Word]:
    return [
        ctm.Word(word, start_s, end_s - start_s)
        for word, (start_s, end_s) in zip(words, spans_W2.tolist(), strict=True)
    ]
