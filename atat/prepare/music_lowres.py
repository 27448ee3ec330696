"""Stage 1 of `music_lowres`: few labels for much speech, on a corpus that everyone can have.

Stands in for the paper's internal music corpus. The corpus is TOPv2 or STOP (egs/README.md), all of
it or data.domains. Splits:

  train_low    a seeded data.low_resource (paper: 10 %) of the training sentences, spoken
  train_rest   the others, spoken
  train_text   all training sentences, without speech
  valid, test  sentences of eval and test, spoken; test by a synthesiser of no other split

TOPv2 is spoken by synthesisers, a training sentence data.renderings times; a sentence and all its
renderings are in one split, so that a tenth of the labels is a tenth of the sentences. STOP is
spoken by people.
"""

from pathlib import Path

from atat.common import cli
from atat.config.schema import Config
from atat.prepare import corpus, spoken_grammar, top_format, top_splits
from atat.prepare.top_format import Sentence

LAYOUTS = ("TOPv2", "STOP")  # which have domains
TRAINING = ("train_low", "train_rest")
SPOKEN = (*TRAINING, "valid", "test")


def read(source: top_format.Corpus, settings: Config) -> dict[str, list[Sentence]]:
    """The sentences of each split that has speech.

    Raises:
        ValueError, FileNotFoundError: as `top_format.read`; or a share that leaves a split empty.
    """
    splits = top_splits.read(source, settings, settings.data.domains)
    train, share = splits.pop("train"), settings.data.low_resource
    if not 0 < share < 1:
        raise ValueError(f"data.low_resource: got {share}, expected a share between 0 and 1")
    sampled = top_splits.sample(train, round(share * len(train)), f"{settings.seed} low")
    texts = {sentence.text for sentence in sampled}  # a sentence may stand in the corpus twice
    low = [sentence for sentence in train if sentence.text in texts]
    rest = [sentence for sentence in train if sentence.text not in texts]
    for name, part in (("train_low", low), ("train_rest", rest)):
        if not part:
            raise ValueError(
                f"data.low_resource: {share} of {len(train)} sentences leaves {name} empty"
            )
    return {"train_low": low, "train_rest": rest, **splits}


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
    source = top_format.detect(corpus_dir, LAYOUTS)
    sentences = read(source, settings)
    if source.layout == "STOP":
        spoken = {split: top_splits.recorded(part) for split, part in sentences.items()}
        voices = dict.fromkeys(SPOKEN, corpus.spoken_by(settings.data))
    else:
        spoken_grammar.check_voices(settings.data.voices, spoken_grammar.SPOKEN)
        times = top_splits.renderings(settings)
        said = {s: part * times if s in TRAINING else part for s, part in sentences.items()}
        spoken = top_splits.speak(said, settings, num_jobs)
        voice_of = dict.fromkeys(TRAINING, "train")
        voices = {
            split: spoken_grammar.voices_of(settings.data, voice_of.get(split, split))
            for split in SPOKEN
        }
    text = [sentence for split in TRAINING for sentence in sentences[split]]
    splits = {"train_text": top_splits.written(text), **spoken}
    corpus.write_splits(data, splits, settings.data.max_missing)
    corpus.write_about(data, source.layout, top_splits.who_speaks(voices), "tree")
    return voices


def main() -> None:
    """Stage 1, from the command line."""
    top_splits.run(__doc__, prepare, LAYOUTS, top_format.SPLITS)


if __name__ == "__main__":
    cli.run(main)
