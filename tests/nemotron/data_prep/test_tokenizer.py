from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.encoding import engines, read_definition
from nemotron.data_prep.tokenizer import END_OF_TEXT, END_OF_TURN, load_tokenizer, train_tokenizer
from tests.nemotron.data_prep.small import TEXTS, encode_markup, encode_text, small_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_trained_tokenizer_is_byte_level_and_of_the_size_asked_for(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    assert tokenizer.vocabulary == 280
    text = "def f(x):\n\treturn 'é \N{SNOWMAN}'\r\n"
    assert tokenizer.backend.decode(encode_text(tokenizer, text), skip_special_tokens=False) == text
    assert tokenizer.backend.id_to_token(tokenizer.end_of_text) == END_OF_TEXT


def test_the_name_of_a_special_token_in_a_text_is_only_text(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    special = tokenizer.backend.token_to_id(END_OF_TURN)
    assert encode_markup(tokenizer, END_OF_TURN) == [special]
    ids = encode_text(tokenizer, f"a {END_OF_TURN} b {END_OF_TEXT}")
    assert special not in ids
    assert tokenizer.end_of_text not in ids
    assert encode_markup(tokenizer, END_OF_TURN) == [special]


def test_a_copy_is_the_same_tokenizer(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "a")
    tokenizer.copy_to(tmp_path / "b")
    copy = load_tokenizer(str(tmp_path / "b"))
    assert copy.chat_template == tokenizer.chat_template
    assert copy.backend.to_str() == tokenizer.backend.to_str()


def test_a_template_file_goes_before_the_settings(tmp_path: Path) -> None:
    small_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert load_tokenizer(str(tmp_path)).chat_template == "{{ messages }}"


def test_an_eos_token_may_be_an_object(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": END_OF_TURN}}))
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.end_of_text == tokenizer.backend.token_to_id(END_OF_TURN)
    assert loaded.chat_template is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (None, "no 'eos_token'"),
        ("{}", "no 'eos_token'"),
        ('{"eos_token": "<x>"}', "no 'eos_token'"),
        ("{\n{", ":2: .*not JSON"),
    ],
)
def test_settings_that_do_not_end_a_document(tmp_path: Path, settings: str | None, said: str) -> None:
    small_tokenizer(tmp_path)
    if settings is None:
        (tmp_path / "tokenizer_config.json").unlink()
    else:
        (tmp_path / "tokenizer_config.json").write_text(settings)
    with pytest.raises(DataError, match=said):
        load_tokenizer(str(tmp_path))


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        load_tokenizer(str(tmp_path))


def test_to_plan_with_a_tokenizer_does_not_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = small_tokenizer(tmp_path)
    monkeypatch.setattr(engines, "HfEncoder", None)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer == trained
    assert tokenizer.digest == read_definition(tokenizer.json_file).digest
    assert tokenizer.specials == {END_OF_TEXT: 0, "<|pad|>": 1, "<|im_start|>": 2, END_OF_TURN: 3}
    assert tokenizer.named_tokens == {"eos_token": END_OF_TEXT, "pad_token": "<|pad|>"}
    assert tokenizer.revision is None
    assert (tokenizer.vocabulary, tokenizer.end_of_text) == (280, 0)


def test_the_same_texts_train_the_same_tokenizer(tmp_path: Path) -> None:
    texts = [f"{text}{number} " * (number % 7 + 1) for number, text in enumerate(TEXTS * 40)]
    here = train_tokenizer(texts, 600, tmp_path / "a")
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    # Another process hashes otherwise, and here with one thread instead of several.
    code = """
import json, sys
from pathlib import Path
from nemotron.data_prep.tokenizer import train_tokenizer
train_tokenizer(json.loads(Path(sys.argv[1]).read_text()), 600, Path(sys.argv[2]))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "texts.json"), str(tmp_path / "b")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false"})
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert load_tokenizer(str(tmp_path / "b")).digest == here.digest
    assert train_tokenizer([*texts, "more more more"], 600, tmp_path / "c").digest != here.digest


def test_an_eos_token_may_stand_in_the_map(tmp_path: Path) -> None:
    small_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": END_OF_TURN}))
    assert load_tokenizer(str(tmp_path)).end_of_text == 3


def test_of_several_templates_the_default_counts(tmp_path: Path) -> None:
    small_tokenizer(tmp_path)
    templates = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": END_OF_TEXT, "chat_template": templates}))
    assert load_tokenizer(str(tmp_path)).chat_template == "d"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("{}", "no 'model'"),
        ('{"model": {"type": "Neural", "vocab": {}}}', "type 'Neural'"),
    ],
)
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str, said: str) -> None:
    small_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        load_tokenizer(str(tmp_path))
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert caught.value.where
    assert caught.value.where.path == tmp_path / "tokenizer.json"


@pytest.mark.parametrize("kind", ["added", "of the vocabulary"])
def test_an_end_of_text_that_a_text_could_hold_is_refused(tmp_path: Path, kind: str) -> None:
    file = small_tokenizer(tmp_path).json_file
    document = json.loads(file.read_text())
    if kind == "added":
        document["added_tokens"][0]["special"] = False
    else:
        document["added_tokens"] = document["added_tokens"][1:]
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"'<\|endoftext\|>', is not special") as caught:
        load_tokenizer(str(tmp_path))
    assert '"special": true' in (caught.value.remedy or "")
    assert caught.value.where == Location(file)


def test_the_digest_of_the_files_changes_with_each_of_them(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "a")
    digests = [tokenizer.files_digest()]
    for name in ("chat_template.jinja", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json"):
        with (tokenizer.folder / name).open("a") as stream:
            stream.write(" ")
        digests.append(tokenizer.files_digest())
    (tokenizer.folder / "README.md").write_text("not copied")
    assert tokenizer.files_digest() == digests[-1]
    assert len(set(digests)) == 5
    tokenizer.copy_to(tmp_path / "b")
    assert replace(tokenizer, folder=tmp_path / "b").files_digest() == digests[-1]


def test_a_copy_below_a_folder_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = replace(small_tokenizer(tmp_path / "a"), revision="0123abc")
    copy = tokenizer.copied_below(tmp_path / "kept")
    assert copy == replace(tokenizer, folder=tmp_path / "kept" / tokenizer.files_digest()[:16])
    before = copy.json_file.stat().st_ino
    assert tokenizer.copied_below(tmp_path / "kept") == copy
    assert copy.json_file.stat().st_ino == before
    # One that looked before the copy was there loses the race, and takes it.
    found = iter([False, True])
    monkeypatch.setattr("pathlib.Path.is_dir", lambda _: next(found))
    assert tokenizer.copied_below(tmp_path / "kept") == copy
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [copy.folder.name]


def hub(folder: Path, asked: list[tuple[str, str | None]]) -> Callable[..., str]:
    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert "tokenizer.json" in allow_patterns
        asked.append((repository, revision))
        return str(folder)

    return download


def test_a_tokenizer_of_the_hub_has_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "snapshots" / "0123abc"
    small_tokenizer(snapshot)
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub(snapshot, asked))
    assert load_tokenizer("org/name").revision == "0123abc"
    assert load_tokenizer("org/name@v2").revision == "0123abc"
    assert asked == [("org/name", None), ("org/name", "v2")]


@pytest.mark.parametrize("name", ["no such folder/at/all", "org/name@", "./missing"])
def test_a_name_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="neither a folder nor a model") as caught:
        load_tokenizer(name)
    assert caught.value.remedy
