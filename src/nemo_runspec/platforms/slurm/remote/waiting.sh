#!/bin/bash
# Lists our jobs that wait for others: waiting.sh HOME
#
#   HOME   the folder with our jobs: a job is ours where HOME/jobs has a folder of its name
#
# Prints for each of them, its words apart by tabs: ID NAME REASON DEPENDENCY, as squeue tells them, and last `end`.
# Exits with 0; 75: Slurm could not be asked, and why is on standard error.
set -u
export LC_ALL=C
home=$1

command -v squeue >/dev/null 2>&1 || { set +u; . /etc/profile >/dev/null 2>&1 </dev/null; set -u; }
unset ${!SQUEUE_@}

said=$(timeout -k 1 10 squeue -h -u "$(id -u)" -t PENDING -o 'row|%i|%r|%E|%j' 2>&1 </dev/null)
code=$?
((code == 0)) || { printf '%s\n' "$said" >&2 && exit 75; }
while IFS='|' read -r row id reason dependency name; do
    [[ $row == row && $id =~ ^[0-9]+$ && $name =~ ^[a-z0-9-]+$ && -d $home/jobs/$name ]] || continue
    printf '%s\t%s\t%s\t%s\n' "$id" "$name" "$reason" "$dependency"
done <<<"$said"
printf 'end\n'
