"""The documentation's links lead somewhere, its make targets exist, and the README stays short."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.guardrails.checkout import ROOT
from tests.guardrails.docs_commands import commands_in, pages

if TYPE_CHECKING:
    from pathlib import Path

README_LINES = 200
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"(?P<html>[^\"]+)\"")
HEADING = re.compile(r"^#+\s+(?P<title>.+?)\s*#*$", re.MULTILINE)
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, made as Git hosts make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    plain = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(text)]
    return set(plain)


def broken_links(page: Path) -> list[str]:
    """Give the links of a page to files or headings that are not there; other sites are not asked."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for match in LINK.finditer(text):
        target = match["target"] or match["html"]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(f"{page.relative_to(ROOT)}: {target}")
    return broken


def test_every_relative_link_resolves() -> None:
    assert [link for page in pages() for link in broken_links(page)] == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    other = tmp_path / "page.md"
    other.write_text("# A title, here\n[a](#a-title-here) [b](https://example.com/x)\n```\n[c](gone.md)\n```\n")
    assert anchors(other) == {"a-title-here"}
    assert page.is_file()
    assert broken_links(other) == []


def test_the_readme_can_be_read_in_one_go() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 0 < len(text.splitlines()) < README_LINES


def test_every_make_target_in_the_documentation_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    commands = [command for page in pages() for command in commands_in(page, frozenset({"make"}))]
    assert commands
    named = {word for command in commands for word in command.argv[1:] if "=" not in word and not word.startswith("-")}
    assert sorted(named - targets) == []


def test_commands_are_taken_out_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text `nemotron no`\n```console\n$ A=1 nemotron nano3 sft \\\n    -c tiny  # comment\nnemotron output\n```\n"
        "```bash\ncd x && make demo TORCH='a b'\n```\n```python\nnemotron.run()\n```\n"
        "```console fails\nnot an answer\n$ nemotron x\nerror: y\n  z\n```\nmore\n"
    )
    found = commands_in(page, frozenset({"nemotron", "make"}))
    assert [(command.line, command.environment, command.argv) for command in found] == [
        (3, {"A": "1"}, ("nemotron", "nano3", "sft", "-c", "tiny")),
        (8, {}, ("make", "demo", "TORCH=a b")),
        (15, {}, ("nemotron", "x")),
    ]
    assert [(command.fails, command.output) for command in found] == [
        (False, ("nemotron output",)),
        (False, ()),
        (True, ("error: y", "  z")),
    ]
