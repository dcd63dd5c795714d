"""Tokenizers as folders that `AutoTokenizer` loads, used here through the `tokenizers` library alone."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
_SPECIAL = (END_OF_TEXT, PAD, START_OF_TURN, END_OF_TURN)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
# Encoded texts are held while they are written, so a call gets a few MB of text, not the whole corpus.
_BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer, and what its folder says about it.

    Args:
        folder: Where it was loaded from.
        backend: The tokenizer itself.
        end_of_text: Id of the token that ends a document.
        chat_template: Jinja text that renders a conversation, or None where the folder has none.
        named_tokens: The special tokens that the folder gives a name, such as `bos_token`.
    """

    folder: Path
    backend: Tokenizer
    end_of_text: int
    chat_template: str | None
    named_tokens: Mapping[str, str]

    @property
    def vocabulary(self) -> int:
        """Number of token ids, special ones included."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def encode_texts(self, texts: Iterable[str]) -> Iterator[npt.NDArray[np.int32]]:
        """Encode texts in order.

        A special token's name inside a text is encoded as the characters it is made of: data must not be able to
        end its own document or turn.

        Args:
            texts: Any number of texts.

        Yields:
            The token ids of each, shape (tokens,).
        """
        self.backend.encode_special_tokens = True
        for batch in _batches(texts):
            for encoding in self.backend.encode_batch_fast(batch, add_special_tokens=False):
                yield np.asarray(encoding.ids, dtype=np.int32)

    def encode_markup(self, text: str) -> list[int]:
        """Encode a piece of a chat template, in which special tokens are meant as such."""
        self.backend.encode_special_tokens = False
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def special_names(self) -> tuple[str, ...]:
        """List the texts that stand for a special token in markup, longest first."""
        tokens = self.backend.get_added_tokens_decoder().values()
        return tuple(sorted({token.content for token in tokens if token.special}, key=lambda name: (-len(name), name)))

    def copy_to(self, folder: Path) -> None:
        """Copy the tokenizer's files into another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)


def train_tokenizer(texts: Iterable[str], vocabulary: int, folder: Path) -> TextTokenizer:
    """Train a byte-level BPE tokenizer and save it.

    Args:
        texts: What it learns from.
        vocabulary: Number of token ids to reach, special ones included.
        folder: Where its files go.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return load_tokenizer(str(folder))


def load_tokenizer(path: str) -> TextTokenizer:
    """Load a tokenizer.

    Args:
        path: A folder with `tokenizer.json` and `tokenizer_config.json`, or a Hugging Face Hub id.

    Raises:
        DataError: There is none, or it names no token that ends a document.
    """
    folder = local_path(path)
    if not os.path.isdir(folder):  # noqa: PTH112 Path.is_dir raises where the path is too long
        folder = _download(path)
    file = folder / "tokenizer.json"
    if not file.is_file():
        message = "the folder holds no tokenizer.json"
        raise DataError(message, where=Location(folder), remedy="Correct the config entry 'tokenizer.path'.")
    settings = _read_settings(folder / "tokenizer_config.json")
    backend = Tokenizer.from_file(str(file))
    named = _named_tokens(settings)
    end_of_text = backend.token_to_id(named["eos_token"]) if "eos_token" in named else None
    if end_of_text is None:
        message = "the tokenizer names no 'eos_token' of its vocabulary"
        raise DataError(message, where=Location(folder / "tokenizer_config.json"), remedy="Add 'eos_token'.")
    return TextTokenizer(folder, backend, end_of_text, _chat_template(folder, settings), named)


def _named_tokens(settings: dict[str, Any]) -> dict[str, str]:
    values = {key: value for key, value in settings.items() if key.endswith("_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in values.items()}
    # `add_bos_token` and the like are switches.
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    return template if isinstance(template, str) else None


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        message = f"the tokenizer's settings are not JSON: {error.msg}"
        raise DataError(message, where=Location(path, error.lineno), remedy="Take another tokenizer.") from error
    return settings if isinstance(settings, dict) else {}


def _download(name: str) -> Path:
    # Only a tokenizer from the Hub needs the Hub's client, which takes its time to import.
    from huggingface_hub import snapshot_download  # noqa: PLC0415 as said above
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415 as above

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        message = f"the tokenizer '{name}' is neither a folder nor a model on the Hugging Face Hub that can be reached"
        raise DataError(message, remedy="Correct the config entry 'tokenizer.path'.") from error


def _batches(texts: Iterable[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
