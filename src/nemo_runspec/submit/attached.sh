#!/usr/bin/env bash
# Runs the launch script of a job folder; leaves its process id, its log and its exit code there.
# The names are those of nemo_runspec.job_folder.
job_dir=$1

# Only the owner reads these; the job's own files are the job's affair.
(umask 077 && echo "$$" >"$job_dir/pid" && : >>"$job_dir/job.log" && : >"$job_dir/exit_code.new")
exec > >(trap '' INT TERM && exec tee -a "$job_dir/job.log") 2>&1
log=$!

# A signal to the group is the job's to answer; this script waits for it.
trap : INT TERM
bash "$job_dir/launch.sh"
status=$?

echo "$status" >"$job_dir/exit_code.new" && mv "$job_dir/exit_code.new" "$job_dir/exit_code"

# What the job left running may keep the log open for ever: wait for the last lines, not for the end.
exec >&- 2>&-
for ((i = 0; i < 50; i++)); do
    kill -0 "$log" 2>/dev/null || break
    sleep 0.1
done
exit "$status"
