#!/bin/bash
# Removes what an ended job has left: remove.sh HOME NAME WHAT
#
#   HOME, NAME   the job's folder is HOME/jobs/NAME; NAME is small letters, digits and `-`
#   WHAT         `all`: the folder; `secrets`: its file of secrets; `nothing`: only look whether the folder is there
#
# Prints `there` where there was such a folder, else `gone`. Links are not followed, nor other file systems entered.
# Exits with 0; 73: it cannot be removed; 77: it is no folder of ours. Why is on standard error.
set -u
export LC_ALL=C
home=$1 name=$2 what=$3

refuse() { printf '%s\n' "$1" >&2; exit 77; }

[[ $name =~ ^[a-z0-9]+(-[a-z0-9]+)*$ && -n $home ]] || refuse "'$name' is no name of a job"
folder=$home/jobs/$name
[ -e "$folder" ] || [ -L "$folder" ] || { echo gone && exit 0; }
for place in "$home/jobs" "$folder"; do
    [ ! -L "$place" ] && [ -d "$place" ] && [ -O "$place" ] || refuse "$place is no folder of ours"
done
echo there
case $what in
secrets) rm -f -- "$folder/secrets.sh" || exit 73 ;;
all)
    # What a job has left running may write while its folder is removed.
    rm -rf --one-file-system -- "$folder" 2>/dev/null || rm -rf --one-file-system -- "$folder" || exit 73
    ;;
esac
