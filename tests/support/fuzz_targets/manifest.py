"""A manifest: `RefusedError`, or one that is written as it was read and that tells what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fuzz import Target, check_helpful, values
from hypothesis import strategies as st

from edged.bundle.manifest import dump_manifest, parse_manifest, toleranced
from edged.core.errors import RefusedError

EXAMPLES = Path(__file__).parents[3] / "docs/manifests"


def check(data: bytes) -> None:
    """Parse it, and what was parsed again."""
    try:
        manifest = parse_manifest(data)
    except RefusedError as error:
        check_helpful(error)
        return
    assert parse_manifest(dump_manifest(manifest)) == manifest
    assert set(toleranced(manifest)) == set(manifest.tolerance)
    assert manifest.images or manifest.states


def _paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in _paths(one, (*path, key)))]


def _with(text: bytes, which: int, value: object, how: str) -> bytes:
    """The manifest with one of its values replaced, taken away, or put beside itself."""
    tree = json.loads(text)
    paths = _paths(tree)[1:]
    *before, last = paths[which % len(paths)]
    place: Any = tree
    for key in before:
        place = place[key]
    if how == "remove":
        del place[last]
    elif how == "copy" and isinstance(place, dict):
        place[f"{last}2"] = place[last]
    elif how == "copy":
        place.append(place[last])
    else:
        place[last] = value
    return json.dumps(tree, default=repr).encode("utf-8", "surrogatepass")


SEEDS = tuple(path.read_bytes() for path in sorted(EXAMPLES.glob("*.json")))
_NEARLY = st.builds(
    _with, st.sampled_from(SEEDS), st.integers(0, 500), values(6), st.sampled_from(["replace", "remove", "copy"])
)
TARGET = Target("manifest", check, SEEDS, _NEARLY)
