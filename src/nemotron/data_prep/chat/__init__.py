"""Conversations -> token ids and a loss mask, through chat templates."""

from nemotron.data_prep.chat.conversation import Conversation, Dropped, Message, read_conversation, uses
from nemotron.data_prep.chat.encoder import ChatEncoder, Sequences
from nemotron.data_prep.chat.template import BUNDLED, ChatTemplate, template_text

__all__ = [
    "BUNDLED",
    "ChatEncoder",
    "ChatTemplate",
    "Conversation",
    "Dropped",
    "Message",
    "Sequences",
    "read_conversation",
    "template_text",
    "uses",
]
