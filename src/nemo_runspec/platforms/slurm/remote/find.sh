# Finds a job by its unique name, and tidies up after a submission of which no job has come.
# $1: the folder of all jobs.  $2: the job's unique name.  Reads nothing.
# Prints the job's identifier, or nothing where there is no such job.
# Exits with 0; with 69 where there is no Slurm, with 73 or 75 where it cannot be found out; why is on standard error.
set -u
umask 077
export LC_ALL=C
. ./slurm.sh
. ./job_folder.sh
folder=$1/jobs/$2

calm_s=0
if hold "$folder"; then
    if [ -s "$folder/.jobid" ]; then
        cat -- "$folder/.jobid"
        exit 0
    fi
    [ -e "$folder/.sending" ] && calm_s=15
fi
settle "$2" $calm_s 10 || { echo "Slurm does not answer: $complaint" >&2; exit 75; }
if [ -n "$found" ]; then
    if [ -d "$folder" ]; then remember "$folder" "$found"; else echo "$found"; fi
elif [ -d "$folder" ]; then
    has_run "$folder" && { echo "the job has run, and Slurm knows it no longer" >&2; exit 75; }
    rm -rf -- "$folder" # secrets may lie there
fi
