"""A real tokenizer of 131,072 tokens, byte-level BPE, made once per checkout from a published vocabulary.

Run as a script, or call `tekken_folder` from a benchmark: it needs no pytest.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = "mistral-common==1.13.1"
# Not the project's own environment: the package asks for an older numpy.
CACHE = ROOT / ".venv-tekken"
SPECIALS = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<pad>")
SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "clean_up_tokenization_spaces": False,
}


def tekken_folder() -> Path:
    """Give the folder with `tokenizer.json` and `tokenizer_config.json`, made on first use.

    Raises:
        subprocess.CalledProcessError: The package with the vocabulary cannot be installed.
    """
    CACHE.mkdir(exist_ok=True)
    folder = CACHE / "tokenizer"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        packages = Path(temporary, "packages")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), PACKAGE]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        made = Path(temporary, "made")
        made.mkdir()
        _convert(packages / "mistral_common/data/tekken_240911.json", made / "tokenizer.json")
        (made / "tokenizer_config.json").write_text(json.dumps(SETTINGS, indent=2) + "\n", encoding="utf-8")
        shutil.move(made, folder)


def _convert(vocabulary: Path, target: Path) -> None:
    with warnings.catch_warnings():
        # What transformers imports here is not ours to mend.
        warnings.simplefilter("ignore")
        from transformers.integrations.mistral.tokenizer import MistralConverter  # noqa: PLC0415 slow, on first use only

        document = json.loads(vocabulary.read_text(encoding="utf-8"))
        document["special_tokens"] = [
            {"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(SPECIALS)
        ]
        # The converter goes by the name.
        source = target.parent / "tekken.json"
        source.write_text(json.dumps(document), encoding="utf-8")
        MistralConverter(str(source)).converted().save(str(target))
        source.unlink()


if __name__ == "__main__":
    sys.stdout.write(f"{tekken_folder()}\n")
