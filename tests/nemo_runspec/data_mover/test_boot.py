from __future__ import annotations

import ast
import json
import sys

import pytest

from nemo_runspec.data_mover import boot, is_transport_variable
from nemo_runspec.data_mover.pod.variables import NAME_PLACEHOLDER, orders_digest
from nemo_runspec.errors import PayloadError
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.workload import NAME

ON_RAY = {"ray_driver", "ray_watchdog"}
"""What travels in Ray's own package, and finds Ray where it runs."""

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(boot.POD_FOLDER.glob("*.py"))}


def test_every_file_of_the_pods_side_travels() -> None:
    assert {*boot.MODULES, "load", "__init__"} | ON_RAY == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_the_pods_side_is_python_3_8_and_imports_only_the_standard_library(name: str) -> None:
    tree = ast.parse(SOURCES[name], feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported |= {str(node.module) for node in froms if node.level == 0}
    there = sys.stdlib_module_names | ({"ray"} if name in ON_RAY else set())
    assert [module for module in imported if module.split(".")[0] not in there] == []
    known = set(boot.MODULES[: boot.MODULES.index(name)]) if name in boot.MODULES else set()
    relative = {node.module or alias.name for node in froms if node.level for alias in node.names}
    assert relative <= known
    newer = {"removeprefix", "removesuffix", "is_relative_to", "hardlink_to", "waitstatus_to_exitcode"}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert {node.attr for node in attributes} & newer == set()
    assert {ast.unparse(node) for node in attributes if node.attr == "readlink"} <= {"os.readlink"}  # not Path's
    matches = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"zip", "isinstance"}
    ]
    assert [ast.unparse(call) for call in matches if "strict=" in ast.unparse(call) or " | " in ast.unparse(call)] == []


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_cut_away_changes_nothing_that_runs(name: str) -> None:
    def code(text: str) -> str:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [  # type: ignore[attr-defined]  # it has one, as the line above has seen
                    part
                    for part in body
                    if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
                    and not isinstance(part, ast.Pass)
                    and not (isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING")
                ]
        return ast.dump(tree)

    short = boot.bare(SOURCES[name])
    assert code(short) == code(SOURCES[name])
    assert "#" not in short
    assert '"""' not in short


def test_a_function_that_was_a_docstring_alone_still_has_a_body() -> None:
    text = 'class A(B):\n    """Doc."""\n\n\ndef f(x):  # why\n    """Two\n    lines."""\n\n\nC = "#"  # no comment\n'
    assert boot.bare(text) == 'class A(B):\n    pass\ndef f(x):\n    pass\nC = "#"\n'


def test_the_pods_code_fits_into_values_of_every_platform() -> None:
    for limits in LIMITS.values():
        values = boot.pod_variables(limits.value_bytes)
        assert max(map(len, values.values())) <= limits.value_bytes
        assert "".join(values[name] for name in sorted(values)) == boot.pod_code()
        assert all(map(is_transport_variable, values))
    assert list(boot.pod_variables(len(boot.pod_code()))) == ["NEMO_RUNSPEC_POD"]
    with pytest.raises(PayloadError, match="two variables"):
        boot.pod_variables(100)
    assert sum(map(len, boot.command_prefix())) < 1_500
    assert "$" not in boot.pod_code()


def test_what_the_pod_is_to_do_survives_platforms_that_expand() -> None:
    orders = {"b": "$(HOME) $$ ü", "a": 1, "name": NAME}
    value = boot.boot_value(orders)
    assert value.isascii()
    assert "$" not in value
    assert json.loads(value) == {**orders, "check": orders_digest(orders)}


def test_the_digest_of_the_orders_holds_for_every_name_and_no_other_change() -> None:
    orders = {"job_dir": f"/mnt/jobs/{NAME}", "name": NAME, "nodes": 2}
    assert NAME == NAME_PLACEHOLDER
    digest = orders_digest(orders)
    assert orders_digest({**orders, "job_dir": "/mnt/jobs/sft-ab12cd", "name": "sft-ab12cd"}) == digest
    named = {**orders, "job_dir": "/mnt/jobs/sft-ab12cd", "name": "sft-ab12cd"}
    for change in ({"job_dir": "/mnt/jobs/sft-ab12cc"}, {"name": "sft-ab12cc"}, {"nodes": 3}, {"more": 1}):
        assert orders_digest({**named, **change}) != digest
