"""A command in the documentation is a tested command, and what a page shows of its output is its output.

`nemotron` commands run in this process, as a dry-run where they would start a job. In a block that starts with
```console fails they run as they stand. In shown output, a line `...` stands for any lines, and `...` in a line for any
text; only where a command runs as the page has it is its output compared.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from nemo_runspec.env import parse_env
from nemo_runspec.errors import NemotronError
from nemotron.cli.main import app
from nemotron.data_prep.blend import DataSet, load_blend
from nemotron.data_prep.chat import Conversation, read_conversation
from nemotron.data_prep.rl.rows import expected_answer
from nemotron.data_prep.sources import cut, read_batches
from tests.guardrails.checkout import ROOT
from tests.guardrails.docs_commands import DocCommand, commands_in, pages, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "getting-started.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
RECIPE = ROOT / "docs" / "write-a-recipe.md"

COMMANDS = {
    program: [command for page in pages() for command in commands_in(page, frozenset({program}))]
    for program in ("nemotron", "make", "python")
}
# What a reader types besides; it needs no test of ours.
OTHERS = frozenset({".", "apt-get", "cp", "pip"})
# Where no job is started, a command runs as it stands.
STARTS_NOTHING = frozenset({"-h", "--help", "--version", "-d", "--dry-run"})


def blocks(page: Path, language: str) -> list[str]:
    """Give the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with what the pages suppose: their env.toml, their files, and the project's recipes."""
    (profile,) = blocks(README, "toml")
    example = (ROOT / "env.toml.example").read_text(encoding="utf-8")
    # Without the settings that are no profiles, which the pages do not show.
    (tmp_path / "env.toml").write_text(profile + example[example.index("[local]") :], encoding="utf-8")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "my-sft.yaml").write_text(blocks(CONFIGURATION, "yaml")[0], encoding="utf-8")
    (tmp_path / "words" / "config").mkdir(parents=True)
    (tmp_path / "words" / "words.py").write_text(blocks(RECIPE, "python")[0], encoding="utf-8")
    (tmp_path / "words" / "config" / "default.yaml").write_text(blocks(RECIPE, "yaml")[0], encoding="utf-8")
    data = tmp_path / "my-data"
    (data / "letters").mkdir(parents=True)
    (data / "blend.json").write_text(blocks(GUIDE, "json")[0], encoding="utf-8")
    # With the mistake that the page shows the error of.
    (data / "manuals.jsonl").write_text(blocks(GUIDE, "jsonl")[0] + '{"bodi": "text"}\n', encoding="utf-8")
    (data / "letters" / "one.jsonl").write_text('{"text": "Dear reader"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def is_dry(command: DocCommand) -> bool:
    """Tell whether the command starts no job as it stands."""
    own = command.argv[: command.argv.index("--")] if "--" in command.argv else command.argv
    return not STARTS_NOTHING.isdisjoint(own) or own[1:2] in (("env",), ("source",), ("kit",), ("jobs",))


def run(command: DocCommand) -> Result:
    arguments = list(command.argv[1:])
    if not command.fails and not is_dry(command):
        position = arguments.index("--") if "--" in arguments else len(arguments)
        arguments.insert(position, "--dry-run")
    return CliRunner().invoke(app, arguments, env=command.environment, prog_name="nemotron")


def printed(result: Result) -> str:
    """Give what the reader sees, as `nemotron.cli.main.main` prints it."""
    error = result.exception
    return result.output + (f"{error.title}: {error}\n" if isinstance(error, NemotronError) else "")


def as_pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    """Turn shown output into a pattern for the whole of it."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "..." else r".*".join(map(re.escape, line.rstrip().split("..."))) + r" *\n"
        for line in shown
    ]
    return re.compile("".join(lines) + r"\s*")


@pytest.mark.parametrize("command", COMMANDS["nemotron"], ids=str)
def test_nemotron_commands_do_what_the_page_says(command: DocCommand, desk: Path) -> None:
    result = run(command)
    output = printed(result)
    if result.exception is not None and not isinstance(result.exception, NemotronError | SystemExit):
        raise result.exception
    assert (result.exit_code != 0) == command.fails, output
    assert command.fails or not (desk / "output").exists()
    if command.output and (command.fails or is_dry(command)):
        assert as_pattern(command.output).fullmatch(output.lstrip()), output


@pytest.mark.parametrize("command", COMMANDS["make"], ids=str)
def test_make_commands_have_targets(command: DocCommand) -> None:
    make = shutil.which("make")
    assert make is not None, "the tests are run by make, so there is one"
    planned = subprocess.run([make, "-n", *command.argv[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr


def names_what_exists(command: DocCommand) -> bool:
    """Tell whether a `python` command starts a file of the project, or a module that can be imported."""
    first, *rest = command.argv[1:]
    return importlib.util.find_spec(rest[0]) is not None if first == "-m" else (ROOT / first).is_file()


def test_python_commands_name_what_exists() -> None:
    good = [("python", "scripts/install.py", "--lock"), ("python", "-m", "nemo_runspec.env_reference")]
    bad = [("python", "scripts/gone.py"), ("python", "-m", "nemo_runspec_gone")]
    made = [DocCommand(README, 1, {}, argv) for argv in (*good, *bad)]
    assert [command.argv for command in made if names_what_exists(command)] == good
    assert [str(command) for command in COMMANDS["python"] if not names_what_exists(command)] == []


def test_every_typed_line_starts_a_known_program() -> None:
    lines = [line.text for page in pages() for line in shell_lines(page.read_text(encoding="utf-8"))]
    unknown = {word for line in lines for word in first_words(line)} - OTHERS - set(COMMANDS)
    assert unknown == set()


def first_words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    words = [word for word in lexer if not re.match(r"\w+=", word)]
    return [word for before, word in zip(["&&", *words], words, strict=False) if set(before) <= set("&;|")]


@pytest.mark.parametrize("page", [README, GUIDE, CONFIGURATION], ids=lambda page: page.name)
def test_the_pages_have_commands_that_are_tested(page: Path) -> None:
    tested = [command for command in COMMANDS["nemotron"] if command.page == page]
    assert len(tested) > 5


def test_shown_output_is_compared() -> None:
    shown = ("a ... z", "...", "end")
    assert as_pattern(shown).fullmatch("a b z\nleft out\nend\n")
    assert as_pattern(shown).fullmatch("a  z\nend\n\n")
    assert not as_pattern(shown).fullmatch("a b z\nleft out\n")
    assert not as_pattern(shown).fullmatch("a\nz\nend\n")


def test_the_shown_env_toml_is_valid(desk: Path) -> None:
    assert "my-cluster" in parse_env(desk / "env.toml").profiles


def test_shown_yaml_is_a_mapping() -> None:
    shown = [text for page in pages() for text in blocks(page, "yaml")]
    assert shown
    assert [text for text in shown if not OmegaConf.is_dict(OmegaConf.create(text))] == []


def records(data_set: DataSet) -> list[dict[str, object]]:
    spans = [span for piece in cut(data_set.files, None) for span in piece]
    return [values for span in spans for batch in read_batches(span, None) for values in batch.values]


def test_the_shown_records_are_what_data_preparation_reads(desk: Path) -> None:
    text, *others = blocks(GUIDE, "jsonl")
    (desk / "my-data" / "manuals.jsonl").write_text(text, encoding="utf-8")
    manuals, letters = load_blend(desk / "my-data" / "blend.json")
    assert (manuals.weight, letters.weight) == (3.0, 1.0)
    assert [row[manuals.text_field] for row in records(manuals)] == [json.loads(text)["body"]]

    (desk / "my-data" / "letters" / "one.jsonl").write_text("".join(others), encoding="utf-8")
    _, letters = load_blend(desk / "my-data" / "blend.json")
    chat, prompt = records(letters)
    conversation = read_conversation(chat, letters)
    assert isinstance(conversation, Conversation)
    assert [turn["role"] for turn in conversation.messages] == ["user", "assistant"]
    assert expected_answer(prompt) == {"name": "add", "arguments": ["a", "b"]}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_shown_python_imports_what_exists(page: Path) -> None:
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.usefixtures("desk")
def test_the_notebook_example_runs(capfd: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks(README, "python")
    exec(compile(example, str(README), "exec"), {})  # noqa: S102 - the reader types it into a notebook
    assert "hello from" in capfd.readouterr().out
