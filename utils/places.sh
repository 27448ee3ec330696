# Where a run of a recipe writes: directories, their names, the lock, disk use; see utils/recipe.sh.
# shellcheck shell=bash disable=SC2034,SC2154

set_paths() {
  local file suffix=''
  announcement=''
  tables=$recipe_dir/tables.yaml
  settings=(--config "$recipe_dir/conf/recipe.yaml")
  corpus=()
  if [[ $grammar ]]; then
    file=$(basename -- "$grammar")
    suffix+=_${file%.*}
  fi
  [[ -z $budget ]] || add_budget
  [[ -z $seed ]] || overrides+=("seed=$seed")
  add_tag
  [[ $stand_in == false ]] || set_stand_in
  for file in "${configs[@]}"; do settings+=(--config "$file"); done
  [[ -z $corpus_dir ]] || corpus+=(--corpus_dir "$corpus_dir")
  [[ -z $grammar ]] || corpus+=(--grammar "$grammar")
  if [[ $suffix && -z $expdir ]]; then
    expdir=$recipe_dir/exp$suffix
    announcement="this goes to $expdir; what the recipe by itself has given stays as it is"
  fi
  expdir=${expdir%/}
  out=${expdir:-$recipe_dir}
  data=$out/data dump=$out/dump expdir=${expdir:-$recipe_dir/exp}
  report=$expdir publishing=()
  [[ $publish == false ]] || set_publishing
  cmd_settings=()
  [[ $cmd == local ]] || set_cmd_settings
  places=(--expdir "$expdir" --data "$data") chosen=('') changes=("${overrides[@]}")
  ((${#parts[@]} == 0)) || set_parts
  [[ -z $part || " ${parts[*]-} " == *" $part "* ]] ||
    die 2 "--part: got '$part', expected ${parts[*]:-none: $recipe has no parts}"
}

# What jobs ask for: the project's, the recipe's own, what is given.
set_cmd_settings() {
  local file
  for file in "$root/conf/slurm.yaml" "$recipe_dir/conf/slurm.yaml" "$cmd_config"; do
    [[ ! -f $file ]] || cmd_settings+=(--cmd_config "$file")
  done
}

set_parts() {
  local one
  chosen=("${parts[@]}") places=()
  [[ -z $part ]] || chosen=("$part")
  for one in "${parts[@]}"; do places+=(--part "$out/parts/$one"); done
}

# What is published stands beside the recipe, under version control: its own numbers only.
set_publishing() {
  [[ $stand_in == false && -z $grammar ]] ||
    die 2 "--publish: got --grammar or --stand_in too, expected the recipe's own grammar and corpus"
  ((stop_stage == 7)) || die 2 "--publish: got --stop_stage $stop_stage, expected stage 7, which does it"
  publishing=(--publish "$recipe_dir")
  [[ $overwrite == false ]] || publishing+=(--overwrite true)
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

# Other settings than the recipe's go to a directory that is named after them, as ESPnet's tags do;
# those of decoding alone need none, nor those of the machine.
add_tag() {
  local one text='' name
  for one in "${configs[@]}"; do
    name=$(basename -- "$one")
    is_decoding "$one" || text+=_${name%.*}
  done
  for one in "${overrides[@]}"; do
    [[ $one == decode[.=]* ]] || is_of_the_machine "$one" || text+=_$one
  done
  # A name that is not all of it ends in a checksum of all of it.
  name=$(LC_ALL=C tr -cs 'A-Za-z0-9._=-' - <<<"$text")
  name=${name%-}
  [[ $name == "$text" && ${#name} -le 80 ]] ||
    name=${name:0:60}_$(cksum <<<"$text" | cut -d ' ' -f 1)
  suffix+=$name
}

# is_decoding FILE: whether it has settings of decoding only.
is_decoding() {
  awk '/^[^ #\t]/ && !/^(decode *:|---|})/ { other = 1 } END { exit other }' "$1"
}

# is_of_the_machine KEY=VALUE: whether a training goes on with another value of it, as
# OF_THE_MACHINE in atat/config/stage_inputs.py says.
is_of_the_machine() {
  [[ $1 == train.@(num_processes|num_gpus|num_nodes|num_threads|num_workers)=* ]] || return 1
  [[ $(exchanged) != parameters ]]
}

# What the processes of a training exchange, train.sync: as the last of the settings says that does.
exchanged() {
  local one files=()
  for one in "${settings[@]}" "${configs[@]}"; do
    [[ $one == --config ]] || files+=("$one")
  done
  { cat -- "${files[@]}" && printf '%s\n' "${overrides[@]}"; } |
    sed -n 's/.*[^a-z]sync *[:=] *\([a-z]*\).*/\1/p' | tail -n 1
}

# A corpus of rendered speech in place of the recipe's own.
set_stand_in() {
  [[ -z $corpus_dir ]] || die 2 "--stand_in: got --corpus_dir too, expected one of them"
  corpus_dir=$root/cache/stand_in/$recipe
  overrides+=(data.stand_in=true)
  suffix+=_stand_in
  echo "rendered speech stands in for the corpus: these numbers are not the corpus's" >&2
}

# select_part PART: its directories and settings; '' is the whole of a corpus without parts.
select_part() {
  part=$1
  [[ $part ]] || return 0
  data=$out/parts/$part/data dump=$out/parts/$part/dump expdir=$out/parts/$part/exp
  changes=("${overrides[@]}" "data.part=$part")
}

# Two runs in one directory would mix their files. The lock ends with the processes of the run.
lock() {
  local place=$expdir holder
  ((${#parts[@]} == 0)) || place=$out/parts
  { mkdir -p -- "$place" && : >>"$place/.lock"; } 2>/dev/null ||
    die 2 "cannot write to $place; give another --expdir (with --set data.cache=DIR for speech)"
  command -v flock >/dev/null || return 0
  exec 9>>"$place/.lock"
  if ! flock --nonblock 9; then
    holder=$(<"$place/.lock")
    kill -0 "$holder" 2>/dev/null &&
      die 1 "process $holder works in $place; wait for it or give another --expdir"
    # That run has ended; what it had started ends within seconds.
    flock --timeout 20 9 ||
      die 1 "what process $holder had started still works in $place; wait for it or end it"
  fi
  echo $$ >"$place/.lock"
}

# What can be made again: features and all that is computed of them, and the checkpoints of
# experiments that are trained to the end. Sets `removable`.
find_removable() {
  local one path
  removable=()
  for one in "${chosen[@]}"; do
    select_part "$one"
    for path in "$dump" "$dump.removed"; do
      [[ ! -d $path ]] || removable+=("$path")
    done
    for path in "$expdir"/*/; do
      [[ ! -f ${path}model.safetensors && ! -f ${path}model.pth ]] && continue
      [[ ! -d ${path}checkpoints || -e ${path}.begun.4 ]] ||
        removable+=("${path}checkpoints")
    done
  done
}

# Markers stay: what was made of it holds. See fill_dump for features that are needed again.
clean() {
  local path size
  find_removable
  size=$(size_of "${removable[@]}")
  for path in "${removable[@]}"; do
    echo "removes $path ($(size_of "$path"))"
    [[ $dry_run == false ]] || continue
    if [[ $path == */dump ]]; then # at once, so that never half of it is taken for all
      mv -- "$path" "$path.removed"
      path+=.removed
    fi
    rm -rf -- "$path"
  done
  [[ $dry_run == true ]] || echo "freed $size; what is needed of it will be made again"
}

# What all of the run takes on the disk, in a line.
print_disk_use() {
  local places=("$data" "$dump" "$expdir") existing=() path
  [[ $expdir != "$out" ]] || places=("$out")
  ((${#parts[@]} == 0)) || places=("$out/parts")
  for path in "${places[@]}"; do
    [[ ! -d $path ]] || existing+=("$path")
  done
  find_removable
  echo "disk: $(size_of "${existing[@]}"), of which $(size_of "${removable[@]}") can be made" \
    "again: $(quoted "${resume_command[@]}" --clean true) removes them"
}

# size_of PATH...: in megabytes.
size_of() {
  { (($# == 0)) || du -sk -- "$@"; } | awk '{ sum += $1 } END { printf "%d MB\n", (sum + 1023) / 1024 }'
}
