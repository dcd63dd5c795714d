"""What prepared data holds: token pairs, packed rows and records, read for people to look at."""

from __future__ import annotations

from nemotron.data_prep.inspect.places import inspect_path
from nemotron.data_prep.inspect.view import Passage, Piece, Table, View, Wanted

__all__ = ["Passage", "Piece", "Table", "View", "Wanted", "inspect_path"]
