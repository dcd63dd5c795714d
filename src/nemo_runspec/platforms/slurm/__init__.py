"""Slurm: jobs as batch scripts, sent and watched through a shell on the cluster."""
