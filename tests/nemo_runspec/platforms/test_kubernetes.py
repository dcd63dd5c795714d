from __future__ import annotations

import itertools
import random

import pytest

from nemo_runspec.platforms.kubernetes import escape, in_pod_order, pod_log_path, pods_path

KNOWN = {"A": "expanded", "": "empty"}


def expand(text: str) -> str:
    """Kubernetes' expansion.Expand, step by step as in Go."""
    out, cursor = [], 0
    while cursor < len(text):
        if text[cursor] != "$" or cursor + 1 >= len(text):
            out.append(text[cursor])
            cursor += 1
        elif text[cursor + 1] == "$":
            out.append("$")
            cursor += 2
        elif text[cursor + 1] == "(" and ")" in text[cursor + 2 :]:
            end = text.index(")", cursor + 2)
            name = text[cursor + 2 : end]
            out.append(KNOWN.get(name, f"$({name})"))
            cursor = end + 1
        else:
            out.append(text[cursor : cursor + 2])
            cursor += 2
    return "".join(out)


def test_the_reference_expands() -> None:
    assert expand("$(A) $(B) $$(A) $$ $A $(A") == "expanded $(B) $(A) $ $A $(A"


@pytest.mark.parametrize("length", range(7))
def test_every_short_text_arrives_as_it_is(length: int) -> None:
    for letters in itertools.product("$()Ax", repeat=length):
        text = "".join(letters)
        assert expand(escape(text)) == text


def test_long_texts_arrive_as_they_are() -> None:
    chance = random.Random(3)  # noqa: S311 - the same texts each time
    for _ in range(300):
        text = "".join(chance.choices("$$$(){}A \n'\"é", k=200))
        assert expand(escape(text)) == text


@pytest.mark.parametrize("text", ["", "plain", "$HOME/x", "${HOME}", "a$", "(A)", "eJzT$1="])
def test_what_kubernetes_leaves_alone_is_left_alone(text: str) -> None:
    assert escape(text) == text


def test_what_it_would_change_is_doubled() -> None:
    assert escape("$(dirname x) $$ $HOME") == "$$(dirname x) $$$$ $HOME"


def test_paths_hold_names_and_nothing_else() -> None:
    assert pod_log_path("runai-team", "job-worker-0") == "/api/v1/namespaces/runai-team/pods/job-worker-0/log"
    assert pod_log_path("a/b", "../c?d") == "/api/v1/namespaces/a%2Fb/pods/..%2Fc%3Fd/log"
    assert pods_path("a/b") == "/api/v1/namespaces/a%2Fb/pods"


def test_pods_are_sorted_by_their_numbers_and_the_master_is_first() -> None:
    names = ["j1-worker-10", "j1-worker-9", "j1-master-0", "j1-worker-0"]
    assert in_pod_order("j1", names) == ("j1-master-0", "j1-worker-0", "j1-worker-9", "j1-worker-10")
    assert in_pod_order("j", ["j-10-ab1cd", "j-2-9zzzz", "j-2-azzzz"]) == ("j-2-9zzzz", "j-2-azzzz", "j-10-ab1cd")
