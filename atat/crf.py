"""A CRF tagger as the second of two stages: recognised words to semantics.

The paper's two-stage baseline ("ASR + CRF"), learned from the sentences and semantics of a split.

  python -m atat.crf --train data/train_text --texts exp/a/decode_test_asr --out exp/a/decode_crf

Stage 5 does the same for a run of decode.runs with `tagger: crf`.
"""

from pathlib import Path

from atat.common import cli
from atat.inference.crf_tagger import read_texts, tag


def main() -> None:
    """Train the tagger and tag, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--train", required=True, type=Path, help="a split with semantics")
    parser.add_argument(
        "--texts",
        required=True,
        type=Path,
        help="decode_<run>/ of recognised words (task asr), or a split",
    )
    parser.add_argument("--out", required=True, type=Path, help="decode_<run>/ to write")
    args = parser.parse_args()
    texts, split = read_texts(args.texts)
    is_heard = (args.texts / "hyp.jsonl").is_file()
    about = tag(
        args.train,
        texts,
        {
            "run": args.out.name.removeprefix("decode_"),
            "split": split,
            "source": "hypotheses" if is_heard else "text",
            "input": args.texts.name.removeprefix("decode_") if is_heard else None,
        },
        args.out,
    )
    print(f"{args.out}: {about['num_utterances']} utterances in {about['seconds']:.1f} s")


if __name__ == "__main__":
    cli.run(main)
