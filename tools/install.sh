#!/usr/bin/env bash
# Makes the environment: packages at pinned versions, torch, and this project itself.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/install.sh [--python PATH] [--venv DIR] [--slurm]

Installs everything into the active virtual environment, else into .venv, which it makes.
A second run takes a second. The project then runs without the network.

  --python PATH  interpreter to make the environment with: Python 3.11, 3.12 or 3.13
                 (default: python3.11, python3.13, python3.12 or python3, the first that fits);
                 3.11 has ESPnet 202511, later ones have 202611
  --venv DIR     where to make it (default: the active environment, else .venv)
  --slurm        Debian's slurm-wlm and munge too, as root, for tools/slurm_cluster.py and its tests

TORCH_INDEX_URL, if set, is the package index that torch comes from. PyTorch's "Start locally" page
names one for the CPU (200 MB) and one for each version of CUDA. Unset, pip's usual index gives
the build for CUDA (5 GB) on Linux.
TEXT
}

TORCH=torch==2.13.0
EXPECTED='3.11, 3.12 or 3.13'

die() {
  printf 'tools/install.sh: error: %s\n' "$1" >&2
  exit "${2:-1}"
}

# Prints an interpreter's version; false if the project does not run on it.
fits() {
  "$1" 2>/dev/null -c '
import sys
version = "%d.%d" % sys.version_info[:2]
print(version)
sys.exit(version not in ("3.11", "3.12", "3.13"))'
}

find_python() {
  local candidate version found=()
  for candidate in python3.11 python3.13 python3.12 python3; do
    if version=$(fits "$candidate") && "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
    found+=("$candidate: ${version:-none}")
  done
  die "found no Python $EXPECTED that can make a virtual environment (${found[*]}); install one \
(Debian: apt-get install python3.11-venv) or name it with --python PATH" 2
}

# What the stamp in the environment says: nothing to do as long as it would be installed again.
state() {
  {
    cat "$lock" pyproject.toml tools/install.sh tools/check_install.py
    printf '%s\n' "$root" "${TORCH_INDEX_URL:-}"
    "$venv/bin/python" -VV
  } | sha256sum
}

# pip's words go to the log; its last ones are shown when it fails.
pip_install() {
  local pip=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input)
  # --no-compile: most of the modules are never imported.
  if ! "${pip[@]}" --no-compile "$@" >>"$log" 2>&1; then
    grep -v '^WARNING' "$log" | tail -n 12 >&2
    die "pip install failed (all of its output: $log); run tools/install.sh again to go on"
  fi
}

# Packages of the system, which a cluster of this machine alone needs: ./run.sh --cmd slurm on a real
# one does not. Nothing is started: that is tools/slurm_cluster.py's.
install_slurm() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
  command -v slurmctld >/dev/null && command -v munged >/dev/null && return
  command -v apt-get >/dev/null || die "--slurm: got no apt-get, expected Debian or Ubuntu" 2
  [[ $(id -u) == 0 ]] || apt=(sudo "${apt[@]}")
  if ! { "${apt[@]}" update -qq &&
    "${apt[@]}" install -y -qq --no-install-recommends slurm-wlm munge; } >/dev/null; then
    die "--slurm: apt-get install slurm-wlm munge failed"
  fi
}

python='' venv=${VIRTUAL_ENV:-} slurm=false
while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --slurm) slurm=true && shift ;;
    --python=* | --venv=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --python | --venv)
      [[ ${2:-} ]] || die "$1 needs a value (--help tells)" 2
      if [[ $1 == --python ]]; then python=$2; else venv=$2; fi
      shift 2
      ;;
    *) die "got '$1', expected --python PATH, --venv DIR or --slurm" 2 ;;
  esac
done
[[ $slurm == false ]] || install_slurm

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
venv=$(realpath -m "${venv:-$root/.venv}")
if [[ $python ]]; then
  version=$(fits "$python") ||
    die "--python $python: got ${version:-nothing that runs}, expected Python $EXPECTED" 2
fi
if [[ -e $venv/bin/python ]]; then
  version=$(fits "$venv/bin/python") ||
    die "$venv has Python ${version:-that does not run}, expected $EXPECTED; remove it first" 2
  [[ -z $python || $version == "$(fits "$python")" ]] ||
    die "$venv has Python $version, not that of --python $python; remove it first or give --venv" 2
fi

cd "$root"
stamp=$venv/.atat-installed log=$venv/install.log
[[ -e $venv/bin/python ]] || python=${python:-$(find_python)}
version=$(fits "${python:-$venv/bin/python}")
case $version in # as tools/check_install.py has them
  3.11) lock=requirements-3.11.lock.txt ;;
  *) lock=requirements-3.12.lock.txt ;;
esac
if [[ -e $stamp && $(<"$stamp") == "$(state)" ]]; then
  echo "environment: $venv is complete"
  exit
fi

if [[ ! -e $venv/bin/python ]]; then
  "$python" -m venv "$venv" || die "$python could not make $venv"
fi
rm -f "$stamp"
echo "environment: installing into $venv, a few minutes (log: $log)"
: >"$log"
# The pinned packages first, each file held against its hash, so that torch finds what it needs and
# brings itself alone (for CUDA its libraries too). --no-deps: tools/check_install.py lists the requests that are left unmet, and why.
pip_install --no-deps --requirement "$lock"
if [[ ${TORCH_INDEX_URL:-} ]]; then
  # A build that is there already satisfies pip, whichever index was asked for.
  "$venv/bin/python" -m pip uninstall --yes torch >>"$log" 2>&1
  pip_install --index-url "$TORCH_INDEX_URL" "$TORCH"
else
  pip_install "$TORCH"
fi
pip_install --no-deps --no-build-isolation --editable .
# It imports what the project imports and leaves that compiled; where Python is told to write no
# bytecode, every command would compile torch and ESPnet again, for 10 s.
env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" tools/check_install.py ||
  die "$venv is not complete (see above and $log); to start anew, remove it"

state >"$stamp"
echo "environment: $venv is complete; ./run.sh trains the first model"
