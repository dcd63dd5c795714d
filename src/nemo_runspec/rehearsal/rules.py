"""Checks of a request's body that collect everything that is wrong, by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Table = dict[str, Any]


class Issues:
    """What is wrong with a body: field -> why. A field has one reason, the first that was found."""

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self.found: dict[str, str] = {}

    def add(self, field: str, problem: str) -> None:
        """Say what is wrong with a field."""
        self.found.setdefault(field, problem)

    def extend(self, field: str, problems: Iterable[str]) -> None:
        """Say what is wrong with a field, as a list that may be empty."""
        text = "; ".join(problems)
        if text:
            self.add(field, text)

    def table(self, holder: Mapping[str, Any], key: str, field: str, *, required: bool = False) -> Table:
        """Give an object; an empty one where it is missing or none.

        Args:
            holder: The object that it stands in.
            key: Its name there.
            field: What to call it.
            required: Whether it must be there.
        """
        value = holder.get(key)
        if isinstance(value, dict):
            return value
        if value is not None or required:
            self.add(field, "must be an object")
        return {}

    def rows(self, holder: Mapping[str, Any], key: str, field: str) -> list[Table]:
        """Give a list of objects; what is no object in it is told and left out."""
        value = holder.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.add(field, "must be a list")
            return []
        for number, row in enumerate(value):
            if not isinstance(row, dict):
                self.add(f"{field}[{number}]", "must be an object")
        return [row for row in value if isinstance(row, dict)]

    def texts(self, holder: Mapping[str, Any], key: str, field: str) -> list[str]:
        """Give a list of texts; an empty one where it is missing or something else."""
        value = holder.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.add(field, "must be a list of texts")
            return []
        return value

    def text(self, holder: Mapping[str, Any], key: str, field: str, *, required: bool = False) -> str:
        """Give a text that is not empty; an empty one where it is missing or something else."""
        value = holder.get(key)
        if isinstance(value, str) and value and "\0" not in value:
            return value
        if value is not None or required:
            self.add(field, "must be a text that is not empty")
        return ""

    def whole(self, holder: Mapping[str, Any], key: str, field: str, *, least: int, default: int = 0) -> int:
        """Give a whole number.

        Args:
            holder: The object that it stands in.
            key: Its name there.
            field: What to call it.
            least: The smallest that is allowed.
            default: What stands for one that is missing or wrong.
        """
        value = holder.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(field, "must be a whole number")
        elif value < least:
            self.add(field, f"value must be no less than {least}")
        else:
            return value
        return default

    def flag(self, holder: Mapping[str, Any], key: str, field: str) -> bool:
        """Give true or false; false where it is missing or something else."""
        value = holder.get(key)
        if value is not None and not isinstance(value, bool):
            self.add(field, "must be true or false")
        return value is True

    def unknown(self, holder: Mapping[str, Any], known: Iterable[str], field: str) -> None:
        """Say which keys an object has that the platform does not know."""
        for key in sorted(set(holder) - set(known)):
            self.add(f"{field}.{key}" if field else key, "is not a field of this object")
