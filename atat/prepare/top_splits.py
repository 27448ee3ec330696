"""Sentences of a corpus of trees as splits: which of them, and who speaks them.

Shared by stage 1 of `top_zeroshot` and of `music_lowres`.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from atat.common.files import sha256
from atat.config import config_file
from atat.config.schema import Config
from atat.grammar.spelling import spell_out
from atat.prepare import corpus, spoken_grammar, top_format
from atat.prepare.corpus import Utterance
from atat.prepare.top_format import Corpus, Sentence
from atat.semantics.text_normalization import join_clitics
from atat.synthesis import synthetic_speech


def read(source: Corpus, settings: Config, domains: Iterable[str]) -> dict[str, list[Sentence]]:
    """Sentences for train, valid and test: as many as data.num_<split> says, 0 is all.

    Those whose intent is IN:UNSUPPORTED* are left out unless data.unsupported keeps them, which
    stderr says.

    Raises:
        FileNotFoundError, ValueError: as `top_format.read`; or a split has no sentence left.
    """
    data, domains = settings.data, list(domains)
    wanted = {"train": ("train", data.num_train), "valid": ("eval", data.num_valid)}
    wanted["test"] = ("test", data.num_test)
    splits = {}
    for split, (name, num) in wanted.items():
        sentences = supported(top_format.read(source, name, domains), data.unsupported, split)
        if not sentences:
            raise ValueError(f"{source.directory}: {name} has no sentence that the settings keep")
        if num > len(sentences):
            print(f"{split}: {len(sentences)} sentences, not {num}", file=sys.stderr)
        drawn = sample(sentences, num, f"{settings.seed} {split}") if num else sentences
        splits[split] = as_said(drawn, settings)
    return splits


def speller(settings: Config) -> Callable[[str], str]:
    """What makes of a text what is said: with data.spelled_out, its numbers are in words. CTC hears
    no digits, and another corpus may write none."""
    return spell_out if settings.data.spelled_out else str


def as_said(sentences: list[Sentence], settings: Config) -> list[Sentence]:
    """The same with their texts as they are said: "at seven pm" of "[SL:DATE_TIME at 7 pm ]".

    Before sentences are compared: "give it 2 stars" and "give it two stars" are one.
    """
    say = speller(settings)
    return [replace(sentence, text=say(sentence.text)) for sentence in sentences]


def supported(sentences: list[Sentence], keep: bool, split: str) -> list[Sentence]:
    """Without those whose intent is IN:UNSUPPORTED*, unless these are to be kept."""
    left = [s for s in sentences if keep or not s.is_unsupported]
    if num := len(sentences) - len(left):
        print(f"{split}: {num} sentences are IN:UNSUPPORTED*, left out", file=sys.stderr)
    return left


def sample(sentences: list[Sentence], num: int, seed: str) -> list[Sentence]:
    """A seeded part, in the corpus's order; a smaller part is in every larger one."""
    order = sorted(sentences, key=lambda s: (sha256(seed, s.text), s.id))
    ids = {sentence.id for sentence in order[:num]}
    return [sentence for sentence in sentences if sentence.id in ids]


def renderings(settings: Config) -> int:
    """How often a training sentence is spoken. Raises ValueError if it is not a count."""
    if settings.data.renderings < 1:
        raise ValueError(f"data.renderings: got {settings.data.renderings}, expected 1 or more")
    return settings.data.renderings


