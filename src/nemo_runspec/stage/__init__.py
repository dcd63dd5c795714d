"""What a stage script needs of the toolkit while it runs, and nothing else of it.

A script in full:

    def main(stage: Stage) -> object:
        run_dir = stage.run_dir()
        if earlier := stage.finished(run_dir):
            return stage.reuse(earlier)
        progress = stage.progress(total=700)
        for step in range(1, 701):
            progress.update(step, loss=train_one_step())
        return stage.publish(run_dir, path="model", type="model", result=StageResult(metric="loss"))

    if __name__ == "__main__":
        raise SystemExit(run_stage(main))
"""

from nemo_runspec.stage.parent import die_with_parent
from nemo_runspec.stage.progress import Progress, human_count, human_seconds
from nemo_runspec.stage.result import StageResult
from nemo_runspec.stage.running import Stage, run_stage

__all__ = ["Progress", "Stage", "StageResult", "die_with_parent", "human_count", "human_seconds", "run_stage"]
