"""Imported by the process that workers are forked from: what it has loaded, all of them share.

Loading a vocabulary of 131,072 tokens takes about a second and 200 MB, which would otherwise be each worker's own.
"""

from __future__ import annotations

import gc
import json
import os
from contextlib import suppress
from pathlib import Path

# The work itself, so that no worker imports it anew.
import nemotron.data_prep.chats
import nemotron.data_prep.documents
import nemotron.data_prep.packs  # noqa: F401 as said above
from nemotron.data_prep.encoding import EngineSpec, load_encoder
from nemotron.data_prep.encoding.definition import read_file
from nemotron.data_prep.encoding.engines import give_back_memory
from nemotron.data_prep.shards.crew import PRELOAD_VARIABLE

if os.environ.get(PRELOAD_VARIABLE):
    # What cannot be loaded is told by the worker that needs it; without this process there would be no worker.
    with suppress(Exception):
        tokenizer_json, engine = json.loads(os.environ[PRELOAD_VARIABLE])
        load_encoder(EngineSpec(tokenizer_json, engine, read_file(Path(tokenizer_json)).digest))
        give_back_memory()
    # The collector would write into every object of the shared pages when it first runs in a worker.
    gc.freeze()
