"""Taking typed values out of a parsed JSON document, with errors that name the key."""

from __future__ import annotations

from typing import TypeVar, cast

from nemo_runspec.errors import ArtifactError, guess

T = TypeVar("T")
DAMAGED = "It is damaged, or was not written by nemotron: move it away."


class Reader:
    """One JSON object, of which every key has to be taken exactly once.

    Args:
        document: What the JSON parser gave.
        prefix: The keys that lead to this object, such as `producer.`.

    Raises:
        ArtifactError: The document is not an object.
    """

    def __init__(self, document: object, prefix: str = "") -> None:
        """Keep a copy, from which values are taken."""
        if not isinstance(document, dict):
            message = f"{prefix.rstrip('.') or 'the document'} is not a JSON object"
            raise ArtifactError(message, remedy=DAMAGED)
        self._values = {str(key): value for key, value in document.items()}
        self._prefix = prefix
        self._taken: list[str] = []

    def take(self, key: str, kind: type[T]) -> T:
        """Take a value of exactly this type.

        Raises:
            ArtifactError: The key is missing, or its value is of another type.
        """
        self._taken.append(key)
        if key not in self._values:
            message = f"'{self._prefix}{key}' is missing"
            raise ArtifactError(message, remedy=DAMAGED)
        value = self._values.pop(key)
        # bool is an int to isinstance, and true is no version number.
        if type(value) is not kind:
            message = f"'{self._prefix}{key}' is {value!r}, which is not of type {kind.__name__}"
            raise ArtifactError(message, remedy=DAMAGED)
        return value

    def table(self, key: str) -> dict[str, object]:
        """Take an object of any values."""
        return cast("dict[str, object]", self.take(key, dict))

    def text_table(self, key: str) -> dict[str, str]:
        """Take an object whose values are all text."""
        inner = Reader(self.take(key, dict), f"{self._prefix}{key}.")
        return {name: inner.take(name, str) for name in list(inner._values)}

    def text_list(self, key: str) -> tuple[str, ...]:
        """Take a list of texts."""
        items: list[object] = self.take(key, list)
        inner = Reader({str(number): item for number, item in enumerate(items)}, f"{self._prefix}{key}.")
        return tuple(inner.take(str(number), str) for number in range(len(items)))

    def nested(self, key: str) -> Reader:
        """Take an object as a reader of its own."""
        return Reader(self.take(key, dict), f"{self._prefix}{key}.")

    def each(self, key: str) -> list[Reader]:
        """Take a list of objects, as readers."""
        items: list[object] = self.take(key, list)
        return [Reader(item, f"{self._prefix}{key}.{number}.") for number, item in enumerate(items)]

    def finish(self) -> None:
        """Refuse keys that nobody took.

        Raises:
            ArtifactError: There is one; the error names the nearest known key.
        """
        for key in self._values:
            message = f"unknown key '{self._prefix}{key}'"
            raise ArtifactError(message, remedy=guess(key, self._taken, what="keys"))
