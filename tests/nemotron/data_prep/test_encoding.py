from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken as HfAddedToken
from tokenizers import Tokenizer, models, normalizers

from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep.encoding import (
    AddedToken,
    EngineSpec,
    Ragged,
    Specials,
    choose_engine,
    engines,
    first_difference,
    forget,
    from_lengths,
    load_encoder,
    read_definition,
    split_special,
)
from nemotron.data_prep.encoding.engines import GIGATOKEN, HF, GigatokenEncoder
from nemotron.data_prep.tokenizer import END_OF_TEXT, END_OF_TURN
from tests.nemotron.data_prep.small import TEXTS, small_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nemotron.data_prep.encoding import Encoder

BOTH = pytest.mark.parametrize("engine", [HF, GIGATOKEN])
ODD = [
    "",
    "a\x00b \u0301\ufeff\u00a0",
    "\u6f22\u5b57\U00020000 \U0001f468\u200d\U0001f469",
    " " * 500,
    f"{END_OF_TEXT} {END_OF_TURN}",
]


def encoder_of(folder: Path, engine: str) -> Encoder:
    file = folder / "tokenizer.json"
    return load_encoder(EngineSpec(str(file), engine, read_definition(file).digest))


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    file = small_tokenizer(folder).json_file
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    return file


def with_backend(folder: Path, change: Callable[[Tokenizer], object]) -> Path:
    file = small_tokenizer(folder).json_file
    backend = Tokenizer.from_file(str(file))
    change(backend)
    backend.save(str(file))
    return file


class CharacterEncoder:
    """Gives each character's code, and is wrong as it is told."""

    name = "characters"

    def __init__(self, change: Callable[[str], str] = lambda text: text, lost: int = 0, special: int = 0) -> None:
        self._change = change
        self._lost = lost
        self._special = special

    def encode(self, texts: Sequence[str]) -> Ragged:
        rows = [[ord(character) for character in self._change(text)] for text in texts]
        return self._ragged(rows)

    def encode_segments(self, items: Sequence[Sequence[str | int]]) -> Ragged:
        return self._ragged([[id_ for part in item for id_ in self._part(part)] for item in items])

    def _part(self, part: str | int) -> list[int]:
        return [part + self._special] if isinstance(part, int) else [ord(character) for character in part]

    def _ragged(self, rows: list[list[int]]) -> Ragged:
        rows = rows[: len(rows) - self._lost]
        ids = np.array([id_ for row in rows for id_ in row], dtype=np.int32)
        return from_lengths(ids, np.array([len(row) for row in rows], dtype=np.int64))


@BOTH
def test_texts_are_rows_of_ids(tmp_path: Path, engine: str) -> None:
    tokenizer = small_tokenizer(tmp_path)
    encoder = encoder_of(tmp_path, engine)
    encoded = encoder.encode([*TEXTS, *ODD])
    assert encoder.name == engine
    assert len(encoded) == len(TEXTS) + len(ODD)
    assert encoded.ids.dtype == np.int32
    assert encoded.offsets.dtype == np.int64
    assert encoded.lengths().tolist() == [len(row) for row in encoded.rows()]
    texts = [tokenizer.backend.decode(row.tolist(), skip_special_tokens=True) for row in encoded.rows()]
    assert texts == [*TEXTS, *ODD]
    assert not np.isin(encoded.ids, list(tokenizer.specials.values())).any()


@BOTH
def test_nothing_gives_nothing(tmp_path: Path, engine: str) -> None:
    small_tokenizer(tmp_path)
    encoder = encoder_of(tmp_path, engine)
    for encoded in (encoder.encode([]), encoder.encode_segments([])):
        assert (len(encoded), encoded.ids.tolist(), encoded.offsets.tolist()) == (0, [], [0])
    assert encoder.encode_segments([[], [""], [7], []]).offsets.tolist() == [0, 0, 0, 1, 1]


