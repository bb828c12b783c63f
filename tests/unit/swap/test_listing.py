"""A list of versions reads no more of what lies in a store than a version may hold, and names what holds more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import write

from edged.bundle.bundle import LIMITS, MANIFEST, SUMS
from edged.bundle.store import Store
from edged.swap.history import History
from edged.swap.listing import list_versions


def grow(path: Path) -> None:
    os.truncate(path, 1 << 40)  # a terabyte that takes no room: who reads it whole never ends


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", [MANIFEST, SUMS])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [(grow, "{} bytes, at most {} are read"), (pipe, "not a regular file"), (Path.unlink, "No such file")],
)
def test_what_is_no_version_is_named_and_hides_no_other(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], problem: str
) -> None:
    store = Store(tmp_path, tmp_path)
    for version in ("1", "2"):
        write(tmp_path, version=version)
    spoil(tmp_path / "reach" / "2" / name)
    whole, spoilt = list_versions(store, "reach", History(store, "reach"))
    assert len(whole["identity"]) == 16
    assert whole["task"] == "policy"
    assert problem.format(1 << 40, LIMITS[name]) in spoilt["problem"]
    assert str(tmp_path / "reach" / "2" / name) in spoilt["problem"]
