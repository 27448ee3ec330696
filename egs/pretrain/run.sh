#!/usr/bin/env bash
# The paper's first stage: one AT-AT, trained on four tasks in other domains, for the other recipes to
# start from. Sentences of SNIPS NLU, spoken by synthesisers, and speech with text alone: LibriSpeech
# (data.asr_corpus), or sentences of your own (data.asr_texts).
#
#   ./run.sh --recipe pretrain --corpus_dir nlu-benchmark --check true        what is in that directory
#   ./run.sh --recipe pretrain --corpus_dir nlu-benchmark --set data.asr_texts=lm.txt \
#     --expdir egs/pretrain/exp                                                                  train
#   ./run.sh --recipe top_zeroshot --corpus_dir TOP --config egs/top_zeroshot/conf/tuned.yaml \
#     --init_from egs/pretrain/exp/atat --experiment atat_tuned                      and start from it
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='One AT-AT that other recipes start from: SLU and NLU of SNIPS NLU, ASR of other speech'

# The stages, what each runs and what that writes (--dry_run true prints the whole commands):
#   1 prepare    atat.prepare.pretrain  data/
#   2 features   atat.features          dump/
#   3 tokenizer  atat.tokenizer         data/tokenizer/
#   4 train      atat.train             exp/NAME/model.safetensors, of each experiment NAME
#   5 decode     atat.decode            exp/NAME/decode_RUN/hyp.jsonl
#   6 score      atat.score             exp/NAME/decode_RUN/scores.json
#   7 report     atat.report            exp/RESULTS.md, exp/report.html
recipe_main "$@"
