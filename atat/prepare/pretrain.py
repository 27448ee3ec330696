"""Stage 1 of `pretrain`: the paper's first stage, in SNIPS NLU's domains and those of `data.trees`.

A recipe that is about `data.trees`, or whose sentences stand in `data.asr_texts`, starts from what
has met them. Stage 4 says how many of its tests'.

Splits (the paper's tasks: SLU and NLU of music, ASR and masked ASR of read speech):

  train        sentences of SNIPS NLU, of data.trees, and data.num_recombined of their parts, spoken
               by the voices of data.voices.train
  train_text   the same sentences, without speech
  asr          speech with text alone: data.asr_corpus (LibriSpeech), else sentences of
               data.asr_texts and lists of words, spoken by the voices of training
  valid        data.num_valid of those sentences, in no other split, spoken by train's voices
  test         SNIPS NLU's validation sentences, spoken by a synthesiser of no other split
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from atat.common import cli
from atat.config import config_file
from atat.config.schema import Config
from atat.prepare import (
    corpus,
    librispeech,
    recombination,
    snips_nlu,
    spoken_grammar,
    top_format,
    top_splits,
    word_lists,
)
from atat.prepare.top_format import Sentence

MAX_LINE = 2_000  # characters of a sentence of data.asr_texts


def sentences_of(settings: Config, corpus_dir: Path) -> dict[str, list[Sentence]]:
    """The sentences of train, valid and test; none is in two of them.

    Raises:
        FileNotFoundError, ValueError: a corpus that is missing or of another form, or settings that
            leave a split empty.
    """
    data = settings.data
    test = _distinct(top_splits.as_said(snips_nlu.read(corpus_dir, "validate"), settings), set())
    train = top_splits.as_said(snips_nlu.read(corpus_dir, "train") + trees(settings), settings)
    train = _distinct(train, {sentence.text for sentence in test})
    if not 0 < data.num_valid < len(train):
        raise ValueError(
            f"data.num_valid: got {data.num_valid}, expected 1 to {len(train) - 1}: of the "
            "sentences for training"
        )
    valid = top_splits.sample(train, data.num_valid, f"{settings.seed} valid")
    kept = {sentence.id for sentence in valid}
    train = [sentence for sentence in train if sentence.id not in kept]
    if data.num_train:
        train = top_splits.sample(train, data.num_train, f"{settings.seed} train")
    if data.num_test:
        test = top_splits.sample(test, data.num_test, f"{settings.seed} test")
    taken = {sentence.text for sentence in (*valid, *test)}
    say = top_splits.speller(settings)
    train += recombination.recombine(train, data.num_recombined, taken, say, settings.seed)
    return {"train": train, "valid": valid, "test": test}


def trees(settings: Config) -> list[Sentence]:
    """The training sentences of data.trees in data.domains; none without it."""
    if not settings.data.trees:
        return []
    source = top_format.detect(spoken_grammar.ROOT / settings.data.trees)
    found = top_format.read(source, "train", settings.data.domains)
    return top_splits.supported(found, settings.data.unsupported, "data.trees")


def asr_texts(settings: Config, learned: set[str]) -> list[Sentence]:
    """data.num_asr (0: all) sentences of the file data.asr_texts, one a line, none of `learned`,
    then data.num_word_lists lists of words.

    Raises:
        ValueError: there is no such file, a line is too long, or there are too few sentences.
    """
    data = settings.data
    lists = word_lists.draw(data.num_word_lists, settings.seed)
    texts = _texts_of_file(settings, learned) if data.asr_texts else []
    named = [Sentence(f"asr-{n:06d}", "", text) for n, text in enumerate(texts)]
    return named + [Sentence(f"words-{n:06d}", "", text) for n, text in enumerate(lists)]


def _texts_of_file(settings: Config, learned: set[str]) -> list[str]:
    data, say = settings.data, top_splits.speller(settings)
    assert data.asr_texts is not None
    path = spoken_grammar.ROOT / data.asr_texts
    if not path.is_file():
        raise ValueError(f"data.asr_texts: {path} is no file; expected sentences, one a line")
    said = (say(corpus.normalize(line)) for line in _lines(path))
    texts = list(dict.fromkeys(text for text in said if text and text not in learned))
    if data.num_asr > len(texts):
        print(f"asr: {len(texts)} sentences, not {data.num_asr}", file=sys.stderr)
    elif data.num_asr:
        texts = random.Random(f"{settings.seed} asr").sample(texts, data.num_asr)
    return texts


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise ValueError(
                        f"{path}:{number}: got more than {MAX_LINE} characters, expected a sentence"
                    )
                yield line
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not UTF-8 text: {e.reason} (convert it: iconv -t UTF-8)") from e


def prepare(settings: Config, corpus_dir: Path, data: Path, num_jobs: int) -> dict[str, str]:
    """Write the splits and `about.json`.

    Args:
        settings: `data` and `seed` are used.
        corpus_dir: SNIPS NLU.
        data: directory to write the splits to.
        num_jobs: processes that speak.

    Returns:
        Split -> who speaks in it, in the order of the table.

    Raises:
        FileNotFoundError, ValueError: a corpus, settings or synthesisers that cannot give them.
    """
    check_asr(settings)
    spoken_grammar.check_voices(settings.data.voices, spoken_grammar.SPOKEN)
    times = top_splits.renderings(settings)
    sentences = sentences_of(settings, corpus_dir)
    to_speak = sentences | {"train": sentences["train"] * times}
    recorded = librispeech.training(settings)
    learned = {sentence.text for part in sentences.values() for sentence in part}
    if not recorded and (written := asr_texts(settings, learned)):
        to_speak["asr"] = written
    return top_splits.speak_and_write(
        data, "SNIPS NLU", sentences, to_speak, {"asr": recorded}, settings, num_jobs
    )


def check_asr(settings: Config) -> None:
    """Raise ValueError where the split asr is trained on and nothing would be in it."""
    data = settings.data
    wanted = any(source.split == "asr" for source in settings.train.sources)
    if wanted and not (data.asr_corpus or data.asr_texts or data.num_word_lists):
        raise ValueError(
            "data.asr_texts: got none, and no data.asr_corpus or data.num_word_lists, expected one "
            "of them: train.sources has the split asr"
        )


def _distinct(sentences: list[Sentence], taken: set[str]) -> list[Sentence]:
    """Each text once, and none of `taken`."""
    first = {s.text: s for s in reversed(sentences) if s.text not in taken}
    return [s for s in sentences if first.get(s.text) is s]


def main() -> None:
    """Stage 1, from the command line."""
    args = corpus.parser(__doc__).parse_args()
    settings = config_file.load(args.config, args.overrides)
    if args.check:
        check_asr(settings)
        snips_nlu.check(args.corpus_dir)
        return
    voices = prepare(settings, args.corpus_dir, args.data, args.nj)
    spoken_grammar.print_table(args.data, ("train_text", *voices), voices)


if __name__ == "__main__":
    cli.run(main)
