"""Stage 1 of `commands`: sentences of a grammar, spoken by synthesisers, as data directories."""

from pathlib import Path

from atat.common import cli
from atat.config import config_file
from atat.config.schema import Config
from atat.grammar.grammar import Grammar
from atat.prepare import corpus, grammar_check, spoken_grammar


def prepare(settings: Config, grammar: Grammar, data: Path, num_jobs: int) -> None:
    """Write the splits train, valid, test (speech, text, semantics) and train_text (no speech).

    With data.num_asr also asr, with data.num_foreign also foreign (spoken_grammar.texts_alone).
    about.json says who speaks, and how much of the test says what training has.

    Args:
        settings: `data` and `seed` are used.
        grammar: of all that is said.
        data: the directory to write the splits and a copy of the grammar to.
        num_jobs: processes that speak.

    Raises:
        ValueError: settings, grammar or synthesisers that cannot give these splits.
    """
    spoken_grammar.check_voices(settings.data.voices, spoken_grammar.SPOKEN)
    sequences = spoken_grammar.draw(grammar, settings.data, settings.seed)
    spoken = {split: sequences[split] for split in spoken_grammar.SPOKEN}
    spoken |= spoken_grammar.texts_alone(grammar, sequences, settings)
    spoken_grammar.write_spoken(data, spoken, settings, num_jobs)
    spoken_grammar.write_text(data, "train_text", sequences["train_text"])
    corpus.remove_earlier(data, [*spoken, "train_text"])
    spoken_grammar.write_grammar(data, grammar)
    speech = spoken_grammar.who_speaks(settings.data, sequences)
    corpus.write_about(data, grammar.path.stem, speech)


def main() -> None:
    """Stage 1, from the command line."""
    args = spoken_grammar.parser(__doc__).parse_args()
    settings = config_file.load(args.config, args.overrides)
    path = args.grammar or settings.data.grammar
    if path is None:
        raise ValueError("no grammar: give --grammar FILE or set data.grammar")
    grammar = spoken_grammar.load_grammar(spoken_grammar.ROOT / path if not args.grammar else path)
    if args.check:
        grammar_check.print_check(grammar, settings, spoken_grammar.SPOKEN)
        return
    prepare(settings, grammar, args.data, args.nj)
    voices = spoken_grammar.voices_by_split(settings.data, spoken_grammar.SPOKEN)
    spoken_grammar.print_table(args.data, ("train_text", *voices), voices)


if __name__ == "__main__":
    cli.run(main)
