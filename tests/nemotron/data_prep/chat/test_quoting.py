from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron.data_prep.chat import Conversation
from nemotron.data_prep.chat.quoting import SpecialNames

NAMES = SpecialNames({"<s>": 1, "<|im_end|>": 2, "<|object|>": 3})
PARTS = ("<s>", "<", ">", "s", "<|im_end|>", "|>", "im_end", "object", " ", "\n", "a", "\ue000", "\ue001", "7")


@given(st.lists(st.sampled_from(PARTS)).map("".join), st.booleans())
def test_no_token_is_left_and_nothing_is_lost(text: str, middles: bool) -> None:  # noqa: FBT001 a drawn value
    (message,), tools, standins = NAMES.hide(
        Conversation([{"role": "user", "content": text}], [{text: [text, 1]}]), middles=middles
    )
    assert standins.show(message["content"]) == text
    assert NAMES.split(message["content"], standins) == ([text] if text else [])
    assert tools == [{message["content"]: [message["content"], 1]}]


@pytest.mark.parametrize("text", ["<s", "im_end|>", "|>\n", " <|im_", "<", ">", "<|im_end|"])
def test_a_part_of_a_name_does_not_complete_one(text: str) -> None:
    (message,), _, standins = NAMES.hide(Conversation([{"role": "user", "content": f"a {text}"}]), middles=False)
    (other,), _, _ = NAMES.hide(Conversation([{"role": "user", "content": f"{text} a"}]), middles=False)
    for name in NAMES.ids:
        for cut in range(1, len(name)):
            for around in (name[:cut] + other["content"], message["content"] + name[cut:]):
                assert not any(isinstance(part, int) for part in NAMES.split(around, standins))


def test_the_middle_of_a_name() -> None:
    talk = Conversation([{"role": "user", "content": "object"}])
    hidden, _, standins = NAMES.hide(talk, middles=True)
    assert NAMES.split(f"<|{hidden[0]['content']}|>", standins) == ["<|object|>"]
    hidden, _, standins = NAMES.hide(talk, middles=False)
    assert hidden == talk.messages
    assert not standins


def test_a_role_is_not_hidden() -> None:
    names = SpecialNames({"<|user|>": 1})
    assert names.hide(Conversation([{"role": "user", "content": "a"}]), middles=True)[0][0]["role"] == "user"
