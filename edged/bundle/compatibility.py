"""The contract with what is running: an engine may be replaced by another one of the same inputs and outputs.

Same task, cameras, measured values with their units, axes with names, units and kinds, classes. How it gets there is
its own business: image sizes, tensor names, precision, chunk length and step may change.
"""

from __future__ import annotations

from collections.abc import Iterator

from edged.bundle.manifest import Manifest
from edged.bundle.roles import HiddenOutput


def changes(running: Manifest, candidate: Manifest) -> list[str]:
    """What the candidate would change for the rest of the cell, a phrase each; empty = nothing."""
    return list(_changes(running, candidate))


def _changes(running: Manifest, candidate: Manifest) -> Iterator[str]:
    if running.task != candidate.task:
        yield f"the task from {running.task} to {candidate.task}"
        return
    yield from _sets("camera", _cameras(running), _cameras(candidate))
    yield from _sets("state value", _values(running), _values(candidate))
    if (before := _axes(running)) != (after := _axes(candidate)):
        yield f"the axes from {', '.join(before)} to {', '.join(after)}"
    if running.classes != candidate.classes:
        yield f"the classes from {', '.join(running.classes)} to {', '.join(candidate.classes)}"
    roles = [sorted({type(role).__name__ for role in manifest.outputs.values() if not isinstance(role, HiddenOutput)})
             for manifest in (running, candidate)]  # fmt: skip
    if running.task != "semantic" and roles[0] != roles[1]:  # labels or logits: the decoder makes both the same
        yield "the roles of its outputs"


def _cameras(manifest: Manifest) -> set[str]:
    return {image.source for image in manifest.images.values()}


def _values(manifest: Manifest) -> set[str]:
    parts = [part for state in manifest.states.values() for part in state.parts]
    return {f"{part.sensor}.{name} in {part.unit}" for part in parts for name in part.names}


def _axes(manifest: Manifest) -> list[str]:
    axes = manifest.action[1].axes if manifest.action else ()
    return [f"{axis.name} ({axis.kind}, {axis.unit})" for axis in axes]


def _sets(what: str, before: set[str], after: set[str]) -> Iterator[str]:
    if gone := sorted(before - after):
        yield f"it no longer takes {what} {', '.join(gone)}"
    if new := sorted(after - before):
        yield f"it also needs {what} {', '.join(new)}"
