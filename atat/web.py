"""Write a trained model as a page that needs no server: it understands in the browser.

`python -m atat.web --model model --out site` writes static files for any web server (`python -m
http.server --directory site`): the page with a microphone, a model that `atat.export` wrote, and
onnxruntime-web, which npm fetches. Nothing leaves the machine of who opens the page.
"""

from pathlib import Path

from atat.common import cli


def main() -> None:
    """Write the page of one model, from the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="as atat.export wrote it")
    add(
        "--out", type=Path, required=True, metavar="DIR", help="new, or such a page: it is replaced"
    )
    add(
        "--onnxruntime_web",
        type=Path,
        metavar="DIR",
        help="unpacked package onnxruntime-web; default: npm fetches it",
    )
    args = parser.parse_args()

    from atat.serving import static_site

    print(static_site.write(args.model, args.out, args.onnxruntime_web))
    print(f"python -m http.server --directory {args.out} serves it now, on port 8000")


if __name__ == "__main__":
    cli.run(main)
