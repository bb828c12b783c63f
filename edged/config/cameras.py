"""The file of `edged camera`: cameras as a daemon's config describes them, and how their frames are shared."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from edged.config.explain import explain
from edged.config.load import read_tables
from edged.config.sections import CameraConfig, Name, _Section
from edged.config.validation import check_camera
from edged.core.errors import ConfigError
from edged.core.redact import redact


class ShareConfig(_Section):
    """How frames are kept in shared memory."""

    slots: int = Field(
        default=6,
        ge=3,
        le=64,
        description="frames kept; all but three are lent, of those a reader has two periods to copy",
    )


class Shared(_Section):
    """The whole file."""

    cameras: dict[Name, CameraConfig] = Field(min_length=1)
    share: ShareConfig = ShareConfig()


def load_cameras(path: Path) -> Shared:
    """Read and check the file. `ConfigError` lists every fault, one per line."""
    tables = read_tables(Path(path))
    try:
        shared = Shared(**tables)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, [(str(path), tables)], Shared))) from None
    for name, camera in shared.cameras.items():
        for key, value, allowed in check_camera(f"cameras.{name}", camera):
            raise ConfigError(f"{path}: {key} = {redact(str(value))!r}: allowed is {allowed}")
        if camera.uri.startswith(("shm:", "replay:")):
            raise ConfigError(f"{path}: cameras.{name}.uri: shared frames cannot be shared again", "give a camera's")
    return shared