def speak(
    sentences: Mapping[str, list[Sentence]], settings: Config, num_jobs: int
) -> dict[str, list[Utterance]]:
    """Render the sentences of splits; those of a split that is not in data.voices by train's.

    Returns:
        Utterances of each split; a sentence that stands several times has as many.

    Raises:
        ValueError: a synthesiser that is not there, or that fails too often.
    """
    data = settings.data
    plans = {
        split: synthetic_speech.plan(
            [join_clitics(sentence.text) for sentence in said],
            data.voices.get(split) or data.voices["train"],
            spoken_grammar.voice_seed(settings.seed, split),
            data.num_pseudo_speakers,
            data.rate_range,
            data.pitch_range,
        )
        for split, said in sentences.items()
    }
    requests = [request for plan in plans.values() for request in plan]
    print(f"{len(requests)} utterances to speak, but for those in the cache", file=sys.stderr)
    paths = iter(synthetic_speech.render(requests, spoken_grammar.ROOT / data.cache, num_jobs))
    spoken: dict[str, list[Utterance]] = {split: [] for split in sentences}
    for split, plan in plans.items():
        times: Counter[str] = Counter()
        for sentence, request in zip(sentences[split], plan, strict=True):
            times[sentence.id] += 1
            path = next(paths)
            if path is not None:  # else not speakable: `render` has said so
                key = f"{request.speaker}-{sentence.id}-{times[sentence.id]}"
                utterance = Utterance(key, path, sentence.text, sentence.semantics, request.speaker)
                spoken[split].append(utterance)
    return spoken


def speak_and_write(
    data: Path,
    name: str,
    sentences: Mapping[str, list[Sentence]],
    to_speak: Mapping[str, list[Sentence]],
    recordings: Mapping[str, list[Utterance]],
    settings: Config,
    num_jobs: int,
) -> dict[str, str]:
    """Render what is to be spoken, and write the splits and `about.json`.

    Args:
        data: directory to write to.
        name: of the corpus.
        sentences: of train (whose text is the split train_text), valid and test.
        to_speak: the same, and asr where it is rendered; as often as each is spoken.
        recordings: splits that need no rendering; empty ones are left out.
        settings: `data` and `seed` are used.
        num_jobs: processes that speak.

    Returns:
        Split -> who speaks in it.
    """
    spoken = speak(to_speak, settings, num_jobs)
    splits = {"train_text": written(sentences["train"]), **spoken}
    voices = {split: spoken_grammar.voices_of(settings.data, split) for split in sentences}
    if "asr" in spoken:
        voices["asr"] = voices["train"]
    for split, utterances in recordings.items():
        if utterances:
            splits[split], voices[split] = utterances, corpus.spoken_by(settings.data)
    corpus.write_splits(data, splits, settings.data.max_missing)
    corpus.write_about(data, name, who_speaks(voices), "tree")
    return voices


def recorded(sentences: list[Sentence]) -> list[Utterance]:
    """The recordings of sentences of STOP, whose lists do not say who speaks."""
    return [Utterance(s.id, s.wav, s.text, s.semantics, s.id) for s in sentences]


def written(sentences: list[Sentence]) -> list[Utterance]:
    """Sentences without speech."""
    return [Utterance(s.id, None, s.text, s.semantics) for s in sentences]


def who_speaks(voices: Mapping[str, str]) -> str:
    """The voices of splits as a sentence for `about.json`.

    >>> who_speaks({"train": "espeak 100%", "test": "nanotts 100%"})
    'rendered by synthesisers, not recorded (train: espeak 100%; test: nanotts 100%).'
    """
    said = "; ".join(f"{split}: {who}" for split, who in voices.items())
    people = [who == "people" for who in voices.values()]
    if all(people):
        return "recorded from people."
    if not any(people):
        return f"rendered by synthesisers, not recorded ({said})."
    return f"rendered by synthesisers, except where people are named ({said})."


def run(
    description: str,
    prepare: Callable[[Config, Path, Path, int], dict[str, str]],
    layouts: Collection[str],
    recorded: Collection[str],
) -> None:
    """The command of stage 1.

    Args:
        description: of the command.
        prepare: writes the splits, given settings, corpus, the directory to write to, and how many
            processes may speak; returns who speaks each spoken split.
        layouts: of the corpora that will do.
        recorded: of STOP, splits whose recordings are needed.
    """
    args = corpus.parser(description).parse_args()
    settings = config_file.load(args.config, args.overrides)
    if args.check:
        top_format.check(args.corpus_dir, layouts, recorded, settings.data.max_missing)
        return
    voices = prepare(settings, args.corpus_dir, args.data, args.nj)
    spoken_grammar.print_table(args.data, ("train_text", *voices), voices)
