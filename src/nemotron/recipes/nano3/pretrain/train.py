# /// script
# [tool.runspec]
# schema = "1"
# name = "nano3/pretrain"
# image = "nvcr.io/nvidia/nemo:26.02.01"
# [tool.runspec.run]
# launch = "torchrun"
# cmd = "python {script} --config {config}"
# [tool.runspec.config]
# dir = "./config"
# default = "default"
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 8
# ///
"""Pretrain a model with the engine that the configuration names."""

from nemo_runspec.stage import Stage, run_stage
from nemotron.training import run_engine


def main(stage: Stage) -> None:
    """Do the stage's work."""
    run_engine(stage, "pretrain")


if __name__ == "__main__":
    raise SystemExit(run_stage(main))
