#!/usr/bin/env bash
# SNIPS smart-lights: recorded commands for lights, close and far field, five folds by speaker (the
# paper's table). Every fold is trained and tested by itself, in parts/<field>_<fold>/.
#
#   ./run.sh --recipe snips_audio --corpus_dir snips_slu_data_v1.0 --check true    what is in there
#   ./run.sh --recipe snips_audio --corpus_dir snips_slu_data_v1.0 --table true \
#     --init_from egs/librispeech/exp/atat                                         all rows
#   ./run.sh --recipe snips_audio --corpus_dir ... --part close_1                  one fold
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='SNIPS smart-lights: intents and slots of recorded commands, close and far field'
# shellcheck disable=SC2034 # the driver reads it
parts=(close_{1..5} far_{1..5})

# The stages, what each runs and what that writes, for each part (--dry_run true prints all of it):
#   1 prepare    atat.prepare.snips_audio  data/
#   2 features   atat.features             dump/
#   3 tokenizer  atat.tokenizer            data/tokenizer/
#   4 train      atat.train                exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode               exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score                exp/NAME/decode_RUN/scores.json
#   7 report     atat.report               exp/RESULTS.md, exp/report.html
recipe_main "$@"
