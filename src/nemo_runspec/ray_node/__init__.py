"""A node of a job on Ray: `python -m nemo_runspec.ray_node OPTIONS -- COMMAND ...`, the same command on each node.

The first node starts Ray's head and listens on the job's own port; the others connect there, are told where Ray is, and
join it. When all are there, the first one runs the command, the driver. Every node ends with the driver's exit code,
and ends everything that it has started.
"""
