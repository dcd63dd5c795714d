from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nemo_runspec.errors import DataError
from nemotron.data_prep.inspect import View, Wanted, inspect_path
from nemotron.data_prep.inspect.decoding import Decoder, find_decoder
from nemotron.data_prep.tokenizer import load_tokenizer
from tests.nemotron.data_prep.inspect.prepared import packed_data, pretrain_data, rl_data, write_pair
from tests.nemotron.data_prep.small import encode_text, small_tokenizer


def look(path: Path | str, rows: int = 2, row: int | None = None, tokenizer: str | None = None) -> View:
    return inspect_path(str(path), Wanted(rows, row), tokenizer)


def texts(view: View) -> list[str]:
    return ["".join(piece.text * piece.times for piece in passage.pieces) for passage in view.passages]


@pytest.mark.parametrize("name", ["train/code", "train/code.bin", "train/code.idx"])
def test_a_pair_by_its_prefix_or_one_of_its_files(tmp_path: Path, name: str) -> None:
    tokenizer = pretrain_data(tmp_path)
    view = look(tmp_path / name)
    assert (view.kind, view.path) == ("token pair", tmp_path / "train/code")
    assert view.facts["sequences"] == 2
    assert view.facts["dtype"] == "uint16"
    assert view.facts["tokens"] == (tmp_path / "train/code.bin").stat().st_size // 2
    lengths = view.facts["sequence_length"]
    assert isinstance(lengths, dict)
    assert lengths["max"] == 501
    assert view.facts["tokenizer"] == str(tmp_path / "tokenizer")
    assert view.facts["vocabulary"] == tokenizer.vocabulary
    assert texts(view)[0] == "def add(a, b):\n<|endoftext|>"
    assert [piece.special for piece in view.passages[0].pieces] == [False, True]
    assert view.passages[1].left_out == "301 more tokens (--row 1 shows all)"


def test_one_row_is_shown_whole(tmp_path: Path) -> None:
    pretrain_data(tmp_path)
    for row in (1, -1):
        view = look(tmp_path / "train/code", row=row)
        assert texts(view) == ["x" * 500 + "<|endoftext|>"]
        assert view.passages[0].left_out == ""
    for row in (2, -3):
        with pytest.raises(DataError, match=f"there is no row {row}: it holds 2"):
            look(tmp_path / "train/code", row=row)


def test_text_that_looks_like_a_special_token_is_text(tmp_path: Path) -> None:
    pretrain_data(tmp_path)
    pieces = look(tmp_path / "train/web").passages[0].pieces
    assert [(piece.text, piece.special) for piece in pieces] == [
        ("<|endoftext|> \x1b[31m漢", False),
        ("<|endoftext|>", True),
    ]


@pytest.mark.parametrize("place", ["", "data", "data/blend.json"])
def test_a_blend_in_an_artifact_s_folder(tmp_path: Path, place: str) -> None:
    pretrain_data(tmp_path / "data")
    view = look(tmp_path / place)
    assert view.kind == "blend of token pairs"
    train, valid, test = view.tables
    code = tmp_path / "data/train/code"
    size = (tmp_path / "data/train/code.bin").stat().st_size // 2
    assert train.rows[0] == (0.75, 75.0, 2, size, str(code))
    assert [row[0] for row in train.rows] == [0.75, 0.25]
    assert [row[2] for row in valid.rows] == [1]
    assert test.rows == ()
    assert view.facts["test"] == "none"
    assert texts(view)[0].startswith("def add")
    assert view.notes == (f"the rows are those of {code}",)


def test_a_blend_with_missing_and_damaged_pairs(tmp_path: Path) -> None:
    pretrain_data(tmp_path)
    (tmp_path / "train/code.bin").write_bytes(b"\0" * 10)
    (tmp_path / "valid/code.idx").unlink()
    view = look(tmp_path)
    assert view.problems == (
        f"{tmp_path}/train/code.bin: the token file is not as long as its index says",
        f"{tmp_path}/valid/code.idx: the token file does not exist",
    )
    assert [row[2] for row in view.tables[0].rows] == [None, 1]
    assert texts(view)[0].startswith("<|endoftext|> ")


def test_blends_of_other_writers(tmp_path: Path) -> None:
    write_pair(tmp_path / "a", [[5, 6]])
    write_pair(tmp_path / "b", [[7]])
    blend = tmp_path / "blend.json"
    blend.write_text(json.dumps({"train": "3 a 1 b", "valid": ["b"], "test": None}), encoding="utf-8")
    view = look(blend)
    assert [row[:2] for row in view.tables[0].rows] == [(3.0, 75.0), (1.0, 25.0)]
    assert [row[:3] for row in view.tables[1].rows] == [(1.0, 100.0, 1)]
    assert texts(view) == ["5 6"]
    blend.write_text(json.dumps({"train": ["x", "a"]}), encoding="utf-8")
    with pytest.raises(DataError, match="the split 'train' is no list of weights and prefixes"):
        look(blend)


