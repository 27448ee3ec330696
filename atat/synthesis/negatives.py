"""Negatives: audio without a meaning for a recipe (silence, noise, hum, music, babble, other
domains' speech), and near misses of its sentences.

It is made from a seed and kept in the cache of rendered speech, or found in directories.
"""

# N samples

import functools
import itertools
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from atat.common import parallel
from atat.common.files import atomic_write, sha256
from atat.config.schema import DataConfig
from atat.data import audio, kaldi_dir
from atat.semantics import bracket_trees, target_sequence
from atat.synthesis import synthetic_speech, toy_sentences

RATE_HZ = synthetic_speech.SAMPLE_RATE_HZ
SPEECH_SHARE = 0.5  # of the time; the other kinds have the rest in equal parts
CLIP_S = (2.0, 6.0)
SENTENCE_S = 2.5  # about what a sentence takes
# Domains of toy_sentences: a model may have learned words of the first (data.num_foreign), and is
# judged by the others.
HEARD = ("event", "messaging", "reminder", "weather")
UNHEARD = ("alarm", "music", "navigation", "timer", "prose")
# A sentence with more of its words known may well be meant for the grammar.
MAX_KNOWN = 0.5
NEAR = "near"  # the kind of near misses
CALIBRATION = "calibration"  # in seeds: of draws that training must not share
MISSES_TRIED = 20  # for one that is found
NEGATIONS = ("do not", "don't", "never", "please don't", "you must not", "no need to")
VOICES = {"espeak": 0.4, "nanotts": 0.3, "hibari": 0.3}  # where the recipe names none
# Part of the cache key; raise it when what a kind sounds like changes.
_VERSION = "1"


def make(
    hours: float,
    seed: int,
    known: Collection[str],
    settings: DataConfig,
    cache: Path,
    nj: int,
    misses: Sequence[str] = (),
) -> dict[str, Path]:
    """Make wav files of every kind, or find them in the cache.

    Args:
        hours: of audio, about.
        seed: of all draws.
        known: words of the recipe's own sentences.
        settings: the voices of its validation split say the sentences of other domains.
        cache: directory of rendered speech.
        nj: processes.
        misses: `near_misses`, spoken beside those hours.

    Returns:
        id -> file; an id is the kind and a number.

    Raises:
        ValueError: a synthesiser that is not there; more hours than there are sentences for.
    """
    foreign = sentences(round(SPEECH_SHARE * hours * 3600 / SENTENCE_S), seed, known)
    said = functools.partial(
        synthetic_speech.plan,
        shares=settings.voices.get("valid") or VOICES,
        num_pseudo_speakers=settings.num_pseudo_speakers,
        rate_range=settings.rate_range,
        pitch_range=settings.pitch_range,
    )
    # Training may say a near miss too, by the same synthesisers: here in another way.
    requests = [*said(foreign, seed=seed), *said(misses, seed=f"{seed} {CALIBRATION}")]
    rendered = synthetic_speech.render(requests, cache, nj)
    spoken = [path for path in rendered[: len(foreign)] if path is not None]
    files = {f"speech-{number:05d}": path for number, path in enumerate(spoken)}
    files |= {
        f"{NEAR}-{number:05d}": path
        for number, path in enumerate(rendered[len(foreign) :])
        if path is not None
    }
    num_clips = max(round((1 - SPEECH_SHARE) * hours * 3600 / len(KINDS) / np.mean(CLIP_S)), 1)
    clips = {}
    for kind, number in itertools.product(KINDS, range(num_clips)):
        # Babble is made of the speech, which may be other speech next time.
        made_of = [path.name for path in spoken] if kind == "babble" else []
        key = sha256("negatives", _VERSION, kind, str(seed), str(number), *made_of)
        clips[f"{kind}-{number:05d}"] = cache / key[:2] / f"{key[:32]}.wav"
    missing = [(name, path) for name, path in clips.items() if not path.exists()]
    write = functools.partial(_write, seed=seed, spoken=spoken)
    for _ in parallel.run(write, missing, nj, total=len(missing), desc="negatives"):
        pass
    return files | clips


