"""Rendered stand-ins of corpora: their layout, with sentences of our own."""

import csv
import json
import random
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atat.common.files import atomic_directory
from atat.prepare import snips_nlu as reader_of_snips_nlu
from atat.prepare import toy_labels
from atat.synthesis import engines, synthetic_speech, toy_sentences
from atat.synthesis.toy_sentences import Tree

VERSION = 1  # raise it when the same seed gives another corpus
# SLURP: how the names of a recording end, by microphone.
MICROPHONES = (("-headset", ""), ("-headset",), ("",))
SHARE_NANOTTS = 0.25  # of the speakers; the others are voices of espeak

Said = tuple["Speaker", str]
Say = Callable[[Sequence[Said]], list[Path]]  # wav files of 16 kHz, mono, int16


@dataclass(frozen=True)
class Speaker:
    """A voice of a synthesiser, of some size (see `synthetic_speech.Request.speaker_factor`)."""

    engine: str
    voice: str
    factor: float


@dataclass(frozen=True)
class Size:
    """How much is made of a layout.

    Attributes:
        train, valid, test: utterances (of trees: sentences a domain; of SNIPS: train is what each
            speaker says, and there is no other split; of SLURP: sentences).
        speakers: of each split (of SLURP: of all together, the first number).
    """

    train: int
    valid: int = 0
    test: int = 0
    speakers: tuple[int, int, int] = (1, 1, 1)


def cast(num: int, rng: random.Random) -> list[Speaker]:
    """Different speakers, in random order."""
    factors = np.linspace(*synthetic_speech.FACTOR_RANGE, 9).round(2)
    voices = {name: engines.load(name).voices() for name in ("nanotts", "espeak")}
    every = {
        name: [Speaker(name, voice, float(factor)) for voice in found for factor in factors]
        for name, found in voices.items()
    }
    # So that speakers of espeak differ by more than their factor.
    every["espeak"] = [
        Speaker("espeak", voice, float(rng.choice(factors))) for voice in voices["espeak"]
    ]
    num_nanotts = min(round(SHARE_NANOTTS * num), len(every["nanotts"]))
    found = rng.sample(every["nanotts"], num_nanotts)
    found += rng.sample(every["espeak"], num - num_nanotts)
    rng.shuffle(found)
    return found


