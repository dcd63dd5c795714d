"""Ways to start a job: as a process here, through a nemo-run Experiment, or detached."""
