#!/usr/bin/env bash
# Checks Python (ruff, mypy if there) and shell (shellcheck, shfmt) without changing anything; --fix
# formats first.
set -euo pipefail

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
cd "$root"
PATH="${VIRTUAL_ENV:-$root/.venv}/bin:$PATH"
for tool in ruff shellcheck shfmt; do
  if [[ ! -x $(command -v "$tool") ]]; then
    echo "tools/lint.sh: error: $tool is not installed; run tools/install.sh" >&2
    exit 2
  fi
done

mapfile -d '' -t scripts < <(git ls-files -z -- '*.sh' .ci/run)
format=(shfmt --indent 2 --case-indent)
if [[ ${1:-} == --fix ]]; then
  ruff check --quiet --fix . || true
  ruff format --quiet .
  "${format[@]}" --write "${scripts[@]}"
fi

code=0
ruff check --quiet . || code=1
ruff format --quiet --diff . || code=1
if [[ -x $(command -v mypy) ]]; then
  # The environment's Python: mypy reads the types of the packages there.
  mypy --python-executable "$(command -v python)" --no-error-summary || code=1
fi
shellcheck --external-sources "${scripts[@]}" || code=1
"${format[@]}" --diff "${scripts[@]}" || code=1
if ((code == 0)); then
  echo "lint: clean (${#scripts[@]} scripts)"
else
  echo "lint: see above; tools/lint.sh --fix formats" >&2
fi
exit "$code"
