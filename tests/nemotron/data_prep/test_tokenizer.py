from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.tokenizer import END_OF_TEXT, END_OF_TURN, load_tokenizer
from tests.nemotron.data_prep.small import small_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_trained_tokenizer_is_byte_level_and_of_the_size_asked_for(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    assert tokenizer.vocabulary == 280
    text = "def f(x):\n\treturn 'é \N{SNOWMAN}'\r\n"
    (ids,) = tokenizer.encode_texts([text])
    assert tokenizer.backend.decode(ids.tolist(), skip_special_tokens=False) == text
    assert tokenizer.backend.id_to_token(tokenizer.end_of_text) == END_OF_TEXT


def test_the_name_of_a_special_token_in_a_text_is_only_text(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    special = tokenizer.backend.token_to_id(END_OF_TURN)
    assert tokenizer.encode_markup(END_OF_TURN) == [special]
    (ids,) = tokenizer.encode_texts([f"a {END_OF_TURN} b {END_OF_TEXT}"])
    assert special not in ids
    assert tokenizer.end_of_text not in ids
    assert tokenizer.encode_markup(END_OF_TURN) == [special]


def test_many_texts_come_in_order(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    texts = [str(number) * 200_000 for number in range(30)]  # more than one batch
    assert [tokenizer.backend.decode(ids[:3].tolist())[0] for ids in tokenizer.encode_texts(texts)] == [
        t[0] for t in texts
    ]


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
