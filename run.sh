#!/usr/bin/env bash
# Runs a recipe: `commands`, or the one that --recipe names. All other options go to it (--help).
set -euo pipefail

root=$(dirname "${BASH_SOURCE[0]}")
recipe=commands
arguments=()
while (($#)); do
  case $1 in
    --recipe=*) recipe=${1#*=} ;;
    --recipe) recipe=${2:-} && shift $(($# > 1)) ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

for script in "$root"/egs/*/run.sh; do
  directory=$(dirname "$script")
  known+=" $(basename "$directory")"
  if [[ $directory == "$root/egs/$recipe" ]]; then
    # On a fresh machine the environment is installed first.
    ATAT_INSTALL=true exec bash "$script" "${arguments[@]}"
  fi
done
echo "run.sh: error: --recipe: got '$recipe', expected one of${known-}" >&2
exit 2
