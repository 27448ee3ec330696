#!/usr/bin/env python3
"""Which words the Wyoming server should give for speech: of what was understood, or by `<asr>`.

Home Assistant sends the words back as text and acts on their intent. For each recording: the words,
and intent and slots of them as text, beside those of the speech itself. Speech that is not for the
model (the split `foreign`) counts as acted on where its words have an intent.

  tools/bench/transcripts.py --model egs/commands/exp/atat --data egs/commands/data
"""

from pathlib import Path

import torch

from atat import SpeechToSemantics
from atat.common import cli
from atat.common.provenance import commit
from atat.common.text_table import align
from atat.data import kaldi_dir
from atat.inference.result import slots
from atat.inference.typed_text import written
from atat.semantics import target_sequence
from atat.serving.wyoming_server import TRANSCRIPTS, Service


def main() -> None:
    """Print the table, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="a trained experiment, calibrated"
    )
    parser.add_argument("--data", type=Path, required=True, help="has the splits test and foreign")
    parser.add_argument("--num", type=cli.positive_int, default=200, help="recordings of each")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = SpeechToSemantics.load(args.model)
    if model.typed is None:
        raise ValueError(f"{args.model}: has no grammar")
    rows = [("words", "words right", "understood right", "speech itself", "foreign acted on")]
    for transcripts in TRANSCRIPTS:
        service = Service(model, transcripts=transcripts)
        counts = {"words": 0, "text": 0, "speech": 0, "acted": 0}
        test, foreign = (some(args.data / split, args.num) for split in ("test", "foreign"))
        for wav, text, semantics in test:
            words, result = service.of_speech(wav, None)
            typed = service.of_text(words) if words else None
            frame = target_sequence.frame(semantics)
            wanted = frame.intent, written(model.typed.grammar, frame.intent, slots(frame))
            counts["words"] += words == text
            counts["text"] += typed is not None and (typed.intent, typed.slots) == wanted
            counts["speech"] += (result.intent, result.slots) == wanted
        for wav, _, _ in foreign:
            words, _ = service.of_speech(wav, None)
            counts["acted"] += bool(words) and service.of_text(words).is_understood
        of_test = [f"{counts[key]} of {len(test)}" for key in ("words", "text", "speech")]
        rows.append((transcripts, *of_test, f"{counts['acted']} of {len(foreign)}"))
    print(f"{args.model}, commit {commit()}")
    print(align(rows))


def some(split: Path, num: int) -> list[tuple[str, str, str]]:
    """Audio, words and semantics of utterances of a split, evenly spaced."""
    data = kaldi_dir.read(split)
    ids = list(data.wav_scp)
    ids = ids[:: max(1, len(ids) // num)][:num]
    return [(data.wav_scp[i], data.text.get(i, ""), (data.semantics or {}).get(i, "")) for i in ids]


if __name__ == "__main__":
    cli.run(main)
