from __future__ import annotations

import io
import math
import random
from pathlib import PurePosixPath

import pytest
import yaml
from omegaconf import OmegaConf

from nemo_runspec import yaml_text

TEXTS = [
    *(
        "3e1fe7d",
        "3e1fe7dd25aa3c2b7f6b0a1c9d8e7f6a5b4c3d2e",
        "1e5",
        "-1E+5",
        "1e-05",
        ".5e3",
        "1_0e5",
        "12.e3",
        "1e",
        "e5",
    ),
    *("0x10", "0b1", "017", "0o17", "1_000", "12:30", "1:30.5", "2024-01-01", "2024-01-01 10:00:00", "1", "-1", "1.5"),
    *(
        "yes",
        "No",
        "on",
        "true",
        "null",
        "~",
        "",
        "=",
        "<<",
        ".inf",
        "-.INF",
        ".nan",
        "!!int 3",
        "&a",
        "*a",
        "%x",
        "@x",
    ),
    *("a: b", "a #b", "- a", "{a", "[a]", "'", '"', "\\", "?", "|", ">", "---", "...", "${x}", "a,b"),
    *(
        " lead",
        "trail ",
        "\ttab",
        "two\nlines",
        "\n",
        "ends\n",
        "cr\rlf\r\n",
        "next\x85line",
        "\u2028",
        "\ufeff",
        "\x07",
    ),
    *("ümlaut", "日本", "😀", "long " * 60),
]
ALPHABET = "0123456789abcdefxo_.:+-eE~ \n\t'\"#&*!|>%@`{}[],?=<\\yYnN\x85\u2028üß日😀\0"


def loaded(text: str) -> object:
    """Read a document as the launcher reads configurations."""
    tree = OmegaConf.load(io.StringIO(text))
    return OmegaConf.to_container(tree)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_the_text(text: str) -> None:
    written = yaml_text.dump({"value": text, text: [text]})
    for read in (yaml_text.load, yaml.safe_load):
        assert read(written) == {"value": text, text: [text]}
    without_key = yaml_text.dump({"value": text.replace("${", "$")})
    assert loaded(without_key) == {"value": text.replace("${", "$")}


def test_any_text_stays_the_text() -> None:
    source = random.Random(0)  # noqa: S311 - texts for a test
    for _ in range(3000):
        values = {"value": "".join(source.choices(ALPHABET, k=source.randint(0, 9)))}
        assert yaml_text.load(yaml_text.dump(values)) == values


def test_digests_that_look_like_numbers_stay_text() -> None:
    source = random.Random(1)  # noqa: S311 - texts for a test
    digests = [f"{source.randint(0, 9)}e{source.getrandbits(160):040x}"[:40] for _ in range(500)]
    assert yaml_text.load(yaml_text.dump({"commits": digests})) == {"commits": digests}
    assert yaml_text.load(f"commit: {digests[0]}") == {"commit": digests[0]}


@pytest.mark.parametrize("number", [0, -7, 10**30, 1e-05, 1e300, 5e-324, 0.1, -0.0, 3.0, math.inf, -math.inf])
def test_a_number_stays_the_number(number: float) -> None:
    written = yaml_text.dump({"value": number})
    for values in (yaml_text.load(written), loaded(written)):
        assert repr(values) == repr({"value": number})


@pytest.mark.parametrize(
    "text", ["1e-4", "1E4", "3e+8", ".5e3", "1_0e2", "-2.e1", "1.5", "700", "1e5x", "1e", "e5", "2024-01-02"]
)
def test_values_are_read_as_the_launcher_reads_them(text: str) -> None:
    value = yaml_text.load(f"value: {text}")
    assert value == (loaded(f"value: {text}") if text != ".5e3" else {"value": 500.0})


def test_what_is_not_text_in_yaml_is_written_readably() -> None:
    shared = [1]
    written = yaml_text.dump({"z": PurePosixPath("/a/b"), "a": shared, "b": shared, "byte": "x\udcff"})
    assert list(yaml_text.load(written).items()) == [("z", "/a/b"), ("a", [1]), ("b", [1]), ("byte", "x\\udcff")]
    assert "*" not in written
