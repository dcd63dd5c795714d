from __future__ import annotations

import pytest

from nemo_runspec.artifacts.storage import storage_errors
from nemo_runspec.errors import ArtifactError, ConfigError


class DriverError(Exception):
    """Stands for the error types that drivers of fsspec bring along."""


def test_any_error_of_a_driver_names_the_place() -> None:
    with (
        pytest.raises(ArtifactError, match="cannot read s3://bucket: DriverError"),
        storage_errors("s3://bucket", "read"),
    ):
        raise DriverError


def test_errors_that_already_speak_pass() -> None:
    speaks = ConfigError("own words")
    with pytest.raises(ConfigError, match="own words"), storage_errors("s3://bucket", "read"):
        raise speaks
    with pytest.raises(FileExistsError), storage_errors("s3://bucket", "make", let=FileExistsError):
        raise FileExistsError
