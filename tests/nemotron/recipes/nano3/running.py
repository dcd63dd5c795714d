"""Runs the recipe's scripts as a launcher would, with a model that is as small as it can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import nemotron
from nemotron.data_prep import pretrain, rl, sft
from nemotron.data_prep.corpus import standard_library
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

RECIPE = Path(nemotron.__file__).parent / "recipes" / "nano3"
MODULES = ("textwrap.py", "string.py", "shutil.py", "ast.py", "random.py", "statistics.py", "fractions.py", "heapq.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


@dataclass(frozen=True)
class Prepared:
    """Folders of prepared data: a few modules of the standard library."""

    text: str
    chats: str
    prompts: str


@dataclass(frozen=True)
class Finished:
    """A script that has ended: its status, what it printed, and its manifest where it published something."""

    status: int
    output: str
    manifest: dict[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        """What the stage reported."""
        result: dict[str, Any] = self.manifest["result"]
        return result

    @property
    def model(self) -> Path:
        """The folder that was published."""
        return Path(self.manifest["path"])


def prepare(folder: Path) -> Prepared:
    """Prepare the data of all three stages.

    Args:
        folder: Where it goes.
    """
    texts = {document.name: document.text for document in standard_library()}
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": texts[name]}) + "\n" for name in MODULES))
    chats = [
        [
            {"role": "user", "content": f"def add_{number}(a, b):"},
            {"role": "assistant", "content": f"return a + {number}"},
        ]
        for number in range(60)
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    tasks = [
        {"prompt": f"Write f{number}(a).", "expected": {"name": f"f{number}", "arguments": ["a"]}}
        for number in range(24)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    for name in ("text", "chats", "prompts"):
        blend = {"datasets": [{"name": name, "path": f"{name}.jsonl"}]}
        (folder / f"{name}.json").write_text(json.dumps(blend))
    pretrain.prepare(stage(folder / "text", **_settings("pretrain", folder / "text.json", valid_fraction=0.4)))
    (text,) = (folder / "text" / "out").glob("*/data")
    tokenizer = {"path": str(text / "tokenizer")}
    sft.prepare(stage(folder / "chats", **_settings("sft", folder / "chats.json", tokenizer=tokenizer)))
    rl.prepare(stage(folder / "prompts", **_settings("rl", folder / "prompts.json", tokenizer=tokenizer, val_rows=8)))
    (chats_data,) = (folder / "chats" / "out").glob("*/data")
    (prompts_data,) = (folder / "prompts" / "out").glob("*/data")
    return Prepared(str(text), str(chats_data), str(prompts_data))


def _settings(name: str, blend: Path, **changes: object) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((RECIPE / name / "config" / "data_prep" / "tiny.yaml").read_text())
    for key in ("run", "artifact", "output_dir"):
        del settings[key]
    return settings | {"blend": str(blend)} | changes


def write_config(folder: Path, name: str, **changes: object) -> Path:
    """Write a stage's tiny configuration with some entries changed.

    Args:
        folder: Where it and the stage's output go.
        name: The stage.
        changes: Entries to replace; the entries of a table are replaced one by one.
    """
    config = yaml.safe_load((RECIPE / name / "config" / "tiny.yaml").read_text())
    del config["run"]
    for key, value in {"output_dir": str(folder / "out"), **changes}.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def run_script(
    config: Path, script: str, *, processes: int = 0, stop: tuple[str, signal.Signals] | None = None
) -> Finished:
    """Run a script to its end.

    Args:
        config: What `write_config` wrote.
        script: The script below the recipe's folder, or an absolute path.
        processes: How many torchrun starts, or 0 to start the script itself.
        stop: A text, and the signal to send as soon as a line with it is printed.
    """
    launcher = [*TORCHRUN, str(processes)] if processes else []
    command = [sys.executable, *launcher, str(RECIPE / script), "--config", str(config)]
    environment = {**os.environ, "NEMOTRON_ARTIFACTS": str(config.parent / "artifacts")}
    lines = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in _lines(process):
            lines.append(line)
            if stop is not None and stop[0] in line:
                process.send_signal(stop[1])
                stop = None
    manifests = list((config.parent / "out").glob("*/manifest.json"))
    manifest = json.loads(manifests[0].read_text()) if manifests else {}
    return Finished(process.returncode, "".join(lines), manifest)


def dying_script(folder: Path, work: str) -> str:
    """Write a script that does a stage's work, and is killed as it is about to publish.

    Args:
        folder: Where it goes.
        work: `pretrain`, `sft` or `rl`.
    """
    path = folder / "dying.py"
    path.write_text(
        "import os, signal\n"
        "from nemo_runspec.stage import Stage, run_stage\n"
        "from nemotron.training import run_engine\n"
        "Stage.publish = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"raise SystemExit(run_stage(lambda stage: run_engine(stage, {work!r})))\n"
    )
    return str(path)


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    yield from process.stdout
