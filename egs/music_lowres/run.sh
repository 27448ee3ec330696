#!/usr/bin/env bash
# Few labels for much speech: the rows of the paper's tables of internal music data, on TOPv2 (all
# domains), spoken by synthesisers, or on STOP, spoken by people.
#
#   ./run.sh --recipe music_lowres --corpus_dir TOPv2_Dataset --check true    what is in that directory
#   ./run.sh --recipe music_lowres --corpus_dir TOPv2_Dataset --table true    all rows, three seeds each
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='TOPv2: few labels for much speech, in place of the internal music data of the paper'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.music_lowres  data/
#   2 features   atat.features              dump/
#   3 tokenizer  atat.tokenizer             data/tokenizer/
#   4 train      atat.train                 exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode                exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score                 exp/NAME/decode_RUN/scores.json
#   7 report     atat.report                exp/RESULTS.md, exp/report.html
recipe_main "$@"
