"""Stage 3: learn the tokenizer from the training splits."""

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
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()
    settings = config_file.load(args.config, args.overrides).tokenizer

    sequences: list[str] = []
    for split in settings.splits:
        data = kaldi_dir.read(Path(args.data) / split)
        for kind in (data.semantics, data.text):
            sequences.extend((kind or {}).values())
    tokenizer = Tokenizer.train(sequences, settings.vocab_size)
    for sequence in sequences:
        if tokenizer.decode(tokenizer.encode(sequence)) != sequence:
            raise ValueError(
                f"the tokenizer does not give back '{sequence}' (a bug: please report)"
            )
    tokenizer.save(Path(args.data) / "tokenizer")
    print(
        f"tokenizer: {len(tokenizer)} symbols, {len(tokenizer.tags)} of them tags; "
        f"{len(sequences)} sequences come back exactly -> {Path(args.data) / 'tokenizer'}"
    )


if __name__ == "__main__":
    cli.run(main)
