"""Tokenizers as folders that `AutoTokenizer` loads, used here through the `tokenizers` library alone."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.encoding.definition import Specials, read_definition
from nemotron.data_prep.encoding.engines import HF, EngineSpec, HfEncoder, load_encoder
from nemotron.data_prep.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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

TOKENIZER_FILE = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
_FILES = (TOKENIZER_FILE, _SETTINGS, "chat_template.jinja", "special_tokens_map.json")


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer's files and what they say, without the tokenizer itself, which takes a second to build.

    Args:
        folder: Where its files are.
        digest: SHA-256 of its `tokenizer.json`, in hexadecimal: the same digest, the same ids.
        revision: The commit of a tokenizer from the Hub, or None.
        vocabulary: Number of token ids, special ones included.
        end_of_text: Id of the token that ends a document.
        specials: Ids of the special tokens by name.
        chat_template: Jinja text that renders a conversation, or None where the folder has none.
        named_tokens: The special tokens that the folder gives a name, such as `bos_token`.
    """

    folder: Path
    digest: str
    revision: str | None
    vocabulary: int
    end_of_text: int
    specials: Specials
    chat_template: str | None
    named_tokens: Mapping[str, str]

    @property
    def json_file(self) -> Path:
        """Its `tokenizer.json`."""
        return self.folder / TOKENIZER_FILE

    @property
    def backend(self) -> Tokenizer:
        """The tokenizer itself, built on first use."""
        encoder = load_encoder(EngineSpec(str(self.json_file), HF, self.digest))
        assert isinstance(encoder, HfEncoder)  # noqa: S101 for the type checker: the engine says so
        return encoder.backend

    def copy_to(self, folder: Path) -> None:
        """Copy the tokenizer's files into another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in self._files():
            shutil.copyfile(file, folder / file.name)

    def files_digest(self) -> str:
        """Give the SHA-256 of all that `copy_to` copies, names and contents, in hexadecimal."""
        contents = [(file.name, sha256(file.read_bytes()).hexdigest()) for file in self._files()]
        return sha256(json.dumps(contents).encode()).hexdigest()

    def copied_below(self, folder: Path) -> TextTokenizer:
        """Give the same tokenizer from a copy, which is made unless it is there.

        Args:
            folder: Where copies are, each in a folder of its own that is named by what it holds.

        Raises:
            DataError: The copy cannot be used.
        """
        copy = folder / self.files_digest()[:16]
        if not copy.is_dir():
            partial = folder / f".{copy.name}.{uuid4().hex}"
            self.copy_to(partial)
            try:
                partial.rename(copy)
            except OSError:
                shutil.rmtree(partial)
                # Another process may have been quicker.
                if not copy.is_dir():
                    raise
        return replace(load_tokenizer(str(copy)), revision=self.revision)

    def _files(self) -> list[Path]:
        return [self.folder / name for name in _FILES if (self.folder / name).is_file()]


def train_tokenizer(texts: Iterable[str], vocabulary: int, folder: Path) -> TextTokenizer:
    """Train a byte-level BPE tokenizer and save it. The same texts in the same order give the same bytes.

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
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    folder.mkdir(parents=True, exist_ok=True)
    # The settings come last: where they are, all is there, whole.
    for name, text in (
        (TOKENIZER_FILE, backend.to_str(pretty=True)),
        (_SETTINGS, json.dumps(settings, indent=2) + "\n"),
    ):
        partial = folder / f".{name}.{uuid4().hex}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    return load_tokenizer(str(folder))


def load_tokenizer(path: str) -> TextTokenizer:
    """Read what a tokenizer's files say.

    Args:
        path: A folder with `tokenizer.json` and `tokenizer_config.json`, or a Hugging Face Hub id, which may end in
            `@` and a branch, tag or commit.

    Raises:
        DataError: There is none, it cannot be used, or it names no special token that ends a document.
    """
    folder = local_path(path)
    revision = None
    if not os.path.isdir(folder):  # noqa: PTH112 Path.is_dir raises where the path is too long
        folder = _download(path)
        # The Hub's client keeps each commit in a folder of that name.
        revision = folder.name
    file = folder / TOKENIZER_FILE
    if not file.is_file():
        message = "the folder holds no tokenizer.json"
        raise DataError(message, where=Location(folder), remedy="Correct the config entry 'tokenizer.path'.")
    settings = {**_read_settings(folder / "special_tokens_map.json"), **_read_settings(folder / _SETTINGS)}
    definition = read_definition(file)
    named = _named_tokens(settings)
    end_of_text = definition.token_id(named["eos_token"]) if "eos_token" in named else None
    if end_of_text is None:
        message = "the tokenizer names no 'eos_token' of its vocabulary"
        raise DataError(message, where=Location(folder / _SETTINGS), remedy="Add 'eos_token'.")
    specials = definition.specials()
    if end_of_text not in specials.values():
        # Anything else is found in texts, which would then end in their middle.
        message = f"the token that ends a document, '{named['eos_token']}', is not special: a text could hold it"
        remedy = "Give it \"special\": true in the 'added_tokens' of this file, or name another 'eos_token'."
        raise DataError(message, where=Location(file), remedy=remedy)
    return TextTokenizer(
        folder=folder,
        digest=definition.digest,
        revision=revision,
        vocabulary=definition.size(),
        end_of_text=end_of_text,
        specials=specials,
        chat_template=_chat_template(folder, settings),
        named_tokens=named,
    )


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
    if isinstance(template, list):
        # Several, each with a name.
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
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

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        message = f"the tokenizer '{name}' is neither a folder nor a model on the Hugging Face Hub that can be reached"
        raise DataError(message, remedy="Correct the config entry 'tokenizer.path'.") from error
