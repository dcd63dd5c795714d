from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import EXIT_USAGE, SpecError
from nemo_runspec.spec import config_names, is_path, parse

if TYPE_CHECKING:
    from pathlib import Path

FULL = """\
#!/usr/bin/env python
# /// script
# requires-python = ">=3.11"
# dependencies = ["torch"]
#
# [tool.runspec]
# schema = "1"
# name = "nano3/sft"
# image = "nvcr.io/nvidia/nemo:25.11"
# setup = "NeMo"
# [tool.runspec.run]
# launch = "torchrun"
# cmd = "HOME=${HOME} python {script} --config {config}"
# workdir = "/opt/nemo-rl"
# [tool.runspec.config]
# dir = "./settings"
# default = "tiny"
# format = "yaml"
# [tool.runspec.resources]
# nodes = 2
# gpus_per_node = 0
# [tool.runspec.env]
# NCCL_NVLS_ENABLE = "0"
# EMPTY = ""
# ///
import does_not_exist
"""

SMALLEST = """\
# /// script
# [tool.runspec]
# name = "hello"
# run.launch = "direct"
# ///
"""


def script(folder: Path, text: str, config_dir: str = "config") -> Path:
    (folder / config_dir).mkdir()
    path = folder / "train.py"
    path.write_text(text, encoding="utf-8")
    return path


def failure(path: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(path)
    assert caught.value.exit_code == EXIT_USAGE
    assert caught.value.where is not None
    assert caught.value.where.path == path.resolve()
    return caught.value


def test_a_full_block_is_read_without_importing_the_script(tmp_path: Path) -> None:
    spec = parse(script(tmp_path, FULL, "settings"))
    assert spec.name == "nano3/sft"
    assert (spec.image, spec.setup) == ("nvcr.io/nvidia/nemo:25.11", "NeMo")
    assert spec.run.launch == "torchrun"
    assert spec.run.cmd == "HOME=${HOME} python {script} --config {config}"
    assert spec.run.workdir == "/opt/nemo-rl"
    assert spec.config_dir == spec.config.dir == tmp_path.resolve() / "settings"
    assert (spec.config.default, spec.config.format) == ("tiny", "yaml")
    assert (spec.resources.nodes, spec.resources.gpus_per_node) == (2, 0)
    assert spec.env == {"NCCL_NVLS_ENABLE": "0", "EMPTY": ""}
    assert spec.script_path == tmp_path.resolve() / "train.py"
    assert spec.source.line == 6


def test_the_smallest_block_has_defaults(tmp_path: Path) -> None:
    spec = parse(script(tmp_path, SMALLEST))
    assert (spec.image, spec.setup, spec.run.cmd, spec.run.workdir) == (None, None, None, None)
    assert (spec.config_dir, spec.config.default) == (tmp_path.resolve() / "config", "default")
    assert spec.config.format == "omegaconf"
    assert (spec.resources.nodes, spec.resources.gpus_per_node, dict(spec.env)) == (1, None, {})


def test_a_runspec_cannot_be_changed(tmp_path: Path) -> None:
    spec = parse(script(tmp_path, FULL, "settings"))
    with pytest.raises(FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc] # the point of the test
    with pytest.raises(TypeError):
        spec.env["A"] = "1"  # type: ignore[index] # the point of the test


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, SMALLEST)
    monkeypatch.chdir(tmp_path)
    assert parse("train.py").script_path == tmp_path.resolve() / "train.py"


