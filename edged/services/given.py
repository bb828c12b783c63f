"""Files that a person names for a library to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edged.core.errors import UsageError, in_words


def check_readable(files: Mapping[str, Path | None]) -> None:
    """`UsageError` for the first file, by its option, that cannot be read; libraries name neither file nor option."""
    for option, path in files.items():
        try:
            if path is not None:
                path.read_bytes()
        except OSError as error:
            remedy = "check the path and its owner"
            raise UsageError(f"{option} {path} cannot be read: {in_words(error)}", remedy) from None