def test_a_folder_of_pairs(tmp_path: Path) -> None:
    pretrain_data(tmp_path)
    view = look(tmp_path / "train")
    assert view.kind == "folder of token pairs"
    assert [Path(str(row[-1])).name for row in view.tables[0].rows] == ["code", "web"]


def test_packed_rows_with_their_mask(tmp_path: Path) -> None:
    packed_data(tmp_path)
    view = look(tmp_path / "splits/train", row=0)
    assert (view.kind, view.masked) == ("packed rows", True)
    tables = [pq.read_table(file).to_pydict() for file in sorted((tmp_path / "splits/train").iterdir())]
    ids, masks, starts = ([row for table in tables for row in table[name]] for name in tables[0])
    assert view.facts["rows"] == len(ids)
    assert view.facts["tokens"] == sum(map(len, ids))
    assert view.facts["sequences"] == sum(map(len, starts))
    assert view.facts["trained_percent"] == round(100 * sum(map(sum, masks)) / sum(map(len, masks)), 1)
    assert view.facts["row_length"] == {**_spread(ids), "mean": round(float(np.mean([len(row) for row in ids])), 1)}
    assert len(view.passages) == len(starts[0])
    assert [passage.facts["start"] for passage in view.passages] == starts[0]
    for passage, text in zip(view.passages, texts(view), strict=True):
        assert text.startswith("<|im_start|>user\nAdd ")
        trained = "".join(piece.text for piece in passage.pieces if piece.trained)
        assert trained == text[text.index("assistant\n") + len("assistant\n") :].replace("<|endoftext|>", "")
        assert trained.endswith("<|im_end|>\n")


def _spread(rows: list[list[int]]) -> dict[str, int]:
    shares = {"min": 0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}
    lengths = sorted(map(len, rows))
    return {name: lengths[int(share * (len(lengths) - 1))] for name, share in shares.items()}


def test_rows_are_counted_through_the_files(tmp_path: Path) -> None:
    packed_data(tmp_path)
    folder = tmp_path / "splits/train"
    first = pq.read_metadata(folder / "000000.parquet").num_rows
    assert texts(look(folder, row=first)) == texts(look(folder / "000001.parquet", row=0))
    assert texts(look(folder, row=-1)) == texts(look(folder / "000001.parquet", row=-1))


def test_the_beginning_of_long_rows(tmp_path: Path) -> None:
    packed_data(tmp_path)
    folder = tmp_path / "splits/train"
    sequences = [len(row) for file in sorted(folder.iterdir()) for row in pq.read_table(file)["seq_start_id"]]
    view = look(folder, rows=len(sequences))
    assert max(sequences) > 4
    shown = [[passage for passage in view.passages if passage.facts["row"] == row] for row in range(len(sequences))]
    assert [len(passages) for passages in shown] == [min(4, count) for count in sequences]
    said = [passages[-1].left_out for passages in shown]
    row = sequences.index(max(sequences))
    assert said[row] == f"{max(sequences) - 4} more sequences in this row (--row {row} shows all)"
    assert len(look(folder, row=row).passages) == max(sequences)


def test_figures_of_much_data_are_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed_data(tmp_path)
    monkeypatch.setattr("nemotron.data_prep.inspect.packed._GROUPS_READ", 1)
    view = look(tmp_path / "splits/train", rows=0)
    rows = pq.read_metadata(tmp_path / "splits/train/000000.parquet").num_rows
    assert any(f"are of {rows} rows spread over the data" in note for note in view.notes)


def test_a_folder_with_splits(tmp_path: Path) -> None:
    packed_data(tmp_path / "data")
    view = look(tmp_path)
    (table,) = view.tables
    assert [row[:2] for row in table.rows] == [("train", 2), ("valid", 1)]
    assert texts(view) == texts(look(tmp_path / "data/splits/train"))
    assert texts(look(tmp_path / "data/splits")) == texts(view)


@pytest.mark.parametrize("place", ["", "manifest.json"])
def test_records_by_split(tmp_path: Path, place: str) -> None:
    rl_data(tmp_path)
    view = look(tmp_path / place, rows=1)
    assert view.kind == "records by split"
    assert [(row[0], row[2]) for row in view.tables[0].rows] == [("train", 12), ("val", 3)]
    assert view.facts == {"mode": "local_split", "train_rows": 12}
    assert view.passages[0].facts["record"] == {"prompt": "Say 0", "n": 0}
    (tmp_path / "train/train.jsonl").unlink()
    gone = look(tmp_path / place, rows=1)
    assert gone.problems == (f"{tmp_path}/train/train.jsonl: the manifest names it, and it does not exist",)
    assert gone.notes == ("the records are those of the split 'val'",)


def test_records_of_a_file_or_a_folder(tmp_path: Path) -> None:
    rl_data(tmp_path)
    view = look(tmp_path / "train", row=-1)
    assert view.facts["records"] == 12
    assert view.tables[0].rows == (("prompt", 100.0, "text"), ("n", 100.0, "number"), ("note", 50.0, "null"))
    assert view.passages[0].title == "row 11: train.jsonl:12"
    file = tmp_path / "train/train.jsonl"
    assert look(file, row=11).passages == view.passages
    file.write_text('{"text": "' + "a" * 2000 + '"}', encoding="utf-8")
    (passage,) = look(file).passages
    assert passage.left_out.endswith("more characters (--row 0 shows all)")


