"""How values are told in messages."""

from __future__ import annotations


def kind(value: object) -> str:
    """Say in a word or two what a value of JSON is.

    Args:
        value: The value.
    """
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def shorten(text: str, width: int = 80) -> str:
    """Give a text that fits into a message.

    Args:
        text: The text.
        width: The most characters that are kept.
    """
    return text if len(text) <= width else f"{text[:width]}..."
