#!/usr/bin/env bash
# The driver of all recipes: options, stages, and which of them are done already.
#
# egs/<recipe>/run.sh sources this file, changes the defaults (utils/options.sh) that are its own,
# and calls `recipe_main "$@"`. A stage is one command. Its marker `.done.N` is written when the
# stage has succeeded, and holds what it depended on: without --stage, a stage whose marker says
# what it would say now is skipped. Stages 1 to 3 (data) are shared by all experiments. A recipe
# that sets `parts` has stages 1 to 6 for each part of its corpus, in parts/<part>/, and one report.
#
# While a stage runs there is `.begun.N`; with it, no marker from N on counts. A stage that ends with
# exit code 2 and has changed no file leaves all markers. What is trained is not made
# anew with other settings, or because anything else has changed, but with --overwrite true.
#
# Exit codes: 0 all well, 1 a stage failed, 2 a mistake in what was given, 3 an earlier stage is
# missing, 129 hung up, 130 interrupted, 143 terminated.
set -euo pipefail

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
recipe_dir=$(dirname "${BASH_SOURCE[1]}") # as the user named it: paths that are printed stay short
recipe=$(basename "$(realpath "$recipe_dir")")
source "$root/utils/options.sh"
source "$root/utils/places.sh"

run_stages() {
  local i is_check
  for is_check in true false; do # what cannot be run shows before anything is
    [[ $is_check == false || $dry_run == false ]] || continue
    for i in "${!chosen[@]}"; do
      enter "${chosen[i]}"
      inputs=${all_inputs[i]}
      run_part
    done
  done
  stage 7 report atat.report --tables "$tables" "${places[@]}" --out "$report" \
    --command "$(quoted "${again[@]}")" "${publishing[@]}"
}

# Stages 1 to 6 of what `enter` has set.
run_part() {
  local name exp start decoding experiments
  local features=(atat.features "${settings[@]}" --data "$data" --dump "$dump" --nj "$nj")
  features+=("${changes[@]}")
  mapfile -t experiments < <(chosen_experiments)
  stage 1 prepare "atat.prepare.$recipe" "${settings[@]}" --data "$data" "${corpus[@]}" \
    --nj "$nj" "${changes[@]}"
  stage 2 features "${features[@]}"
  stage 3 tokenizer atat.tokenizer "${settings[@]}" --data "$data" "${changes[@]}"
  for name in "${experiments[@]}"; do
    exp=$expdir/$name
    start=$(start_of "$name")
    [[ $is_check == true ]] || align_words
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
  done
}

recipe_main() {
  parse_options "$@"
  set_paths
  export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
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
  [[ $stand_in == false ]] || aside stand-in atat.toy_corpus --layout "$recipe" \
    --size large --out "$corpus_dir" --nj "$nj"
  if [[ $check == true ]]; then
    aside check "atat.prepare.$recipe" "${settings[@]}" --data "$data" "${corpus[@]}" \
      --check true "${overrides[@]}"
    return
  fi
  [[ -z $announcement ]] || echo "$announcement" >&2
  [[ $dry_run == true ]] || lock
  run_stages
  if ((stop_stage < 7)) || [[ $dry_run == true ]]; then
    return
  fi
  print_disk_use
  if [[ -d $expdir/$experiment ]]; then
    printf 'To understand a recording of your own:\n  %s\n' \
      "$(quoted "$python" -m atat.parse --exp "$expdir/$experiment" your.wav)"
  fi
}

# examine STAGE VERB ARGUMENT...: before or after a stage, measure the experiment that the run is
# about, in recipes that want it (`examined`): once for a trained model, and when the stage is asked
# for.
examine() {
  local wanted marker=$exp/.done.$2
  [[ $examined == true && $name == "$experiment" && $is_check == false ]] || return 0
  (($1 >= ${stage:-1} && $1 <= stop_stage)) || return 0
  if [[ $dry_run == false ]]; then
    wanted=$(inputs_of 5 "$name" && run_of "$exp" 4)
    [[ $stage || ! -e $marker || $(<"$marker") != "$wanted" ]] || return 0
    fill_dump
    echo "== $2 ($name)"
  fi
  aside "$2 ($name)" "atat.$2" --exp "$exp" "${@:3}" --if_needed true
  [[ $dry_run == true ]] || printf '%s\n' "$wanted" >"$marker"
}