def find(directories: Iterable[Path]) -> dict[str, Path]:
    """Id -> file of directories of audio files and of splits (which have a wav.scp).

    Directories of one name are one kind; their numbers keep their ids apart.

    Raises:
        FileNotFoundError: one has no audio.
    """
    found: dict[str, Path] = {}
    directories = list(directories)
    # A directory is a kind; a `-` in its name would cut that short.
    kinds = [directory.name.replace("-", "_") for directory in directories]
    for number, (kind, directory) in enumerate(zip(kinds, directories, strict=True), 1):
        if (directory / "wav.scp").is_file():
            wavs = kaldi_dir.read(directory).wav_scp or {}
            files = {i: Path(path) for i, path in wavs.items()}
        else:
            files = {str(path.relative_to(directory)): path for path in audio.files(directory)}
        prefix = f"{kind}-{number}" if kinds.count(kind) > 1 else kind
        found |= {f"{prefix}-{id_}": path for id_, path in files.items()}
    return found


def sentences(
    num: int, seed: int, known: Collection[str], domains: Sequence[str] = UNHEARD
) -> list[str]:
    """Draw different sentences of domains, but those that hold too many of the known words.

    Args:
        num: how many.
        seed: of the draw.
        known: words of the recipe's own sentences.
        domains: keys of `toy_sentences.TREES`, or prose.

    Raises:
        ValueError: there are not so many.
    """
    rng = random.Random(f"{seed} negatives {' '.join(domains)}")
    known = set(known)

    def foreign() -> str:
        for _ in range(toy_sentences.MAX_DRAWS):
            sentence = _sentence(rng.choice(domains), rng)
            words = sentence.split()
            if sum(word in known for word in words) <= MAX_KNOWN * len(words):
                return sentence
        raise ValueError(
            "the built-in sentences of other domains are all like the recipe's; "
            "give audio with --negatives; train without the split foreign (data.num_foreign 0)"
        )

    return toy_sentences.draw(foreign, num, set())


def near_misses(
    texts: Sequence[str],
    num: int,
    seed: int | str,
    is_meant: Callable[[str], bool],
    *,
    with_slips: bool = False,
) -> list[str]:
    """What is nearly a sentence of the recipe, and must not be taken for one.

    In equal parts a sentence negated, broken off, or with its words in another order.

    Args:
        texts: the recipe's own sentences.
        num: how many; fewer come where no others are found.
        seed: of the draw.
        is_meant: whether a text is a sentence of the recipe after all.
        with_slips: also sentences with a word of another domain in place of one of their own: to
            train on what was said, not to be judged by; many mean what was meant ("in a garage").
    """
    rng = random.Random(f"{seed} near misses")

    def miss(text: str) -> str:
        words, kind = text.split(), rng.randrange(3 + with_slips)
        if kind == 0:
            return f"{rng.choice(NEGATIONS)} {text}"
        if kind == 1:
            return " ".join(words[: rng.randrange(len(words))])
        if kind == 3:
            words[rng.randrange(len(words))] = rng.choice(_sentence(rng.choice(HEARD), rng).split())
        else:
            rng.shuffle(words)
        return " ".join(words)

    known = set(texts)
    found: dict[str, None] = {}
    for _ in range(MISSES_TRIED * num):
        if len(found) == num or not texts:
            break
        text = miss(rng.choice(texts))
        if text and text not in known and not is_meant(text):
            found[text] = None
    return list(found)


def _sentence(domain: str, rng: random.Random) -> str:
    if domain == "prose":
        return toy_sentences.expand(rng.choice(toy_sentences.PROSE), rng)
    brackets = toy_sentences.normalised(toy_sentences.tree(domain, rng).brackets)
    return target_sequence.words(bracket_trees.to_sequence(brackets))


def silence(rng: np.random.Generator, num: int) -> np.ndarray:
    """(N,) hardly anything: zeros, or the noise of a quiet input."""
    level_db = rng.uniform(-90, -60)
    return _at(rng.standard_normal(num), level_db) * (rng.random() > 0.2)


def white(rng: np.random.Generator, num: int) -> np.ndarray:
    """(N,) white noise."""
    return _at(rng.standard_normal(num), rng.uniform(-50, -15))


