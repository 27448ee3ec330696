"""Few-shot adaptation to speakers: cross-validation over speakers, adaptation, comparison."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atat.common.files import atomic_write, sha256
from atat.common.seeds import rng
from atat.common.text_table import align
from atat.config.schema import Config, DecodeRun
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import metrics, noise_curve
from atat.evaluation.scoring import percent
from atat.inference.decode_runs import load_settings, search_options
from atat.models.checkpoint import is_trained, model_path
from atat.semantics.target_sequence import Frame
from atat.training.adaptation import changes

SHOTS = (10, 50, 100)


def parts_of(split: DataDir, num_parts: int, seed: int) -> list[list[str]]:
    """Folds with about the same number of speakers, and no speaker in two of them.

    Args:
        split: where utt2spk is None, each utterance is a speaker of its own.
        num_parts: folds, 2 to the number of speakers.
        seed: of the speakers' order.

    Returns:
        Utterance ids of each fold, sorted.

    Raises:
        ValueError: there are fewer speakers than folds.
    """
    speaker_of = split.utt2spk or {i: i for i in split.ids}
    speakers = sorted(set(speaker_of.values()))
    if not 2 <= num_parts <= len(speakers):
        raise ValueError(
            f"--folds: got {num_parts}, expected 2 to {len(speakers)}, the number of speakers"
        )
    order = rng(seed, "few_shot").permutation(len(speakers))
    part_of = {speakers[s]: place % num_parts for place, s in enumerate(order)}
    parts: list[list[str]] = [[] for _ in range(num_parts)]
    for i in split.ids:
        parts[part_of[speaker_of[i]]].append(i)
    return parts


def shots_of(split: DataDir, tested: list[str], num: int, seed: int) -> DataDir:
    """Draw recordings to adapt to, of the folds that are not tested.

    Args:
        split: all recordings.
        tested: ids of the fold that is tested.
        num: how many to draw; those of a smaller number are among those of a larger one.
        seed: of the draw.

    Raises:
        ValueError: there are not as many.
    """
    others = sorted(set(split.ids) - set(tested))
    if num > len(others):
        raise ValueError(
            f"--shots: got {num}, expected at most {len(others)}: the others are tested on"
        )
    chosen = [others[i] for i in rng(seed, "shots", *tested).permutation(len(others))[:num]]
    columns = {
        name: {i: entries[i] for i in chosen}
        for name in ("wav_scp", "text", "semantics", "utt2spk")
        if (entries := getattr(split, name)) is not None
    }
    return DataDir(**columns)


def adapt(exp: Path, out: Path, shots: DataDir, data: Path, dump: Path, further: list[str]) -> None:
    """Adapt the experiment to recordings (`atat.adapt`), unless `out` is just that already.

    Args:
        exp: the experiment to start from.
        out: the adapted experiment; what stands there of other recordings is replaced.
        shots: the recordings, with semantics.
        data: directory of the splits that `exp` was trained on.
        dump: that of their features.
        further: arguments of `atat.adapt`, beside those that name directories.

    Raises:
        ValueError: the training failed; it has printed why.
    """
    weights = model_path(exp).read_bytes()
    settings = load_settings(exp, [])
    training = changes(settings, exp, out.name, repeat=1)
    key = sha256(weights, json.dumps([vars(shots), training], sort_keys=True), *further)
    marker = out / "made_from"
    if is_trained(out) and marker.is_file() and marker.read_text(encoding="utf-8") == key:
        return
    if not (marker.is_file() and marker.read_text(encoding="utf-8") == key):
        # Checkpoints too: going on from them would keep what other recordings have taught.
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        with atomic_write(marker) as file:
            file.write(key)
    recordings = out.parent / "recordings" / out.name
    kaldi_dir.write(recordings, shots)
    command = [sys.executable, "-m", "atat.adapt", "--exp", exp, "--recordings", recordings]
    command += ["--data", data, "--dump", dump, "--out", out, *further]
    if subprocess.run(list(map(str, command)), check=False).returncode != 0:
        raise ValueError(f"{out}: adapting failed (see above); the same command goes on")


def understood(
    exp: Path,
    settings: Config,
    runs: dict[str, DecodeRun],
    split: DataDir,
    ids: list[str],
    key: Callable[[str], Frame],
) -> dict[str, dict[str, bool]]:
    """Exact match (EM Hyp) of each utterance in each run.

    Args:
        exp: a trained experiment.
        settings: its own.
        runs: name -> run of decode.runs, from speech to semantics.
        split: has wav.scp and semantics.
        ids: the utterances to decode.
        key: what EM Hyp compares, see `metrics.judge`.

    Returns:
        Run -> utterance -> whether it is right; one that cannot be used is not.

    Raises:
        ValueError: no utterance can be used.
    """
    from atat.inference.predictor import SpeechToSemantics

    model = SpeechToSemantics.load(exp, with_confidence=False)
    assert split.wav_scp is not None and split.semantics is not None
    wavs = {i: split.wav_scp[i] for i in ids}
    inputs = noise_curve.heard(wavs, None, 0.0, settings.features, None, settings.seed)
    return {
        name: noise_curve.understood(
            model,
            inputs,
            model.options(**search_options(run, model.settings)),
            split.semantics,
            key,
        )
        for name, run in runs.items()
    }


def table(right: dict[int, dict[str, dict[str, bool]]]) -> tuple[str, list[dict[str, Any]]]:
    """EM Hyp by number of recordings and run, each compared with none by McNemar's test.

    Args:
        right: k -> run -> utterance -> whether it is right; k = 0 is the experiment itself.

    Returns:
        The table as text, and its rows as {"shots", "run", "em_hyp", "p"}.
    """
    rows = [["recordings", "run", "EM Hyp (%)", "points more", "p"]]
    values = []
    for num, runs in sorted(right.items()):
        for name, of_utterance in runs.items():
            ids = sorted(of_utterance)
            before = [right[0][name][i] for i in ids]
            after = [of_utterance[i] for i in ids]
            score = metrics.proportion(sum(after), len(ids))
            p = metrics.mcnemar(after, before)
            more = 100 * (sum(after) - sum(before)) / len(ids)
            values.append({"shots": num, "run": name, "em_hyp": score, "p": p})
            compared = [f"{more:+.1f}", f"{p:.3f}"] if num else ["", ""]
            rows.append([str(num), name, percent(score), *compared])
    return align(rows), values
