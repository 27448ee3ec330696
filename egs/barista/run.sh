#!/usr/bin/env bash
# Recorded coffee orders (the speech-to-intent benchmark), understood by a model that learned from
# their grammar and rendered speech only. The recordings are for scoring.
#
#   ./run.sh --corpus_dir speech-to-intent-benchmark
#
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='recorded coffee orders, learned from a grammar'

recipe_main "$@"
