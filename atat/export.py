"""Export a trained model: one directory that runs without torch and ESPnet.

`python -m atat.export --exp DIR --out model` writes the networks in ONNX, the grammar compiled, the
vocabulary, settings, confidence and a model card, all with checksums. `atat.parse --exp model`,
`atat.serve --model model` and `SpeechToSemantics.load("model")` take it like an experiment, with
what the wheel alone brings.
"""

from pathlib import Path

from atat.common import cli


def main() -> None:
    """Export one experiment, from the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", type=Path, required=True, metavar="DIR", help="a trained experiment")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="new, empty, or an exported model: replaced",
    )
    add(
        "--precision",
        choices=("int8", "float32"),
        default="int8",
        help="of the weights of products: int8 is smaller and faster, float32 as trained",
    )
    args = parser.parse_args()
    from atat.models.checkpoint import check_experiment

    check_experiment(args.exp)  # before torch is imported

    from atat.deployment.export import export

    print(export(args.exp, args.out, args.precision))
    print(f"python -m atat.parse --exp {args.out} FILE understands with it now")


if __name__ == "__main__":
    cli.run(main)
