#!/usr/bin/env bash
# What sbatch is given to run: a command, as arguments, so that nothing is quoted into a script. A
# warning of Slurm's that comes before the command can take it is ignored, rather than its end.
trap '' USR1
exec "$@"
