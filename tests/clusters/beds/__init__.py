"""Real components on one machine, for tests: Slurm with two nodes, sshd, and what disturbs them.

Each bed keeps to a folder, names, ports and a network of its own, so that several can be up at once, and takes
everything away again when it is stopped or when the process that started it dies.
"""
