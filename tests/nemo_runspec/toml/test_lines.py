from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from nemo_runspec.toml.lines import key_lines

Path_ = tuple[str | int, ...]
CHECKOUT = Path(__file__).parents[3]


def paths(value: object, prefix: Path_ = ()) -> Iterator[Path_]:
    if prefix:
        yield prefix
    if isinstance(value, Mapping):
        for name, element in value.items():
            yield from paths(element, (*prefix, name))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from paths(element, (*prefix, index))


TEXTS = {
    "plain": "a = 1\n\n[t]\nb = 2 # c = 3\n",
    "dotted": "[x.y]\na.b.c = 1\na.d = 2\n[x]\nz = 1\n",
    "quoted keys": "\"a b\" = 1\n'c.d' = 2\n[\"q\\u0041\".'r]s']\nk = 3\n",
    "strings": 'a = "# [no] = 1"\nb = \'[x]\\\'\nc = "say \\"hi\\" # no"\nd = 1\n',
    "multi-line strings": 'a = """\n[no]\nb = 1 \\"""\n"""\nc = \'\'\'\nd = 1\'\'\'\ne = """quotes""""" # f\ng = 1\n',
    "arrays": 'a = [\n  1, # one ]\n  "],",\n  [2,\n 3],\n]\nb = []\nc = [ # empty\n]\n',
    "inline tables": "a = { x = 1, y.z = [ { p = 2 }, { q = 3 } ], w = {} }\nb = 1\n",
    "arrays of tables": "[[a]]\nx = 1\n[[a]]\nx = 2\n[[a.b]]\ny = 3\n[a.c]\nz = 4\n[[a]]\n",
    "values": "a = 1979-05-27 07:32:00Z\nb = 07:32:00\nc = -1.5e+3\nd = inf\ne = true\nf=0xF\n",
    "windows": "a = 1\r\n[t]\r\nb = [\r\n1,\r\n]\r\nc = 2\r\n",
    "no newline at the end": "a = 1",
    "nothing": "# only a comment\n\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_key_that_tomllib_sees_has_a_line(text: str) -> None:
    assert set(key_lines(text)) == set(paths(tomllib.loads(text)))


@pytest.mark.parametrize("name", ["pyproject.toml", "env.toml.example"])
def test_real_files_are_read_whole(name: str) -> None:
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    lines = key_lines(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    written = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert path[-1] in written[line - 1], (path, line)


@pytest.mark.parametrize(
    ("name", "path", "line"),
    [
        ("plain", ("t",), 3),
        ("plain", ("t", "b"), 4),
        ("dotted", ("x",), 4),
        ("dotted", ("x", "y", "a"), 2),
        ("dotted", ("x", "y", "a", "d"), 3),
        ("quoted keys", ("qA", "r]s", "k"), 4),
        ("multi-line strings", ("c",), 5),
        ("multi-line strings", ("g",), 8),
        ("arrays", ("a", 1), 3),
        ("arrays", ("a", 2, 1), 5),
        ("arrays", ("c",), 8),
        ("inline tables", ("a", "y", "z", 1, "q"), 1),
        ("arrays of tables", ("a", 1, "x"), 4),
        ("arrays of tables", ("a", 1, "c", "z"), 8),
        ("arrays of tables", ("a", 2), 9),
        ("windows", ("t", "b", 0), 4),
    ],
)
def test_the_line_of_a_key(name: str, path: Path_, line: int) -> None:
    assert key_lines(TEXTS[name])[path] == line


def test_lines_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        key_lines("a = 1")["a",] = 2  # type: ignore[index] # the point of the test
