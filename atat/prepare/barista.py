"""Stage 1 of `barista`: train on a grammar of coffee orders and rendered speech, test on people.

The corpus is Picovoice's speech-to-intent benchmark (docs/corpora.md). None of its recordings is
used in training or validation; they have no transcripts and no speakers.
"""

import json
import sys
from pathlib import Path

from atat.common import cli
from atat.config import config_file
from atat.config.schema import Config
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.grammar.grammar import Grammar
from atat.prepare import corpus, grammar_check, spoken_grammar
from atat.semantics import target_sequence

LABELS, WAVS = Path("data/label/label.json"), Path("data/speech/clean")
NUM_RECORDINGS = 619  # as published
RENDERED = ("train", "valid")
GRAMMAR = Path("data/rhino/coffee_maker.yaml")
SOURCE = "https://github.com/Picovoice/speech-to-intent-benchmark"


def check_corpus(corpus_dir: Path) -> None:
    """Raises FileNotFoundError if this is not the benchmark's directory."""
    for part in (LABELS, WAVS, GRAMMAR):
        if not (corpus_dir / part).exists():
            raise FileNotFoundError(
                f"{corpus_dir}: no {part} in it; expected the speech-to-intent benchmark "
                f"(git clone {SOURCE})"
            )


def read_labels(path: Path, grammar: Grammar) -> dict[str, str]:
    """The labels as target sequences without carrier words.

    Slots are in the order of the grammar, whatever the order in the file, and values lose their
    stray spaces.

    Returns:
        Name of the wav file -> sequence.

    Raises:
        ValueError: not JSON of the benchmark's form.
    """
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(labels, dict):
        raise ValueError(f"{path}: got a {type(labels).__name__}, expected wav name -> label")
    order = {name: number for number, name in enumerate(grammar.slots)}
    sequences: dict[str, str] = {}
    for wav, label in labels.items():
        try:
            slots = sorted(label["slots"].items(), key=lambda slot: order.get(slot[0], len(order)))
            pairs = tuple((name, value.lower()) for name, value in slots)
            sequences[wav] = target_sequence.build(target_sequence.Frame(label["intent"], pairs))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path}: label of '{wav}' is {label}, expected an intent and slots with values"
            ) from error
    return sequences


def check(corpus_dir: Path, grammar: Grammar, settings: Config) -> None:
    """Print what the corpus and its grammar hold.

    Raises:
        ValueError: the labels cannot be read, or the grammar has too few sentences.
    """
    sequences = read_labels(corpus_dir / LABELS, grammar)
    wavs = {path.name for path in (corpus_dir / WAVS).glob("*.wav")}
    lines = [
        ("recordings", len(wavs), NUM_RECORDINGS),
        ("recordings with a label", len(wavs & sequences.keys()), NUM_RECORDINGS),
        ("labels", len(sequences), None),
        ("labels that the grammar can express", _num_expressible(sequences, grammar), None),
    ]
    corpus.print_check(f"{corpus_dir}: speech-to-intent benchmark", lines, [])
    grammar_check.print_check(grammar, settings, RENDERED)


def read_recordings(corpus_dir: Path, grammar: Grammar) -> DataDir:
    """The split `test`: the recordings that have a label, each a speaker of its own.

    What is left out is said on stderr, and which labels the grammar cannot express.

    Raises:
        ValueError: no recording has a label, or the labels cannot be read.
    """
    sequences = read_labels(corpus_dir / LABELS, grammar)
    wavs = {path.name: path for path in (corpus_dir / WAVS).iterdir() if path.suffix == ".wav"}
    both = sorted(wavs.keys() & sequences.keys())
    if not both:
        raise ValueError(f"{corpus_dir / WAVS}: none of {len(wavs)} wav files has a label")
    _note("labels without a recording", sequences.keys() - wavs.keys(), len(sequences))
    _note("recordings without a label", wavs.keys() - sequences.keys(), len(wavs))
    foreign = {wav for wav in both if not _is_expressible(sequences[wav], grammar)}
    _note("labels that the grammar cannot express", foreign, len(both))
    ids = {wav.removesuffix(".wav"): wav for wav in both}
    return DataDir(
        wav_scp={key: str(wavs[wav].resolve()) for key, wav in ids.items()},
        semantics={key: sequences[wav] for key, wav in ids.items()},
        utt2spk={key: key for key in ids},
    )


def prepare(
    settings: Config, grammar: Grammar, corpus_dir: Path, data: Path, num_jobs: int
) -> None:
    """Write train and valid (rendered), train_text (no speech) and test (recordings).

    With data.num_asr also asr, with data.num_foreign also foreign (spoken_grammar.texts_alone).

    Args:
        settings: `data` and `seed` are used.
        grammar: the benchmark's, of all that is rendered and recorded.
        corpus_dir: directory of the recordings, as `read_recordings` takes it.
        data: the directory to write the splits and a copy of the grammar to.
        num_jobs: processes that speak.

    Raises:
        ValueError: settings, grammar, labels or synthesisers that cannot give these splits.
    """
    spoken_grammar.check_voices(settings.data.voices, RENDERED)
    sequences = spoken_grammar.draw(grammar, settings.data, settings.seed)
    test = read_recordings(corpus_dir, grammar)
    spoken = {split: sequences[split] for split in ("train", "valid")}
    spoken |= spoken_grammar.texts_alone(grammar, sequences, settings)
    spoken_grammar.write_spoken(data, spoken, settings, num_jobs)
    kaldi_dir.write(data / "test", test)
    spoken_grammar.write_text(data, "train_text", sequences["train_text"])
    corpus.remove_earlier(data, [*spoken, "train_text", "test"])
    spoken_grammar.write_grammar(data, grammar)
    num = len(kaldi_dir.read(data / "test").ids)
    rendered = spoken_grammar.who_speaks(settings.data, {**sequences, "test": []})
    speech = f"test recorded: {num} orders by people, whose number is not known; {rendered}"
    corpus.write_about(data, "Picovoice's speech-to-intent benchmark (barista)", speech)


def main() -> None:
    """Stage 1, from the command line."""
    parser = spoken_grammar.parser(__doc__)
    parser.add_argument(
        "--corpus_dir", required=True, type=Path, help="the speech-to-intent benchmark"
    )
    args = parser.parse_args()
    settings = config_file.load(args.config, args.overrides)
    settings.data.num_test = 0  # it is recorded
    check_corpus(args.corpus_dir)
    grammar = spoken_grammar.load_grammar(args.grammar or args.corpus_dir / GRAMMAR)
    if args.check:
        check(args.corpus_dir, grammar, settings)
        return
    prepare(settings, grammar, args.corpus_dir, args.data, args.nj)
    voices = spoken_grammar.voices_by_split(settings.data, ("train", "valid"))
    voices["test"] = "people"
    spoken_grammar.print_table(args.data, ("train_text", *voices), voices)


def _num_expressible(sequences: dict[str, str], grammar: Grammar) -> int:
    return sum(_is_expressible(sequence, grammar) for sequence in sequences.values())


def _is_expressible(sequence: str, grammar: Grammar) -> bool:
    frame = target_sequence.frame(sequence)
    return frame.intent in grammar.intents and all(
        value in grammar.slots.get(name, ()) for name, value in frame.slots
    )


def _note(what: str, names: set[str], total: int) -> None:
    if names:
        shown = ", ".join(sorted(names)[:3])
        print(
            f"{len(names)} of {total} {what}: {shown}{', ...' * (len(names) > 3)}", file=sys.stderr
        )


if __name__ == "__main__":
    cli.run(main)
