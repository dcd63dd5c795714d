"""Which files travel: the packages below `src`, the active recipe family of each, and what lies beside the script."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PayloadError
from nemo_runspec.versions import OWN_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LEFT_OUT_SUFFIXES: Final = frozenset(
    {
        *(".pyc", ".pyo", ".pyd", ".o", ".a"),  # made by a build
        *(".bin", ".idx", ".parquet", ".arrow", ".npy", ".npz", ".h5", ".hdf5", ".db", ".sqlite"),  # data
        *(".pt", ".pth", ".ckpt", ".safetensors", ".distcp", ".nemo", ".gguf", ".onnx", ".pkl", ".pickle"),  # models
        *(".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".whl", ".sqsh", ".img", ".iso"),  # archives
        *(".log", ".out", ".mp4", ".wav"),  # results
        *(".pem", ".key", ".p12", ".pfx", ".jks", ".kdbx", ".kubeconfig", ".env"),  # credentials
        *(".swp", ".orig", ".rej", ".tmp"),  # left by editors and merges
    }
)
"""Suffixes, in small letters, of files that no job needs from `src`: built files, data, checkpoints, credentials."""

LEFT_OUT_FILES: Final = frozenset(
    {
        "env.toml",
        *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "netrc", "kubeconfig"),
        *("credentials", "credentials.json", "client_secret.json", "secrets.json", "secrets.toml", "secrets.yaml"),
    }
)
"""Usual names of files that hold credentials; profiles may, and a pod has no use for them."""

LEFT_OUT_FOLDERS: Final = frozenset({"__pycache__", "node_modules"})
RESULT_FOLDERS: Final = frozenset({"output", "outputs", "wandb", "mlruns", "lightning_logs"})
"""Folders beside a script that runs of it have filled; `output` is where this package's own go."""

LEFT_OUT_FOLDER_SUFFIXES: Final = (".egg-info", ".dist-info")
PROJECT_MARKS: Final = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
"""One of these beside a folder `src` makes a repository of it."""

VIRTUAL_ENVIRONMENT: Final = "pyvenv.cfg"
INSTALLED: Final = "site-packages"
RECIPES: Final = "recipes"
SCRIPT_FOLDER: Final = "script"
"""Where a script that belongs to no repository lies in the archive."""

MAX_FILES: Final = 20_000
"""More than this is no source tree: a walk that finds more has begun in the wrong folder."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that travels.

    Args:
        name: Its path in the archive, with `/`.
        path: Where it is on this machine; of a link, the file that it leads to.
        executable: Whether its owner may execute it.
    """

    name: str
    path: Path
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """What travels.

    Args:
        files: In the order of their names.
        script: The script's path in the archive, or None without a script.
        left_out: Archive paths of links that lead nowhere or out of the tree, which stay here.
        root: The repository that they come from, or None where they are installed.
        exclude: The globs of what stays here.
        unmatched: Those of them that match nothing.
    """

    files: tuple[SourceFile, ...]
    script: str | None = None
    left_out: tuple[str, ...] = ()
    root: Path | None = None
    exclude: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    def would_take(self, name: str) -> bool:
        """Tell whether a file that is gone would travel, if it were still where the others are.

        Args:
            name: The path that it would have in the archive.
        """
        family = _family_of(self.script) if self.script else None
        unwanted = any(map(_unwanted, PurePosixPath(name).parts))
        return not unwanted and not _excluded(name, self.exclude) and _in_family(name, family)


@dataclass(frozen=True, slots=True)
class _Tree:
    """A folder to walk.

    Args:
        folder: The folder.
        name: Its path in the archive, "" for the archive's root.
        root: Links that lead out of this folder are not followed.
        deep: Whether to go into its subfolders.
        leave: Names of its subfolders that stay here.
    """

    folder: Path
    name: str
    root: Path
    deep: bool = True
    leave: frozenset[str] = frozenset()


