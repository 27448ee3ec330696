#!/usr/bin/env bash
# Zero-shot: trees of navigation and events (Facebook TOP), understood in speech by models that have
# seen their text and heard rendered speech, or not even that (the paper's table).
#
#   ./run.sh --corpus_dir top-dataset-semantic-parsing --check true    what is in that directory
#   ./run.sh --corpus_dir top-dataset-semantic-parsing --table true    all rows
#   ./run.sh --corpus_dir ... --table true --config conf/two_cores.yaml       on two cores, in hours
#   ./run.sh --corpus_dir ... --table true --config conf/recorded.yaml --set data.recorded=STOP
#
# --corpus_dir may be TOP, TOPv2 or STOP. The last line tests on recorded speech too: STOP's, since
# the paper's was never released. With other settings all goes to exp_two_cores and the like.
# Settings: conf/recipe.yaml, over conf/base.yaml of the project.
set -euo pipefail

# shellcheck source=utils/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

about='Facebook TOP: spoken trees, learned from text and rendered speech'

recipe_main "$@"
