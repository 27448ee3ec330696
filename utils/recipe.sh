#!/usr/bin/env bash
# The driver of all recipes: options, and the list of stages.
#
# egs/<recipe>/run.sh sources this file, changes the defaults (utils/options.sh) that are its own,
# and calls `recipe_main "$@"`. A stage is one command; run_part lists them. Which of them are due,
# and what is kept or dropped, is decided in atat/common/stages.py, which runs them. Stages 1 to 3 (data)
# are shared by all experiments. A recipe that sets `parts` has stages 1 to 6 for each part of its
# corpus, in parts/<part>/, and one report.
#
# Exit codes: 0 all well, 1 a stage failed, 2 a mistake in what was given, 3 an earlier stage is
# missing, 75 a stage was told to stop and goes on when it is run again, 129 hung up, 130
# interrupted, 143 terminated.
set -euo pipefail

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
recipe_dir=$(dirname "${BASH_SOURCE[1]}") # as the user named it: paths that are printed stay short
recipe=$(basename "$(realpath "$recipe_dir")")
source "$root/utils/options.sh"
source "$root/utils/places.sh"

# Stages 1 to 6 of what `select_part` has set.
run_part() {
  local name start exp decoding
  stage 1 prepare "atat.prepare.$recipe" "${settings[@]}" --data "$data" "${corpus[@]}" \
    --nj "$nj" "${changes[@]}"
  stage 2 features atat.features "${settings[@]}" --data "$data" --dump "$dump" --nj "$nj" \
    "${changes[@]}"
  stage 3 tokenizer atat.tokenizer "${settings[@]}" --data "$data" \
    ${init_from:+--init_from "$init_from"} "${changes[@]}"
  while read -r name start; do
    exp=$expdir/$name
    align_words
    stage 4 train atat.train "${settings[@]}" --tables "$tables" --experiment "$name" \
      --data "$data" --dump "$dump" --exp "$exp" --resume "$resume" \
      ${start:+--init_from "$start"} "${changes[@]}"
    # Without these, decoding takes the settings that were saved in training.
    mapfile -t decoding < <(inputs_of decode "$name")
    examine 5 calibrate "${decoding[@]}" --data "$data" --dump "$dump" --nj "$nj"
    stage 5 decode atat.decode --exp "$exp" --data "$data" --dump "$dump" --nj "$nj" \
      "${decoding[@]}"
    stage 6 score atat.score --exp "$exp" --data "$data" --tables "$tables"
    examine 6 conditions --data "$data" --nj "$nj"
  done < <(experiments)
}

# All parts, and the report.
run_stages() {
  local i
  for i in "${!chosen[@]}"; do
    select_part "${chosen[i]}"
    inputs=${all_inputs[i]}
    put part "$data" "$dump" "$expdir" "$inputs"
    run_part
  done
  stage 7 report atat.report --tables "$tables" "${places[@]}" --out "$report" \
    --command "$(quoted "${resume_command[@]}")" "${publishing[@]}"
  put end
}

# stage NUMBER NAME MODULE ARGUMENT...
stage() {
  local command=("$python" -m "${@:3}") of='' about=''
  case $1 in
    [1-3]) # one thread in each of nj processes
      command=(env OMP_NUM_THREADS=1 "${command[@]}")
      about=${part:+ ($part)}
      ;;
    [4-6]) of=$name about=" (${part:+$part, }$name)" ;;
  esac
  put stage "$1" "$of" "$2" "stage $1 $2$about" "${command[@]}"
}

# examine STAGE VERB ARGUMENT...: before or after a stage, measure the experiment that the run is
# about, in recipes that want it (`examined`): once for a trained model, and when the stage is asked
# for.
examine() {
  [[ $examined == true && $name == "$experiment" ]] || return 0
  put examine "$1" "$name" "$2" "$2 ($name)" "$python" -m "atat.$2" --exp "$exp" "${@:3}" \
    --if_needed true
}

# The task mlm masks words, so it must be known where they are: unless the corpus says so (train.ctm,
# or a file ctm that somebody put into the split), another experiment finds them.
align_words() {
  local other split
  while read -r other split; do
    [[ $dry_run == false || ! -e $data/$split/ctm || -e $data/$split/ctm.by ]] || continue
    put align 4 "$name" "$other $split" "align $split" "$python" -m atat.align \
      --exp "$expdir/$other" --data "$data" --dump "$dump" --split "$split" --nj "$nj"
  done < <(inputs_of align "$name")
}

# put KIND NUMBER EXPERIMENT SUBJECT TITLE COMMAND...: into the list that atat.run_stages reads. A dry
# run prints the command.
put() {
  if [[ $dry_run == false ]]; then
    printf '%s\0' "$#" "$@"
  elif [[ $1 != part && $1 != end ]] && (($2 >= ${stage:-1} && $2 <= stop_stage)); then
    printf '# %s\n%s\n' "$5" "$(quoted "${@:6}")"
  fi
}

