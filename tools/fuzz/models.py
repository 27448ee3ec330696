"""What a model directory holds, exported or of a training: every file of it but one is right."""

import functools
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.fuzz.mutations import exchanged, json_mutated
from tools.fuzz.parsers import Prepared, binary, of_file, parser, text
from tools.fuzz.toy_model import EXPERIMENT, EXPORTED, directory_of_models

WORDS = "turn on the kitchen lights"


def _copy(directory: Path, kind: str) -> Path:
    own = directory / kind
    shutil.rmtree(own, ignore_errors=True)
    return Path(shutil.copytree(directory_of_models() / kind, own))


def _checked_index(path: Path) -> None:
    from atat.inference import onnx_network
    from atat.models import exported_model

    exported_model.check(path.parent)
    onnx_network.load(path.parent, vocab_size=60)


@parser(draw=json_mutated)
def exported_index(directory: Path) -> Prepared:
    """model.json."""
    path = _copy(directory, EXPORTED) / "model.json"
    return of_file(path, [path.read_bytes()], _checked_index, EXPORTED)


def _onnx(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A graph with another node, name, size, type or value; or with changed bytes."""
    if draw.random() < 0.15:
        return binary(draw, seeds, words)
    import onnx

    model = onnx.ModelProto.FromString(draw.choice(seeds))
    for _ in range(draw.randint(1, 3)):
        _change_graph(draw, model.graph)
    return model.SerializeToString()


def _change_graph(draw: random.Random, graph: Any) -> None:
    sizes = (-1, 0, 1, 2, 3, 31, 1 << 20, 1 << 40)
    match draw.randrange(9):
        case 0:
            del graph.node[draw.randrange(len(graph.node))]
        case 1:
            node, other = draw.choice(graph.node), draw.choice(graph.node)
            if node.input and other.output:
                node.input[draw.randrange(len(node.input))] = draw.choice(other.output)
        case 2:
            draw.choice(graph.node).op_type = draw.choice(graph.node).op_type
        case 3:
            given = draw.choice([*graph.input, *graph.output])
            given.name = draw.choice(("", "x", *(one.name for one in graph.input)))
        case 4:
            given = draw.choice([*graph.input, *graph.output]).type.tensor_type
            given.elem_type = draw.randrange(17)
        case 5:
            given = draw.choice([*graph.input, *graph.output]).type.tensor_type
            if given.shape.dim:
                draw.choice(given.shape.dim).dim_value = draw.choice(sizes)
        case 6:
            del draw.choice((graph.input, graph.output, graph.initializer))[0:1]
        case 7:
            one = draw.choice(graph.initializer)
            if one.dims:
                one.dims[draw.randrange(len(one.dims))] = draw.choice(sizes)
        case 8:
            one = draw.choice(graph.initializer)
            one.raw_data = draw.choice(
                (b"", one.raw_data[:-4], bytes(len(one.raw_data)), b"\xff" * len(one.raw_data))
            )


def _network(directory: Path, name: str) -> Prepared:
    """One graph of an exported network, the others of which are right."""
    import numpy as np

    from atat.inference import onnx_network
    from atat.inference.predictor import SpeechToSemantics
    from atat.models import exported_model

    model_dir = _copy(directory, EXPORTED)
    model = SpeechToSemantics.load(model_dir)
    about = exported_model.read_index(model_dir)["network"]
    right = model.network
    rng = np.random.default_rng(1)
    feats = rng.normal(size=(40, model.settings.features.num_mel_bins)).astype(np.float32)

    def use() -> None:
        options = model.options("slu", constraint="grammar")
        model.search_features([feats], options)
        model._read_texts([WORDS], model.options("nlu"))

    use()

    def read(path: Path) -> None:
        network = onnx_network.OnnxNetwork(model_dir, about, "cpu", 1, len(model.tokenizer))
        network._graphs = {k: v for k, v in right._graphs.items() if k != name}
        model.network = network
        use()

    return of_file(model_dir / name, [(model_dir / name).read_bytes()], read, EXPORTED)


@parser(draw=_onnx)
def onnx_speech(directory: Path) -> Prepared:
    """The encoder of speech."""
    return _network(directory, "speech.onnx")


@parser(draw=_onnx)
def onnx_text(directory: Path) -> Prepared:
    """The encoder of text."""
    return _network(directory, "text.onnx")


@parser(draw=_onnx)
def onnx_memory(directory: Path) -> Prepared:
    """What the decoder attends to."""
    return _network(directory, "memory.onnx")


@parser(draw=_onnx)
def onnx_step(directory: Path) -> Prepared:
    """The decoder."""
    return _network(directory, "step.onnx")


def _npz(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Arrays of other values, shapes, types and names; or changed bytes."""
    import io

    import numpy as np

    if draw.random() < 0.2:
        return binary(draw, seeds, words)
    with np.load(io.BytesIO(draw.choice(seeds))) as file:
        parts = {name: file[name] for name in file.files}
    for _ in range(draw.randint(1, 2)):
        name = draw.choice(sorted(parts))
        part = parts[name]
        flat = part.reshape(-1).copy()
        match draw.randrange(7):
            case 0 | 1:
                if len(flat):
                    value = draw.choice((-1, 0, 1, 5, 1000, 2**31, 2**62, -(2**63)))
                    flat[draw.randrange(len(flat))] = np.array(value).astype(flat.dtype)
                parts[name] = flat.reshape(part.shape)
            case 2:
                parts[name] = part.astype(
                    draw.choice(("f4", "f8", "i4", "u1", "?", "c8", "U3", "M8[s]"))
                )
            case 3:
                parts[name] = flat[: draw.randrange(len(flat) + 1)]
            case 4:
                parts[name] = flat[None] if draw.random() < 0.5 else np.concatenate((flat, flat))
            case 5:
                del parts[name]
                if not parts or draw.random() < 0.3:
                    parts[draw.choice(("", "x", "__class__", "load", "start", "allowed"))] = part
            case 6:
                parts[name] = np.array(draw.choice((0, -1, 2**40, 1.5)))
    file = io.BytesIO()
    np.savez(file, **{name or "_": part for name, part in parts.items()})
    return file.getvalue()


@parser(draw=_npz)
def compiled_grammar(directory: Path) -> Prepared:
    """The acceptor of an exported model's grammar."""
    import numpy as np

    from atat.data.tokenizer import Tokenizer
    from atat.inference import constraints

    model_dir = _copy(directory, EXPORTED)
    tokenizer = Tokenizer.load(model_dir / "tokenizer")
    path = model_dir / constraints.compiled_name(True)

    def read(path: Path) -> None:
        table = constraints.make(tokenizer, "grammar", True, model_dir / "grammar.yaml")
        state_N = np.array([table.start, constraints.DEAD])
        for step in range(12):
            allowed_NV = table.allowed(state_N, room=30 - step)
            assert allowed_NV.shape[1] == len(tokenizer)
            row_N, token_N = allowed_NV.nonzero()
            state_N = table.advance(state_N[row_N], token_N)[:50]

    return of_file(path, [path.read_bytes()], read, EXPORTED)


def _tokenizer(directory: Path, name: str) -> Prepared:
    from atat.data.tokenizer import Tokenizer

    own = _copy(directory, EXPORTED) / "tokenizer"

    def read(path: Path) -> None:
        tokenizer = Tokenizer.load(own)
        tokenizer.decode(tokenizer.encode("turnOn( turn on zzz )turnOn"))

    return of_file(own / name, [(own / name).read_bytes()], read, "tokenizer")


@parser(draw=json_mutated)
def tokenizer_json(directory: Path) -> Prepared:
    """Tags, and the fingerprint of all."""
    return _tokenizer(directory, "tokenizer.json")


@parser(binary)
def tokenizer_words(directory: Path) -> Prepared:
    """SentencePiece's file, with a checksum that fits it."""
    import zlib

    from atat.data.tokenizer import Tokenizer

    own = _copy(directory, EXPORTED) / "tokenizer"
    about = json.loads((own / "tokenizer.json").read_text())

    def read(path: Path) -> None:
        crc = f"{zlib.crc32(path.read_bytes()):08x}"
        (own / "tokenizer.json").write_text(json.dumps(about | {"words_crc32": crc}))
        tokenizer = Tokenizer.load(own)
        tokenizer.decode(tokenizer.encode("turnOn( turn on zzz )turnOn"))

    return of_file(own / "words.model", [(own / "words.model").read_bytes()], read, "tokenizer")


@parser(draw=json_mutated)
def nesting_json(directory: Path) -> Prepared:
    """Which tags stand in which."""
    from atat.data.tokenizer import Tokenizer
    from atat.inference import constraints
    from atat.semantics import tag_nesting

    own = _copy(directory, EXPORTED)
    tokenizer = Tokenizer.load(own / "tokenizer")
    seed = {"": ["setVolume", "turnOn"], "turnOn": ["room"], "setVolume": ["level"], "room": []}

    def read(path: Path) -> None:
        constraints.make(tokenizer, "well_formed", True, None, tag_nesting.load(own))

    return of_file(own / "nesting.json", [json.dumps(seed)], read)


@parser(draw=json_mutated)
def confidence_json(directory: Path) -> Prepared:
    """What turns measures into a probability."""
    from atat.inference import confidence

    own = _copy(directory, EXPORTED)
    path = own / "confidence.json"
    near = confidence.Measures(1.0, 2.0, 0.1, 0.2)

    def read(path: Path) -> None:
        found = confidence.load(own)
        assert found is not None
        judge = confidence.judge(found, found.options, None)
        assert judge is not None
        judge(confidence.Examined([], near, {}))
        judge(confidence.Examined([], None, {}))

    return of_file(path, [path.read_bytes()], read)


def _yaml(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """YAML whose values are exchanged (JSON is YAML), or whose bytes are changed."""
    if draw.random() < 0.5:
        return text(draw, seeds, words)
    value = _loaded(draw.choice(seeds))
    for _ in range(draw.randint(1, 3)):
        value = exchanged(draw, value)
    return json.dumps(value).encode()


@functools.cache
def _loaded(seed: bytes) -> Any:
    import yaml

    return yaml.safe_load(seed)


@parser(draw=_yaml, words="train: decode: runs: model: null ${oc.env:HOME} !!python/object")
def experiment_config(directory: Path) -> Prepared:
    """The settings of an experiment or an exported model."""
    from atat.config import config_file

    path = _copy(directory, EXPORTED) / "config.yaml"
    return of_file(path, [path.read_bytes()], config_file.load_resolved)


@parser(draw=_yaml, words="context: expressions: slots: macros: fixed_slots: $room:room [a,b]")
def exported_grammar(directory: Path) -> Prepared:
    """The grammar of a model, with values exchanged."""
    from atat.grammar.grammar import Grammar
    from atat.inference.typed_text import TypedText

    path = _copy(directory, EXPORTED) / "grammar.yaml"

    def read(path: Path) -> None:
        TypedText(Grammar.load(path)).read(WORDS)

    return of_file(path, [path.read_bytes()], read)


def _safetensors(draw: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Another header, of the right or another size; or changed bytes."""
    if draw.random() < 0.3:
        return binary(draw, seeds, words)
    data = draw.choice(seeds)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if draw.random() < 0.5:  # an earlier version's, else nothing that is changed gets far
        del header["__metadata__"]["crc32"]
    for _ in range(draw.randint(1, 3)):
        header = exchanged(draw, header)
    coded = json.dumps(header).encode()
    coded += b" " * (-len(coded) % 8)
    length = (
        len(coded) if draw.random() < 0.9 else draw.choice((0, 1, size, 2**31, 2**63, 2**64 - 1))
    )
    return length.to_bytes(8, "little") + coded + data[8 + size :]


@parser(draw=_safetensors)
def model_safetensors(directory: Path) -> Prepared:
    """The weights of a training, and the header that says whose they are."""
    from atat.data.tokenizer import Tokenizer
    from atat.models import checkpoint

    exp = _copy(directory, EXPERIMENT)
    tokenizer = Tokenizer.load(exp / "tokenizer")

    def read(path: Path) -> None:
        checkpoint.check_experiment(exp)
        checkpoint.read_weights(path, tokenizer)

    path = exp / checkpoint.FILE
    return of_file(path, [path.read_bytes()], read, EXPERIMENT)


@parser(binary, words="cposix system c__builtin__ eval R. PROTO archive/data.pkl")
def model_pth(directory: Path) -> Prepared:
    """The weights of an earlier version: a pickle."""
    import io

    import torch

    from atat.data.tokenizer import Tokenizer
    from atat.models import checkpoint

    exp = directory / "exp"
    tokenizer = Tokenizer.load(directory_of_models() / EXPERIMENT / "tokenizer")
    file = io.BytesIO()
    weights = {"a.weight": torch.ones(2, 3), "b": torch.arange(4)}
    content = {"format": 1, "tokenizer": tokenizer.fingerprint, "model": weights}
    torch.save(content, file)
    older = io.BytesIO()
    torch.save(content, older, _use_new_zipfile_serialization=False)
    return of_file(
        exp / checkpoint.EARLIER_FILE,
        [file.getvalue(), older.getvalue()],
        lambda path: checkpoint.read_weights(path, tokenizer),
    )
