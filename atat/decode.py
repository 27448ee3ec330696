"""Stage 5: decode the test splits with a trained model; the runs are those of `decode.runs`.

The input of a run is the features of a split, its text (source text), or the words that another run
has recognised (source hypotheses: two stages, recognition and understanding). References are not
read here: stage 6 alone opens them. With ATAT_SHARE=3/8 in the environment, a share of the batches
goes to EXP/.shares (not of runs over hypotheses); the command without it goes on from there. Runs
of other data than the experiment's own go to --out DIR; `atat.score --exp DIR` scores them there.
"""

import shutil
from pathlib import Path

from atat.common import array_job, cli
from atat.data import kaldi_dir
from atat.inference import crf_tagger, decode_array_jobs
from atat.inference.decode_by_others import decode_by_another, is_of_the_model
from atat.inference.decode_inputs import open_inputs
from atat.inference.decode_runs import (
    chosen_runs,
    decode_run,
    decode_share,
    load_settings,
    search_options,
    table,
)
from atat.inference.hypotheses import RunRecord
from atat.inference.results_place import results_place
from atat.models.checkpoint import check_experiment, digest
from atat.models.experiment_files import ABOUT


def arguments() -> cli.Parser:
    """The options of the command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="the experiment")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--dump", required=True, type=Path, metavar="DIR", help="their features")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of results, in place of EXP")
    parser.add_argument("--run", help="decode this run of decode.runs only; all by default")
    parser.add_argument("--nj", type=cli.positive_int, default=1, help="processes")
    parser.add_argument("overrides", nargs="*", metavar="decode.NAME=value", help="settings")
    return parser


def show(records: list[RunRecord]) -> None:
    """Print a table of the runs, and what of them was dropped."""
    for record in records:
        if record["num_dropped"]:
            print(
                f"{record['run']}: {record['num_dropped']} of {record['num_utterances']} "
                "utterances were dropped and count as wrong (hyp.jsonl says why)"
            )
    print(table(records))


def main() -> None:
    """Stage 5: decode the runs of an experiment, from the command line."""
    args = arguments().parse_args()

    from atat.data import feature_store  # with NumPy: help need not wait for it

    check_experiment(args.exp)
    place = results_place(args.exp, args.data, args.out)
    settings = load_settings(args.exp, args.overrides)
    runs = chosen_runs(settings, args.run)
    dump = args.dump
    if any(run.source == "speech" for run in runs.values()):
        dump = feature_store.of_kind(args.data, dump, settings.features, args.nj)
    # Mistakes show before anything is decoded; hypotheses are there when it is their turn.
    inputs = {
        name: open_inputs(run, args.data, dump, place)
        for name, run in runs.items()
        if run.input not in runs
    }

    if any(run.tagger == "crf" for run in runs.values()):
        crf_tagger.check_sources(settings.train.sources)
        kaldi_dir.read(args.data / crf_tagger.SPLIT)

    from atat.inference.predictor import SpeechToSemantics

    num_threads, wants_confidence = settings.train.num_threads, settings.decode.confidence
    model = SpeechToSemantics.load(
        args.exp, with_confidence=wants_confidence, num_threads=num_threads
    )
    if wants_confidence and model.confidence is None:
        print(f"no confidences: {args.exp} is not calibrated (python -m atat.calibrate)")
    model.settings.decode = settings.decode
    options = {
        name: model.options(**search_options(run, model.settings)) for name, run in runs.items()
    }
    if (share := array_job.mine()) is not None:
        num_utterances = sum(
            decode_share(model, name, run, options[name], inputs[name], args.exp, args.nj, share)
            for name, run in runs.items()
            if name in inputs and is_of_the_model(run) and run.source != "hypotheses"
        )
        raise array_job.Done(f"share {share}: {num_utterances} utterances decoded")
    records = []
    for name, run in runs.items():
        found = inputs.get(name) or open_inputs(run, args.data, dump, place)
        directory = place / f"decode_{name}"
        if is_of_the_model(run):
            record = decode_run(
                model, name, run, options[name], found, directory, args.exp, args.nj
            )
        else:
            record = decode_by_another(
                *(name, run, args.data, options[name].beam, found, directory, args.nj),
                like=model,
                model=digest(args.exp),
            )
        records.append(record)
    if place != args.exp and (args.exp / ABOUT).is_file():  # by which they are scored
        shutil.copyfile(args.exp / ABOUT, place / ABOUT)
    decode_array_jobs.remove(args.exp)
    show(records)


if __name__ == "__main__":
    cli.run(main)
