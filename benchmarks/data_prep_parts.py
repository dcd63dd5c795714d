"""The parts of the benchmark of data preparation: what each measures, and the promises that it holds it to."""

from __future__ import annotations

import importlib.util
import json
import time
from statistics import mean
from typing import TYPE_CHECKING

import orjson

from benchmarks import data_prep_chats as chats
from benchmarks import data_prep_corpus as text
from benchmarks import data_prep_datatrove as datatrove
from benchmarks.data_prep_bench import Verdict
from benchmarks.data_prep_processes import run
from benchmarks.data_prep_raw import FAST, GIGATOKEN, PLAIN
from benchmarks.data_prep_stages import blend_of, prepare, same_tokens, sft_config
from nemotron.data_prep.packing import pack
from nemotron.data_prep.tokenizer import load_tokenizer
from tests.nemotron.data_prep.packing.bound import MIXES, lognormal_mix, lower_bound_l2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.data_prep_bench import Bench
    from benchmarks.data_prep_processes import Ran
    from benchmarks.data_prep_stages import Prepared

HF = "hf"
PACK_SIZE = 4096
MEGA = 1e6

HF_SHARE = 0.9
GIGATOKEN_TIMES = 8.0
FIRST_SHARD_S = 1.0
WORKER_BYTES = 350 * 10**6
SFT_RATE = 2.0e6
SFT_HF_SHARE = 0.8
PACKING_S = 0.5
PACKING_EXCESS = 0.0005
RAY_S = 6.0
DATATROVE_TIMES = 5.0


def pretrain(bench: Bench) -> Iterator[Verdict]:
    """Compare pretraining data with what encodes it alone.

    Args:
        bench: What is shared.
    """
    fast = bench.raw(FAST, bench.corpus)
    with_hf = bench.pretrain(HF, bench.corpus)
    fast_rate = mean((fast.rate, bench.raw(FAST, bench.corpus, turn=1).rate))
    plain = bench.raw(PLAIN, bench.part(bench.sizes.plain))
    with_gigatoken = bench.pretrain(GIGATOKEN, bench.corpus)
    alone = bench.raw(GIGATOKEN, bench.corpus)
    share, times = with_hf.rate / fast_rate, with_gigatoken.rate / plain.rate
    yield Verdict(
        "pretrain with tokenizers, of encode_batch_fast alone",
        f">= {HF_SHARE}",
        f"{share:.2f}",
        share >= HF_SHARE,
        f"{rate(with_hf.rate)} of {rate(fast_rate)}, before and after; {cpu(with_hf.ran)}, alone {fast.cpu_s:.1f} s",
    )
    yield Verdict(
        "pretrain with gigatoken, times encode_batch alone",
        f">= {GIGATOKEN_TIMES:.0f}",
        f"{times:.1f}",
        times >= GIGATOKEN_TIMES,
        f"{rate(with_gigatoken.rate)} and {rate(plain.rate)}; alone {rate(alone.rate)}; {cpu(with_gigatoken.ran)}",
    )
    same = same_tokens(with_hf.folder, with_gigatoken.folder)
    documents = sum(1 for _ in text.read_json_lines(bench.corpus))
    whole = with_hf.tokens == fast.tokens + documents
    yield Verdict("both engines make the same files", "all", "all" if same else "not all", same, sized=False)
    remark = f"{with_hf.tokens:,}, of which {documents:,} end a document"
    yield Verdict(
        "all tokens of the library, and an end for each document",
        "all",
        "all" if whole else "not all",
        whole,
        remark,
        sized=False,
    )
    loads = {HF: fast.load_s, GIGATOKEN: fast.load_s + alone.load_s}
    for engine, prepared in ((HF, with_hf), (GIGATOKEN, with_gigatoken)):
        yield first_shard(engine, prepared, loads[engine])
    yield from memory_of(bench, {"tokenizers": with_hf, "gigatoken": with_gigatoken}, bench.sizes.corpus)


def first_shard(engine: str, prepared: Prepared, load_s: float) -> Verdict:
    """Judge the time until work on the first shard begins.

    Args:
        engine: The engine's name.
        prepared: The preparation.
        load_s: What loading the tokenizers takes that it loads.
    """
    seconds = prepared.first_shard_s
    beyond = None if seconds is None else seconds - load_s
    return Verdict(
        f"first shard begun with {engine}, beyond loading the tokenizer",
        f"<= {FIRST_SHARD_S:.0f} s",
        "never" if beyond is None else f"{beyond:.2f} s",
        beyond is not None and beyond <= FIRST_SHARD_S,
        f"{seconds or 0:.2f} s with it; {prepared.ran.appeared_cpu_s:.1f} s of processor time until then",
    )


