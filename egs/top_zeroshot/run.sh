#!/usr/bin/env bash
# Zero-shot: trees of navigation and events (Facebook TOP), understood in speech by models that have
# seen their text and heard rendered speech, or not even that (the paper's table).
#
#   ./run.sh --recipe top_zeroshot --corpus_dir DIR --check true      what is in that directory
#   ./run.sh --recipe top_zeroshot --corpus_dir DIR --table true      all rows
#   ... --config egs/top_zeroshot/conf/two_cores.yaml                 on two cores, in hours
#   ... --config egs/top_zeroshot/conf/recorded.yaml --set data.recorded=STOP
#
# DIR may be TOP (top-dataset-semantic-parsing), TOPv2 or STOP. The last line tests on recorded speech
# too: STOP's, since the paper's was never released. With other settings all goes to exp_two_cores and
# the like.
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='Facebook TOP: spoken trees, learned from text and rendered speech'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.top_zeroshot  data/
#   2 features   atat.features              dump/
#   3 tokenizer  atat.tokenizer             data/tokenizer/
#   4 train      atat.train                 exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode                exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score                 exp/NAME/decode_RUN/scores.json
#   7 report     atat.report                exp/RESULTS.md, exp/report.html
recipe_main "$@"
