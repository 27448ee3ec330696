#!/usr/bin/env bash
# LibriSpeech: a model that hears words, for other recipes to start from (--init_from). The paper
# trains ASR and MLM on 1000 h; this takes the train-* directories that are there.
#
#   ./run.sh --recipe librispeech --corpus_dir LibriSpeech --check true    what is in that directory
#   ./run.sh --recipe librispeech --corpus_dir LibriSpeech                 ASR: exp/atat
#   ./run.sh --recipe librispeech --corpus_dir LibriSpeech --table true    and MLM after it: exp/atat_mlm
#
# MLM needs to know where the words are: exp/atat finds them, unless data/train/ctm says so.
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='LibriSpeech: a speech encoder and decoder for other recipes to start from'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.librispeech  data/
#   2 features   atat.features             dump/
#   3 tokenizer  atat.tokenizer            data/tokenizer/
#   4 train      atat.train                exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode               exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score                exp/NAME/decode_RUN/scores.json
#   7 report     atat.report               exp/RESULTS.md, exp/report.html
recipe_main "$@"
