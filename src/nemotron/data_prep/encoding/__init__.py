"""Texts -> token ids: the trusted engine, the fast one, and the choice between them."""

from nemotron.data_prep.encoding.choice import choose_engine, first_difference
from nemotron.data_prep.encoding.definition import AddedToken, Definition, Specials, read_definition, split_special
from nemotron.data_prep.encoding.engines import Encoder, EngineSpec, forget, load_encoder
from nemotron.data_prep.encoding.ragged import Ragged, encode_rows, from_lengths

__all__ = [
    "AddedToken",
    "Definition",
    "Encoder",
    "EngineSpec",
    "Ragged",
    "Specials",
    "choose_engine",
    "encode_rows",
    "first_difference",
    "forget",
    "from_lengths",
    "load_encoder",
    "read_definition",
    "split_special",
]
