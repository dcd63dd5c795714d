# Sent with the scripts that submit: a job's folder, which one of them at a time may touch. Reads nothing.
#   .submit.lock  held by who touches the folder, and by the sbatch that it has started, even when its client is dead
#   .sending      an sbatch was started; only who knows how it ended takes this away
#   .jobid        the job's identifier

# cannot_hold FOLDER WORDS...: exits; where an sbatch was started, what became of it is not known.
cannot_hold() {
    echo "${*:2}" >&2
    [ -e "$1/.sending" ] && exit 75
    exit 73
}

# hold FOLDER: takes the folder's lock. Gives 1 where the folder is not there; exits with 73 or 75 where it cannot.
hold() {
    local code
    while [ -d "$1" ]; do
        { exec 9>> "$1/.submit.lock"; } 2> /dev/null || {
            [ -d "$1" ] || return 1
            cannot_hold "$1" "cannot write to $1"
        }
        flock -w 45 -E 75 9
        code=$?
        if [ $code -eq 75 ]; then
            echo "another submission of this job is at work" >&2
            exit 75
        elif [ $code -ne 0 ]; then
            cannot_hold "$1" "the file system of $1 has no locks"
        fi
        # Whoever held it before may have removed the folder with it.
        [ "$1/.submit.lock" -ef /proc/self/fd/9 ] && return 0
    done
    return 1
}

# remember FOLDER ID: notes and prints the identifier. A full disk is no reason to deny that there is a job.
remember() {
    if printf '%s\n' "$2" > "$1/.jobid.tmp" && mv -f -- "$1/.jobid.tmp" "$1/.jobid"; then
        rm -f -- "$1/.sending"
    fi
    printf '%s\n' "$2"
}

# has_run FOLDER: whether the job has left anything.
has_run() {
    [ -n "$(find "$1/exit" "$1/logs" -type f -print -quit 2> /dev/null)" ]
}