@given(items=st.lists(st.lists(st.text(max_size=8) | st.integers(0, 9), max_size=6), max_size=6))
def test_a_row_is_the_ids_of_its_parts(items: list[list[str | int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "rows"
    if not folder.exists():
        small_tokenizer(folder)
    encoder = encoder_of(folder, HF)
    expected = [
        [id_ for part in item for id_ in ([part] if isinstance(part, int) else encoder.encode([part]).ids.tolist())]
        for item in items
    ]
    assert [row.tolist() for row in encoder.encode_segments(items).rows()] == expected


@given(texts=st.lists(st.text(), max_size=8))
def test_the_engines_give_the_same_ids(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "same"
    if not folder.exists():
        small_tokenizer(folder)
    assert first_difference(encoder_of(folder, HF), encoder_of(folder, GIGATOKEN), texts, [0, 3]) is None


def test_many_texts_and_long_ones_come_in_order(tmp_path: Path) -> None:
    small_tokenizer(tmp_path)
    encoder = encoder_of(tmp_path, HF)
    texts = [str(number) * 400_000 for number in range(5)]  # more than one call of the library
    assert [int(row[0]) for row in encoder.encode(texts).rows()] == [int(encoder.encode([t[0]]).ids[0]) for t in texts]


def test_an_encoder_is_built_once(tmp_path: Path) -> None:
    small_tokenizer(tmp_path)
    first = encoder_of(tmp_path, HF)
    assert encoder_of(tmp_path, HF) is first
    forget(EngineSpec(str(tmp_path / "tokenizer.json"), HF, read_definition(tmp_path / "tokenizer.json").digest))
    assert encoder_of(tmp_path, HF) is not first


def test_a_tokenizer_that_changes_under_a_run_is_refused(tmp_path: Path) -> None:
    file = small_tokenizer(tmp_path).json_file
    with pytest.raises(DataError, match="has changed since"):
        load_encoder(EngineSpec(str(file), HF, "0" * 64))


def test_padding_and_truncation_of_the_file_do_not_count(tmp_path: Path) -> None:
    def ask_for_both(backend: Tokenizer) -> None:
        backend.enable_truncation(5)
        backend.enable_padding(length=12)

    with_backend(tmp_path, ask_for_both)
    lengths = [encoder_of(tmp_path, engine).encode(["", "x" * 99]).lengths().tolist() for engine in (HF, GIGATOKEN)]
    assert lengths[0] == lengths[1]
    assert lengths[0][0] == 0
    assert lengths[0][1] > 12


def test_the_memory_of_gigatoken_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = read_definition(small_tokenizer(tmp_path).json_file)
    size = 1000
    monkeypatch.setattr(engines, "resident_bytes", lambda: size)
    encoder = GigatokenEncoder(definition, memory=100)
    before = encoder.encode(TEXTS).ids.tolist()
    size = 1100
    encoder.encode(TEXTS)
    assert encoder.rebuilt == 0
    size = 1101
    assert encoder.encode(TEXTS).ids.tolist() == before
    assert encoder.rebuilt == 1
    encoder.encode(TEXTS)
    assert encoder.rebuilt == 1


def test_a_process_knows_its_size() -> None:
    before = engines.resident_bytes()
    held = np.ones(64 << 20, dtype=np.uint8)
    assert engines.resident_bytes() - before > held.nbytes / 2


def test_gigatoken_is_taken_where_it_gives_the_same_ids(tmp_path: Path) -> None:
    file = small_tokenizer(tmp_path).json_file
    spec, line = choose_engine(file, "auto", TEXTS)
    assert spec == EngineSpec(str(file), GIGATOKEN, read_definition(file).digest)
    assert line.startswith("encoding with gigatoken, which gives the same ids as tokenizers on ")
    assert choose_engine(file, "gigatoken", [])[0] == spec


def test_hf_is_taken_without_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = small_tokenizer(tmp_path).json_file
    monkeypatch.setattr(engines, "HfEncoder", None)
    monkeypatch.setattr(engines, "GigatokenEncoder", None)
    spec, line = choose_engine(file, "hf", TEXTS)
    assert spec.engine == HF
    assert line == "encoding with tokenizers, as the configuration says"


def test_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no engine 'fast'"):
        choose_engine(tmp_path / "tokenizer.json", "fast", [])


def test_gigatoken_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = small_tokenizer(tmp_path).json_file
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    spec, line = choose_engine(file, "auto", TEXTS)
    assert (spec.engine, line) == (HF, "encoding with tokenizers: gigatoken is not installed")
    with pytest.raises(ConfigError, match=r"nemotron\[fast\]"):
        choose_engine(file, "gigatoken", TEXTS)


def test_an_engine_that_cheats_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = small_tokenizer(tmp_path).json_file

    class Cheat(GigatokenEncoder):
        def encode(self, texts: Sequence[str]) -> Ragged:
            return super().encode([text.replace("sub", "add") for text in texts])

    monkeypatch.setattr(engines, "GigatokenEncoder", Cheat)
    spec, line = choose_engine(file, "auto", TEXTS)
    assert spec.engine == HF
    assert line == f"encoding with tokenizers: gigatoken gives other ids than tokenizers for {TEXTS[1]!r}"
    with pytest.raises(DataError, match="gives other ids"):
        choose_engine(file, "gigatoken", TEXTS)
    assert choose_engine(file, "auto", ["add"])[0].engine == GIGATOKEN


@pytest.mark.parametrize(
    ("cheat", "found"),
    [
        (CharacterEncoder(), None),
        (CharacterEncoder(str.lower), "'Ab'"),
        (CharacterEncoder(lambda text: text.replace("\u0301", "")), "'e\u0301'"),
        (CharacterEncoder(lambda text: text[:99]), repr("x" * 100)[:40]),
        (CharacterEncoder(lost=1), "3 texts, for which it gives 2 rows"),
        (CharacterEncoder(special=1), "[9]"),
    ],
)
def test_what_differs_is_told(cheat: CharacterEncoder, found: str | None) -> None:
    assert first_difference(CharacterEncoder(), cheat, ["Ab", "e\u0301", "x" * 100], [9]) == found


@pytest.mark.parametrize(
    ("change", "fast"),
    [
        (lambda backend: backend.add_tokens([HfAddedToken("[tool]", normalized=False)]), True),
        (lambda backend: backend.add_tokens([HfAddedToken("[tool]", lstrip=True)]), True),
        (lambda backend: backend.add_tokens([HfAddedToken("[tool]", rstrip=True)]), True),
        (lambda backend: backend.add_tokens([HfAddedToken("tool", single_word=True)]), False),
        (lambda backend: setattr(backend, "normalizer", normalizers.NFC()), True),
        (lambda backend: setattr(backend, "normalizer", normalizers.NFKC()), False),
        (lambda backend: setattr(backend, "normalizer", normalizers.Lowercase()), False),
    ],
)
def test_what_gigatoken_does_otherwise_is_left_to_tokenizers(
    tmp_path: Path, change: Callable[[Tokenizer], object], *, fast: bool
) -> None:
    file = with_backend(tmp_path, change)
    spec, line = choose_engine(file, "auto", [])
    assert spec.engine == (GIGATOKEN if fast else HF), line
    assert "\n" not in line


def test_a_model_that_gigatoken_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    Tokenizer(models.WordLevel({"a": 0, "?": 1}, "?")).save(str(file))
    assert choose_engine(file, "auto", [])[0].engine == HF
    with pytest.raises(DataError, match="cannot encode with this tokenizer") as caught:
        choose_engine(file, "gigatoken", [])
    assert caught.value.remedy
    assert caught.value.where
    assert caught.value.where.path == file


@pytest.mark.parametrize("wanted", ["auto", "gigatoken"])
def test_a_control_token_that_text_can_reach_is_refused(tmp_path: Path, wanted: str) -> None:
    def add(document: dict[str, Any]) -> None:
        number = len(document["model"]["vocab"])
        document["model"]["vocab"]["Hi"] = number
        document["model"]["ignore_merges"] = True
        document["added_tokens"].append({**document["added_tokens"][0], "content": "Hi", "id": number})

    file = changed(tmp_path, add)
    with pytest.raises(DataError, match="the text 'Hi' in the data would become a control token"):
        choose_engine(file, wanted, TEXTS)
    spec, _ = choose_engine(file, "hf", TEXTS)
    with pytest.raises(DataError, match="control token"):
        load_encoder(spec)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{\n{", ":2: .*not JSON"),
        (b"[]", "no 'model'"),
        (b'{"architectures": ["X"]}', "no 'model'"),
        (b'{"model": {"type": "BPE"}}', "no 'vocab'"),
        (b'{"model": {"type": "Neural", "vocab": {}}}', "of the type 'Neural'"),
        (b'{"model": {"vocab": {"a": "b"}}}', "not numbers"),
        (b'{"model": {"vocab": {}}, "added_tokens": [{"id": 1}]}', "content"),
        (b'{"model": {"vocab": {}}, "added_tokens": [1]}', "no tokenizer"),
        (b"\xff", "not JSON"),
    ],
)
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_definition(file)
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_definition(tmp_path / "tokenizer.json")


def test_a_file_that_the_library_refuses(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda document: document["model"]["merges"].append(["no", "such"]))
    with pytest.raises(DataError, match="cannot be loaded: "):
        encoder_of(tmp_path, HF)
    with pytest.raises(DataError, match="cannot be loaded: "):
        choose_engine(file, "auto", [])


def test_ids_and_sizes_are_known_without_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    definition = read_definition(tokenizer.json_file)
    for name in (END_OF_TEXT, "a", "no such token"):
        assert definition.token_id(name) == tokenizer.backend.token_to_id(name)
    assert definition.size() == 280
    file = changed(tmp_path, lambda document: document["model"]["vocab"].update({"far": 999}))
    assert read_definition(file).size() == 1000
    listed = tmp_path / "listed.json"
    listed.write_text('{"model": {"type": "Unigram", "vocab": [["a", 0.5], ["b", 0.5]]}}')
    assert (read_definition(listed).size(), read_definition(listed).token_id("b")) == (2, 1)


def test_markup_is_taken_apart_at_its_special_tokens() -> None:
    specials = {"<s>": 1, "<s>x": 2, "": 3}
    assert split_special("a<s>b<s>x<s><s", specials) == ["a", 1, "b", 2, 1, "<s"]
    assert split_special("", specials) == []
    assert split_special("<s>", {}) == ["<s>"]


@pytest.mark.parametrize("flags", [{}, {"lstrip": True}, {"rstrip": True}, {"single_word": True}])
def test_markup_is_taken_apart_as_tokenizers_does(tmp_path: Path, flags: dict[str, bool]) -> None:
    token = HfAddedToken("<x>", special=True, normalized=False, **flags)
    file = with_backend(tmp_path, lambda backend: backend.add_special_tokens([token]))
    backend = Tokenizer.from_file(str(file))
    specials = read_definition(file).specials()
    encoder = encoder_of(tmp_path, HF)
    for text in ("a <x> b", "a<x>b", "\u3000<x>\n\n<x>\x1c<x>.", "<x>", " <x>"):
        ids = encoder.encode_segments([specials.split(text)]).ids.tolist()
        assert ids == backend.encode(text, add_special_tokens=False).ids, text


def test_a_token_with_white_space_in_its_name() -> None:
    specials = Specials([AddedToken(" <x> ", 5, special=True, rstrip=True), AddedToken("<y>", 6, lstrip=True)])
    assert specials.split("a <x> \n <y>") == ["a", 5, 6]
