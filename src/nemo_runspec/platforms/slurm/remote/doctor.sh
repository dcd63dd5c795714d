#!/bin/bash
# Looks at all that a job needs on a login node, at once: doctor.sh LIMIT WORD...
#
#   LIMIT             how long one question may take, in seconds
#   folder=PATH       a folder that jobs write to; a file is made in it and removed again
#   path=PATH         something that has to be there
#   partition=NAME    where jobs go; an empty name means the cluster's default
#   option=OPTION     an option of sbatch
#   account=1         ask for the accounts of this user
#   container=1       ask for pyxis and enroot
#
# Prints one fact a line, its parts parted by tabs; INDEX counts the words of one kind from 0. A fact that is not known
# in time is not printed.
#   clock SECONDS                                          this machine's clock
#   tool NAME VERSION                                      VERSION is empty where it is not there
#   folder INDEX KIND OURS MODE FREE_KIB SAID EXPOSED      KIND: folder, new (FREE_KIB and SAID are of the nearest
#                                                          folder above), file; SAID: why it cannot be written to;
#                                                          EXPOSED: a folder on the way in which everybody may rename
#   path INDEX KIND                                        KIND: file, folder, other, nothing
#   partition NAME STATE                                   one line for each partition of the cluster
#   account NAME                                           one line for each account of this user
#   asked QUESTION CODE SAID                               QUESTION: partitions, accounts
#   test INDEX CODE START_S SAID                           sbatch --test-only in the partition of that index; START_S:
#                                                          seconds until the expected start, or empty
# Exits with 0.
# Without `set -u`: bash before 4.4 takes an empty array for an unset variable.
export LC_ALL=C
limit=$1
shift
folders=() paths=() partitions=() options=() account= container=
for word in "$@"; do
    value=${word#*=}
    case $word in
        folder=*) folders+=("$value") ;;
        path=*) paths+=("$value") ;;
        partition=*) partitions+=("$value") ;;
        option=*) options+=("$value") ;;
        account=*) account=$value ;;
        container=*) container=$value ;;
    esac
done

# Only a login profile has Slurm on the PATH of some clusters.
# shellcheck disable=SC1091 # not a file of this project
command -v sbatch >/dev/null 2>&1 || { . /etc/profile >/dev/null 2>&1 </dev/null; }

fact() {
    local line=$1
    shift
    for part in "$@"; do line+=$'\t'${part//[$'\t\r\n']/ }; done
    printf '%s\n' "$line"
}

in_time() { timeout -k 1 "$limit" "$@" </dev/null; }

tool() {
    local name=$1 said=
    shift
    if command -v "$name" >/dev/null 2>&1; then
        said=$(in_time "$name" "$@" 2>/dev/null | head -n 1)
        said=${said:-there}
    fi
    fact tool "$name" "$said"
}

look_at() {
    local index=$1 path=$2 kind=nothing
    if [ -d "$path" ]; then kind=folder
    elif [ -f "$path" ]; then kind=file
    elif [ -e "$path" ]; then kind=other
    fi
    fact path "$index" "$kind"
}

try_folder() {
    local index=$1 path=$2 kind=new ours=0 mode= free= said= exposed= place probe above
    place=$path
    while [ ! -e "$place" ] && [ "$place" != / ] && [ -n "$place" ]; do place=${place%/*}; done
    place=${place:-/}
    if [ -d "$path" ]; then kind=folder; elif [ -e "$path" ]; then kind=file; fi
    [ -O "$place" ] && ours=1
    mode=$(stat -L -c %a -- "$place")
    free=$(df -Pk -- "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ "$kind" = folder ]; then
        if probe=$(mktemp "$place/.nemotron-doctor.XXXXXX" 2>&1); then
            # A full disk still takes names.
            said=$({ printf '%4096s' ' ' >"$probe"; } 2>&1) || said=${said:-it cannot be written}
            rm -f -- "$probe"
        else
            said=$probe
        fi
    elif [ ! -w "$place" ] || [ ! -x "$place" ]; then
        said="$place may not be written to"
    fi
    above=$place
    [ "$kind" != new ] || above=${place%/}/new
    while [ "$above" != / ] && [ -n "$above" ]; do
        above=${above%/*}
        if [ -n "$(find "${above:-/}" -maxdepth 0 -perm -0002 ! -perm -1000 2>/dev/null)" ]; then exposed=${above:-/}; fi
    done
    fact folder "$index" "$kind" "$ours" "$mode" "$free" "$said" "$exposed"
}

ask_partitions() {
    local said code
    said=$(in_time sinfo --noheader --format='%R|%a' 2>&1)
    code=$?
    if [ "$code" = 0 ]; then
        while IFS='|' read -r name state; do fact partition "$name" "$state"; done <<<"$said"
        said=
    fi
    fact asked partitions "$code" "$said"
}

ask_accounts() {
    local said code
    said=$(in_time sacctmgr --noheader --parsable2 show associations user="$(id -un)" format=account 2>&1)
    code=$?
    if [ "$code" = 0 ]; then
        while read -r name; do [ -z "$name" ] || fact account "$name"; done <<<"$said"
        said=
    fi
    fact asked accounts "$code" "$said"
}

test_submission() {
    local index=$1 partition=$2 said code at start=
    said=$(in_time sbatch --test-only "${options[@]}" ${partition:+"--partition=$partition"} --wrap=: 2>&1)
    code=$?
    at=$(sed -n 's/.* to start at \([^ ]*\) .*/\1/p' <<<"$said" | head -n 1)
    if [ -n "$at" ]; then start=$(($(date -d "$at" +%s) - $(date +%s))); fi
    fact 'test' "$index" "$code" "$start" "$said"
}

ask_pyxis() {
    if in_time srun --help 2>/dev/null | grep -q -e --container-image; then fact tool pyxis there; else fact tool pyxis ''; fi
}

export limit
export -f fact look_at try_folder
fact clock "$(date +%s.%N)"
fact tool bash "$BASH_VERSION"
for index in "${!folders[@]}"; do in_time bash -c 'try_folder "$@"' - "$index" "${folders[$index]}" 2>/dev/null & done
for index in "${!paths[@]}"; do in_time bash -c 'look_at "$@"' - "$index" "${paths[$index]}" 2>/dev/null & done
tool rsync --version &
tool git --version &
tool flock --version &
tool sbatch --version &
if command -v sbatch >/dev/null 2>&1; then
    ask_partitions &
    [ -z "$account" ] || ask_accounts &
    for index in "${!partitions[@]}"; do test_submission "$index" "${partitions[$index]}" & done
    [ -z "$container" ] || ask_pyxis &
fi
[ -z "$container" ] || tool enroot version &
wait
exit 0
