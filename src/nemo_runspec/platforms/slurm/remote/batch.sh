# shellcheck shell=bash
# What every job does on its first node. job.sbatch sources it, then runs the profile's setup_lines, starts the tasks
# with nemo_start, and ends with nemo_finish.
#
#   reads   nemo_job             variable: the job's folder
#           nemo_secrets         variable: `yes` where secrets.sh belongs to the job
#           dependents           Slurm numbers of jobs that wait for this one, one on a line
#           exit/.*.<attempt>    what the tasks tell, see task.sh
#   writes  .jobid               the job's identifier, where the submission did not live to learn it
#           exit/job.<attempt>   the job's own exit code, as its last thing, and only where it ended by itself: of a time
#                                limit, a cancellation or a preemption, Slurm's own state tells; a second line says
#                                `memory` where a task had no more of it
#   exits with the job's own exit code
#
# The umask stays that of the one who submits: results may be for others too, and the job's folder is private as it is.
nemo_attempt=${SLURM_RESTART_COUNT:-0}
nemo_labels=() nemo_pids=() nemo_code='' nemo_stopped='' nemo_signal='' nemo_preempted=''
nemo_address='' nemo_port='' nemo_cause=''

mkdir -p "$nemo_job/logs" "$nemo_job/exit" || exit
# With it a job that has run is found again when Slurm knows it no longer.
[ -s "$nemo_job/.jobid" ] || [ -z "${SLURM_JOB_ID:-}" ] || {
    printf '%s\n' "$SLURM_JOB_ID" >"$nemo_job/.jobid.job" && mv -f "$nemo_job/.jobid.job" "$nemo_job/.jobid"
} || rm -f "$nemo_job/.jobid.job"
# Slurm knows one log of this script for all attempts, into which it writes itself too: that of the first.
[ "$nemo_attempt" = 0 ] || exec >>"$nemo_job/logs/batch.$nemo_attempt.log" 2>&1

# What setup_lines may have switched on must not change what is done here.
nemo_plain() {
    set +aefuCE
    shopt -u failglob nullglob
    unset IFS
}

nemo_say() {
    printf '%s\n' "nemo_runspec: $*" >&2
}

# The address is that of the first node, where this script runs. Which port: of each eight there is one job in 1,500 that
# begins there, so that two jobs on one node do not take the same one before they listen on it.
nemo_meet() {
    local number candidate used
    nemo_address=$(timeout 20 scontrol show hostnames "$SLURM_JOB_NODELIST" 2>/dev/null | head -n 1)
    nemo_address=${nemo_address:-${SLURMD_NODENAME:-$(hostname)}}
    used=" $(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '{ sub(/.*:/, "", $2); printf "%s ", $2 }') "
    [ -n "$nemo_port" ] || nemo_port=$((20000 + ${SLURM_JOB_ID:-0} % 1500 * 8 - 1))
    for ((number = 0; number < 12000; number++)); do
        nemo_port=$((20000 + (nemo_port - 20000 + 1) % 12000))
        printf -v candidate '%04X' "$nemo_port"
        [[ $used == *" $candidate "* ]] || return 0
    done
}

# Starts a task: nemo_start LABEL NODES COMMAND...
nemo_start() {
    nemo_plain
    local label=$1 nodes=$2
    shift 2
    nemo_meet
    "$@" "$label" "$nemo_attempt" "$nemo_address" "$nemo_port" "$nodes" "${nemo_secrets:-no}" &
    nemo_labels+=("$label") nemo_pids+=("$!")
}

# The exit code of a process that nemo_start has started: `wait` returns early when a signal comes in.
nemo_wait() {
    local code='' next
    while :; do
        nemo_signal=''
        wait "$1" 2>/dev/null
        next=$?
        # Of a process that was waited for it knows nothing the second time.
        [ "$next" != 127 ] || [ -z "$code" ] || break
        code=$next
        [ -n "$nemo_signal" ] || kill -0 "$1" 2>/dev/null || break
    done
    return "$code"
}

