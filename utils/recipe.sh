#!/usr/bin/env bash
# The driver of all recipes: options, stages, and which of them are done already.
#
# egs/<recipe>/run.sh sources this file, changes the defaults (utils/options.sh) that are its own,
# and calls `recipe_main "$@"`. A stage is one command. Its marker `.done.N` is written when the
# stage has succeeded, and holds what it depended on: without --stage, a stage whose marker says
# what it would say now is skipped. Stages 1 to 3 (data) are shared by all experiments. A recipe
# that sets `parts` has stages 1 to 6 for each part of its corpus, in parts/<part>/, and one report.
#
# Exit codes: 0 all well, 1 a stage failed, 2 a mistake in what was given, 3 an earlier stage is
# missing, 130 interrupted.
set -euo pipefail

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
recipe_dir=$(dirname "${BASH_SOURCE[1]}") # as the user named it: paths that are printed stay short
recipe=$(basename "$(realpath "$recipe_dir")")
source "$root/utils/options.sh"

run_stages() {
  local i
  for i in "${!chosen[@]}"; do
    enter "${chosen[i]}"
    inputs=${all_inputs[i]}
    run_part
  done
  stage 7 report atat.report --tables "$tables" "${places[@]}" --out "$out"
}

# Stages 1 to 6 of what `enter` has set.
run_part() {
  local name exp start decoding experiments
  mapfile -t experiments < <(chosen_experiments)
  stage 1 prepare "atat.prepare.$recipe" "${settings[@]}" --data "$data" "${corpus[@]}" \
    --nj "$nj" "${changes[@]}"
  stage 2 features atat.features "${settings[@]}" --data "$data" --dump "$dump" \
    --nj "$nj" "${changes[@]}"
  stage 3 tokenizer atat.tokenizer "${settings[@]}" --data "$data" "${changes[@]}"
  for name in "${experiments[@]}"; do
    exp=$expdir/$name
    start=$(start_of "$name")
    align_words
    stage 4 train atat.train "${settings[@]}" --tables "$tables" --experiment "$name" \
      --data "$data" --dump "$dump" --exp "$exp" --resume "$resume" \
      ${start:+--init_from "$start"} "${changes[@]}"
    # Without these, decoding takes the settings that were saved in training.
    mapfile -t decoding < <(inputs_of decode "$name")
    stage 5 decode atat.decode --exp "$exp" --data "$data" --dump "$dump" "${decoding[@]}"
    stage 6 score atat.score --exp "$exp" --data "$data" --tables "$tables"
  done
}

recipe_main() {
  parse_options "$@"
  set_paths
  export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
  trap 'die 130 "interrupted; the same command goes on where it was"' INT
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
  [[ $dry_run == true ]] || lock
  run_stages
  if ((stop_stage == 7)) && [[ $dry_run == false && -d $expdir/$experiment ]]; then
    printf 'To understand a recording of your own:\n  %s\n' \
      "$(quoted "$python" -m atat.parse --exp "$expdir/$experiment" your.wav)"
  fi
}

# aside NAME MODULE ARGUMENT...: run what is not a stage, and so has no marker.
aside() {
  local command=("$python" -m "${@:2}")
  if [[ $dry_run == true ]]; then
    printf '# %s\n%s\n' "$1" "$(quoted "${command[@]}")"
  else
    "${command[@]}" || exit $?
  fi
}

# The task mlm masks words, so it must be known where they are: unless the corpus says so (train.ctm,
# or a file ctm that somebody put into the split), another experiment finds them.
align_words() {
  local other split ctm
  ((4 < ${stage:-1} || 4 > stop_stage)) || while read -r other split; do
    ctm=$data/$split/ctm
    [[ -e $ctm && (! -e $ctm.by || ! $expdir/$other/.done.4 -nt $ctm.by) ]] ||
      aside "align $split" atat.align --exp "$expdir/$other" --data "$data" --dump "$dump" \
        --split "$split" --nj "$nj"
  done < <(inputs_of align "$name")
}

