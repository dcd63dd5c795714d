"""Templates of chats against Transformers' own rendering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from nemotron.data_prep.chat import BUNDLED, ChatTemplate, Conversation
from nemotron.data_prep.chat.template import TemplateRefusalError
from tests.nemotron.data_prep.chat.talks import CURIOUS, LLAMA, MISTRAL, byte_tokenizer, conversations

if TYPE_CHECKING:
    from nemotron.data_prep.tokenizer import TextTokenizer

STYLES = {**dict.fromkeys(BUNDLED), "llama": LLAMA, "mistral": MISTRAL, "curious": CURIOUS}
# Reads what Transformers gives besides the conversation.
SEEN = (
    "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ documents }}{{ chat_template_kwargs }}{{ enable_thinking }}"
    "{% for m in messages %}{{ m.thinking }}{{ m | tojson(true, 2) }}"
    "{{ m | tojson(separators=(',', ':')) }}{% endfor %}"
    "{% for n in 'abc' %}{% if n == 'a' %}{% continue %}{% endif %}{{ n }}{% break %}{% endfor %}"
    "{{ messages[0].get('role') }}{{ messages[0].items() | list | length }}{{ messages[0].nothing is defined }}"
    "{{ messages[0].values is defined }}{{ tools }}  {% if true %}\nx\n  {% endif %}\n"
    "{% for m in messages %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}"
    "{{ loop.cycle('1', '2') }}{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return byte_tokenizer(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def oracle(tokenizer: TextTokenizer) -> Any:  # noqa: ANN401 Transformers' class is imported late
    from transformers import AutoTokenizer  # noqa: PLC0415 takes seconds to import

    return AutoTokenizer.from_pretrained(tokenizer.folder)


def source_of(style: str) -> str:
    if style in BUNDLED:
        from importlib.resources import files  # noqa: PLC0415 only here

        return (files("nemotron.data_prep.chat") / "templates" / f"{style}.jinja").read_text(encoding="utf-8")
    return STYLES.get(style) or style


@pytest.mark.parametrize("style", [*STYLES, SEEN], ids=[*STYLES, "seen"])
@settings(max_examples=25, deadline=None)
@given(conversation=conversations())
def test_transformers_renders_the_same(
    tokenizer: TextTokenizer,
    oracle: Any,  # noqa: ANN401 as above
    style: str,
    conversation: Conversation,
) -> None:
    template = ChatTemplate(tokenizer, style if style in BUNDLED else source_of(style))
    for generate, thinking in ((False, False), (True, False), (True, True)):
        try:
            expected = oracle.apply_chat_template(
                conversation.messages,
                tools=conversation.tools,
                chat_template=source_of(style),
                tokenize=False,
                add_generation_prompt=generate,
                enable_thinking=thinking,
                chat_template_kwargs={"enable_thinking": thinking},
            )
        except Exception:  # noqa: BLE001 whatever a template raises
            with pytest.raises(TemplateRefusalError):
                template.render(conversation.messages, conversation.tools, generate=generate, thinking=thinking)
            continue
        rendered = template.render(conversation.messages, conversation.tools, generate=generate, thinking=thinking)
        assert rendered == expected
