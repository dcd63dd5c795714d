# Sent with the scripts that ask Slurm: its programs, and a job's identifier by the job's unique name.
# Reads nothing.

if ! command -v sbatch > /dev/null; then
    # Only a login's profile may have them on PATH.
    set +u
    . /etc/profile > /dev/null 2>&1 < /dev/null
    set -u
fi
if ! command -v sbatch > /dev/null; then
    echo "there is no sbatch here" >&2
    exit 69
fi

# They would hide jobs from a look, or change what the batch script says.
unset "${!SQUEUE_@}" "${!SACCT_@}" "${!SBATCH_@}"

# look_up NAME: sets `found` to the job's identifier, or to nothing where nobody who answered knows it.
# Gives 1 where squeue did not answer, so that nothing found means nothing.
look_up() {
    local out asked=1
    found=
    if out=$(timeout 20 squeue --noheader --user="$(id -u)" --states=all --name="$1" --format=%i 2>&1); then
        asked=0
    else
        complaint=${out##*$'\n'}
        out=
    fi
    if [ -z "$out" ]; then
        # Ended jobs leave the queue after minutes; without accounting there is nothing to ask.
        out=$(timeout 20 sacct --noheader --parsable2 --allocations --user="$(id -u)" --name="$1" --format=JobID \
            --starttime=now-30days 2> /dev/null) || out=
    fi
    out=${out%%$'\n'*}
    out=${out%%[+_;]*}
    case $out in
        '' | *[!0-9]*) return $asked ;;
    esac
    found=$out
}

# settle NAME CALM_S WAIT_S: looks until something is certain. `found` holds the identifier, or nothing where for
# CALM_S seconds nobody knew such a job. Gives 1 where that could not be found out in WAIT_S seconds.
settle() {
    local since= begin=$SECONDS
    while :; do
        if look_up "$1"; then
            [ -z "$found" ] || return 0
            since=${since:-$SECONDS}
            [ $((SECONDS - since)) -lt "$2" ] || return 0
        else
            since=
            [ $((SECONDS - begin)) -lt "$3" ] || return 1
        fi
        sleep 1
    done
}