def select(
    script_path: Path | str | None = None, repo_root: Path | str | None = None, exclude: Sequence[str] = ()
) -> Selection:
    """Choose the files that travel with a job.

    Everything below `<repo_root>/src` travels, less caches, hidden files, data, checkpoints (`LEFT_OUT_SUFFIXES`) and
    the recipe families that are not the script's. Without `repo_root` it is the repository that holds the script (it
    has `src` and one of `PROJECT_MARKS`), and otherwise what is installed, under the names that it has in a repository.
    A script outside `src` travels with the files in its folder and below it.

    Args:
        script_path: The script that the job runs.
        repo_root: The repository.
        exclude: Globs of archive paths that stay here; `*` matches `/` too, and a folder's path stands for all in it.

    Raises:
        PayloadError: A file cannot be read, the script is missing or excluded, or the tree is no source tree.
    """
    script = _existing(script_path)
    root = _repository(script, repo_root)
    packages, left_out = _packages(root, script)
    found = dict(packages)
    name = _script_name(script, root, packages) if script else None
    if script and name not in found:
        for file in _beside(script, name or "", root, left_out):
            found.setdefault(file.name, file)
    kept = tuple(found[key] for key in sorted(found) if not _excluded(key, exclude))
    if name is not None and _excluded(name, exclude):
        message = f"the script {name} is excluded from the source that travels"
        raise PayloadError(message, remedy="Change the profile's exclude so that it does not match the script.")
    stay = tuple(sorted(key for key in left_out if not _excluded(key, exclude)))
    unmatched = tuple(pattern for pattern in exclude if not any(_excluded(key, (pattern,)) for key in found))
    return Selection(kept, name, stay, root, tuple(exclude), unmatched)


def select_folder(folder: Path, exclude: Sequence[str] = ()) -> tuple[SourceFile, ...]:
    """Choose the files of a folder that travel as they lie in it: the same as of the one that a script is in.

    Args:
        folder: The folder.
        exclude: Globs of paths below it that stay here.

    Raises:
        PayloadError: It cannot be read, or holds too many.
    """
    root = folder.resolve()
    found = _walk(_Tree(root, "", root, leave=RESULT_FOLDERS), set())
    return tuple(file for file in found if not _excluded(file.name, exclude))


def _existing(script_path: Path | str | None) -> Path | None:
    if script_path is None:
        return None
    script = Path(script_path).resolve()
    if not script.is_file():
        message = f"there is no script {script_path}"
        raise PayloadError(message, remedy="Give the path of the script that the job runs.")
    return script


def _repository(script: Path | None, repo_root: Path | str | None) -> Path | None:
    if repo_root is not None:
        root = Path(repo_root).expanduser().resolve()
        if not (root / "src").is_dir():
            message = f"repo_root {repo_root} has no folder src"
            raise PayloadError(message, remedy="repo_root is the folder in which src lies.")
        return root
    return next((folder for folder in script.parents if _holds(folder, script)), None) if script else None


def _holds(folder: Path, script: Path) -> bool:
    """Tell whether a folder is a script's repository, and not only around the environment that it is installed in."""
    between = script.relative_to(folder).parts[:-1]
    installed = any(_unwanted(part) or part == INSTALLED for part in between)
    return not installed and (folder / "src").is_dir() and any((folder / name).exists() for name in PROJECT_MARKS)


def _packages(root: Path | None, script: Path | None) -> tuple[dict[str, SourceFile], set[str]]:
    """Give the files below `src` by name, from the repository and, for our own packages, from where they are."""
    trees = [_Tree(root / "src", "src", root)] if root else []
    for package in OWN_PACKAGES:  # with every job, from where they are installed
        if root and (root / "src" / package).is_dir():
            continue
        specification = importlib.util.find_spec(package)  # of a top-level name: imports nothing
        places = (specification.submodule_search_locations if specification else None) or ()
        trees += [_Tree(Path(place).resolve(), f"src/{package}", Path(place).resolve()) for place in places]
    left_out: set[str] = set()
    files = {file.name: file for tree in trees for file in _walk(tree, left_out)}
    family = _family(files.values(), script)
    return {name: file for name, file in files.items() if _in_family(name, family)}, left_out


def _recipe_parts(name: str) -> tuple[str, ...] | None:
    """Give what follows `src/<package>/recipes/` in a name, or None for another name."""
    parts = PurePosixPath(name).parts
    return parts[3:] if len(parts) > 3 and parts[0] == "src" and parts[2] == RECIPES else None  # noqa: PLR2004 - src/PACKAGE/recipes/...


