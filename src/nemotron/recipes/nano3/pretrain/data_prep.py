# /// script
# [tool.runspec]
# schema = "1"
# name = "nano3/data_prep/pretrain"
# image = "nvcr.io/nvidia/nemo:26.02.01"
# setup = "pip install 'nemotron[tiny]'"
# [tool.runspec.run]
# launch = "ray"
# cmd = "python {script} --config {config}"
# [tool.runspec.config]
# dir = "./config/data_prep"
# default = "default"
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 0
# ///
"""Turn documents into Megatron token files; the work is in `nemotron.data_prep.pretrain`."""

from nemo_runspec.stage import Stage, run_stage
from nemotron.data_prep import run_preparation


def main(stage: Stage) -> None:
    """Do the stage's work."""
    run_preparation(stage, "pretrain")


if __name__ == "__main__":
    raise SystemExit(run_stage(main))
