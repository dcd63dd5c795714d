# shellcheck shell=bash
# Runs the launch script of one task on its node, perhaps in a container that has nothing but bash and coreutils:
#   task.sh JOB LAUNCH LABEL ATTEMPT ADDRESS PORT NODES SECRETS
#
#   JOB       the job's folder, as this task sees it
#   LAUNCH    the launch script's name
#   LABEL     what the task's files are called after
#   ATTEMPT   how often the job was started before
#   ADDRESS   the host on which the task's processes meet, and PORT a free port there
#   NODES     number of the task's nodes
#   SECRETS   `yes` where there must be a file with secrets
#
#   reads     environment.sh, secrets.sh
#   writes    exit/LABEL-<number>.ATTEMPT   the launch script's exit code
#             exit/.failed.ATTEMPT          the code of the task that failed first
#             exit/.ended.ATTEMPT           the code of the task that was ended first: by a signal that ends it at once,
#                                           as those are that end the others when one has failed
#   exits with the launch script's exit code
{ set +vx; } 2>/dev/null
# What is set here is called nemo_...: any other name may be a variable of the job or of its container image.
nemo_exits=$1/exit
nemo_own=$nemo_exits/$3-${SLURM_PROCID:-0}.$4
nemo_attempt=$4

nemo_told() { # nemo_told CODE: writes it where the batch script looks for it, and exits with it
    local name=.failed
    printf '%s\n' "$1" >"$nemo_own.part" && mv -f "$nemo_own.part" "$nemo_own"
    case $1 in
    0) exit 0 ;;
    137 | 143) name=.ended ;;
    esac
    # Only the first of all tasks on all nodes can make the file.
    (set -o noclobber && printf '%s\n' "$1" >"$nemo_exits/$name.$nemo_attempt") 2>/dev/null
    exit "$1"
}

if [ "$8" = yes ] && [ ! -r "$1/secrets.sh" ]; then
    echo "nemo_runspec: $1/secrets.sh is gone: the job had ended before; submit it anew" >&2
    nemo_told 1
fi

# The job's variables are set for its program alone: with another PATH, say, this script would not find mv.
nemo_run() {
    trap - INT QUIT
    . "$1/environment.sh" || exit 1
    [ "$8" != yes ] || . "$1/secrets.sh" || exit 1
    export NEMO_RUNSPEC_JOB_DIR=$1 NODE_RANK=${SLURM_NODEID:-0} NNODES=$7 MASTER_ADDR=$5 MASTER_PORT=$6
    exec "$BASH" "$1/$2"
}

# Where Slurm tracks processes in control groups, it signals the processes that it has started itself: this one alone, which
# passes it on. bash lets what it starts in the background ignore INT and QUIT, and read nothing.
nemo_run "$@" <&0 &
nemo_program=$!
nemo_signalled=''
for nemo_name in HUP INT QUIT ALRM USR1 USR2 TERM; do
    trap "nemo_signalled=yes; kill -s $nemo_name $nemo_program 2>/dev/null" "$nemo_name"
done

# `wait` returns early when a signal comes in; of a program that was waited for it knows nothing the second time.
nemo_code=''
while :; do
    nemo_signalled=''
    wait "$nemo_program" 2>/dev/null
    nemo_next=$?
    [ "$nemo_next" != 127 ] || [ -z "$nemo_code" ] || break
    nemo_code=$nemo_next
    [ -n "$nemo_signalled" ] || kill -0 "$nemo_program" 2>/dev/null || break
done
case $nemo_code in
129 | 13[0-9] | 14[0-3]) echo "nemo_runspec: the program was ended by signal $((nemo_code - 128))" >&2 ;;
esac
nemo_told "$nemo_code"
