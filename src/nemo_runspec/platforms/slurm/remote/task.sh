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
{ set +x; } 2>/dev/null
export NEMO_RUNSPEC_JOB_DIR=$1
launch=$2 label=$3 attempt=$4 address=$5 port=$6 nodes=$7 secrets=$8
exits=$NEMO_RUNSPEC_JOB_DIR/exit
own=$exits/$label-${SLURM_PROCID:-0}.$attempt

told() { # told CODE: writes it where the batch script looks for it, and exits with it
    local name=.failed
    printf '%s\n' "$1" >"$own.part" && mv -f "$own.part" "$own"
    case $1 in
    0) exit 0 ;;
    137 | 143) name=.ended ;;
    esac
    # Only the first of all tasks on all nodes can make the file.
    (set -o noclobber && printf '%s\n' "$1" >"$exits/$name.$attempt") 2>/dev/null
    exit "$1"
}

if [ "$secrets" = yes ] && [ ! -r "$NEMO_RUNSPEC_JOB_DIR/secrets.sh" ]; then
    echo "nemo_runspec: $NEMO_RUNSPEC_JOB_DIR/secrets.sh is gone: the job had ended before; submit it anew" >&2
    told 1
fi
. "$NEMO_RUNSPEC_JOB_DIR/environment.sh" || told 1
[ "$secrets" != yes ] || . "$NEMO_RUNSPEC_JOB_DIR/secrets.sh" || told 1
export NODE_RANK=${SLURM_NODEID:-0} NNODES=$nodes MASTER_ADDR=$address MASTER_PORT=$port

# Where Slurm tracks processes in control groups, it signals the processes that it has started itself: this one alone, which
# passes it on. bash lets what it starts in the background ignore INT and QUIT, and read nothing.
(
    trap - INT QUIT
    exec "$BASH" "$NEMO_RUNSPEC_JOB_DIR/$launch"
) <&0 &
program=$!
signalled=''
for name in HUP INT QUIT ALRM USR1 USR2 TERM; do
    trap "signalled=yes; kill -s $name $program 2>/dev/null" "$name"
done

# `wait` returns early when a signal comes in; of a program that was waited for it knows nothing the second time.
code=''
while :; do
    signalled=''
    wait "$program" 2>/dev/null
    next=$?
    [ "$next" != 127 ] || [ -z "$code" ] || break
    code=$next
    [ -n "$signalled" ] || kill -0 "$program" 2>/dev/null || break
done
case $code in
129 | 13[0-9] | 14[0-3]) echo "nemo_runspec: the program was ended by signal $((code - 128))" >&2 ;;
esac
told "$code"
