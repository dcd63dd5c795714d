"""Library code raises and the command line speaks; whoever swallows an error or silences a rule says why."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.guardrails import exemptions
from tests.guardrails.checkout import ROOT, Source, functions, sources

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEAKING_CALLS = frozenset({"print", "exit", "quit", "sys.exit", "os._exit", "typer.echo", "typer.secho"})
EXITS = frozenset({"typer.Exit", "typer.Abort", "SystemExit", "click.exceptions.Exit"})
BROAD = frozenset({"Exception", "BaseException"})

# A marker such as "noqa: S603" or "type: ignore[arg-type]"; what is left of a comment without it is the reason.
MARKER = re.compile(
    r"(?:ruff:\s*)?noqa(?::\s*(?P<codes>[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*))?|type:\s*ignore(?P<type>\[[^]]+\])?"
)
REASON_WORDS = 2


def dotted(node: ast.AST | None) -> str:
    """Give "sys.exit" for the expression sys.exit, and "" for what is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (parent := dotted(node.value)):
        return f"{parent}.{node.attr}"
    return ""


def entry_blocks(tree: ast.Module) -> Iterator[ast.AST]:
    """Give everything inside `if __name__ == "__main__":` blocks, where a script may speak."""
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Compare) and dotted(node.test.left) == "__name__":
            yield from ast.walk(node)


def speaking(source: Source) -> dict[str, str]:
    """Give "file:function" -> what it says, for every place that prints or exits."""
    allowed = {id(node) for node in entry_blocks(source.tree)}
    owners = {id(inner): name for name, function in functions(source.tree) for inner in ast.walk(function)}
    found = {}
    for node in ast.walk(source.tree):
        called = dotted(node.func) if isinstance(node, ast.Call) else ""
        raised = node.exc if isinstance(node, ast.Raise) else None
        exits = dotted(raised.func if isinstance(raised, ast.Call) else raised)
        if id(node) not in allowed and (called in SPEAKING_CALLS or exits in EXITS):
            place = f"{source.name}:{owners.get(id(node), '<module>')}"
            found[place] = f"line {getattr(node, 'lineno', 0)} uses {called or exits}"
    return found


def reason(comment: str) -> bool:
    """Tell whether a comment says something besides its markers."""
    return len(re.findall(r"[A-Za-z]{2,}", MARKER.sub("", comment))) >= REASON_WORDS


def is_broad(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(is_broad(part) for part in node.elts)
    return node is None or dotted(node) in BROAD


def unexplained_handlers(source: Source) -> list[str]:
    """Give the broad and the silent `except` clauses that no comment explains."""
    explained = {comment.line for comment in source.comments() if reason(comment.text)}
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            broad, lines = is_broad(node.type), range(node.lineno - 1, node.body[0].lineno + 1)
            silent = all(isinstance(step, ast.Pass) for step in node.body)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("suppress"):
            broad, silent, lines = (
                any(is_broad(part) for part in node.args),
                False,
                range(node.lineno - 1, node.lineno + 1),
            )
        else:
            continue
        if (broad or silent) and explained.isdisjoint(lines):
            found.append(f"{source.name}:{node.lineno}: {'broad' if broad else 'silent'} handler without a reason")
    return found


def unexplained_markers(source: Source) -> list[str]:
    """Give the `noqa` without a code and a reason, and the `type: ignore` without a code."""
    found = []
    for comment in source.comments():
        for marker in MARKER.finditer(comment.text):
            is_type = marker[0].startswith("type")
            complete = marker["type"] if is_type else marker["codes"] and reason(comment.text)
            if not complete:
                found.append(f"{source.name}:{comment.line}: {comment.text}")
    return found


def test_only_the_command_line_prints_and_exits() -> None:
    problems = {}
    for source in sources("src"):
        if not source.name.startswith("src/nemotron/cli/"):
            problems.update(speaking(source))
    assert exemptions.unexempt(exemptions.SPEAKS, problems) == []


def test_broad_and_silent_handlers_state_a_reason() -> None:
    assert [complaint for source in sources() for complaint in unexplained_handlers(source)] == []


def test_every_silenced_rule_is_named_and_explained() -> None:
    assert [complaint for source in sources() for complaint in unexplained_markers(source)] == []


def test_every_rule_that_ruff_ignores_has_its_reason() -> None:
    configuration = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ruff = configuration[configuration.index("[tool.ruff.lint]") : configuration.index("[tool.ruff.lint.pydocstyle]")]
    entries = [line for line in ruff.splitlines() if re.search(r'"[A-Z]+[0-9]*"', line) and "select" not in line]
    assert entries
    assert [line.strip() for line in entries if not reason(line.partition("#")[2])] == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def f():\n    print(1)", "uses print"),
        ("import sys\ndef f():\n    sys.exit(1)", "uses sys.exit"),
        ("import typer\ndef f():\n    raise typer.Exit(1)", "uses typer.Exit"),
        ("def f():\n    raise SystemExit", "uses SystemExit"),
    ],
)
def test_speech_is_found(code: str, says: str) -> None:
    source = Source(ROOT / "some.py", code, ast.parse(code))
    (place,) = speaking(source)
    assert place == "some.py:f"
    assert says in speaking(source)[place]


def test_a_scripts_entry_may_exit() -> None:
    code = "import sys\nif __name__ == '__main__':\n    sys.exit(1)\n"
    assert speaking(Source(ROOT / "some.py", code, ast.parse(code))) == {}


@pytest.mark.parametrize(
    ("code", "complaints"),
    [
        ("try:\n    f()\nexcept Exception:\n    g()\n", 1),
        ("try:\n    f()\nexcept (ValueError, Exception):  # noqa: BLE001\n    g()\n", 1),
        ("try:\n    f()\nexcept Exception:  # noqa: BLE001 - any fault of the plugin's\n    g()\n", 0),
        ("try:\n    f()\nexcept OSError:\n    pass\n", 1),
        ("try:\n    f()\nexcept OSError:\n    pass  # the file may be gone already\n", 0),
        ("with contextlib.suppress(Exception):\n    f()\n", 1),
        ("try:\n    f()\nexcept OSError:\n    g()\n", 0),
    ],
)
def test_unexplained_handlers_are_found(code: str, complaints: int) -> None:
    assert len(unexplained_handlers(Source(ROOT / "some.py", code, ast.parse(code)))) == complaints


@pytest.mark.parametrize(
    ("remark", "complaints"),
    [
        ("# noqa", 1),
        ("# noqa: S101", 1),
        ("# noqa: S101 - the caller checked it", 0),
        ("# the caller checked it  # noqa: S101", 0),
        ("# type: ignore", 1),
        ("# type: ignore[arg-type]", 0),
    ],
)
def test_unexplained_markers_are_found(remark: str, complaints: int) -> None:
    code = f"x = 1  {remark}\n"
    assert len(unexplained_markers(Source(ROOT / "some.py", code, ast.parse(code)))) == complaints