def coloured(rng: np.random.Generator, num: int) -> np.ndarray:
    """(N,) noise that falls by 3 to 6 dB an octave and swells, as fans and streets do."""
    spectrum = np.fft.rfft(rng.standard_normal(num))
    spectrum /= np.arange(1, len(spectrum) + 1) ** rng.uniform(0.5, 1.0)
    swell = 1 + 0.8 * np.sin(2 * np.pi * (rng.uniform(0.1, 1.5) * _time(num) + rng.random()))
    return _at(np.fft.irfft(spectrum, num) * swell, rng.uniform(-45, -15))


def hum(rng: np.random.Generator, num: int) -> np.ndarray:
    """(N,) mains and its harmonics over a little noise."""
    base_hz = rng.choice([50.0, 60.0])
    tones = sum(
        rng.random() / n * np.sin(2 * np.pi * (n * base_hz * _time(num) + rng.random()))
        for n in range(1, 20)
    )
    return _at(tones + 0.05 * rng.standard_normal(num), rng.uniform(-50, -15))


def music(rng: np.random.Generator, num: int) -> np.ndarray:
    """(N,) chords and a melody of plucked tones, in one key and tempo."""
    scale = np.array([0, 2, 4, 5, 7, 9, 11])
    beat, key_hz = int(RATE_HZ * rng.uniform(0.2, 0.6)), 440 * 2 ** (rng.integers(-12, 0) / 12)
    samples = np.zeros(num)
    for start in range(0, num, beat):
        time = _time(num - start)
        degrees = [7 + rng.integers(7)]  # of the melody; a chord every other beat
        if start // beat % 2 == 0:
            degrees += list(rng.integers(7) - 7 + np.array([0, 2, 4]))
        for degree in degrees:
            pitch_hz = key_hz * 2 ** (degree // 7 + scale[degree % 7] / 12)
            for n in range(1, 6):
                decay = np.exp(-time * n * 2.5)
                samples[start:] += decay / n * np.sin(2 * np.pi * n * pitch_hz * time)
    return _at(samples, rng.uniform(-40, -15))


def babble(rng: np.random.Generator, num: int, spoken: list[Path]) -> np.ndarray:
    """(N,) three to seven people at once, each beginning somewhere in a sentence."""
    import soundfile

    samples = np.zeros(num)
    for _ in range(rng.integers(3, 8)):
        voice = np.concatenate(
            [soundfile.read(spoken[i])[0] for i in rng.integers(len(spoken), size=4)]
        )
        voice = np.resize(np.roll(voice, -rng.integers(len(voice))), num)
        samples += _at(voice, rng.uniform(-6, 0))
    return _at(samples, rng.uniform(-45, -15))


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "silence": silence,
    "white": white,
    "coloured": coloured,
    "hum": hum,
    "music": music,
    "babble": babble,
}


def pieces(samples: np.ndarray, rate_hz: int, piece_s: float) -> list[np.ndarray]:
    """A recording in as few equal parts as are at most so long.

    >>> [len(part) for part in pieces(np.zeros(25), 1, 10)]
    [9, 8, 8]
    """
    return np.array_split(samples, max(-(-len(samples) // round(piece_s * rate_hz)), 1))


def _write(item: tuple[str, Path], seed: int, spoken: list[Path]) -> None:
    import soundfile

    name, path = item
    kind = name.partition("-")[0]
    rng = np.random.default_rng(int(sha256("negatives", str(seed), name), 16))
    num = int(RATE_HZ * rng.uniform(*CLIP_S))
    samples = babble(rng, num, spoken) if kind == "babble" else KINDS[kind](rng, num)
    with atomic_write(path, "wb") as file:
        soundfile.write(file, samples.clip(-1, 1), RATE_HZ, "PCM_16", format="WAV")


def _time(num: int) -> np.ndarray:
    """(N,) seconds."""
    return np.arange(num) / RATE_HZ


def _at(samples: np.ndarray, level_db: float) -> np.ndarray:
    """At a level (root mean square) below full scale."""
    level = np.sqrt(np.mean(np.square(samples)))
    return samples * (10 ** (level_db / 20) / max(level, 1e-9))
