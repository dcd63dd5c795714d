from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from nemo_runspec.platforms.limits import (
    KERNEL_STRING_BYTES,
    LIMITS,
    Limits,
    argv_problems,
    environment,
    environment_sizes,
    exec_size,
    folder,
    lacking_problems,
    mount_problems,
    on_a_mount,
    refused_variables,
    untold_values,
    value_problems,
    variable_problems,
)

LEPTON, RUNAI = LIMITS["lepton"], LIMITS["dgxcloud"]


def test_the_numbers() -> None:
    assert (LEPTON.value_bytes, LEPTON.value_cap, LEPTON.argument_bytes, LEPTON.name_length) == (
        98304,
        131071,
        None,
        36,
    )
    assert (RUNAI.value_bytes, RUNAI.value_cap, RUNAI.argument_bytes, RUNAI.name_length) == (9000, 10000, 10000, 35)
    for limits in LIMITS.values():
        assert limits.exec_bytes == 2 * 2**20 - 128 * 2**10
        assert limits.object_bytes == 1.5 * 2**20


def test_every_note_is_about_a_field() -> None:
    for limits in LIMITS.values():
        assert limits.notes
        assert [name for name in limits.notes if not hasattr(limits, name)] == []


@pytest.mark.parametrize("name", ["A", "a.b-c_D", "_", "http_proxy", ".x", "LEPTON_TOKEN"])
def test_variables_that_are_taken(name: str) -> None:
    assert variable_problems([name], LEPTON) == variable_problems([name], RUNAI) == []


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A\n", "Ä"])
def test_variables_that_are_not(name: str) -> None:
    for limits in (LEPTON, RUNAI):
        (problem,) = variable_problems([name], limits)
        assert "has no name that" in problem


def test_the_platforms_own_variables_are_refused() -> None:
    (problem,) = variable_problems(["LEPTON_WORKSPACE_ID"], LEPTON)
    assert problem == "the variable 'LEPTON_WORKSPACE_ID' is Lepton's own and cannot be set"
    assert variable_problems(["LEPTON_WORKSPACE_ID"], RUNAI) == []


def test_a_variable_set_twice_is_told_once() -> None:
    assert variable_problems(["A", "B", "A", "A"], RUNAI) == ["the variable 'A' is set 3 times"]


@pytest.mark.parametrize(("limits", "longest"), [(LEPTON, 131_071 - len("NAME=")), (RUNAI, 10_000)])
def test_values_up_to_the_limit_are_taken(limits: Limits, longest: int) -> None:
    assert value_problems([("NAME", "x" * longest)], limits) == []
    (problem,) = value_problems([("NAME", "x" * (longest + 1))], limits)
    assert f"has {longest + 1:,} bytes; {limits.label} takes {longest:,}" in problem


def test_values_are_counted_in_bytes_and_not_shown() -> None:
    (problem,) = value_problems([("NAME", "ä" * 5_001)], RUNAI)
    assert "10,002 bytes" in problem
    assert "ä" not in problem


def test_nul_is_refused_everywhere() -> None:
    assert len(value_problems([("A", "x\0y")], LEPTON)) == 1
    assert len(argv_problems(["a", "x\0y"], LEPTON)) == 1


@pytest.mark.parametrize("argv", [[], [""]])
def test_no_command_is_refused(argv: list[str]) -> None:
    assert argv_problems(argv, LEPTON) == ["there is no command to run"]


def test_the_kernels_limit_on_one_word_is_the_real_one() -> None:
    assert argv_problems(["x", "y" * KERNEL_STRING_BYTES], LEPTON) == []
    subprocess.run([sys.executable, "-Sc", "", "y" * KERNEL_STRING_BYTES], check=True, timeout=30)
    assert len(argv_problems(["x", "y" * (KERNEL_STRING_BYTES + 1)], LEPTON)) == 1
    if os.sysconf("SC_PAGE_SIZE") == 4096:  # larger pages take more
        with pytest.raises(OSError, match="Argument list too long"):
            subprocess.run([sys.executable, "-Sc", "", "y" * (KERNEL_STRING_BYTES + 1)], check=True, timeout=30)


def test_the_size_of_a_command_and_its_environment() -> None:
    assert exec_size([], []) == 0
    assert exec_size(["ab"], []) == 3 + 8
    assert exec_size(["ab"], [("N", "ä")]) == 3 + 8 + len(b"N=\xc3\xa4") + 1 + 8


@pytest.mark.parametrize("path", ["/opt", "/opt/", "//opt", "/opt/.", "/opt/x/..", "/", "/proc/sys"])
def test_reserved_mounts_are_refused_however_they_are_spelled(path: str) -> None:
    (problem,) = mount_problems([path], LEPTON)
    assert "Lepton keeps it for itself" in problem


