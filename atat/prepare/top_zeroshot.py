"""Stage 1 of `top_zeroshot`: trees of navigation and events, from text and rendered speech.

The corpus is TOP, TOPv2 or STOP (egs/README.md). Splits:

  train_text   its training sentences, without speech
  train        the same or data.num_spoken of them, spoken by the synthesisers of data.voices.train
  valid, test  sentences of its eval and test, spoken; test by a synthesiser of no other split
  test_real    recordings of STOP: of the corpus, if it is STOP, or of data.recorded
  test_seen_voices  test by synthesisers of training, as the paper has it; where data.voices has it
  asr          speech with text, for learning semantics from text only; it has semantics where all
               of it is of other domains

In the paper, ASR is learned from LibriSpeech, which holds no sentence of TOP: data.asr_corpus.
Without it `asr` is rendered, and holds none either: see `asr_sentences`.
"""

import random
import sys
from pathlib import Path

from atat.common import cli
from atat.config.schema import Config
from atat.prepare import corpus, librispeech, spoken_grammar, top_format, top_splits
from atat.prepare.corpus import Utterance
from atat.prepare.spoken_grammar import SEEN_VOICES
from atat.prepare.top_format import Sentence
from atat.semantics.text_normalization import join_clitics

# TOP's domains, where a corpus has others too and data.domains does not say.
DOMAINS = ("event", "navigation")


def asr_sentences(
    splits: dict[str, list[Sentence]], others: list[Sentence], num: int, seed: int
) -> list[Sentence]:
    """Sentences of the split `asr`: none of the corpus, but with the words of its training text.

    First sentences of other domains; then words of the training sentences in random order
    (`corpus.shuffled_words`), which keeps every phrase of the corpus out of speech.

    Args:
        splits: the corpus's sentences, none of which may be said.
        others: sentences of other domains.
        num: how many utterances.
        seed: of the draw.
    """
    rng = random.Random(f"{seed} asr")
    unheard = {sentence.text for part in splits.values() for sentence in part}
    different = list(dict.fromkeys(s.text for s in others if s.text not in unheard))
    texts = rng.sample(different, min(num, len(different)))
    spoken = [join_clitics(sentence.text) for sentence in splits["train"]]
    texts += corpus.shuffled_words(spoken, num - len(texts), unheard.__contains__, rng)
    # Words in random order mean nothing, and a split has semantics throughout or not at all.
    meant = {s.text: s.semantics for s in others} if num <= len(different) else {}
    return [Sentence(f"asr-{n:06d}", "", text, meant.get(text)) for n, text in enumerate(texts)]


def read_others(settings: Config, source: top_format.Corpus) -> list[Sentence]:
    """Sentences of the domains that are not learned: of data.asr_texts, or of the corpus itself."""
    if settings.data.asr_texts:
        source = top_format.detect(spoken_grammar.ROOT / settings.data.asr_texts)
    if source.layout == "TOP":
        return []
    learned = settings.data.domains or DOMAINS
    every = (s for split in top_format.SPLITS for s in top_format.read(source, split))
    others = [sentence for sentence in every if sentence.domain not in learned]
    return top_splits.as_said(others, settings)


def read_recordings(settings: Config, source: top_format.Corpus) -> list[Utterance]:
    """The recordings of STOP's test in the learned domains; none where there is no STOP."""
    if settings.data.recorded:
        directory = spoken_grammar.ROOT / settings.data.recorded
        source = top_format.detect(directory)
        if source.layout != "STOP":
            raise ValueError(f"data.recorded: {directory} is {source.layout}, expected STOP")
    if source.layout != "STOP":
        return []
    sentences = top_format.read(source, "test", settings.data.domains or DOMAINS)
    sentences = top_splits.supported(sentences, settings.data.unsupported, "test_real")
    return top_splits.recorded(top_splits.as_said(sentences, settings))


def prepare(settings: Config, corpus_dir: Path, data: Path, num_jobs: int) -> dict[str, str]:
    """Write the splits and `about.json`.

    Args:
        settings: `data` and `seed` are used.
        corpus_dir: the corpus.
        data: directory to write the splits to.
        num_jobs: processes that speak.

    Returns:
        Split -> who speaks in it, in the order of the table.

    Raises:
        FileNotFoundError, ValueError: a corpus, settings or synthesisers that cannot give them.
    """
    voices = settings.data.voices
    spoken_grammar.check_voices(voices, spoken_grammar.SPOKEN)
    if unseen := voices.get(SEEN_VOICES, {}).keys() - voices["train"].keys():
        raise ValueError(
            f"data.voices.{SEEN_VOICES}: got '{min(unseen)}', expected some of data.voices.train: "
            f"{', '.join(voices['train'])}"
        )
    times = top_splits.renderings(settings)
    source = top_format.detect(corpus_dir)
    sentences = top_splits.read(source, settings, settings.data.domains or DOMAINS)
    real = read_recordings(settings, source)
    spoken_train = sentences["train"]
    if num := settings.data.num_spoken:
        if num > len(spoken_train):
            print(f"train: {len(spoken_train)} sentences to speak, not {num}", file=sys.stderr)
        spoken_train = top_splits.sample(spoken_train, num, f"{settings.seed} spoken")
    to_speak = sentences | {"train": spoken_train * times}
    libri = librispeech.training(settings)
    if not libri and settings.data.num_asr:
        others = read_others(settings, source)
        to_speak["asr"] = asr_sentences(sentences, others, settings.data.num_asr, settings.seed)
    if voices.get(SEEN_VOICES):
        sentences = sentences | {SEEN_VOICES: sentences["test"]}
        to_speak[SEEN_VOICES] = sentences["test"]
    return top_splits.speak_and_write(
        data,
        source.layout,
        sentences,
        to_speak,
        {"asr": libri, "test_real": real},
        settings,
        num_jobs,
    )


def main() -> None:
    """Stage 1, from the command line."""
    top_splits.run(__doc__, prepare, top_format.LAYOUTS, recorded=("test",))


if __name__ == "__main__":
    cli.run(main)
