"""`${manifest:FOLDER,SPLIT}`: the path of a split, as the manifest of prepared data in a folder has it."""

from __future__ import annotations

from nemo_runspec.config.resolvers.art import CURRENT, missing_prefix
from nemo_runspec.errors import ArtifactNotFoundError, ConfigError, DataError
from nemo_runspec.stage.inputs import manifest_placeholder
from nemo_runspec.stage.splits import SPLITS, check_split, read_split


def resolve(*parts: object) -> str | list[str]:
    """Look up where a split is.

    Args:
        parts: The folder, or the manifest in it, as a path or URL; and the split: `train`, `val` or `test`.

    Returns:
        One path, or a list of them where the split has several files. Where only the job can read the folder, a text
        that it replaces; in a dry-run without the artifact that makes the folder, a text that names it.

    Raises:
        ConfigError: These are not a folder and a split.
        DataError: There is no manifest, it is damaged, or the data has no such split; unless the caller collects
            missing artifacts, and this is one's folder.
        ArtifactError: The folder cannot be reached.
    """
    if len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):  # noqa: PLR2004 - folder and split
        message = "${manifest:...} takes a folder and a split"
        raise ConfigError(message, remedy=f"Write, for example: ${{manifest:${{art:data,path}},{SPLITS[0]}}}")
    place, split = map(str, parts)
    check_split(split)
    resolution = CURRENT.get()
    missing = [reference for reference in resolution.missing or () if place.startswith(missing_prefix(reference))]
    if missing:
        return f"{missing_prefix(missing[0])}{split}>"
    if resolution.elsewhere and "://" not in place:
        resolution.unfilled = True
        return manifest_placeholder(place, split)
    try:
        return read_split(place, split)
    except DataError as error:
        made_by = [reference for text, reference in resolution.found.items() if f"{place}/".startswith(f"{text}/")]
        if resolution.missing is None or not made_by:
            raise
        # The artifact is as good as missing, and whoever collects those may be about to make it anew.
        resolution.missing[made_by[0]] = ArtifactNotFoundError(error.message, remedy=error.remedy)
        return f"{missing_prefix(made_by[0])}{split}>"
