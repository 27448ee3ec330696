"""Words of an utterance that is not finished: the best path of CTC."""

# N samples, B utterances (one), T frames, V vocabulary

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from atat.data.tokenizer import Tokenizer


def words_so_far(
    model: Any, samples_N: np.ndarray, sample_rate: int, max_duration_s: float
) -> str | None:
    """The words of the audio so far, without tags; empty where there are none yet.

    The encoder is not causal: it encodes all of the utterance again.

    Args:
        model: a `SpeechToSemantics`.
        samples_N: float32 within [-1, 1].
        sample_rate: of the samples, in Hz.
        max_duration_s: of the utterance.

    Returns:
        None, where the model has no CTC.
    """
    if not hasattr(model, "encode_features"):
        return None
    try:
        recording = model.extract_features(samples_N, sample_rate, max_duration_s)
    except ValueError:  # too short as yet
        return ""
    if recording.reason is not None:
        return ""
    _, mask_BT, ctc_BTV = model.encode_features([recording.feats_TF])
    if ctc_BTV is None:
        return None
    best_T = np.asarray(ctc_BTV)[0].argmax(-1)[np.asarray(mask_BT)[0]]
    return best_path(best_T, model.tokenizer)


def best_path(best_T: np.ndarray, tokenizer: "Tokenizer") -> str:
    """The words that CTC's most probable token of every frame spells.

    Args:
        best_T: int (T,).
        tokenizer: that the ids are of.
    """
    left_out = {tokenizer.blank, tokenizer.pad, tokenizer.unk, tokenizer.eos, *tokenizer.tag_ids}
    starts_T = np.diff(best_T, prepend=-1) != 0
    return tokenizer.decode(i for i in best_T[starts_T].tolist() if i not in left_out)