def memory_of(bench: Bench, prepared: dict[str, Prepared], megabytes: int) -> Iterator[Verdict]:
    """Judge the memory of preparations, and keep their curves.

    Args:
        bench: What is shared.
        prepared: The preparations by their engines.
        megabytes: Size of their corpus.
    """
    for name, one in prepared.items():
        bench.curves[f"{name}, {megabytes} MB"] = one.ran.curve
        yield Verdict(
            f"memory (PSS) of all processes for each worker, {name}, {megabytes} MB",
            f"<= {WORKER_BYTES / MEGA:.0f} MB",
            f"{one.worker_bytes / MEGA:.0f} MB",
            one.worker_bytes <= WORKER_BYTES,
            f"{one.ran.peak_bytes / MEGA:.0f} MB of {one.workers} workers and what started them",
        )


def memory(bench: Bench) -> Iterator[Verdict]:
    """Prepare a corpus ten times as large.

    Args:
        bench: What is shared.
    """
    bench.say(f"writing {bench.sizes.large} MB of text")
    yield from memory_of(
        bench, {"gigatoken": bench.pretrain(GIGATOKEN, bench.part(bench.sizes.large))}, bench.sizes.large
    )


def beside_datatrove(bench: Bench) -> Iterator[Verdict]:
    """Prepare the same corpus with datatrove.

    Args:
        bench: What is shared.
    """
    ours = bench.pretrain(GIGATOKEN, bench.corpus)
    folder = bench.folder / "datatrove"
    text.split(bench.corpus, folder / "input", bench.workers)
    end = load_tokenizer(str(bench.tokenizer)).end_of_text
    vocabulary = json.loads((bench.tokenizer / "tokenizer.json").read_bytes())
    name = next(token["content"] for token in vocabulary["added_tokens"] if token["id"] == end)
    environment = datatrove.environment()
    bench.say(f"datatrove on {bench.corpus.name}")
    output = folder / f"output-{time.time_ns()}"
    command = datatrove.command(folder / "input", output, bench.tokenizer / "tokenizer.json", name, bench.workers)
    theirs = run(command, environment, cwd=folder)
    times = theirs.seconds / ours.ran.seconds
    remark = f"{ours.ran.seconds:.1f} s and {theirs.seconds:.1f} s; {theirs.peak_bytes / MEGA:.0f} MB; {cpu(theirs)}"
    yield Verdict(
        "pretrain, times as fast as datatrove",
        f">= {DATATROVE_TIMES:.0f}",
        f"{times:.1f}",
        times >= DATATROVE_TIMES,
        remark,
    )


def sft(bench: Bench) -> Iterator[Verdict]:
    """Prepare conversations with one worker.

    Args:
        bench: What is shared.
    """
    source = bench.folder / f"chats-{bench.sizes.conversations}.jsonl"
    chats.write_conversations(source, text.read_json_lines(bench.corpus), bench.sizes.conversations)
    turns = text.write_json_lines(bench.folder / f"turns-{bench.sizes.conversations}.jsonl", turns_of(source))
    blend = blend_of(bench.folder / "sft.json", source)
    made = {}
    for engine in (HF, GIGATOKEN):
        bench.say(f"data prep sft with {engine}")
        config = sft_config(blend, bench.tokenizer, engine, PACK_SIZE)
        made[engine] = prepare("sft", bench.folder / f"sft-{engine}", config, workers=1)
    alone = {engine: bench.raw(engine, turns, one_processor=True) for engine in (FAST, GIGATOKEN)}
    loads = {HF: alone[FAST].load_s, GIGATOKEN: alone[FAST].load_s + alone[GIGATOKEN].load_s}
    rates = {engine: one.tokens / (one.work_s - loads[engine]) for engine, one in made.items()}
    share = rates[HF] / alone[FAST].rate
    yield Verdict(
        "sft with gigatoken, one worker, beyond loading the tokenizer",
        f">= {rate(SFT_RATE)}",
        rate(rates[GIGATOKEN]),
        rates[GIGATOKEN] >= SFT_RATE,
        f"{made[GIGATOKEN].work_s:.1f} s with it; {cpu(made[GIGATOKEN].ran)}",
    )
    yield Verdict(
        "sft with tokenizers, of encode_batch_fast alone, one worker",
        f">= {SFT_HF_SHARE}",
        f"{share:.2f}",
        share >= SFT_HF_SHARE,
        f"{rate(rates[HF])} of {rate(alone[FAST].rate)}; {cpu(made[HF].ran)}, alone {alone[FAST].cpu_s:.1f} s",
    )


