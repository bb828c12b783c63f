"""What a manifest may say and this edged does not do: refused before it runs, never ignored.

A row goes when the runtime honours it.
"""

from __future__ import annotations

from collections.abc import Iterator

from edged.bundle.manifest import Manifest
from edged.core.errors import RefusedError

NEWER = "use a newer version that does, or export the model without it"


def not_honoured(manifest: Manifest) -> list[str]:
    """A sentence for each thing; empty = all of it is honoured."""
    return [f"this edged does not do {what} - at `{path}`; {NEWER}" for path, what in _found(manifest)]


def check_honoured(manifest: Manifest) -> None:
    """`RefusedError` naming the first thing that would be ignored."""
    for path, what in _found(manifest):
        raise RefusedError(f"{manifest.name} {manifest.version}: this edged does not do {what} - at `{path}`", NEWER)


def _found(manifest: Manifest) -> Iterator[tuple[str, str]]:
    if manifest.action is not None:
        tensor, action = manifest.action
        path = f"$.outputs.{tensor}"
        if action.rotations:
            yield f"{path}.rotations", "limits of rotations"
