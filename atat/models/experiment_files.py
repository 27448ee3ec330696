"""What stands in an experiment's directory beside the model, and copies of it in the model file.

Settings, tokenizer, tag nesting and grammar decide what the weights mean: one of them truncated, or
of another training, would give another model without a word. So the header of `model.safetensors`
has a copy of each, with which they are compared when a model is loaded, and from which
`atat.restore` puts them back.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from atat.common.files import atomic_write
from atat.common.json_file import WRONG_JSON

TEXT_ENCODER = "text_encoder"  # directory of a pretrained text encoder's description
CONFIDENCE = "confidence.json"
ABOUT = "about.json"  # of stage 1, beside the splits too: who speaks, and what EM Hyp compares
KEY = "files"  # of the header: JSON, name -> its content, deflated, in base64
OF_MODEL = ("config.yaml", "grammar.yaml", "nesting.json")
OF_REPORT = ("env.json", "train.jsonl", ABOUT)  # a model is the same without them
DIRECTORIES = ("tokenizer", TEXT_ENCODER)
MAX_SIZE = 100_000_000  # bytes of one: a model from somebody else shall not fill the memory


def read(exp: Path) -> dict[str, bytes]:
    """The files that an experiment has now, by name."""
    paths = [exp / name for name in (*OF_MODEL, *OF_REPORT)]
    for name in DIRECTORIES:
        paths += sorted((exp / name).glob("*"))
    return {str(p.relative_to(exp)): p.read_bytes() for p in paths if p.is_file()}


def packed(files: Mapping[str, bytes]) -> str:
    """Files as an entry of the header.

    >>> copies({KEY: packed({"env.json": b"content"})})
    {'env.json': b'content'}
    """
    coded = {name: base64.b64encode(zlib.compress(content)) for name, content in files.items()}
    return json.dumps({name: text.decode("ascii") for name, text in coded.items()})


def copies(header: Mapping[str, str]) -> dict[str, bytes]:
    """The files in a header; none in one of before 0.2, or where they are damaged.

    A model may come from somebody else: names that are not of a training's files are left out.
    """
    try:
        coded = json.loads(header.get(KEY, "{}"))
        return {name: _unpacked(text) for name, text in coded.items() if _is_ours(name)}
    except (*WRONG_JSON, zlib.error):
        return {}


def _unpacked(text: str) -> bytes:
    inflating = zlib.decompressobj()
    content = inflating.decompress(base64.b64decode(text), MAX_SIZE)
    if not inflating.eof:
        raise ValueError("truncated, or too large")
    return content


def _is_ours(name: str) -> bool:
    """Whether a training leaves a file of that name; never one outside of its directory.

    >>> [_is_ours(n) for n in ("config.yaml", "tokenizer/words.model", "../x", "tokenizer/../x")]
    [True, True, False, False]
    """
    directory, _, file = name.rpartition("/")
    if not directory:
        return name in (*OF_MODEL, *OF_REPORT)
    return directory in DIRECTORIES and file not in ("", ".", "..") and "\\" not in file


def differing(exp: Path, kept: Mapping[str, bytes]) -> list[str]:
    """Names of the files that are not as they were kept, or not there."""
    return [
        name
        for name, content in kept.items()
        if not (exp / name).is_file() or (exp / name).read_bytes() != content
    ]


def check(exp: Path, kept: Mapping[str, bytes]) -> None:
    """Raise ValueError where a file that decides what the model computes is not as it was kept."""
    for name in differing(exp, kept):
        if name not in OF_REPORT:
            path, size = exp / name, len(kept[name])
            got = path.stat().st_size if path.is_file() else None
            what = "nothing" if got is None else "others" if got == size else f"{got} bytes"
            raise ValueError(
                f"{path}: is not as the training left it (got {what}, expected {size} bytes of its "
                f"own); `python -m atat.restore --exp {exp}` puts it back"
            )


def put_back(exp: Path, kept: Mapping[str, bytes]) -> list[str]:
    """Write the files that differ again; their names."""
    names = differing(exp, kept)
    for name in names:
        with atomic_write(exp / name, "wb") as file:
            file.write(kept[name])
    return names
