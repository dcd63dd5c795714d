"""Machines and answers as values."""

from __future__ import annotations

from nemo_runspec.platforms.shell import Answer, Host


def test_a_machine_is_named_as_far_as_it_is_given() -> None:
    assert Host(host="login").label == "login"
    assert Host(host="login", user="me", port=2222).label == "me@login:2222"


def test_an_answer_is_text_whatever_it_is() -> None:
    assert Answer(0, b"a\xff", "").text == "a\ufffd"
