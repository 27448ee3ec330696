#!/usr/bin/env bash
# SLURP: scenario, action and entities of recorded requests to an assistant of 18 domains.
#
#   ./run.sh --recipe slurp --corpus_dir slurp --check true    what is in that directory
#   ./run.sh --recipe slurp --corpus_dir slurp --table true    all rows
#   ... --init_from egs/librispeech/exp/atat                   from a model that knows words
#   ... --config egs/slurp/conf/synthetic.yaml                 trained on its synthetic speech too
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project. data.part=headset or distant: one of
# the two microphones.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='SLURP: scenario, action and entities of recorded requests, 18 domains'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.slurp  data/
#   2 features   atat.features       dump/
#   3 tokenizer  atat.tokenizer      data/tokenizer/
#   4 train      atat.train          exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode         exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score          exp/NAME/decode_RUN/scores.json
#   7 report     atat.report         exp/RESULTS.md, exp/report.html
recipe_main "$@"
