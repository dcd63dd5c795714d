#!/bin/bash
# Tells Slurm to end a job: cancel.sh NAME ID
#
#   NAME   the job's name; a job of another name that has the number now is left alone
#   ID     its Slurm number
#
# Prints `told`, or `unknown` where Slurm has no such job or it has ended, or `other` where the number is another job's.
# Exits with 0; 75: Slurm could not be asked or told, and why is on standard error; 77: it does not let us.
set -u
export LC_ALL=C
name=$1 id=$2

command -v squeue >/dev/null 2>&1 || { set +u; . /etc/profile >/dev/null 2>&1 </dev/null; set -u; }
unset ${!SQUEUE_@} ${!SCANCEL_@}

said=$(timeout -k 1 10 squeue -h -j "$id" -o 'row|%j' 2>&1 </dev/null)
code=$?
case $'\n'$said$'\n' in
*$'\n'"row|$name"$'\n'*) ;;
*'row|'*) echo other && exit 0 ;;
*'Invalid job id'*) echo unknown && exit 0 ;;
*)
    # Of jobs that have ended it prints nothing.
    ((code == 0)) && [ -z "$said" ] && echo unknown && exit 0
    printf '%s\n' "${said:-squeue does not answer}" >&2
    exit 75
    ;;
esac

said=$(timeout -k 1 15 scancel --name="$name" "$id" 2>&1 </dev/null)
code=$?
printf '%s' "$said" >&2
case $said in
*'Access/permission denied'*) exit 77 ;;
*'already completing or completed'* | *'Invalid job id'*) ;;
*) ((code == 0)) || exit 75 ;;
esac
echo told
