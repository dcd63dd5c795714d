from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow.parquet as pq
import pytest

from benchmarks import data_prep, data_prep_chats, data_prep_corpus, data_prep_datatrove, data_prep_parts
from benchmarks.data_prep_bench import Bench, Verdict
from benchmarks.data_prep_processes import Ran, draw, run, sketch, tree
from benchmarks.data_prep_raw import ENGINES, measure
from benchmarks.data_prep_stages import Prepared
from nemotron.data_prep.binidx import read_pair
from nemotron.data_prep.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = Verdict("fast", ">= 1", "2.0", met=True)
BROKEN = Verdict("small", "<= 1 MB", "2 MB", met=False)
EXACT = Verdict("the same", "all", "not all", met=False, sized=False)
WORDS = "the data of a shard is read once and what it holds is written to one file for each split"
CURVE = ((0.2, 100_000_000, 1), (0.4, 400_000_000, 3), (0.6, 200_000_000, 3))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer((f"{WORDS} {number}" for number in range(500)), 600, folder)
    return folder


def _prepared(first_shard_s: float | None) -> Prepared:
    ran = Ran(3.0, 5.0, CURVE, 1.0, 0.5, "", 0.0)
    return Prepared(ran, Path("nowhere"), 3_000_000, 2.0, first_shard_s, 2)


def test_text_is_found_in_a_fixed_mix_each_once_and_unpacked(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, content in {"a.py": b"one", "b.md": b"two", "deep/c.txt": b"one", "d.png": b"three"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "e.gz").write_bytes(gzip.compress(b"four"))
    (tmp_path / "f.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "g.gz").write_bytes(b"no gzip")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.py")
    paths = data_prep_corpus.files([(tmp_path, None)])
    assert paths == data_prep_corpus.files([(tmp_path, None)])
    assert tmp_path / "link.txt" not in paths
    assert sorted(data_prep_corpus.documents(paths)) == ["four", "one", "two"]
    only = data_prep_corpus.files([(tmp_path, data_prep_corpus.PYTHON_SUFFIXES)])
    assert sorted(path.name for path in only) == ["a.py", "b.md", "c.txt", "f.txt"]


def test_documents_come_again_with_variations_until_there_are_enough() -> None:
    source = ["x" * 3000, "y" * 500]
    made = list(data_prep_corpus.repeated(20_000, lambda: source))
    assert made[:2] == source
    assert len(set(made)) == len(made) > 10
    assert made[2] == f"[1.0.0] {'x' * 2000}[1.0.1] {'x' * 1000}"
    size = sum(map(len, made))
    assert 20_000 <= size < 20_000 + 3100


def test_a_corpus_of_nothing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no documents"):
        list(data_prep_corpus.repeated(1, list))


def test_json_lines_parquet_and_parts_hold_the_same_documents(tmp_path: Path) -> None:
    texts = [f"{WORDS} é {number}\n" * (number % 7 + 1) for number in range(300)]
    lines = data_prep_corpus.write_json_lines(tmp_path / "text.jsonl", texts)
    assert list(data_prep_corpus.read_json_lines(lines)) == texts
    assert data_prep_corpus.write_json_lines(lines, ["other"]) == lines
    assert list(data_prep_corpus.read_json_lines(lines)) == texts
    table = data_prep_corpus.write_parquet(tmp_path / "text.parquet", lines)
    assert pq.read_table(table).column("text").to_pylist() == texts
    parts = data_prep_corpus.split(lines, tmp_path / "parts", 3)
    assert [text for part in parts for text in data_prep_corpus.read_json_lines(part)] == texts
    sizes = [part.stat().st_size for part in parts]
    assert max(sizes) < 1.2 * min(sizes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "text.jsonl", "text.parquet"]


def _texts() -> Iterator[str]:
    for number in range(400):
        yield f"{number} {WORDS}, and {WORDS}.\n\ntoo short\n\n<think>{number} {WORDS}, and {WORDS}, {WORDS}."


def test_conversations_reason_and_call_tools_as_often_as_they_should(tmp_path: Path) -> None:
    paths = [data_prep_chats.write_conversations(tmp_path / name, _texts(), 2000) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    rows = [orjson.loads(line) for line in paths[0].read_bytes().splitlines()]
    reasoning = [any(message.get("reasoning_content") for message in row["messages"]) for row in rows]
    calling = [any(message.get("tool_calls") for message in row["messages"]) for row in rows]
    assert sum(reasoning) / len(rows) == pytest.approx(0.30, abs=0.04)
    assert sum(calling) / len(rows) == pytest.approx(0.15, abs=0.03)
    assert calling == ["tools" in row for row in rows]
    assert "<think>" not in paths[0].read_text(encoding="utf-8")
    for row in rows:
        roles = [message["role"] for message in row["messages"] if message["role"] != "system"]
        assert roles[0] == "user"
        assert roles[-1] == "assistant"
        assert all(roles[place - 1] in {"user", "tool"} for place, role in enumerate(roles) if role == "assistant")


def test_conversations_need_paragraphs() -> None:
    with pytest.raises(RuntimeError, match="no paragraphs"):
        next(data_prep_chats.shuffled_without_end([], random.Random(0)))  # noqa: S311 - an order, not a secret


def test_all_libraries_make_the_same_number_of_tokens(tokenizer: Path) -> None:
    texts = [f"{WORDS} {number} <|im_end|>" for number in range(50)]
    found = [measure(engine, tokenizer / "tokenizer.json", texts, parallel=False) for engine in ENGINES]
    assert found[0].tokens > 50 * 10
    assert len({one.tokens for one in found}) == 1
    assert all(one.rate == one.tokens / one.seconds > 0 for one in found)


def test_a_command_is_watched_with_all_below_it(tmp_path: Path) -> None:
    child = "held = bytearray(80_000_000); import os, time; os.mkdir('seen'); open('seen/file', 'w'); time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('end')"
    ran = run([sys.executable, "-c", code], {}, cwd=tmp_path, watched=tmp_path / "seen")
    assert ran.output == "end\n"
    assert ran.peak_bytes > 80_000_000
    assert max(processes for _, _, processes in ran.curve) == 2
    assert ran.appeared_s is not None
    assert 0 < ran.appeared_s < ran.seconds - 0.5
    assert ran.cpu_s > 0


def test_a_command_that_fails_is_an_error_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)status 3.*no room"):
        run([sys.executable, "-c", "print('no room'); raise SystemExit(3)"], {}, cwd=tmp_path)
    assert tree(2**22 + 1) == {}


def test_memory_is_drawn(tmp_path: Path) -> None:
    assert sketch(CURVE) == "|:@=| 400 MB at most in 1 s"
    assert sketch(()) == ""
    draw({"one": CURVE}, tmp_path / "memory.png", 700_000_000)
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("seconds", "met"), [(1.9, True), (2.1, False), (None, False)])
def test_the_first_shard_is_judged_beyond_loading(seconds: float | None, met: bool) -> None:  # noqa: FBT001 - one of the cases
    assert data_prep_parts.first_shard("hf", _prepared(seconds), load_s=1.0).met is met