def test_windows_line_ends_are_read_too(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    path.write_bytes(SMALLEST.replace("\n", "\r\n").encode())
    assert parse(path).name == "hello"


def edited(old: str, new: str) -> str:
    assert old in FULL
    return FULL.replace(old, new)


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("print(1)\n", 1, "the script has no runspec block", "# [tool.runspec]"),
        ("# /// script\n# a = 1\n# ///\n", 2, "no [tool.runspec] table", "# [tool.runspec]"),
        ("\n# /// script\n# a = 1\n", 4, "begins on line 2 is not closed before this line", "# ///"),
        ("\n# /// script\n# a = 1", 2, "the file ends without", "# ///"),
        ("# /// script\n# a = 1\nimport os\n# ///\n", 3, "not closed before this line", "# ///"),
        ("# /// script\n#a = 1\n# ///\n", 2, "not closed before this line", "Begin each"),
        (SMALLEST + "\n" + SMALLEST, 7, "a second script block begins here; the first begins on line 1", "one block"),
        (edited('"1"', "1 1"), 7, "not valid TOML", "toml.io"),
        (edited('"1"', "one"), 7, "not valid TOML", "quotes"),
        (edited('"1"', '"2"'), 7, "unknown schema version '2'", "schema 1"),
        (edited('"1"', "1"), 7, 'schema must be the string "1", not an integer', "quotes"),
        (edited('name = "nano3/sft"', 'name = "../x"'), 8, "name must be a name such as", None),
        (edited('name = "nano3/sft"', ""), 6, "name is missing", 'name = "nano3/sft"'),
        (edited("setup =", "setups ="), 10, "setups is not a known key", "Did you mean 'setup'?"),
        (edited('image = "nvcr.io/nvidia/nemo:25.11"', "image = 3"), 9, "image must be a string, not an integer", None),
        (edited('"torchrun"', '"trochrun"'), 12, 'run.launch must be "torchrun", "ray" or "direct"', "'torchrun'"),
        (edited('launch = "torchrun"', ""), 11, "run.launch is missing", 'launch = "torchrun"'),
        (edited("{config}", "{confg}"), 13, "run.cmd has an unknown placeholder {confg}", "Did you mean 'config'?"),
        (edited("{config}", "'{config}"), 13, "run.cmd cannot be split into words: No closing quotation", "Close"),
        (edited('"/opt/nemo-rl"', '"nemo-rl"'), 14, "run.workdir must be an absolute path", None),
        (edited("default =", "defualt ="), 17, "config.defualt is not a known key", "Did you mean 'default'?"),
        (edited('"yaml"', '"yml"'), 18, 'config.format must be "omegaconf", "yaml" or "json"', "Did you mean 'yaml'?"),
        (edited("nodes = 2", "nodes = 0"), 20, "resources.nodes must be an integer of at least 1, not 0", None),
        (edited("nodes = 2", "nodes = true"), 20, "resources.nodes must be an integer", None),
        (edited("gpus_per_node = 0", "gpus = 8"), 21, "resources.gpus is not a known key", "gpus_per_node"),
        (
            edited('NCCL_NVLS_ENABLE = "0"', "NCCL_NVLS_ENABLE = 0"),
            23,
            "env.NCCL_NVLS_ENABLE must be a string",
            "quotes",
        ),
        (edited("NCCL_NVLS_ENABLE", '"NCCL-NVLS"'), 23, "env.NCCL-NVLS is not a name", "letters"),
        (edited("./settings", "./setings"), 16, "the configuration directory", "default.yaml"),
        ("# /// script\n# tool.runspec = 1\n# ///\n", 2, "[tool.runspec] must be a table", None),
    ],
)
def test_what_is_wrong_is_said_with_the_line_of_the_script(
    tmp_path: Path, text: str, line: int, message: str, remedy: str | None
) -> None:
    error = failure(script(tmp_path, text, "settings"))
    assert error.where is not None
    assert error.where.line == line
    assert message in error.message
    assert (remedy or "") in (error.remedy or "")


def test_every_problem_of_a_block_is_listed(tmp_path: Path) -> None:
    path = script(tmp_path, edited("launch =", "lanch =").replace("nodes = 2", "nodes = 0"), "settings")
    with pytest.raises(SpecError) as caught:
        parse(path)
    listed = [line.strip().removeprefix(f"{path.resolve()}:") for line in str(caught.value).splitlines()]
    assert listed == [
        "the runspec of train.py has 3 problems:",
        '11: run.launch is missing. Add, for example: launch = "torchrun"',
        "12: run.lanch is not a known key. Did you mean 'launch'?",
        "20: resources.nodes must be an integer of at least 1, not 0",
    ]


def test_a_missing_script_is_guessed(tmp_path: Path) -> None:
    script(tmp_path, SMALLEST)
    error = failure(tmp_path / "tran.py")
    assert (error.message, error.remedy) == ("there is no such script", "Did you mean 'train.py'?")


def test_a_script_in_a_missing_folder(tmp_path: Path) -> None:
    assert "there is no such script" in failure(tmp_path / "gone" / "train.py").message


def test_a_folder_is_not_a_script(tmp_path: Path) -> None:
    assert failure(tmp_path).message == "this is not a file"


def test_a_script_that_is_not_text(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    path.write_bytes(b"# \xff\n")
    assert "not UTF-8 text" in failure(path).message


def test_a_byte_order_mark_is_no_part_of_the_script(tmp_path: Path) -> None:
    path = script(tmp_path, SMALLEST)
    path.write_text(SMALLEST, encoding="utf-8-sig")
    assert parse(path).name == "hello"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("x" * 300 + ".py", "cannot look at .*: File name too long"),
        ("~no-such-user/train.py", "begins with the home of a user"),
    ],
)
def test_a_path_that_cannot_be_is_told(path: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        parse(path)


def test_folders_that_may_not_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = script(tmp_path, SMALLEST)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "iterdir", refuse)
    with pytest.raises(SpecError, match="cannot be listed: Permission denied"):
        config_names(tmp_path / "config")
    assert failure(tmp_path / "trian.py").message == "there is no such script"
    monkeypatch.setattr(type(path), "stat", refuse)
    with pytest.raises(SpecError, match=r"cannot look at .*train\.py: Permission denied"):
        parse(path)


def test_configurations_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("tiny.yaml", "default.yml", "large.json", "notes.md"):
        (tmp_path / name).touch()
    assert config_names(tmp_path) == ["default", "large", "tiny"]
    assert config_names(tmp_path / "gone") == []


def test_reading_a_block_needs_only_the_standard_library() -> None:
    code = (
        "import sys; import nemo_runspec.spec, nemo_runspec.env; "
        "print([m for m in ('yaml', 'omegaconf', 'typer', 'rich', 'fsspec', 'nemo_run', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_path_is_told_from_a_name() -> None:
    assert all(is_path(name) for name in ("./tiny", "tiny.yaml", "a/b", "x.json"))
    assert not any(is_path(name) for name in ("tiny", "", "my-config.v2"))
