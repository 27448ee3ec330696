"""Small corpora in the layouts of real ones, rendered here: to try a recipe without its corpus.

Directories, files and columns are those of the corpus; sentences are our own and speakers are
synthesisers. What is said by whom follows from the seed; nanotts adds a little noise that cannot be
seeded. No number that a recipe gives on them is about the corpus.

  python utils/toy_corpus.py --layout NAME --out DIR
"""

from pathlib import Path

from atat.common import cli
from atat.config import config_file, schema
from atat.prepare.toy_corpus import LAYOUTS, OF_RECIPE, make


def main() -> None:
    """Write a toy corpus, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--layout", required=True, choices=[*LAYOUTS, *OF_RECIPE], help="a corpus, or a recipe's"
    )
    parser.add_argument("--size", default="small", choices=["small", "large"], help="how much")
    parser.add_argument("--seed", type=int, default=1, help="of what is said, and by whom")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where to write it")
    parser.add_argument("--nj", type=cli.positive_int, default=1, help="processes that speak")
    parser.add_argument(
        "--cache",
        type=Path,
        default=config_file.ROOT / schema.DataConfig().cache,
        metavar="DIR",
        help="of rendered speech",
    )
    args = parser.parse_args()
    is_new = make(args.layout, args.size, args.seed, args.out, args.cache, args.nj)
    corpus = LAYOUTS[OF_RECIPE.get(args.layout, args.layout)].corpus
    state = "written" if is_new else "is there already"
    print(f"{args.out}: {state}: sentences of our own by synthesisers, not {corpus}")


if __name__ == "__main__":
    cli.run(main)