# aside NAME MODULE ARGUMENT...: run what is not a stage, and so has no marker.
aside() {
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

# stopped CODE WHY: end with what is running. Ctrl-C has reached that already.
stopped() {
  local running
  trap - HUP INT TERM
  mapfile -t running < <(jobs -p)
  if ((${#running[@]} > 0)); then
    (($1 == 130)) || kill -TERM "${running[@]}" 2>/dev/null || true
    wait "${running[@]}" || true
  fi
  die "$1" "$2; the same command goes on where it was"
}

# The task mlm masks words, so it must be known where they are: unless the corpus says so (train.ctm,
# or a file ctm that somebody put into the split), another experiment finds them.
align_words() {
  local other split ctm
  ((4 < ${stage:-1} || 4 > stop_stage)) || while read -r other split; do
    ctm=$data/$split/ctm
    if [[ ! -e $ctm || (-e $ctm.by && $expdir/$other/.done.4 -nt $ctm.by) ]]; then
      fill_dump
      aside "align $split" atat.align --exp "$expdir/$other" --data "$data" --dump "$dump" \
        --split "$split" --nj "$nj"
    fi
  done < <(inputs_of align "$name")
}

# stage NUMBER NAME MODULE ARGUMENT...: run it, unless it is not asked for or done already.
stage() {
  local number=$1 title="stage $1 $2" place=$data marker begun wanted started=$SECONDS
  local files is_first=false
  local command=("$python" -m "${@:3}")
  case $number in
    [1-3]) # one thread in each of nj processes
      command=(env OMP_NUM_THREADS=1 "${command[@]}")
      title+=${part:+ ($part)}
      ;;
    [4-6]) place=$exp title+=" (${part:+$part, }$name)" ;;
  esac
  if ((number > stop_stage)); then
    return
  elif [[ $dry_run == true ]]; then
    ((number < ${stage:-1})) || printf '# %s\n%s\n' "$title" "$(quoted "${command[@]}")"
    return
  elif ((number == 7)); then
    echo "== $title"
    execute
    return
  fi

  marker=$place/.done.$number begun=$place/.begun.$number
  [[ ! -e $begun ]] || drop_markers "$number" # of a stage that was killed
  wanted=$(depends_on)
  if ((number < ${stage:-1})); then
    if ((number == 1)) && [[ ! -e $marker && ! -e $begun ]] && is_data "$data"/*/; then
      say "$title: not run; the splits in $data are used as they are"
      return
    fi
    [[ -e $marker ]] || missing "is not done"
    # Features that --clean has removed can be made again with the same settings only.
    ((number != 2 || stage > 5 || stop_stage < 4)) || [[ -d $dump || -z $(news settings) ]] ||
      missing "is wanted with $(news settings)"
    [[ -z $(news) ]] || say "$title: used as it is, though now $(news)"
    return
  fi
  if [[ -z $stage && -e $marker ]]; then
    if [[ -z $(news) ]]; then
      say "$title: done already ($marker)"
      return
    fi
    say "$title: again, since now $(news)"
  fi
  ((number > 4)) || protect
  [[ $is_check == false ]] || return 0

  ((number != 4 && number != 5)) || fill_dump
  echo "== $title"
  mkdir -p -- "$place"
  [[ -e $begun ]] || is_first=true
  : >"$begun" # a stage that ends halfway has left something, but not all
  files=$(written)
  execute
  drop_markers "$number"
  printf 'finished %s\n%s\n' "$(date -u +%FT%T.%NZ)" "$wanted" >"$marker.new"
  mv -f -- "$marker.new" "$marker"
  rm -f -- "$begun"
  echo "$title: done in $((SECONDS - started)) s"
}

# What is said of stages, once.
say() {
  [[ $is_check == true ]] || echo "$1"
}

missing() {
  die 3 "stage $stage needs $title, which $1; run:
  $(quoted "${again[@]}" --stage "$number")"
}

# Ends the run where the stage would replace what is trained, or what that was trained on, though
# nobody has asked for it: by --stage or --resume false with the same settings, or --overwrite true.
protect() {
  local trained why=''
  trained=$(if ((number < 4)); then trained_in "$expdir"/*/; else trained_in "$exp/"; fi)
  [[ $overwrite == false && $trained ]] || return 0
  [[ ! -e $marker ]] || why=$(news settings)
  if [[ -z $why ]]; then
    [[ -z $stage && $resume == true ]] || return 0
    why="$title is to be run anew"
    [[ ! -e $marker ]] || why=$(news)
  fi
  die 2 "$trained is trained, and now $why; give another --expdir, or to train it anew:" \
    "$(quoted "${again[@]}" ${stage:+--stage "$stage"} --overwrite true)"
}

# trained_in DIRECTORY/...: the first of them that has a model, in its format now or an earlier one.
trained_in() {
  local place file
  for place in "$@"; do
    for file in "$place"model.{safetensors,pth}; do
      [[ ! -f $file ]] || { echo "${place%/}" && return; }
    done
  done
}

# Features that --clean has removed are made again, and nothing else: what was made of them holds.
fill_dump() {
  [[ ! -d $dump && $dry_run == false ]] || return 0
  echo "== stage 2 features: made again, since $dump was removed"
  attend env OMP_NUM_THREADS=1 "$python" -m "${features[@]}" || exit $?
}

# Files that the stage may change, or with -newer FILE those that it has changed.
written() {
  local places=("$data" "$dump")
  ((number < 4)) || places=("$exp")
  find "${places[@]}" -type f "$@" 2>/dev/null | sort || true
}

# is_data DIRECTORY...: whether one of them is a split, which somebody may have written by hand.
is_data() {
  local split
  for split in "$@"; do
    [[ ! -e $split/wav.scp && ! -e $split/text ]] || return 0
  done
  return 1
}

# The command alone is where a failure does not end the script at once. Of a stage that has failed,
# and of all that follow it, no marker is left, unless a mistake was found before it began.
execute() {
  local code=0
  attend "${command[@]}" || code=$?
  ((code > 0)) || return 0
  if ((number == 7)); then
    :
  elif ((code == 2)) && [[ $files == "$(written)" && -z $(written -newer "$begun") ]]; then
    [[ $is_first == false ]] || rm -f -- "$begun"
    rmdir -- "$place" 2>/dev/null || true # made for this stage
  else
    drop_markers "$number"
  fi
  case $code in
    2) exit 2 ;; # it has said why
    130) die 130 "$title stopped; the same command goes on from there" ;;
    *) die 1 "$title failed (exit code $code); the same command goes on from there" ;;
  esac
}

