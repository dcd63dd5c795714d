"""What a chat template looks for in the texts of a conversation, as far as its source says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Methods and filters of a text that look for their arguments in it.
_SEARCHES = frozenset(("split", "startswith", "endswith", "replace", "find", "index", "count", "partition"))
# Those that look for characters at its ends.
_TRIMS = frozenset(("strip", "lstrip", "rstrip", "trim"))


@dataclass(frozen=True, slots=True)
class Watched:
    """Texts that a template tests for.

    Args:
        inside: What it looks for in a text.
        equal: What it compares whole texts with.
        edges: Characters that it takes away from the ends of a text.
        thinking: Whether it reads a field `thinking`.
    """

    inside: frozenset[str]
    equal: frozenset[str]
    edges: frozenset[str]
    thinking: bool

    def reacts(self, texts: Sequence[str], *others: str) -> bool:
        """Tell whether a template may react to one of these texts.

        Args:
            texts: The texts of a conversation.
            others: More to look for in them.
        """
        # No name of a token has this character, so that nothing is found across two texts.
        joined = "\0".join(texts)
        if any(text in joined for text in self.inside) or any(text in joined for text in others):
            return True
        if not self.equal.isdisjoint(texts):
            return True
        return bool(self.edges) and any(text[0] in self.edges or text[-1] in self.edges for text in texts)


def find_watched(template: nodes.Template) -> Watched:
    """Read from a template's source what it looks for in texts.

    Args:
        template: The parsed template.
    """
    variables = {
        assign.target.name: _texts(assign.node)
        for assign in template.find_all(nodes.Assign)
        if isinstance(assign.target, nodes.Name)
    }
    inside: set[str] = set()
    equal: set[str] = set()
    edges: set[str] = set()
    for comparison in template.find_all(nodes.Compare):
        inside.update(_looked_for(comparison, variables))
        equal.update(_compared(comparison, variables))
    for name, arguments in _calls(template):
        found = {text for argument in arguments for text in _texts(argument, variables)}
        if name.removeprefix("r") in _SEARCHES or name in ("replace", "removeprefix", "removesuffix"):
            inside |= found
        elif name in _TRIMS:
            edges.update("".join(found))
    keys = {node.attr for node in template.find_all(nodes.Getattr)} | set(_texts(template))
    return Watched(frozenset(inside - {""}), frozenset(equal - inside), frozenset(edges), "thinking" in keys)


def _calls(template: nodes.Template) -> Iterator[tuple[str, Iterable[nodes.Node]]]:
    for call in template.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr):
            yield call.node.attr, call.args
    for step in template.find_all(nodes.Filter):
        yield step.name, step.args


def _looked_for(comparison: nodes.Compare, variables: dict[str, list[str]]) -> list[str]:
    """Give the texts of which a comparison asks whether they are part of another, or how one begins or ends."""
    found: list[str] = []
    sides = [comparison.expr, *(operand.expr for operand in comparison.ops)]
    for operand in comparison.ops:
        if operand.op in ("in", "notin") and not isinstance(operand.expr, nodes.List | nodes.Tuple):
            found += _texts(comparison.expr, variables)
    if not all(_is_plain(side) for side in sides):
        # What is compared is made of a text: cut, trimmed or otherwise.
        found += [text for side in sides for text in _texts(side, variables)]
    return found


def _compared(comparison: nodes.Compare, variables: dict[str, list[str]]) -> list[str]:
    sides = [comparison.expr, *(operand.expr for operand in comparison.ops)]
    return [text for side in sides if not isinstance(side, nodes.Getitem) for text in _texts(side, variables)]


def _is_plain(side: nodes.Expr) -> bool:
    """Tell whether a side of a comparison is a constant, or a value as the conversation has it."""
    if isinstance(side, nodes.Getattr):
        return _is_plain(side.node)
    if isinstance(side, nodes.Getitem):
        return not isinstance(side.arg, nodes.Slice) and _is_plain(side.node)
    return isinstance(side, nodes.Const | nodes.Name | nodes.List | nodes.Tuple)


def _texts(node: nodes.Node, variables: dict[str, list[str]] | None = None) -> list[str]:
    """List the constant texts in an expression, and those that its variables were set to."""
    constants = [node] if isinstance(node, nodes.Const) else node.find_all(nodes.Const)
    found = [constant.value for constant in constants if isinstance(constant.value, str)]
    if variables:
        names = [node] if isinstance(node, nodes.Name) else list(node.find_all(nodes.Name))
        found += [text for name in names for text in variables.get(name.name, ())]
    return found
