"""The files of a job folder: what the launcher writes, what a script leaves, what is read afterwards."""

JOB_LINK = "/nemo_run"
"""What a pod calls its job's folder; nemo-run's own commands use the name too."""

JOB_DIR_VARIABLE = "NEMO_RUNSPEC_JOB_DIR"
"""Variable that tells a script where its job folder is."""

JOB_FILE = "job.yaml"
"""The record of the job: configuration, command, environment, provenance."""

TRAIN_FILE = "train.yaml"
"""The configuration that the script reads."""

TRAIN_JSON = "train.json"
"""The same for a script that reads JSON."""

LAUNCH_FILE = "launch.sh"
"""What an executor runs."""

LOG_FILE = "job.log"
"""What the job printed."""

CLIENT_LOG_FILE = "client.log"
"""What the client of a detached job printed."""

PID_FILE = "pid"
"""The process that leads the group of a job which an executor started on this machine."""

EXIT_CODE_FILE = "exit_code"
"""The exit code of the launch script."""

RESULT_FILE = "result.json"
"""What the script measured and published."""

ERROR_FILE = "error.json"
"""The expected error that the script ended with."""

UNFILLED = ".unfilled"
"""Ends the names of files whose artifacts are looked up where the job runs."""

INPUTS_FILE = "inputs.json"
"""The versions of those artifacts, as the first pod of the job found them."""

WORKLOAD_FILE = "workload.json"
"""The platform's identifier of a job on a cloud, as `nemo_runspec.platforms.workload.Submitted` has it."""
