"""The store and the engines that come with edged: read where there are none of one's own, copied before a write."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import store, write

from edged.bundle import store as stores
from edged.bundle.bundle import read_files
from edged.bundle.store import Store, shipped_store
from edged.core.errors import EngineError, RefusedError

__all__ = ["store"]


def test_shipped_engines_are_used_in_their_newest_version(store: Store):
    for version in ("9", "10"):
        write(store.shipped, version=version)
    assert store.names() == ["reach"]
    assert store.resolve("reach") == store.shipped / "reach" / "10"
    assert store.resolve("reach", "9") == store.shipped / "reach" / "9"
    write(store.root, version="1")
    assert store.versions("reach") == ["1"]  # one's own engine of that name hides the shipped one


def test_shipped_engines_are_used_where_the_store_does_not_exist(tmp_path: Path):
    write(tmp_path / "shipped")
    assert Store(tmp_path / "nowhere", tmp_path / "shipped").read("reach").version == "1"


def test_adopting_copies_every_version_and_chooses_the_newest(store: Store):
    for version in ("9", "10"):
        write(store.shipped, version=version)
    for _ in range(2):
        store.adopt("reach")
        assert store.versions("reach") == ["9", "10"]
        assert store.current("reach") == "10"
        assert store.resolve("reach").is_relative_to(store.root)
    assert read_files(store.root / "reach" / "9") == read_files(store.shipped / "reach" / "9")


def test_adopting_is_finished_after_it_was_cut_short(store: Store):
    for version in ("1", "2"):
        write(store.shipped, version=version)
    shutil.copytree(store.shipped / "reach" / "2", store.root / "reach" / "2")
    assert store.resolve("reach").name == "2"
    store.set_current("reach", "1")
    assert store.versions("reach") == ["1", "2"]
    assert store.current("reach") == "1"


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_adopting_that_was_cut_short_leaves_what_runs(store: Store, monkeypatch: pytest.MonkeyPatch, writes: int):
    """Each write in turn finds the disk full: a copy, the link, a copy."""
    for version in ("1", "2"):
        write(store.shipped, version=version)
    left = [writes]

    def full(done: Callable[..., Any]) -> Callable[..., Any]:
        def write_one(*given: Any, **more: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return done(*given, **more)

        return write_one

    for name in ("write_files", "write_link"):
        monkeypatch.setattr(f"edged.bundle.store.{name}", full(getattr(stores, name)))
    with pytest.raises(EngineError, match="No space left on device"):
        store.adopt("reach")
    assert store.resolve("reach").name == "2"


def test_a_version_beside_one_that_was_alone_does_not_run_by_itself(store: Store):
    """Two versions without a choice would be none for a daemon that starts."""
    write(store.root, version="1")
    store.write("reach", "2", read_files(write(store.root.parent / "elsewhere", version="2")))
    assert (store.versions("reach"), store.current("reach")) == (["1", "2"], "1")


def test_nothing_is_adopted_over_ones_own_engine(store: Store):
    write(store.shipped, version="1")
    write(store.root, version="5")
    store.adopt("reach")
    assert store.versions("reach") == ["5"]


def test_what_is_written_lies_beside_the_shipped_versions_and_does_not_run_by_itself(store: Store):
    """A daemon that runs the shipped one goes on with it at its next start: another one comes by a swap."""
    for version in ("9", "10"):
        write(store.shipped, version=version)
    mine = read_files(write(store.root.parent / "elsewhere", version="11"))
    path = store.write("reach", "11", mine)
    assert store.versions("reach") == ["9", "10", "11"]
    assert (store.current("reach"), store.resolve("reach")) == ("10", store.root / "reach" / "10")
    assert read_files(path) == mine
    (store.root / "reach" / "current").unlink()
    store.set_current("reach", "11")
    store.write("reach", "12", read_files(write(store.root.parent / "elsewhere", version="12")))
    assert store.current("reach") == "11"


def test_a_shipped_number_is_written_over_only_where_that_is_said(store: Store):
    write(store.shipped, version="1")
    other = read_files(write(store.root.parent / "elsewhere", version="1", provenance={"model": "mine.onnx"}))
    for _ in range(2):
        with pytest.raises(RefusedError, match="reach/1 exists with other content; give another --version"):
            store.write("reach", "1", other)
    assert store.write("reach", "1", read_files(store.shipped / "reach" / "1")) == store.root / "reach" / "1"
    assert read_files(store.write("reach", "1", other, replace=True)) == other


def test_what_comes_with_edged_is_written_without_a_choice(tmp_path: Path):
    store = Store(tmp_path / "engines", tmp_path / "link")
    (tmp_path / "link").symlink_to("engines")
    write(store.root, version="1")
    store.write("reach", "2", read_files(write(tmp_path / "elsewhere", version="2")))
    assert not (store.root / "reach" / "current").is_symlink()


def test_an_older_shipped_version_that_lies_alone_stays_what_runs(store: Store):
    for version in ("1", "2"):
        write(store.shipped, version=version)
    shutil.copytree(store.shipped / "reach" / "1", store.root / "reach" / "1")
    store.adopt("reach")
    assert (store.versions("reach"), store.current("reach")) == (["1"], "1")


def test_nothing_is_adopted_over_ones_own_engine_of_the_same_number(store: Store):
    for version in ("1", "2"):
        write(store.shipped, version=version)
    write(store.root, version="1", provenance={"model": "mine.onnx"})
    store.set_current("reach", "1")
    assert store.versions("reach") == ["1"]
    assert store.read("reach").manifest.provenance == {"model": "mine.onnx"}


def test_choosing_a_shipped_version_adopts_first(store: Store):
    for version in ("1", "2"):
        write(store.shipped, version=version)
    store.set_current("reach", "1")
    assert store.resolve("reach") == store.root / "reach" / "1"


def test_the_shipped_store_is_beside_the_package_or_in_it():
    assert shipped_store().name in ("engines", "_engines")
