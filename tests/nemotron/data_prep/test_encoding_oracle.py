"""Both engines held to `transformers`, on a vocabulary of 131,072 tokens and on a trained one."""

from __future__ import annotations

import functools
import itertools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron.data_prep.corpus import standard_library
from nemotron.data_prep.encoding import EngineSpec, choose_engine, first_difference, load_encoder, read_definition
from nemotron.data_prep.encoding.engines import GIGATOKEN, HF
from nemotron.data_prep.encoding.odd_texts import odd_texts
from nemotron.data_prep.tokenizer import load_tokenizer, train_tokenizer
from tests.nemotron.data_prep.tekken import tekken_folder

if TYPE_CHECKING:
    from pathlib import Path

    from nemotron.data_prep.encoding import Encoder

pytestmark = pytest.mark.slow

KINDS = pytest.mark.parametrize("kind", ["tekken", "trained"])
ENGINES = pytest.mark.parametrize("engine", [HF, GIGATOKEN])


@functools.cache
def code() -> list[str]:
    return [document.text for document in standard_library()[:100]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    trained = tmp_path_factory.mktemp("trained")
    train_tokenizer(code(), 4096, trained)
    return {"tekken": tekken_folder(), "trained": trained}


@functools.cache
def encoder_of(folder: Path, engine: str) -> Encoder:
    file = folder / "tokenizer.json"
    return load_encoder(EngineSpec(str(file), engine, read_definition(file).digest))


@functools.cache
def oracle(folder: Path) -> Any:  # noqa: ANN401 the library types it as Any
    with warnings.catch_warnings():
        # What transformers imports is not ours to mend.
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer  # noqa: PLC0415 slow to import, and only needed here

        return AutoTokenizer.from_pretrained(folder)


@functools.cache
def hard_texts(folder: Path) -> list[str]:
    names = list(load_tokenizer(str(folder)).specials)
    rng = np.random.default_rng(0)
    code_points = [int(number) for number in rng.integers(0, 0x110000, 20_000) if not 0xD800 <= number < 0xE000]
    return [
        *odd_texts(read_definition(folder / "tokenizer.json").added[:50]),
        *code()[:40],
        "".join(map(chr, code_points)),
        "".join(chr(int(number)) for number in rng.integers(0x4E00, 0xA000, 20_000)),
        "word " * 200_000,  # a line of a million characters
        "x = [" + ", ".join(map(str, rng.integers(0, 10**9, 5_000))) + "]",
        "".join(names[:50]),
        "\n".join(f"He wrote {name}, and went on.{name}" for name in names[:50]),
    ]


@functools.cache
def right_ids(folder: Path) -> list[list[int]]:
    encoded = oracle(folder)(hard_texts(folder), add_special_tokens=False, split_special_tokens=True, verbose=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


@KINDS
@ENGINES
def test_the_ids_are_those_of_transformers(folders: dict[str, Path], kind: str, engine: str) -> None:
    folder = folders[kind]
    texts = hard_texts(folder)
    encoded = encoder_of(folder, engine).encode(texts)
    for text, right, row in zip(texts, right_ids(folder), encoded.rows(), strict=True):
        assert row.tolist() == right, text[:80]


@KINDS
@ENGINES
def test_no_text_becomes_a_control_token(folders: dict[str, Path], kind: str, engine: str) -> None:
    specials = load_tokenizer(str(folders[kind])).specials
    encoder = encoder_of(folders[kind], engine)
    names = list(specials)
    texts = [form.format(name) for name in names for form in ("{}", " {}", "{}\n", "a{}b", "a {} b")]
    encoded = encoder.encode([*texts, " ".join(names), "".join(names)])
    assert not np.isin(encoded.ids, list(specials.values())).any()
    assert (encoded.lengths() > 0).all()


@KINDS
@ENGINES
def test_markup_is_encoded_as_transformers_does(folders: dict[str, Path], kind: str, engine: str) -> None:
    folder = folders[kind]
    specials = load_tokenizer(str(folder)).specials
    names = list(specials)[:20]
    texts = [f"{a}user\n {text[:200]}{b}\n{b}{a}" for text in code()[:20] for a, b in itertools.pairwise(names)]
    encoded = encoder_of(folder, engine).encode_segments([specials.split(text) for text in texts])
    expected = oracle(folder)(texts, add_special_tokens=False)["input_ids"]
    assert [row.tolist() for row in encoded.rows()] == expected


@KINDS
def test_the_check_takes_gigatoken(folders: dict[str, Path], kind: str) -> None:
    spec, line = choose_engine(folders[kind] / "tokenizer.json", "auto", code())
    assert spec.engine == GIGATOKEN, line


@KINDS
@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=200) | st.text("aA1 '\n\t.-\u0301\u6f22", max_size=200), max_size=10))
def test_the_engines_give_the_same_ids(folders: dict[str, Path], kind: str, texts: list[str]) -> None:
    trusted, fast = (encoder_of(folders[kind], engine) for engine in (HF, GIGATOKEN))
    assert first_difference(trusted, fast, texts, [1, 2]) is None
