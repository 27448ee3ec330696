#!/usr/bin/env bash
# SLURP: scenario, action and entities of recorded requests to an assistant of 18 domains.
#
#   ./run.sh --corpus_dir slurp --check true                 what is in that directory
#   ./run.sh --corpus_dir slurp --table true                 all rows
#   ./run.sh --corpus_dir ... --init_from ../librispeech/exp/atat    from a model that knows words
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project; conf/synthetic.yaml: trained on
# SLURP's synthetic speech too. data.part=headset or distant: one of the two microphones.
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