def turns_of(path: Path) -> Iterator[str]:
    """Give the texts of all turns of some conversations.

    Args:
        path: The conversations.
    """
    with path.open("rb") as stream:
        for line in stream:
            for message in orjson.loads(line)["messages"]:
                yield from (message[name] for name in ("reasoning_content", "content") if message.get(name))


def packing(bench: Bench) -> Iterator[Verdict]:
    """Pack sequences, and compare their rows with the fewest that there can be.

    Args:
        bench: What is shared.
    """
    for mix in MIXES:
        sizes = lognormal_mix(mix, bench.sizes.lengths, PACK_SIZE)
        begin, cpu_begin = time.perf_counter(), time.process_time()
        bins = pack(sizes, PACK_SIZE, 0)
        seconds, cpu_s = time.perf_counter() - begin, time.process_time() - cpu_begin
        fewest = lower_bound_l2(sizes, PACK_SIZE)
        excess = len(bins) / fewest - 1
        remark = f"{cpu_s:.2f} s of processor time"
        yield Verdict(
            f"{len(sizes):,} sequences packed, {mix}",
            f"<= {PACKING_S} s",
            f"{seconds:.2f} s",
            seconds <= PACKING_S,
            remark,
        )
        yield Verdict(
            f"rows above the lower bound L2, {mix}",
            f"<= {PACKING_EXCESS:.2%}",
            f"{excess:.4%}",
            excess <= PACKING_EXCESS,
            f"{len(bins):,} rows, at least {fewest:,}",
            sized=False,
        )


def ray(bench: Bench) -> Iterator[Verdict]:
    """Prepare with Ray and without.

    Args:
        bench: What is shared.
    """
    promise, limit = "what Ray adds to a preparation", f"<= {RAY_S:.0f} s"
    if importlib.util.find_spec("ray") is None:
        yield Verdict(promise, limit, "", None, "Ray is not installed")
        return
    corpus = bench.part(bench.sizes.ray)
    with_ray, without = (bench.pretrain(GIGATOKEN, corpus, backend) for backend in ("ray", "processes"))
    added = with_ray.ran.seconds - without.ran.seconds
    remark = f"{with_ray.ran.seconds:.1f} s and {without.ran.seconds:.1f} s; {cpu(with_ray.ran)}"
    yield Verdict(promise, limit, f"{added:.1f} s", added <= RAY_S, remark)
    same = same_tokens(with_ray.folder, without.folder)
    yield Verdict("Ray and processes make the same files", "all", "all" if same else "not all", same, sized=False)


def parquet(bench: Bench) -> Iterator[Verdict]:
    """Prepare the same text from Parquet.

    Args:
        bench: What is shared.
    """
    source = text.write_parquet(bench.corpus.with_suffix(".parquet"), bench.corpus)
    lines, table = bench.pretrain(GIGATOKEN, bench.corpus), bench.pretrain(GIGATOKEN, source)
    same = table.tokens == lines.tokens
    remark = f"{rate(table.rate)}, from JSON lines {rate(lines.rate)}; {cpu(table.ran)}"
    yield Verdict(
        "as many tokens from Parquet as from JSON lines", "all", f"{table.tokens:,}", same, remark, sized=False
    )


def rate(value: float) -> str:
    """Give tokens per second as text."""
    return f"{value / MEGA:.2f} Mtok/s"


def cpu(ran: Ran) -> str:
    """Give a command's time as text."""
    return f"{ran.seconds:.1f} s, {ran.cpu_s:.1f} s of processor time"


PARTS: dict[str, Callable[[Bench], Iterator[Verdict]]] = {
    "packing": packing,
    "pretrain": pretrain,
    "datatrove": beside_datatrove,
    "parquet": parquet,
    "ray": ray,
    "memory": memory,
    "sft": sft,
}
