"""Stage 3: learn the tokenizer from the training splits.

With a start (--init_from), words are cut as there, so that all that was learned of their pieces
goes on to mean the same; tags are those of the training splits.
"""

from pathlib import Path

from atat.common import cli
from atat.config import config_file
from atat.data import kaldi_dir
from atat.data.tokenizer import Tokenizer


def main() -> None:
    """Stage 3: train the tokenizer, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", required=True, action="append", help="the recipe's YAML")
    parser.add_argument("--data", required=True, help="directory with the splits")
    parser.add_argument("--init_from", help="trained experiment whose pieces of words are taken")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()
    settings = config_file.load(args.config, args.overrides).tokenizer

    sequences: list[str] = []
    for split in settings.splits:
        data = kaldi_dir.read(Path(args.data) / split)
        for kind in (data.semantics, data.text):
            sequences.extend((kind or {}).values())
    start = args.init_from if settings.pieces_of_start else None
    if start is None:
        tokenizer = Tokenizer.train(sequences, settings.vocab_size)
    else:
        tokenizer = Tokenizer.load(Path(start) / "tokenizer").with_tags(sequences)
    lost = [s for s in sequences if tokenizer.decode(tokenizer.encode(s)) != s]
    if lost and start is None:
        raise ValueError(f"the tokenizer does not give back '{lost[0]}' (a bug: please report)")
    tokenizer.save(Path(args.data) / "tokenizer")
    print(
        f"tokenizer: {len(tokenizer)} symbols, {len(tokenizer.tags)} of them tags; "
        f"{len(sequences) - len(lost)} sequences come back exactly -> "
        f"{Path(args.data) / 'tokenizer'}"
    )
    if lost:
        print(
            f"{len(lost)} sequences have characters that {start} has not met, as '{lost[0]}': "
            "<unk> there (tokenizer.pieces_of_start=false learns pieces of their own)"
        )


if __name__ == "__main__":
    cli.run(main)