# What the stage depends on: its settings, and the runs that it builds on.
depends_on() {
  local own
  own=$(inputs_of "$number" "${name:--}")
  echo "$own"
  case $number in
    [2356]) run_of "$place" $((number - 1)) ;;
    4)
      run_of "$data" 3
      [[ -z $start ]] || run_of "$start" 4
      inputs_of align "$name" | while read -r other _; do run_of "$expdir/$other" 4; done | sort -u
      ;;
  esac
}

# inputs_of STAGE EXPERIMENT: the settings among what atat.inputs said.
inputs_of() {
  awk -v start="$1 $2 " 'index($0, start) == 1 { print substr($0, length(start) + 1) }' <<<"$inputs"
}

# start_of EXPERIMENT: the directory of the experiment that it starts from, if it does.
start_of() {
  local start
  start=$(inputs_of 4 "$1" | sed -n '1s/^init_from=//p')
  [[ -z $start || $start == /* ]] || start=$expdir/$start
  echo "$start"
}

# run_of DIRECTORY STAGE: when it was done.
run_of() {
  local marker=$1/.done.$2
  [[ ! -e $marker || -e $1/.begun.$2 ]] ||
    echo "stage $2 ($(basename -- "$1")) $(head -n 1 -- "$marker")"
}

# What it depends on now and did not when it was done, the first of it; nothing if all is the same.
# news settings: of its settings alone, not of what was run again.
news() {
  local old new=$wanted
  old=$(tail -n +2 -- "$marker")
  if [[ ${1:-} == settings ]]; then
    old=$(sed '/^stage /d' <<<"$old")
    new=$(sed '/^stage /d' <<<"$new")
  fi
  [[ $old == "$new" ]] || {
    comm -13 <(sort <<<"$old") <(sort <<<"$new")
    comm -23 <(sort <<<"$old") <(sort <<<"$new") | sed 's/^/no /'
  } | sed -n 1p
}

# What a stage has given, and all that follows (from data: every experiment), ends as it starts.
drop_markers() {
  local n
  for ((n = $1; n <= 6; n++)); do
    rm -f -- "$place/.done.$n"
    (($1 > 3)) || rm -f -- "$expdir"/*/.done."$n"
  done
}

find_python() {
  local environment
  [[ -z $python ]] || return 0
  for environment in ${VIRTUAL_ENV:+"$VIRTUAL_ENV"} "$root/.venv"; do
    python=$environment/bin/python
    [[ ! -x $python ]] || return 0
  done
  [[ $dry_run == false ]] || return 0
  # ./run.sh asks for it: clone, ./run.sh is all that there is to do.
  [[ ${ATAT_INSTALL:-false} == true ]] ||
    die 3 "there is no environment yet; run: $(quoted "$root/tools/install.sh")"
  attend "$root/tools/install.sh" || exit $?
  python=${VIRTUAL_ENV:-$root/.venv}/bin/python
}

# Reads and checks the settings and experiments of all parts, before the first stage.
read_settings() {
  local code only=(--experiment "$experiment") one
  [[ $table == false ]] || only=()
  [[ -z $init_from ]] || only+=(--init_from "$init_from")
  all_inputs=()
  for one in "${chosen[@]}"; do
    enter "$one"
    code=0 inputs=''
    # Not so for --dry_run before the installation.
    [[ ! -x $(command -v -- "$python") ]] ||
      inputs=$("$python" -m atat.inputs "${settings[@]}" --tables "$tables" --expdir "$expdir" \
        "${only[@]}" "${corpus[@]}" "${changes[@]}") || code=$?
    ((code != 2)) || exit 2 # it has said why
    ((code == 0)) || die 1 "$python could not read the settings; tools/install.sh completes it"
    all_inputs+=("$inputs")
  done
}

# What to train: with --stage what is asked for (each of its seeds), else what that starts from too.
chosen_experiments() {
  local all=1
  [[ -z $stage || $table == true ]] || all=0
  awk -v all=$all -v name="$experiment" '
    $1 == 4 && !seen[$2]++ && (all || $2 == name || index($2, name ".seed") == 1) { print $2 }
  ' <<<"$inputs"
  [[ $inputs ]] || echo "$experiment"
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