def test_memory_is_shared_out_to_the_workers(tmp_path: Path, tokenizer: Path) -> None:
    bench = Bench(tmp_path, data_prep.QUICK, 2, tokenizer, say=print)
    (verdict,) = data_prep_parts.memory_of(bench, {"hf": _prepared(1.0)}, 100)
    assert (verdict.measured, verdict.met) == ("200 MB", True)
    assert bench.curves == {"hf, 100 MB": CURVE}


def test_small_sizes_judge_only_what_does_not_depend_on_them() -> None:
    assert [verdict.unjudged().word for verdict in (KEPT, BROKEN, EXACT)] == ["-", "-", "FAIL"]
    assert [verdict.word for verdict in (KEPT, BROKEN, EXACT)] == ["pass", "FAIL", "FAIL"]


@pytest.mark.parametrize(
    ("found", "quick", "code"),
    [([KEPT], [], 0), ([KEPT, BROKEN], [], 1), ([KEPT, BROKEN], ["--quick"], 0), ([EXACT], ["--quick"], 1)],
)
def test_a_promise_that_is_missed_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    found: list[Verdict],
    quick: list[str],
    code: int,
) -> None:
    monkeypatch.setitem(data_prep_parts.PARTS, "packing", lambda _bench: iter(found))
    target = tmp_path / "verdicts.json"
    assert data_prep.main(["--only", "packing", "--json", str(target), *quick]) == code
    printed = capsys.readouterr().out
    assert all(verdict.promise in printed and verdict.limit in printed for verdict in found)
    assert [row["promise"] for row in json.loads(target.read_text())] == [verdict.promise for verdict in found]


def test_a_part_that_cannot_be_measured_keeps_no_promise_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_bench: Bench) -> Iterator[Verdict]:
        yield KEPT
        message = "the stage failed:\nno room is left\n"
        raise RuntimeError(message)

    monkeypatch.setitem(data_prep_parts.PARTS, "packing", broken)
    monkeypatch.setitem(data_prep_parts.PARTS, "ray", lambda _bench: iter([EXACT]))
    assert data_prep.main(["--quick", "--only", "packing", "ray"]) == 1
    printed = capsys.readouterr().out
    assert "could not be measured  FAIL  no room is left" in printed
    assert printed.index(KEPT.promise) < printed.index("no room") < printed.index(EXACT.promise)


def test_packing_is_near_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert data_prep.main(["--quick", "--only", "packing"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("rows above the lower bound" in line and "pass" in line for line in lines) == 2
    assert sum("100,000 sequences packed" in line for line in lines) == 2


@pytest.mark.slow
def test_preparations_are_measured_and_exact(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "verdicts.json"
    arguments = ["--tokenizer", str(tokenizer), "--curve", str(tmp_path / "memory.png"), "--json", str(target)]
    code = data_prep.main(["--quick", "--only", "pretrain", "parquet", "memory", "sft", *arguments])
    printed = capsys.readouterr().out
    verdicts = [Verdict(**row) for row in json.loads(target.read_text())]
    assert code == 0, printed
    assert [verdict.met for verdict in verdicts if not verdict.sized] == [True] * 3
    assert [verdict.met for verdict in verdicts if verdict.sized] == [None] * 9
    assert (tmp_path / "memory.png").is_file()
    assert "memory of all processes, gigatoken, 4 MB" in printed


@pytest.mark.slow
@pytest.mark.contract
def test_datatrove_makes_the_same_tokens(tokenizer: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path, data_prep.QUICK, 2, tokenizer, say=print)
    texts = [f"{WORDS} {number}" for number in range(200)]
    data_prep_corpus.write_json_lines(tmp_path / "corpus-2.jsonl", texts)
    (verdict,) = data_prep_parts.beside_datatrove(bench)
    assert verdict.met is not None
    (output,) = (tmp_path / "datatrove").glob("output-*")
    theirs = [read_pair(path.with_suffix("")) for path in sorted((output / "tokens").glob("*.bin"))]
    ours = bench.pretrain("gigatoken", bench.corpus)
    assert sum(len(lengths) for _, lengths in theirs) == len(texts)
    assert sum(len(tokens) for tokens, _ in theirs) == ours.tokens
    assert data_prep_datatrove.HOME.is_dir()