recipe_main() {
  parse_options "$@"
  set_paths
  export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
  export PYTHONSAFEPATH=1 # else a yaml.py in the current directory would be run
  trap 'stopped 129 "hung up"' HUP
  trap 'stopped 130 interrupted' INT
  trap 'stopped 143 terminated' TERM
  if [[ $clean == true ]]; then
    [[ -d $out ]] || die 2 "--clean: $out is not there; expected the options of a run"
    [[ $dry_run == true ]] || lock
    clean
    return
  fi
  find_python
  [[ $check == true ]] || read_settings
  [[ $dry_run == false ]] || printf 'export PYTHONPATH=%q\n' "$PYTHONPATH"
  [[ $stand_in == false ]] || run_without_marker stand-in atat.toy_corpus --layout "$recipe" \
    --size large --out "$corpus_dir" --nj "$nj"
  if [[ $check == true ]]; then
    run_without_marker check "atat.prepare.$recipe" "${settings[@]}" --data "$data" "${corpus[@]}" \
      --check true "${overrides[@]}"
    return
  fi
  [[ -z $announcement ]] || echo "$announcement" >&2
  if [[ $dry_run == true ]]; then
    run_stages
    return
  fi
  lock
  attend "$python" -m atat.run_stages ${stage:+--stage "$stage"} --stop_stage "$stop_stage" \
    --overwrite "$overwrite" --resume "$resume" --command "$(quoted "${resume_command[@]}")" \
    --cmd "$cmd" "${cmd_settings[@]}" \
    --program "$(basename -- "$0")" <(run_stages) || ended $?
  ((stop_stage == 7)) || return 0
  print_disk_use
  if [[ -d $expdir/$experiment ]]; then
    printf 'To understand a recording of your own:\n  %s\n' \
      "$(quoted "$python" -m atat.parse --exp "$expdir/$experiment" your.wav)"
  fi
}

# run_without_marker NAME MODULE ARGUMENT...: run what is not a stage, and so has no marker.
run_without_marker() {
  local command=("$python" -m "${@:2}")
  if [[ $dry_run == true ]]; then
    printf '# %s\n%s\n' "$1" "$(quoted "${command[@]}")"
  else
    attend "${command[@]}" || exit $?
  fi
}

# attend COMMAND...: run it so that a signal to this script alone ends it too.
attend() {
  local code=0
  ( # in the background, where a shell's child ignores Ctrl-C
    trap - INT
    exec "$@"
  ) &
  wait "$!" || code=$?
  return "$code"
}

# stopped CODE WHY: end with what is running, whatever signals follow.
stopped() {
  local running _
  trap '' HUP INT TERM
  mapfile -t running < <(jobs -p)
  if ((${#running[@]} > 0)); then
    if (($1 == 130)); then # from a terminal, Ctrl-C has reached what is running too
      for _ in {1..30}; do
        [[ -n $(jobs -rp) ]] || break
        sleep 0.1
      done
    fi
    kill -TERM "${running[@]}" 2>/dev/null || true
    wait "${running[@]}" || true
  fi
  die "$1" "$2; the same command goes on where it was"
}

# ended CODE: leave as what runs the stages has left; it has said why, unless it was ended itself.
ended() {
  (($1 <= 128)) || die "$1" "the stages were ended by signal $(($1 - 128)); the same command goes on"
  exit "$1"
}

find_python() {
  local active=${VIRTUAL_ENV:-}
  [[ -z $python ]] || return 0
  # An active environment may be another project's, which is left alone.
  python=$active/bin/python
  [[ -z $active ]] || ! "$python" -c 'import omegaconf, sentencepiece' 2>/dev/null || return 0
  python=$root/.venv/bin/python
  [[ ! -x $python ]] || return 0
  [[ $dry_run == false ]] || return 0
  # ./run.sh asks for it: clone, ./run.sh is all that there is to do.
  [[ ${ATAT_INSTALL:-false} == true ]] ||
    die 3 "there is no environment yet; run: $(quoted "$root/tools/install.sh")"
  attend "$root/tools/install.sh" --venv "$root/.venv" || exit $?
}

# Reads and checks the settings and experiments of all parts, before the first stage.
read_settings() {
  local code only=(--experiment "$experiment" ${stage:+--alone true}) one training=()
  [[ $table == false ]] || only=()
  [[ -z $init_from ]] || only+=(--init_from "$init_from")
  if [[ $dry_run == false ]] && ((${stage:-1} <= 4 && stop_stage >= 4)); then
    training=(--training here)
    [[ $cmd == local ]] || training=(--training elsewhere)
    [[ -z $stage && $overwrite == false && $resume == true ]] || training+=(--anew true)
  fi
  all_inputs=()
  for one in "${chosen[@]}"; do
    select_part "$one"
    code=0 inputs=''
    # Not so for --dry_run before the installation.
    [[ ! -x $(command -v -- "$python") ]] ||
      inputs=$("$python" -m atat.inputs "${settings[@]}" --tables "$tables" --expdir "$expdir" \
        "${only[@]}" "${training[@]}" "${corpus[@]}" "${changes[@]}") || code=$?
    training=()             # parts need the same
    ((code != 2)) || exit 2 # it has said why
    ((code == 0)) || die 1 "$python could not read the settings; tools/install.sh completes it"
    all_inputs+=("$inputs")
  done
}

# What to train and score, in order, and the directory that each starts from: with --stage what is
# asked for (each of its seeds), else what that starts from too.
experiments() {
  if [[ $inputs ]]; then
    sed -n 's/^train //p' <<<"$inputs"
  else
    echo "$experiment"
  fi
}

# inputs_of STAGE EXPERIMENT: the settings among what atat.inputs said.
inputs_of() {
  awk -v start="$1 $2 " 'index($0, start) == 1 { print substr($0, length(start) + 1) }' <<<"$inputs"
}

quoted() {
  local text
  printf -v text ' %q' "$@"
  printf '%s\n' "${text:1}"
}

die() {
  printf '%s: error: %s\n' "$(basename -- "$0")" "${*:2}" >&2 || true # the terminal may be gone
  exit "$1"
}
