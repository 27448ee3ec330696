#!/usr/bin/env bash
# Spoken commands for home and music, learned from a grammar alone: nothing is downloaded, sentences
# are drawn from egs/commands/grammar.yaml and spoken by installed synthesisers.
#
#   ./run.sh                               a model, its scores and a report
#   ./run.sh --table true                  every experiment of tables.yaml
#   ./run.sh --grammar mine.yaml           another grammar, in a directory of its own: exp_mine
#   ./run.sh --set train.num_steps=900     other settings, likewise: exp_train.num_steps=900
#   ./run.sh --clean true                  removes features and checkpoints
#   ./run.sh --table true --publish true   puts exp/RESULTS.md and its picture beside this file too
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

examined=true
about='spoken commands for home and music, learned from a grammar'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.commands  data/
#   2 features   atat.features          dump/
#   3 tokenizer  atat.tokenizer         data/tokenizer/
#   4 train      atat.train             exp/NAME/model.pth, of each experiment NAME
#     calibrate  atat.calibrate         exp/NAME/confidence.json
#   5 decode     atat.decode            exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score             exp/NAME/decode_RUN/scores.json
#     conditions atat.conditions        exp/NAME/conditions/
#   7 report     atat.report            exp/RESULTS.md, exp/report.html
recipe_main "$@"