def fluent_speech(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """Fluent Speech Commands: its lists, those of its "unseen" and "challenge" splits, and wavs."""
    speakers = cast(sum(size.speakers), rng)
    names = [
        "".join(rng.choices("ABCDEFGHKMNPQRSTabcdefghkmnpqrst23456789", k=16)) for _ in speakers
    ]
    triples = toy_labels.triples()
    lists: dict[str, list[dict[str, str]]] = {}
    said: list[Said] = []
    for split, num, num_speakers in zip(
        ("train", "valid", "test"), (size.train, size.valid, size.test), size.speakers, strict=True
    ):
        first, lists[split] = sum(size.speakers[: len(lists)]), []
        for number in range(num):
            who = first + number % num_speakers
            action, thing, room, phrases = triples[number % len(triples)]
            text = rng.choice(phrases)
            path = (
                f"wavs/speakers/{names[who]}/{uuid.UUID(int=rng.getrandbits(128), version=4)}.wav"
            )
            values = (path, names[who], text[0].upper() + text[1:], action, thing, room)
            columns = ("path", "speakerId", "transcription", "action", "object", "location")
            lists[split].append(dict(zip(columns, values, strict=True)))
            said.append((speakers[who], text))
    recordings = [line for lines in lists.values() for line in lines]
    for line, wav in zip(recordings, say(said), strict=True):
        _copy(wav, out / line["path"])
    phrases = sorted({line["transcription"] for line in recordings})
    held_out = set(rng.sample(phrases, len(phrases) // 5))
    old = {s: [x for x in lists[s] if x["transcription"] not in held_out] for s in lists}
    new = {s: [x for x in lists[s] if x["transcription"] in held_out] for s in lists}
    training = {"train": old["train"], "valid": old["valid"]}
    for directory, parts in {
        "data": lists,
        "data/unseen_splits": training | {"test": new["test"]},
        "data/challenge_splits": training
        | {"speaker_test": old["test"], "utterance_test": new["test"]},
    }.items():
        for split, lines in parts.items():
            _write_list(out / directory / f"{split}_data.csv", lines)


def snips_audio(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """SNIPS smart-lights: close field, and the same recordings with the echo of a large room."""
    num = size.train * size.speakers[0]
    intents = list(toy_labels.LIGHTS)
    taken: set[str] = set()
    # A sixth of the queries was not recorded.
    queries = {
        intent: toy_sentences.draw(partial(toy_labels.light, intent, rng), -(-num // 5), taken)
        for intent in intents
    }
    content = {
        "language": "en",
        "intents": {
            intent: {"utterances": [{"data": toy_labels.chunks(query)} for query in texts]}
            for intent, texts in queries.items()
        },
        "entities": {name: {} for name in toy_labels.ENTITIES.values()},
    }
    speakers = cast(size.speakers[0], rng)
    said, metadata = [], {}
    for number in range(num):
        query = queries[intents[number % len(intents)]][number // len(intents)]
        text = "".join(chunk["text"] for chunk in toy_labels.chunks(query))
        who = number % len(speakers)
        said.append((speakers[who], text))
        metadata[str(number)] = {
            "text": _as_typed(text, number),
            "filename": f"{number}.wav",
            "worker": {"id": 100 + who, "country": "nowhere"},
        }
    wavs = say(said)
    for field in ("close", "far"):
        place = out / f"smart-lights-en-{field}-field"
        (place / "speech_corpus").mkdir(parents=True)
        _write_json(place / "dataset.json", content)
        _write_json(place / "config.json", {"language": "en"})
        _write_json(place / "speech_corpus" / "metadata.json", metadata)
        for number, wav in enumerate(wavs):
            target = place / "speech_corpus" / "audio" / f"{number}.wav"
            if field == "close":
                _copy(wav, target)
            else:
                _write_audio(wav, target, seed=number)


def top(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """TOP: text only, of the domains event and navigation; no header."""
    taken: set[Tree] = set()
    for split, num in (("train", size.train), ("eval", size.valid), ("test", size.test)):
        trees = [t for d in ("event", "navigation") for t in _trees(d, num, rng, taken)]
        rng.shuffle(trees)
        _write_table(out / f"{split}.tsv", trees)


def topv2(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """TOPv2: text only, a file a domain and split."""
    for domain in toy_sentences.TREES:
        taken: set[Tree] = set()
        for split, num in (("train", size.train), ("eval", size.valid), ("test", size.test)):
            rows = [(domain, t.raw, t.brackets) for t in _trees(domain, num, rng, taken)]
            header = ("domain", "utterance", "semantic_parse")
            _write_table(out / f"{domain}_{split}.tsv", [header, *rows])


def snips_nlu(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """SNIPS NLU: text only, a directory an intent; each has the sentences of a domain."""
    taken: set[Tree] = set()
    for intent, domain in zip(reader_of_snips_nlu.INTENTS, toy_sentences.TREES, strict=False):
        for split, num in (("train", size.train), ("validate", size.test)):
            said = [toy_labels.flat_chunks(t.brackets) for t in _trees(domain, num, rng, taken)]
            path = out / intent / reader_of_snips_nlu.FILES[split].format(intent)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_json(path, {intent: [{"data": chunks} for chunks in said]})


def stop(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """STOP: manifests and audio. Lists of eval and test say a `_0` that their folders lack."""
    header = "file_id domain gender native utterance seqlogical normalized_utterance"
    header += " normalized_seqlogical decoupled_normalized_seqlogical"
    speakers = cast(sum(size.speakers), rng)
    taken: set[Tree] = set()
    said, targets = [], []
    for number, (split, num) in enumerate(
        (("train", size.train), ("eval", size.valid), ("test", size.test))
    ):
        first = sum(size.speakers[:number])
        chosen = speakers[first : first + size.speakers[number]]
        rows = []
        for domain in toy_sentences.TREES:
            for i, tree in enumerate(_trees(domain, num, rng, taken)):
                folder, name = f"{domain}_{split}", f"{i:08d}.wav"
                brackets = toy_sentences.normalised(tree.brackets)
                words = toy_sentences.normalised(tree.tokenised)
                rows.append(
                    (
                        f"{folder}{'' if split == 'train' else '_0'}/{name}",
                        *(domain, rng.choice(("female", "male")), "yes", tree.raw, tree.brackets),
                        *(words, brackets, toy_labels.decoupled(brackets)),
                    )
                )
                said.append((rng.choice(chosen), words))
                targets.append(out / folder / name)
        _write_table(out / "manifests" / f"{split}.tsv", [tuple(header.split()), *rows])
    for wav, target in zip(say(said), targets, strict=True):
        _copy(wav, target)


def librispeech(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """LibriSpeech: <part>/<speaker>/<chapter>/*.flac and their transcripts, in capitals."""
    import soundfile

    speakers = cast(sum(size.speakers), rng)
    taken: set[str] = set()
    said, places = [], []
    parts = ("train-clean-100", "dev-clean", "test-clean")
    for index, num in enumerate((size.train, size.valid, size.test)):
        first, num_speakers = sum(size.speakers[:index]), size.speakers[index]
        texts = toy_sentences.draw(
            lambda: toy_sentences.expand(rng.choice(toy_sentences.PROSE), rng), num, taken
        )
        for number, text in enumerate(texts):
            who, chapter = first + number % num_speakers, str(1000 + number // num_speakers // 10)
            said.append((speakers[who], text))
            places.append((parts[index], str(100 + who), chapter, number))
    for (part, reader, chapter, number), (_, text), wav in zip(
        places, said, say(said), strict=True
    ):
        name = f"{reader}-{chapter}"
        place = out / part / reader / chapter
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{name}-{number:04d}.flac", *soundfile.read(wav, dtype="int16"))
        with (place / f"{name}.trans.txt").open("a", encoding="utf-8") as file:
            file.write(f"{name}-{number:04d} {text.upper()}\n")


def slurp(out: Path, size: Size, rng: random.Random, say: Say) -> None:
    """SLURP: lists, who speaks, recordings by one or two microphones, and synthetic ones."""
    people = [(f"XX-{number}", who) for number, who in enumerate(cast(max(size.speakers), rng))]
    dataset, audio = out / "dataset" / "slurp", out / "audio"
    dataset.mkdir(parents=True)
    kinds = list(toy_labels.REQUESTS)
    taken: set[str] = set()
    said: list[Said] = []
    targets: list[list[Path]] = []  # of each of these
    metadata: dict[str, dict[str, Any]] = {}
    sizes = dict(zip(("train", "devel", "test"), (size.train, size.valid, size.test), strict=True))
    for split, num in {**sizes, "train_synthetic": size.valid}.items():
        lines = []
        for number in range(num):
            what = kinds[number % len(kinds)]
            (text,) = toy_sentences.draw(partial(toy_labels.request, what, rng), 1, taken)
            line = toy_labels.annotated(len(taken), what, text)
            about: dict[str, dict[str, str]] = {}
            # Every other sentence is said by two people.
            for usrid, who in rng.sample(people, 1 + number % 2 if split in sizes else 1):
                stem = f"audio-{1500000000 + len(said)}"
                ends = MICROPHONES[len(said) % len(MICROPHONES)] if split in sizes else ("",)
                said.append((who, line["sentence"]))
                place = audio / ("slurp_real" if split in sizes else "slurp_synth")
                targets.append([place / f"{stem}{end}.flac" for end in ends])
                about |= {path.name: {"usrid": usrid} for path in targets[-1]}
            line["recordings"] = [
                {"file": name, "wer": 0.0, "ent_wer": 0.0, "status": "correct"} for name in about
            ]
            if split in sizes:
                metadata[str(line["slurp_id"])] = {"recordings": about}
            lines.append(json.dumps(line) + "\n")
        (dataset / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    _write_json(dataset / "metadata.json", metadata)
    for seed, (wav, paths) in enumerate(zip(say(said), targets, strict=True)):
        for path in paths:
            is_far = path.parent.name == "slurp_real" and not path.stem.endswith("-headset")
            _write_audio(wav, path, seed if is_far else None)


@dataclass(frozen=True)
class Layout:
    """A corpus that can be stood in for; `write` is one of the functions above.

    Each takes `out`, the directory of the corpus; `size`, how much of it; `rng`, of all draws; and
    `say`, which renders (speaker, text) pairs as wav files, in order.
    """

    corpus: str
    write: Callable[[Path, Size, random.Random, Say], None]
    small: Size  # what tests need
    large: Size  # enough to see a small model learn


LAYOUTS = {
    "fluent_speech": Layout(
        "Fluent Speech Commands",
        fluent_speech,
        Size(62, 31, 31, (4, 2, 2)),
        Size(1860, 186, 310, (30, 6, 10)),
    ),
    "snips_audio": Layout(
        "SNIPS smart-lights",
        snips_audio,
        Size(6, speakers=(10, 0, 0)),
        Size(12, speakers=(40, 0, 0)),
    ),
    "slurp": Layout("SLURP", slurp, Size(24, 12, 12, (4, 0, 0)), Size(720, 72, 144, (30, 0, 0))),
    "top": Layout("TOP", top, Size(24, 6, 6), Size(600, 75, 150)),
    "topv2": Layout("TOPv2", topv2, Size(12, 3, 3), Size(120, 15, 40)),
    "snips_nlu": Layout("SNIPS NLU", snips_nlu, Size(12, test=3), Size(150, test=20)),
    "stop": Layout("STOP", stop, Size(6, 2, 2, (4, 2, 2)), Size(100, 12, 25, (30, 6, 10))),
    "librispeech": Layout(
        "LibriSpeech", librispeech, Size(32, 8, 8, (4, 2, 2)), Size(1000, 100, 100, (30, 6, 6))
    ),
}
# Others have a layout of their name.
OF_RECIPE = {"top_zeroshot": "stop", "music_lowres": "topv2", "pretrain": "snips_nlu"}


def make(name: str, size: str, seed: int, out: Path, cache: Path, num_jobs: int) -> bool:
    """Write a corpus; whether it was not there already.

    Args:
        name: a key of `LAYOUTS`, or a recipe.
        size: small or large.
        seed: of all draws.
        out: directory to write to.
        cache: directory of rendered speech.
        num_jobs: processes that speak.

    Raises:
        ValueError: something else is at `out`, or a synthesiser is missing.
    """
    layout = LAYOUTS[OF_RECIPE.get(name, name)]
    about = (
        f"Rendered speech, not {layout.corpus}: a stand-in of its layout with other sentences,\n"
        f"made by utils/toy_corpus.py (layout {name}, size {size}, seed {seed}, "
        f"version {VERSION}).\n"
    )
    note = out / "README.txt"
    if out.exists():
        there = note.read_text(encoding="utf-8") if note.is_file() else ""
        if there == about:
            return False
        if not there.startswith("Rendered speech, not "):
            raise ValueError(f"{out}: is there and no toy corpus; give another --out")
    with atomic_directory(out) as directory:
        rng = random.Random(f"{seed} {name} {size}")
        layout.write(
            directory, getattr(layout, size), rng, lambda said: _render(said, cache, num_jobs)
        )
        (directory / note.name).write_text(about, encoding="utf-8")
    return True


def _render(said: Sequence[Said], cache: Path, num_jobs: int) -> list[Path]:
    requests = [
        synthetic_speech.Request(speaker.engine, speaker.voice, text, speaker.factor)
        for speaker, text in said
    ]
    paths = synthetic_speech.render(requests, cache, num_jobs)
    silent = [request.text for path, request in zip(paths, requests, strict=True) if path is None]
    if silent:
        raise ValueError(f"{len(silent)} sentences could not be spoken; the first: '{silent[0]}'")
    return [path for path in paths if path is not None]


def _trees(domain: str, num: int, rng: random.Random, taken: set[Tree]) -> list[Tree]:
    return toy_sentences.draw(lambda: toy_sentences.tree(domain, rng), num, taken)


def _as_typed(text: str, number: int) -> str:
    """A transcript as SNIPS has them: some with capitals, a full stop, or a line break."""
    forms = (text, text[0].upper() + text[1:], f"{text}.", text.replace(" ", "\n", 1), text)
    return forms[number % len(forms)]


def _copy(wav: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(wav, target)


def _write_audio(wav: Path, target: Path, seed: int | None) -> None:
    """The recording; with a seed as of a distant microphone: half a second of echo, and noise."""
    import soundfile
    from scipy.signal import fftconvolve

    samples, rate = soundfile.read(wav, dtype="float32")
    target.parent.mkdir(parents=True, exist_ok=True)
    if seed is None:
        soundfile.write(target, samples, rate, "PCM_16")
        return
    rng = np.random.default_rng(seed)
    time = np.arange(rate // 2) / rate
    echo = 0.05 * rng.standard_normal(len(time)) * np.exp(-8 * time)
    echo[0] = 1.0
    far = fftconvolve(samples, echo)
    far = 0.3 * far / np.abs(far).max() + 0.002 * rng.standard_normal(len(far))
    soundfile.write(target, far.astype(np.float32), rate, "PCM_16")


def _write_list(path: Path, lines: list[dict[str, str]]) -> None:
    """A list of Fluent Speech Commands: its first column is a number and has no name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", *lines[0]])
        writer.writerows([number, *line.values()] for number, line in enumerate(lines))


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
