#!/usr/bin/env bash
# Recorded coffee orders (the speech-to-intent benchmark), understood by a model that learned from
# their grammar and rendered speech only. The recordings are for scoring.
#
#   ./run.sh --recipe barista --corpus_dir speech-to-intent-benchmark
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='recorded coffee orders, learned from a grammar'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.barista  data/
#   2 features   atat.features         dump/
#   3 tokenizer  atat.tokenizer        data/tokenizer/
#   4 train      atat.train            exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode           exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score            exp/NAME/decode_RUN/scores.json
#   7 report     atat.report           exp/RESULTS.md, exp/report.html
recipe_main "$@"
