#!/bin/bash
# Tells what can be known about a job: look.sh HOME NAME ID
#
#   HOME   the folder with our jobs; the job's own is HOME/jobs/NAME
#   NAME   the job's name
#   ID     its Slurm number
#
# Prints one fact per line, its words apart by tabs, and last `end`:
#   exit WHO ATTEMPT CODE WHY   an exit file: WHO is `job` or `task-N`, of tasks only where their job has not told its
#                               code; WHY is `memory` where there was no more of it, or nothing
#   attempt N                   the last attempt that has left a file
#   secrets                     its file of secrets is there
#   folder                      its folder is there
#   code PROGRAM N              squeue, scontrol or sacct has ended with N; 124: it did not answer in time, 127: it is
#                               not there
#   out PROGRAM LINE            a line that it has printed; what its first word is tells a row from a warning
# sacct is asked only where Slurm's controller does not know the job, does not answer, or is just ending it: it reads a
# database that others use too. Takes at most about 8 s. Exits with 0, whatever the programs say.
set -u
export LC_ALL=C TZ=UTC
shopt -s nullglob
home=$1 name=$2 id=$3
tab=$'\t'

command -v squeue >/dev/null 2>&1 || { set +u; . /etc/profile >/dev/null 2>&1 </dev/null; set -u; }
# What people set for their own eyes must not change what is printed here.
unset ${!SQUEUE_@} ${!SACCT_@} SLURM_TIME_FORMAT SLURM_BITSTR_LEN

ask() {
    local said code line
    said=$(timeout -k 1 4 "$@" 2>&1 </dev/null)
    code=$?
    printf 'code\t%s\t%s\n' "$1" "$code"
    [ -z "$said" ] || while IFS= read -r line; do printf 'out\t%s\t%s\n' "$1" "$line"; done <<<"$said"
}

exec 3< <(ask squeue -h -t all -j "$id" -o 'row|%i|%T|%r|%S|%j')
exec 4< <(ask scontrol -o show job "$id")

# Opening a folder makes a network file system ask for news of it.
cd -- "$home/jobs/$name" 2>/dev/null && {
    last=-1
    for file in logs/*.log; do
        attempt=${file%.log} attempt=${attempt##*.}
        [[ $attempt =~ ^[0-9]{1,6}$ ]] && ((10#$attempt > last)) && last=$((10#$attempt))
    done
    for file in exit/job.*; do
        attempt=${file##*.}
        [[ $attempt =~ ^[0-9]{1,6}$ ]] || continue
        ((10#$attempt > last)) && last=$((10#$attempt))
        code='' why=''
        { read -r -n 16 code && read -r -n 16 why; } <"$file"
        [ -z "$code" ] || printf 'exit\tjob\t%s\t%s\t%s\n' "$attempt" "$code" "$why"
    done
    [ ! -e secrets.sh ] || printf 'secrets\n'
    printf 'folder\n'
    ((last < 0)) || printf 'attempt\t%s\n' "$last"
    [ -e "exit/job.$last" ] || for file in exit/task-*."$last"; do
        who=${file#exit/} who=${who%.*} code=''
        read -r -n 16 code <"$file"
        [ -z "$code" ] || printf 'exit\t%s\t%s\t%s\t\n' "$who" "$last" "$code"
    done
} 2>/dev/null

said=$(cat <&3; cat <&4)
printf '%s\n' "$said"
known=
while IFS=$tab read -r _ _ line; do
    case $line in
    "row|$id|"*"|COMPLETING|"* | *' JobState=COMPLETING '*) known= && break ;;
    "row|$id|"*"|$name" | "row|$id+0|"*"|$name" | *" JobName=$name "*) known=yes ;;
    esac
done <<<"$said"
[ -n "$known" ] || ask sacct -n -P -D -X -j "$id" -o JobID,State,ExitCode,Submit,JobName
printf 'end\n'