@pytest.mark.parametrize(("line", "said"), [("{", "the line is not JSON"), ("[1]", "a JSON list, not an object")])
def test_a_broken_record(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"a": 1}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{said}"):
        look(tmp_path / "a.jsonl")


def test_an_artifact_s_manifest_leads_to_its_files(tmp_path: Path) -> None:
    pretrain_data(tmp_path / "somewhere")
    store = tmp_path / "store/v1"
    store.mkdir(parents=True)
    manifest = {"path": str(tmp_path / "somewhere"), "producer": {}, "name": "data"}
    (store / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert look(store).kind == look(store / "manifest.json").kind == "blend of token pairs"
    shutil.rmtree(tmp_path / "somewhere")
    with pytest.raises(DataError, match=r"the artifact's files are in .*somewhere, which is no folder here"):
        look(store)


def test_paths_that_hold_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder, and no token pair"):
        look(tmp_path / "gone")
    with pytest.raises(DataError, match="the folder holds no prepared data"):
        look(tmp_path)
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"notes\.txt: this is no prepared data"):
        look(tmp_path / "notes.txt")
    file = tmp_path / "blend.json"
    for content in ({"datasets": [{"path": "x"}]}, {"train": [{"path": "x"}]}):
        file.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(DataError, match="this names data to prepare, and holds none that is prepared"):
            look(file)
    file.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"blend\.json:1: the file is not JSON"):
        look(file)
    file.unlink()
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: .*this one lacks input_ids"):
        look(tmp_path)
    write_pair(tmp_path / "pair", [[1, 2]])
    (tmp_path / "pair.idx").write_bytes(b"MMIDIDX")
    with pytest.raises(DataError, match=r"pair\.idx: this is no Megatron index"):
        look(tmp_path / "pair")


def test_without_a_tokenizer_there_are_ids(tmp_path: Path) -> None:
    packed_data(tmp_path)
    tokenizer = tmp_path / "elsewhere"
    (tmp_path / "tokenizer").rename(tokenizer)
    view = look(tmp_path / "splits/train", row=0)
    assert view.facts["tokenizer"] is None
    assert view.notes[0].startswith("no tokenizer is beside the data, so these are token ids.")
    ids = view.passages[0].facts["ids"]
    assert isinstance(ids, list)
    assert texts(view)[0] == " ".join(map(str, ids))
    assert "Add" in texts(look(tmp_path / "splits/train", row=0, tokenizer=str(tokenizer)))[0]


def test_tokenizers_by_digest(tmp_path: Path) -> None:
    write_pair(tmp_path / "data/a", [[70, 71]])
    small_tokenizer(tmp_path / "tokenizers/first")
    assert look(tmp_path / "data/a").facts["tokenizer"] == str(tmp_path / "tokenizers/first")
    shutil.copytree(tmp_path / "tokenizers/first", tmp_path / "tokenizers/second")
    view = look(tmp_path / "data/a")
    assert view.facts["tokenizer"] is None
    assert view.notes[0].startswith("2 tokenizers are beside the data")
    (tmp_path / "data/tokenizer").mkdir()
    (tmp_path / "data/tokenizer/tokenizer.json").write_text("{", encoding="utf-8")
    assert "the tokenizer beside the data cannot be loaded" in look(tmp_path / "data/a").notes[0]


def test_another_tokenizer_than_the_data_s(tmp_path: Path) -> None:
    write_pair(tmp_path / "a", [[70, 5000]])
    small_tokenizer(tmp_path / "tokenizer")
    with pytest.raises(DataError, match="token ids from 70 to 5000, and the tokenizer not all of them"):
        look(tmp_path / "a")
    with pytest.raises(DataError, match=r"no tokenizer\.json\n.*--tokenizer DIR"):
        look(tmp_path / "a", tokenizer=str(tmp_path))


def test_a_decoder_that_drops_the_space_before_a_text(tmp_path: Path) -> None:
    """Sentence-piece vocabularies mark a word's beginning, and their decoders take the first mark away."""
    backend = Tokenizer(models.WordLevel({"▁one": 0, "▁two": 1, "▁three": 2, "</s>": 3}, unk_token="</s>"))  # noqa: S106 not a password
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["</s>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}', encoding="utf-8")
    pieces = Decoder(load_tokenizer(str(tmp_path))).pieces(
        np.array([0, 1, 2, 3, 3]), np.array([False, True, False, False, False])
    )
    assert [(piece.text, piece.times) for piece in pieces] == [("one", 1), (" two", 1), (" three", 1), ("</s>", 2)]


def test_a_character_that_is_cut_is_left_out(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    ids = np.array(encode_text(tokenizer, "漢"))
    assert len(ids) > 1
    decoder, notes = find_decoder(None, [tmp_path / "data"])
    assert notes == ()
    assert decoder.pieces(ids)[0].text == "漢"
    assert decoder.pieces(ids[:-1], cut=True)[0].text == ""
    assert decoder.pieces(ids[:0]) == ()