@pytest.mark.parametrize("path", ["/opt/data", "/mnt", "/workspace", "/optional"])
def test_other_mounts_are_taken(path: str) -> None:
    assert mount_problems([path], LEPTON) == mount_problems([path], RUNAI) == []


def test_relative_and_double_mounts_are_refused() -> None:
    assert mount_problems(["mnt", "/a", "/a/"], RUNAI) == [
        "the mount path 'mnt' is not absolute",
        "2 volumes are mounted on '/a'",
    ]


def test_one_spelling_of_a_folder() -> None:
    assert [folder(path) for path in ("/", "//", "/a/", "//a//b/./c/..")] == ["/", "/", "/a", "/a/b"]


@pytest.mark.parametrize(
    ("path", "mounts", "on"),
    [
        ("/mnt/a/b", ["/mnt/a"], True),
        ("/mnt/a", ["/mnt/a/"], True),
        ("/mnt/ab", ["/mnt/a"], False),
        ("/mnt/a/../b", ["/mnt/a"], False),
        ("/x", [], False),
        ("/x", ["/y", "/"], True),
    ],
)
def test_whether_a_folder_is_on_a_mount(path: str, mounts: list[str], on: bool) -> None:  # noqa: FBT001 - a table's column
    assert on_a_mount(path, mounts) is on


def test_what_a_platform_cannot_do_without_is_named_with_an_example() -> None:
    given = {"resource_shape": "", "node_group": "g"}
    assert lacking_problems(given, LIMITS["lepton"]) == [
        "Lepton needs 'resource_shape', for example: resource_shape = \"gpu.8xh100-sxm\""
    ]
    assert lacking_problems({}, LIMITS["dgxcloud"]) == []


@pytest.mark.parametrize("value", [3, None, True, b"x", "\udcff", "a\ud800b"])
def test_what_is_no_text_is_a_problem_and_no_traceback(value: Any) -> None:  # noqa: ANN401 - the point is its type
    (problem,) = value_problems([("NAME", value), ("OTHER", "x")], LEPTON)
    assert problem.startswith("the value of the variable 'NAME' ")
    assert problem.isascii()
    assert argv_problems(["a", value], LEPTON) == [
        problem.replace("the value of the variable 'NAME'", "word 1 of the command")
    ]
    assert exec_size(["a"], [("NAME", value)]) > 0


@pytest.mark.parametrize("executor", ["lepton", "dgxcloud"])
def test_variables_of_the_pods_are_refused(executor: str) -> None:
    place = (
        "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK NODE_RANK NNODES MASTER_ADDR MASTER_PORT WORKER_ADDRS"
    )
    owned = "PET_NNODES LEPTON_JOB_WORKER_INDEX NEMO_RUNSPEC_JOB_DIR RUNAI_PROJECT"
    for name in f"{place} {owned}".split():
        (message,) = refused_variables((name,), LIMITS[executor])
        assert message.startswith(f"the variable '{name}' ")
        assert message.endswith("cannot be set")
    fine = ("NCCL_DEBUG", "RANKS", "MY_RANK", "NEMO_RUN_DIR", "PATH")
    assert list(refused_variables(fine, LIMITS[executor])) == []


def test_a_variable_is_refused_once() -> None:
    assert len(list(refused_variables(("LEPTON_JOB_NAME",), LIMITS["lepton"]))) == 1


def test_names_that_are_no_text_are_told_with_the_others() -> None:
    names: list[Any] = [2, os.fsdecode(b"B\xff"), "RANK", "GOOD"]
    told = refused_variables(names, LEPTON)
    assert told[:2] == [
        "the name of the variable 2 is no text but of the type 'int'",
        "the name of the variable 'B\\udcff' holds bytes that are no UTF-8",
    ]
    assert told[2].startswith("the variable 'RANK' tells a process its place")
    assert len(told) == 3
    assert value_problems([(name, "x") for name in names], LEPTON) == []


def test_a_value_that_is_no_text_is_told_by_its_name_alone() -> None:
    told = untold_values([("GOOD", "é→ $(HOME)"), ("FLAG", True), ("B", os.fsdecode(b"canary\xff")), (2, None)])
    assert told == [
        "the value of the variable 'FLAG' is no text but of the type 'bool'",
        "the value of the variable 'B' holds bytes that are no UTF-8",
        "the value of the variable 2 is no text but of the type 'NoneType'",
    ]


@pytest.mark.parametrize("key", ["envs", "environmentVariables"])
def test_an_environment_is_measured_in_either_body(key: str) -> None:
    rows = [{"name": "A", "value": "ä"}, {"name": "S", "value_from": {}}, {"name": "LONG", "value": "xyz"}]
    body = {"spec": {key: rows}}
    assert environment(body) == (("A", "ä"), ("LONG", "xyz"))
    assert environment_sizes(body) == (3, len("A=ä\0".encode()) + len("LONG=xyz\0"))
    assert environment_sizes({"spec": {}}) == (0, 0)
