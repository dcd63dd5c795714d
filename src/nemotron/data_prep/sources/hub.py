"""Data sets on the Hugging Face Hub: which commit is meant, and which of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources.model import Format, format_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huggingface_hub.hf_api import RepoFile

PROTOCOL = "hf://"
_ADDRESS = re.compile(
    r"hf://(?:datasets/)?(?P<repository>[^/@]+/[^/@]+)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<path>.*))?"
)
# Named like data, and about it.
_ABOUT = {"dataset_infos.json", "dataset_info.json", "state.json", "metadata.json", "config.json"}
_SPLITS = ("train", "valid", "validation", "val", "dev", "test", "eval")


@dataclass(slots=True)
class Hub:
    """Asks the Hub, each question once: all data sets of a blend see the same commit.

    Args:
        answers: The commit of each repository and revision, and its files.
    """

    answers: dict[tuple[str, str | None], tuple[str, list[RepoFile]]] = field(default_factory=dict)

    def files(self, url: str, *, split: str | None, subset: str | None) -> dict[str, tuple[int, str | None]]:
        """Find the data files of a repository.

        Args:
            url: `hf://org/name`, optionally with `@revision` and `/path`.
            split: Take the files of this split.
            subset: Take the files in this folder, or whose names start with this.

        Returns:
            By URL with the commit, the size and the content's hash.

        Raises:
            DataError: The Hub cannot be asked, or it has no such repository, revision or files.
        """
        found = _ADDRESS.fullmatch(url)
        if found is None or found["repository"].startswith(("datasets/", "models/", "spaces/", "buckets/")):
            message = f"'{shown(url)}' names no data set of the Hub"
            raise DataError(message, remedy="Write hf://ORG/NAME, hf://ORG/NAME@REVISION or hf://ORG/NAME/FOLDER.")
        repository, path = found["repository"], (found["path"] or "").strip("/")
        revision = unquote(found["revision"]) if found["revision"] else None
        commit, files = self._ask(repository, revision)
        within = [item for item in files if not path or item.path == path or item.path.startswith(f"{path}/")]
        chosen = _of_split(_of_subset(_data_files(within), path, subset), split)
        if not chosen:
            wanted = " and ".join(f"{key} '{value}'" for key, value in (("subset", subset), ("split", split)) if value)
            message = f"'{url}' at {commit[:12]} has no data files{f' of {wanted}' if wanted else ''}"
            some = ", ".join(item.path for item in files[:5])
            raise DataError(message, remedy=f"Correct 'path', 'subset' or 'split'; it has {some or 'nothing'}.")
        prefix = f"{PROTOCOL}datasets/{repository}@{commit}"
        return {f"{prefix}/{item.path}": (item.size, _identity(item)) for item in chosen}

    def _ask(self, repository: str, revision: str | None) -> tuple[str, list[RepoFile]]:
        key = (repository, revision)
        if key not in self.answers:
            self.answers[key] = _contents(repository, revision)
        return self.answers[key]


def _contents(repository: str, revision: str | None) -> tuple[str, list[RepoFile]]:
    """Ask for the commit and its files."""
    try:
        from huggingface_hub import HfApi  # noqa: PLC0415 most runs read local files
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415 as above
    except ImportError as error:
        message = f"'{PROTOCOL}{repository}' needs the package huggingface_hub, which is not installed"
        raise DataError(message, remedy="pip install huggingface_hub") from error
    name = f"{PROTOCOL}{repository}" + (f"@{quote(revision, safe='/')}" if revision else "")
    try:
        api = HfApi()
        commit = api.dataset_info(repository, revision=revision).sha
        tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
        files = [item for item in tree if isinstance(item, RepoFile)]
    except Exception as error:  # the client raises its own, the HTTP library's and the operating system's errors
        reason = next(iter(str(error).split("\n")), "") or type(error).__name__
        message = f"the Hub cannot be asked for '{name}': {shown(reason)}"
        remedy = "Check the name, the network, HF_TOKEN for what is not public, and that HF_HUB_OFFLINE is not set."
        raise DataError(message, remedy=remedy) from error
    if not commit:
        message = f"the Hub tells no commit for '{name}'"
        raise DataError(message, remedy="Give a revision: hf://ORG/NAME@REVISION.")
    return commit, sorted(files, key=lambda item: item.path)


def _data_files(files: Iterable[RepoFile]) -> list[RepoFile]:
    known = [
        (item, found[0])
        for item in files
        if (found := format_of(item.path)) is not None
        and item.path.rsplit("/", 1)[-1] not in _ABOUT
        and not any(part.startswith(".") for part in item.path.split("/"))
    ]
    tables = [item for item, found in known if found is not Format.TEXT]
    return tables or [item for item, _ in known]


def _of_subset(files: list[RepoFile], path: str, subset: str | None) -> list[RepoFile]:
    """Take the files in a folder of the subset's name, or else those whose name starts with it."""
    if subset is None:
        return files
    folder = re.compile(rf"(^|/){re.escape(subset.strip('/'))}/")
    inside = [item for item in files if folder.search(item.path.removeprefix(path))]
    return inside or [item for item in files if item.path.rsplit("/", 1)[-1].startswith(subset)]


def _of_split(files: list[RepoFile], split: str | None) -> list[RepoFile]:
    """Take the files of a split by their names. Where no name tells of a split, all files are for training."""
    if split is None:
        return files
    found = [item for item in files if _names(item, split)]
    if not found and split == "train" and not any(_names(item, other) for item in files for other in _SPLITS):
        return files
    return found


def _names(item: RepoFile, split: str) -> bool:
    return re.search(rf"(^|/){re.escape(split)}(-|/|\.|$)", item.path) is not None


def _identity(item: RepoFile) -> str:
    return f"sha256:{item.lfs.sha256}" if item.lfs else f"blob:{item.blob_id}"
