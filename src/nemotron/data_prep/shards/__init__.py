"""Shards: parts of a prepared data set, each made once, by one process, and found again by what it is made of."""

from nemotron.data_prep.checksums import FileRecord
from nemotron.data_prep.shards.crew import BACKENDS, Crew, is_ray, open_crew, preload, run_apart, usable_cpus
from nemotron.data_prep.shards.making import Busy, Made, Written, make_all, make_shard
from nemotron.data_prep.shards.receipt import Address, Problem, Receipt
from nemotron.data_prep.shards.store import ShardStore
from nemotron.data_prep.shards.trouble import WorkerDiedError

__all__ = [
    "BACKENDS",
    "Address",
    "Busy",
    "Crew",
    "FileRecord",
    "Made",
    "Problem",
    "Receipt",
    "ShardStore",
    "WorkerDiedError",
    "Written",
    "is_ray",
    "make_all",
    "make_shard",
    "open_crew",
    "preload",
    "run_apart",
    "usable_cpus",
]