# Waits for all tasks; the first that fails ends the others. Gives the first failure's code in nemo_code.
nemo_wait_all() {
    local index code left=(${!nemo_pids[@]})
    nemo_code=0
    while [ "${#left[@]}" -gt 0 ]; do
        for index in "${left[@]}"; do
            # One task is waited for, of several it is looked which has ended.
            [ "${#nemo_pids[@]}" = 1 ] || ! kill -0 "${nemo_pids[index]}" 2>/dev/null || continue
            nemo_wait "${nemo_pids[index]}"
            code=$?
            unset "left[index]" "nemo_pids[index]"
            [ "$code" = 0 ] || [ "$nemo_code" != 0 ] || nemo_end_others "$index" "$code"
        done
        [ "${#left[@]}" = 0 ] || [ "${#nemo_labels[@]}" = 1 ] || sleep 0.5
    done
}

nemo_end_others() {
    nemo_code=$2
    [ "${#nemo_pids[@]}" = 0 ] || nemo_say "${nemo_labels[$1]} has failed, the other tasks are stopped"
    [ "${#nemo_pids[@]}" = 0 ] || kill -TERM "${nemo_pids[@]}" 2>/dev/null
}

# Whether the job is ending by itself, and Slurm is not about to stop it, to start it again later, or to call it failed.
nemo_by_itself() {
    local state
    state=$(timeout 15 squeue --noheader --states=all --jobs="$SLURM_JOB_ID" --format=%T 2>/dev/null)
    case $state in
    RUNNING | SUSPENDED | SIGNALING | RESIZING | CONFIGURING) [ -z "$nemo_preempted" ] ;;
    '') [ -z "$nemo_stopped" ] ;;
    *) return 1 ;;
    esac
}

# Slurm stops the job: it tells the tasks itself, and this script beside them. A job that starts again needs its secrets;
# of any other there may be no time to remove them later.
nemo_stop() {
    local told
    nemo_stopped=yes nemo_signal=yes
    told=$(timeout 15 scontrol --oneliner show job "$SLURM_JOB_ID" 2>/dev/null)
    # It may be given time to end, and is running as long as that.
    [[ $told != *\ PreemptTime=[0-9]* ]] || nemo_preempted=yes
    [[ $told != *\ JobState=RUNNING\ * && $told =~ \ Restarts=([0-9]+)\  ]] || return 0
    [ "${BASH_REMATCH[1]}" != "$nemo_attempt" ] || rm -f "$nemo_job/secrets.sh"
}

nemo_finish() {
    local told file
    nemo_plain
    nemo_wait_all
    # A task says first that it has failed by itself, or that it was ended by a signal; srun's own code is the highest.
    for file in failed ended; do
        told=''
        [ ! -s "$nemo_job/exit/.$file.$nemo_attempt" ] || read -r told <"$nemo_job/exit/.$file.$nemo_attempt"
        [ -z "$told" ] || break
    done
    file=$nemo_job/logs/batch.$nemo_attempt.log
    # Nothing else says so: srun's code is 1, and the task's may be any.
    [ "$nemo_code" = 0 ] || ! grep -qs '^srun: error: .*: Out Of Memory$' "$file" || nemo_cause=memory
    nemo_end "${told:-$nemo_code}"
}

# The script ends without nemo_finish: setup_lines have ended it, or a folder could not be made.
nemo_left() {
    nemo_plain
    nemo_say "the script has ended before its tasks, with exit code $1: setup_lines end it, or a folder cannot be made"
    nemo_end "$(($1 == 0 ? 1 : $1))"
}

nemo_end() {
    local number
    # Of setup_lines a trap of their own is left, which tidies up something.
    [[ $(trap -p EXIT) != *nemo_left* ]] || trap - EXIT
    if ! nemo_by_itself; then
        [ -n "$nemo_stopped" ] || nemo_stop
        exit "$(($1 == 0 ? 143 : $1))"
    fi
    rm -f "$nemo_job/secrets.sh"
    if [ "$1" != 0 ] && [ -s "$nemo_job/dependents" ]; then
        while read -r number; do
            [[ $number =~ ^[0-9]+$ ]] || continue
            nemo_say "job $number waits for this one and is cancelled"
            timeout 20 scancel --state=PENDING "$number" </dev/null
        done <"$nemo_job/dependents"
    fi
    printf '%s\n' "$1" $nemo_cause >"$nemo_job/exit/.job.$nemo_attempt" &&
        mv -f "$nemo_job/exit/.job.$nemo_attempt" "$nemo_job/exit/job.$nemo_attempt"
    exit "$1"
}

trap nemo_stop TERM
trap 'nemo_left "$?"' EXIT
