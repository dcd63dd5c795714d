from __future__ import annotations

import ast
import json
import sys

import pytest

from nemo_runspec.data_mover import boot
from nemo_runspec.platforms.limits import LIMITS

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(boot.POD_FOLDER.glob("*.py"))}


def test_every_file_of_the_pods_side_travels() -> None:
    assert {*boot.MODULES, "load", "__init__"} == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_the_pods_side_is_python_3_8_and_imports_only_the_standard_library(name: str) -> None:
    tree = ast.parse(SOURCES[name], feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported |= {str(node.module) for node in froms if node.level == 0}
    assert [module for module in imported if module.split(".")[0] not in sys.stdlib_module_names] == []
    known = set(boot.MODULES[: boot.MODULES.index(name)]) if name in boot.MODULES else set()
    relative = {node.module or alias.name for node in froms if node.level for alias in node.names}
    assert relative <= known
    newer = {"removeprefix", "removesuffix", "is_relative_to", "readlink", "hardlink_to", "waitstatus_to_exitcode"}
    assert {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & newer == set()
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


def test_the_pods_code_fits_into_one_value() -> None:
    limits = LIMITS["dgxcloud"]
    assert len(boot.pod_code()) <= limits.value_bytes
    assert sum(map(len, boot.command_prefix())) < 1_500
    assert "$" not in boot.pod_code()


def test_what_the_pod_is_to_do_survives_platforms_that_expand() -> None:
    value = boot.boot_value({"b": "$(HOME) $$ ü", "a": 1})
    assert value.isascii()
    assert "$" not in value
    assert json.loads(value) == {"a": 1, "b": "$(HOME) $$ ü"}