# stage NUMBER NAME MODULE ARGUMENT...: run it, unless it is not asked for or done already.
stage() {
  local number=$1 title="stage $1 $2" place=$data marker wanted started=$SECONDS
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

  marker=$place/.done.$number
  wanted=$(depends_on)
  if ((number < ${stage:-1})); then
    if ((number == 1)) && [[ ! -e $marker && ! -e $data/.begun.1 ]] && is_data "$data"/*/; then
      echo "$title: not run; the splits in $data are used as they are"
      return
    fi
    [[ -e $marker ]] || die 3 "stage $stage needs $title, which is not done; run:
  $(quoted "${again[@]}" --stage "$number")"
    [[ -z $(news) ]] || echo "$title: used as it is, though now $(news)"
    return
  fi
  if [[ -z $stage && -e $marker ]]; then
    if [[ -z $(news) ]]; then
      echo "$title: done already ($marker)"
      return
    fi
    echo "$title: again, since now $(news)"
  fi

  echo "== $title"
  drop_markers "$number"
  mkdir -p -- "$place"
  : >"$place/.begun.$number" # a stage that ends halfway has left something, but not all
  execute
  printf 'finished %s\n%s\n' "$(date -u +%FT%T.%NZ)" "$wanted" >"$marker.new"
  mv -f -- "$marker.new" "$marker"
  rm -f -- "$place/.begun.$number"
  echo "$title: done in $((SECONDS - started)) s"
}

# is_data DIRECTORY...: whether one of them is a split, which somebody may have written by hand.
is_data() {
  local split
  for split in "$@"; do
    [[ ! -e $split/wav.scp && ! -e $split/text ]] || return 0
  done
  return 1
}

# The command alone is where a failure does not end the script at once.
execute() {
  local code=0
  "${command[@]}" || code=$?
  case $code in
    0) ;;
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
  [[ ! -e $marker ]] || echo "stage $2 ($(basename -- "$1")) $(head -n 1 -- "$marker")"
}

# What it depends on now and did not when it was done, the first of it; nothing if all is the same.
news() {
  local old
  old=$(tail -n +2 -- "$marker")
  [[ $old == "$wanted" ]] || {
    comm -13 <(sort <<<"$old") <(sort <<<"$wanted")
    comm -23 <(sort <<<"$old") <(sort <<<"$wanted") | sed 's/^/no /'
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

set_paths() {
  local file suffix=''
  tables=$recipe_dir/tables.yaml
  settings=(--config "$recipe_dir/conf/recipe.yaml")
  corpus=()
  if [[ $grammar ]]; then
    file=$(basename -- "$grammar")
    suffix+=_${file%.*}
  fi
  [[ -z $budget ]] || add_budget
  [[ $stand_in == false ]] || set_stand_in
  for file in "${configs[@]}"; do settings+=(--config "$file"); done
  [[ -z $seed ]] || overrides+=("seed=$seed")
  [[ -z $corpus_dir ]] || corpus+=(--corpus_dir "$corpus_dir")
  [[ -z $grammar ]] || corpus+=(--grammar "$grammar")
  if [[ $suffix && -z $expdir ]]; then
    expdir=$recipe_dir/exp$suffix
    echo "this goes to $expdir; what the recipe by itself has given stays as it is" >&2
  fi
  expdir=${expdir%/}
  out=${expdir:-$recipe_dir}
  data=$out/data dump=$out/dump expdir=${expdir:-$recipe_dir/exp}
  places=(--expdir "$expdir" --data "$data") chosen=('') changes=("${overrides[@]}")
  ((${#parts[@]} == 0)) || set_parts
  [[ -z $part || " ${parts[*]-} " == *" $part "* ]] ||
    die 2 "--part: got '$part', expected ${parts[*]:-none: $recipe has no parts}"
}

set_parts() {
  local one
  chosen=("${parts[@]}") places=()
  [[ -z $part ]] || chosen=("$part")
  for one in "${parts[@]}"; do places+=(--part "$out/parts/$one"); done
}

# Settings for more time than the recipe takes by itself.
add_budget() {
  local files=("$recipe_dir"/conf/budget_*.yaml) file=$recipe_dir/conf/budget_$budget.yaml known
  if [[ ! -f $file ]]; then
    [[ -f ${files[0]} ]] || die 2 "--budget: got '$budget', but $recipe has no other than its own"
    known=$(basename -a -s .yaml "${files[@]}" | tr '\n' ' ')
    die 2 "--budget: got '$budget', expected one of: ${known//budget_/}"
  fi
  settings+=(--config "$file")
  suffix+=_$budget
}

# A corpus of rendered speech in place of the recipe's own.
set_stand_in() {
  [[ -z $corpus_dir ]] || die 2 "--stand_in: got --corpus_dir too, expected one of them"
  corpus_dir=$root/cache/stand_in/$recipe
  overrides+=(data.stand_in=true)
  suffix+=_stand_in
  echo "rendered speech stands in for the corpus: these numbers are not the corpus's" >&2
}

# enter PART: its directories and settings; '' is the whole of a corpus without parts.
enter() {
  part=$1
  [[ $part ]] || return 0
  data=$out/parts/$part/data dump=$out/parts/$part/dump expdir=$out/parts/$part/exp
  changes=("${overrides[@]}" "data.part=$part")
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
  "$root/tools/install.sh"
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

# Two runs in one directory would mix their files. The lock ends with the processes of the run.
lock() {
  local place=$expdir
  ((${#parts[@]} == 0)) || place=$out/parts
  mkdir -p -- "$place" || die 2 "--expdir: could not make $place"
  command -v flock >/dev/null || return 0
  exec 9>>"$place/.lock"
  flock --nonblock 9 ||
    die 1 "process $(<"$place/.lock") works in $place; wait for it or give another --expdir"
  echo $$ >"$place/.lock"
}

quoted() {
  local text
  printf -v text ' %q' "$@"
  printf '%s\n' "${text:1}"
}

die() {
  printf '%s: error: %s\n' "$(basename -- "$0")" "$2" >&2
  exit "$1"
}
