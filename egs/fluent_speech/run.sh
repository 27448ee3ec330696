#!/usr/bin/env bash
# Fluent Speech Commands: what to do, to what, where, from recorded speech (the paper's table).
#
#   ./run.sh --recipe fluent_speech --corpus_dir DIR --check true    what is in that directory
#   ./run.sh --recipe fluent_speech --corpus_dir DIR --table true    all rows
#   ... --init_from egs/librispeech/exp/atat --expdir egs/fluent_speech/exp_pretrained   pretrained
#   ... --config egs/fluent_speech/conf/challenge.yaml               speakers, sentences not in training
#
# DIR is fluent_speech_commands_dataset.
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='Fluent Speech Commands: action, object and location of recorded commands'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.fluent_speech  data/
#   2 features   atat.features               dump/
#   3 tokenizer  atat.tokenizer              data/tokenizer/
#   4 train      atat.train                  exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode                 exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score                  exp/NAME/decode_RUN/scores.json
#   7 report     atat.report                 exp/RESULTS.md, exp/report.html
recipe_main "$@"
