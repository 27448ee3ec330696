# The options of all recipes: defaults, meaning, reading and checking; see utils/recipe.sh.
# shellcheck shell=bash disable=SC2034,SC2154

# Cores that this process may use. nproc alone would count OMP_NUM_THREADS' threads instead, which
# are those of one process.
cores() {
  env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN
}

# Defaults of the options; empty means not given.
stage='' stop_stage=7 experiment=atat table=false corpus_dir='' grammar='' expdir='' seed=''
nj=$(cores) resume=true dry_run=false python='' cmd=local cmd_config=''
part='' init_from='' check=false stand_in=false budget='' overwrite=false publish=false clean=false
configs=() overrides=()
parts=()       # of the corpus, each trained and tested by itself; a recipe's, not an option
examined=false # a recipe's: its model is calibrated, and tried as recordings differ
about=''       # what the recipe is, for --help

# Name, what it takes (see expected), help. Nothing else can be set from outside.
OPTIONS='
stage       STAGE      run this stage and those after it, done or not
stop_stage  STAGE      the last stage to run
experiment  NAME       what to train and score, one of tables.yaml
table       BOOL       train and score all of tables.yaml
budget      NAME       settings for another training time: conf/budget_NAME.yaml of the recipe
corpus_dir  DIRECTORY  the corpus, for recipes that use one
check       BOOL       say what corpus and grammar hold and what they lack, and stop
stand_in    BOOL       render a small corpus and use it instead: for a first run without the corpus
part        NAME       only this part of the corpus, where a recipe has several
init_from   DIRECTORY  trained experiment to start from, where tables.yaml names none
grammar     FILE       what can be said, instead of the grammar of the recipe
expdir      PATH       where everything is written, instead of a directory named after what differs
publish     BOOL       put RESULTS.md and its picture beside the recipe too
overwrite   BOOL       lose what was trained with other settings or data, or published rows
clean       BOOL       remove features and checkpoints, which can be made again, and stop
config      FILE       YAML of settings that differ (may be given again)
set         KEY=VALUE  one setting that differs, a key of conf/base.yaml (may be given again)
seed        NUMBER     of all randomness, instead of the one in the settings
nj          COUNT      processes that prepare data
resume      BOOL       go on with an interrupted training; false starts it anew
cmd         CMD        local, or slurm: stages are jobs of a cluster (docs/slurm.md)
cmd_config  FILE       what jobs ask for, where it differs from conf/slurm.yaml
python      COMMAND    interpreter (default: of the active environment, else of .venv)
dry_run     BOOL       print the commands and run nothing
'

parse_options() {
  local argument name value kind
  resume_command=("$0") # this command without what is of one run
  while (($#)); do
    argument=$1
    shift
    case $argument in
      -h | --help) usage && exit ;;
      --?*) name=${argument%%=*} ;;
      *) die 2 "got '$argument', expected an option (--help lists them)" ;;
    esac
    name=${name#--} && name=${name//-/_}
    [[ $name =~ ^[a-z_]+$ && $OPTIONS =~ $'\n'"$name"\ +([A-Z=]+) ]] ||
      die 2 "unknown option '$argument' (--help lists them)"
    kind=${BASH_REMATCH[1]}
    if [[ $argument == *=* ]]; then
      value=${argument#*=}
    elif (($# == 0)) || [[ $1 == --* ]]; then
      die 2 "--$name: got nothing, expected $(expected "$kind" '' || true)"
    else
      value=$1
      shift
    fi
    expected "$kind" "$value" >/dev/null ||
      die 2 "--$name: got '$value', expected $(expected "$kind" "$value" || true)"
    [[ $name == stage || $name == dry_run || $name == overwrite || $name == publish ||
      $name == clean ]] ||
      resume_command+=("--$name" "$value")
    [[ $kind != [DFP]* || $value != -* ]] || value=./$value # a path that looks like an option
    case $name in
      config) configs+=("$value") ;;
      set) overrides+=("$value") ;;
      *) printf -v "$name" '%s' "$value" ;;
    esac
  done
  ((${stage:-1} <= stop_stage)) || die 2 "--stage $stage comes after --stop_stage $stop_stage"
}

# expected KIND VALUE: say what such a value is, and whether this is one.
expected() {
  local LC_ALL=C
  case $1 in
    STAGE) echo 'a number from 1 to 7' && [[ $2 =~ ^[1-7]$ ]] ;;
    COUNT) echo 'a whole number of 1 or more' && [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] ;;
    NUMBER) echo 'a whole number' && [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] ;;
    BOOL) echo 'true or false' && [[ $2 == true || $2 == false ]] ;;
    NAME) echo 'a name of letters, digits, _ - .' && [[ $2 =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] ;;
    KEY=VALUE) echo 'key=value' && [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_.-]*= ]] ;;
    FILE) echo 'a file' && [[ -f $2 ]] ;;
    DIRECTORY) echo 'a directory' && [[ -d $2 ]] ;;
    CMD) echo 'local or slurm' && [[ $2 == local || $2 == slurm ]] ;;
    COMMAND) echo 'an interpreter' && command -v -- "$2" >/dev/null ;;
    PATH) echo 'a directory to write to' && [[ $2 ]] && [[ -d $2 || ! -e $2 ]] ;;
  esac
}

usage() {
  local name kind help
  cat <<TEXT
usage: ./run.sh [--recipe NAME] [--OPTION VALUE]...

$recipe: $about
Stages: 1 prepare, 2 features, 3 tokenizer, 4 train, 5 decode, 6 score, 7 report.
Without --stage, those that are done with the same settings and data are not run again.

TEXT
  while read -r name kind help; do
    [[ -z ${!name:-} ]] || help+=" (default: ${!name})"
    printf '  --%-10s %-9s  %s\n' "$name" "$kind" "$help"
  done < <(sed 1d <<<"${OPTIONS%$'\n'}")
}
