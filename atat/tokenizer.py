"""Stage 3: learn the tokenizer from the training splits.

With a start (--init_from), words are cut as there, so that all that was learned of their pieces
goes on to mean the same; and as Whisper cuts them, where its decoder is what the model starts from
(tokenizer.pieces_of). Tags are those of the training splits.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from atat.common import cli
from atat.config import config_file, stage_inputs, unused_settings
from atat.data import kaldi_dir
from atat.data.tokenizer import Tokenizer
from atat.training import encoded_split


def main() -> None:
    """Stage 3: train the tokenizer, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", required=True, action="append", help="the recipe's YAML")
    parser.add_argument("--data", required=True, help="directory with the splits")
    parser.add_argument("--init_from", help="trained experiment whose pieces of words are taken")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()
    settings = config_file.load(args.config, args.overrides)
    settings.train.init_from = args.init_from
    named = config_file.named(args.config[1:], args.overrides)
    for line in unused_settings.notes(settings, named, stage_inputs.DATA_STAGES[3]):
        print(line, file=sys.stderr)
    c = settings.tokenizer

    splits = [Path(args.data) / split for split in c.splits]
    start = args.init_from if c.pieces_of_start else None
    if start is not None:
        tokenizer = Tokenizer.load(Path(start) / "tokenizer").with_tags(_sequences(splits))
    elif c.pieces_of is not None:
        from atat.models import whisper_checkpoint

        vocabulary = whisper_checkpoint.load(c.pieces_of).vocabulary
        tokenizer = Tokenizer.borrow(_sequences(splits), vocabulary)
    else:
        tokenizer = Tokenizer.train(_sequences(splits), c.vocab_size)
    num, lost = 0, []
    for sequence in _sequences(splits):
        num += 1
        if not tokenizer.gives_back(sequence):
            lost.append(sequence)
    if lost and start is None:
        raise ValueError(f"the tokenizer does not give back '{lost[0]}' (a bug: please report)")
    tokenizer.save(Path(args.data) / "tokenizer")
    # Those of an earlier tokenizer are of no use; and now, so that trainings start at once.
    shutil.rmtree(Path(args.data) / encoded_split.KEPT, ignore_errors=True)
    for split in c.splits:
        encoded_split.read(Path(args.data), split, tokenizer)
    print(
        f"tokenizer: {len(tokenizer)} symbols, {len(tokenizer.tags)} of them tags; "
        f"{num - len(lost)} sequences come back exactly -> {Path(args.data) / 'tokenizer'}"
    )
    if lost:
        print(
            f"{len(lost)} sequences have characters that {start} has not met, as '{lost[0]}': "
            "<unk> there (tokenizer.pieces_of_start=false learns pieces of their own)"
        )


def _sequences(splits: list[Path]) -> Iterator[str]:
    """Target sequences and texts, one by one: there may be millions."""
    for path in splits:
        for kind in ("semantics", "text"):
            values = (getattr(utterance, kind) for utterance in kaldi_dir.utterances(path))
            yield from (value for value in values if value is not None)


if __name__ == "__main__":
    cli.run(main)