def _family(files: Iterable[SourceFile], script: Path | None) -> str | None:
    """Give `src/<package>/recipes/<family>/` of the script, or None where it is no recipe."""
    return next((family for file in files if file.path == script and (family := _family_of(file.name))), None)


def _family_of(name: str) -> str | None:
    parts = _recipe_parts(name)
    return "/".join(PurePosixPath(name).parts[:4]) + "/" if parts and len(parts) > 1 else None


def _in_family(name: str, family: str | None) -> bool:
    parts = _recipe_parts(name)
    return parts is None or len(parts) == 1 or (family is not None and name.startswith(family))


def _script_name(script: Path, root: Path | None, packages: dict[str, SourceFile]) -> str:
    for file in packages.values():
        if file.path == script:
            return file.name
    if root and script.is_relative_to(root):
        return script.relative_to(root).as_posix()
    return f"{SCRIPT_FOLDER}/{script.name}"


def _beside(script: Path, name: str, root: Path | None, left_out: set[str]) -> Iterator[SourceFile]:
    """Give the script and the files of its folder; of a home, a root or a temporary folder only what is asked for."""
    folder = script.parent
    yield SourceFile(name, script, _executable(script))
    personal = {Path.home(), Path(folder.anchor), Path(os.environ.get("TMPDIR", "/tmp")).resolve()}  # noqa: S108 - nothing is written there
    if folder in personal:
        return
    place = PurePosixPath(name).parent.as_posix()
    # From a repository's root everything would travel: its tests, its documents, its results.
    tree = _Tree(
        folder,
        "" if place == "." else place,
        root if name.partition("/")[0] != SCRIPT_FOLDER and root else folder,
        deep=folder != root,
        leave=RESULT_FOLDERS,
    )
    yield from _walk(tree, left_out)


def _walk(tree: _Tree, left_out: set[str]) -> Iterator[SourceFile]:
    entries = _entries(tree.folder, tree.name, tree, (tree.folder.resolve(),), left_out)
    for count, file in enumerate(entries, start=1):
        if count > MAX_FILES:
            message = f"more than {MAX_FILES:,} files below {tree.folder} would travel"
            raise PayloadError(message, remedy="Put the script into a folder of its own, or give repo_root.")
        yield file


def _entries(folder: Path, name: str, tree: _Tree, above: tuple[Path, ...], left_out: set[str]) -> Iterator[SourceFile]:
    """Walk a folder.

    Args:
        folder: The folder.
        name: Its path in the archive.
        tree: What is walked.
        above: The real folders from the tree's own to this one: a link to one of them would never end.
        left_out: Takes the names of links that are not followed.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        message = f"cannot read the folder {folder}: {error.strerror}"
        raise PayloadError(message) from error
    for entry in entries:
        if _unwanted(entry.name) or (folder == tree.folder and entry.name in tree.leave):
            continue
        inside = f"{name}/{entry.name}" if name else entry.name
        path = Path(entry.path)
        if entry.is_symlink():
            path = path.resolve()
            if not path.exists() or not path.is_relative_to(tree.root) or path in above:
                left_out.add(inside)
                continue
        if path.is_dir():
            if tree.deep and not _unwanted_folder(path):
                yield from _entries(path, inside, tree, (*above, path.resolve()), left_out)
        elif path.is_file():
            yield SourceFile(inside, path.resolve(), _executable(path))


def _unwanted(name: str) -> bool:
    return (
        name.startswith(".")
        or name in LEFT_OUT_FILES
        or name in LEFT_OUT_FOLDERS
        or name.endswith("~")
        or PurePosixPath(name).suffix.lower() in LEFT_OUT_SUFFIXES
    )


def _unwanted_folder(folder: Path) -> bool:
    return folder.name.endswith(LEFT_OUT_FOLDER_SUFFIXES) or (folder / VIRTUAL_ENVIRONMENT).is_file()


def _executable(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IXUSR)


def _excluded(name: str, exclude: Sequence[str]) -> bool:
    """Tell whether a glob matches a path or a folder above it."""
    path = PurePosixPath(name)
    above = [name, *(parent.as_posix() for parent in path.parents if parent.name)]
    return any(fnmatch.fnmatchcase(place, pattern.rstrip("/")) for pattern in exclude for place in above)
