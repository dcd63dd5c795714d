# Submits one job, once, however often and by however many it is called.
# $1: the folder of all jobs.  $2: the job's unique name.  $3: the digest of its source tree, or nothing.
# $4: the digest of what is read.  $5...: jobs that have to succeed first.  Reads a tar of the job's files.
# Prints the job's identifier.
# Exits with 0; with 65 where Slurm does not take it, with 66 where the source tree is not there or not whole, with 69
# where there is no Slurm, with 73 where nothing can be written: there is no job then, nor anything of its folder.
# With 75 where it is not known whether there is a job, or where what was read is not whole.
# What is to be told is on standard error.
set -u
mask=$(umask)
umask 077
locale=${LC_ALL-}
export LC_ALL=C
. ./slurm.sh
. ./job_folder.sh
home=$1 name=$2 source=$3 digest=$4
shift 4
folder=$home/jobs/$name

give_up() { # CODE: leaves nothing of a job that does not exist, above all no secrets
    rm -rf -- "$folder"
    exit "$1"
}

new=
until hold "$folder"; do
    mkdir -m 700 -- "$folder" && new=yes || [ -d "$folder" ] || exit 73
done
if [ -s "$folder/.jobid" ]; then
    cat -- "$folder/.jobid"
    exit 0
fi
# Another one may have held the new folder first, and been killed in it.
[ -z "$(find "$folder" -mindepth 1 ! -name .submit.lock -print -quit)" ] || new=
if [ -z "$new" ]; then
    # Of an sbatch whose end is not known the controller may still hold the call, and tell of the job a little later.
    calm_s=0
    [ -e "$folder/.sending" ] && calm_s=15
    settle "$name" $calm_s 10 || { echo "Slurm does not answer: $complaint" >&2; exit 75; }
    if [ -n "$found" ]; then
        remember "$folder" "$found"
        exit 0
    fi
    has_run "$folder" && { echo "the job has run, and Slurm knows it no longer" >&2; exit 75; }
    find "$folder" -mindepth 1 -maxdepth 1 ! -name .submit.lock -exec rm -rf -- {} + || exit 73
fi

cat > "$folder/.files.tar" || give_up 73
if [ "$(sha256sum < "$folder/.files.tar")" != "$digest  -" ]; then
    echo "the job's files did not arrive whole" >&2
    give_up 75
fi
mkdir -- "$folder/code" "$folder/logs" "$folder/exit" || give_up 73
if [ -n "$source" ]; then
    [ -d "$home/sources/$source" ] || give_up 66
    touch -- "$home/sources/$source" # it was used now
    cp -R -- "$home/sources/$source/." "$folder/code/" || give_up 73
    # A file system that removes what is old may have removed parts of a tree.
    if ! (cd -- "$folder/code" && sha256sum --check --quiet --strict "$home/sources/.$source.sha256" 2>&1) >&2; then
        rm -rf -- "$home/sources/$source"
        give_up 66
    fi
fi
tar -x -f "$folder/.files.tar" -C "$folder" --no-same-owner --no-same-permissions || give_up 73
rm -f -- "$folder/.files.tar"

send() { # [OPTION...]: sets `id` where sbatch tells it, `said` to its other words, and gives its exit code
    local code
    printf '%s\n' "$name" > "$folder/.sending" || give_up 73
    said=$(
        # Slurm hands both on to the job, whose results may be for others too.
        umask "$mask"
        if [ -n "$locale" ]; then export LC_ALL="$locale"; else unset LC_ALL; fi
        cd -- "$folder" && exec timeout -k 5 45 sbatch --parsable "$@" job.sbatch 2>&1 < /dev/null
    )
    code=$?
    id=$(grep -E -m 1 '^[0-9]+(;.*)?$' <<< "$said")
    id=${id%%;*}
    return $code
}

accepted() { # ID [JOB...]: notes the identifier, also with the jobs that this one waits for, which may have to end it
    local before file
    remember "$folder" "$1"
    for before in "${@:2}"; do
        file=$(find "$home/jobs" -mindepth 2 -maxdepth 2 -name .jobid -exec grep -l -x -F -e "$before" {} +)
        [ -z "$file" ] || printf '%s\n' "$1" >> "${file%/.jobid}/dependents"
    done
    exit 0
}

dependency=()
[ $# -eq 0 ] || dependency=("--dependency=afterok:$(IFS=:; echo "$*")")
for _ in 1 2 3; do
    send ${dependency[@]+"${dependency[@]}"}
    code=$?
    if [ $code -eq 0 ] && [ -n "$id" ]; then
        [ "$said" = "$id" ] || printf '%s\n' "$said" >&2
        accepted "$id" "$@"
    fi
    printf '%s\n' "$said" >&2
    case $code:$said in
        *'(connect failure)'* | *'onnection refused'*) heard=no calm_s=3 ;;
        0:* | 124:* | 137:* | *'imed out'* | *'ontact slurm controller'* | *'Zero Bytes'* | *'standby mode'* | \
            *'not responding'* | *'onnection reset'* | *'end/recv'* | *'essage rec'* | *'nsane message'* | \
            *'nexpected message'*) heard=perhaps calm_s=3 ;;
        *) heard=refused calm_s=0 ;;
    esac
    settle "$name" $calm_s 10 || exit 75
    [ -z "$found" ] || accepted "$found" "$@"
    case $heard in
        perhaps) exit 75 ;;
        refused) give_up 65 ;;
    esac
done
exit 75
