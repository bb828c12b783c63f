"""The store: natural order, one current version, shipped engines as a fallback, a journal that survives torn lines."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from bundles import store, write
from hypothesis import given
from hypothesis import strategies as st

from edged.bundle.store import Store, natural
from edged.core import files as core_files
from edged.core.errors import EdgedError, EngineError, RefusedError

__all__ = ["store"]


def test_versions_come_in_natural_order(store: Store):
    for version in ("10", "9", "1.10", "1.9", "a7"):
        write(store.root, version=version)
    assert store.versions("reach") == ["1.9", "1.10", "9", "10", "a7"]


@given(st.lists(st.text("0123456789ab.-", min_size=1, max_size=6), unique=True))
def test_natural_order_is_total(versions: list[str]):
    assert sorted(sorted(versions), key=natural) == sorted(versions, key=natural)


def test_a_single_version_is_current_without_a_link(store: Store):
    write(store.root, version="3")
    assert store.resolve("reach") == store.root / "reach" / "3"
    assert store.read("reach").version == "3"


def test_several_versions_need_a_choice(store: Store):
    for version in ("1", "2"):
        write(store.root, version=version)
    with pytest.raises(EngineError, match="has the versions 1, 2 and no current one"):
        store.resolve("reach")
    store.set_current("reach", "1")
    assert store.current("reach") == "1"
    assert (store.root / "reach" / "current").readlink() == Path("1")
    assert store.resolve("reach", "2").name == "2"


def test_current_can_be_moved_to_and_fro(store: Store):
    for version in ("1", "2"):
        write(store.root, version=version)
    for version in ("2", "1", "2"):
        store.set_current("reach", version)
        assert store.read("reach").version == version
    assert sorted(path.name for path in (store.root / "reach").iterdir()) == ["1", "2", "current"]


def test_only_what_is_there_becomes_current(store: Store):
    write(store.root)
    with pytest.raises(EngineError, match="has no version '7'; choose one of: 1"):
        store.set_current("reach", "7")
    assert not (store.root / "reach" / "current").is_symlink()


@pytest.mark.parametrize("target", ["7", "../../elsewhere", "/etc", ""])
def test_a_link_that_leads_elsewhere_is_an_error(store: Store, target: str):
    write(store.root)
    if target:
        (store.root / "reach" / "current").symlink_to(target)
    else:
        (store.root / "reach" / "current").write_text("1")
    with pytest.raises(EngineError, match="current"):
        store.resolve("reach")


def test_an_unknown_engine_is_an_error_that_lists_the_known(store: Store):
    write(store.root)
    with pytest.raises(EngineError, match=r"no engine 'plate' in the store .*, it has reach"):
        store.resolve("plate")
    with pytest.raises(EngineError, match="not an engine's name"):
        store.resolve("../reach")
    with pytest.raises(EngineError, match=r"did you mean reach\?"):
        store.resolve("raech")


def test_a_store_that_does_not_exist_says_so(tmp_path: Path):
    with pytest.raises(EngineError, match="it does not exist"):
        Store(tmp_path / "nowhere", tmp_path / "shipped").resolve("reach")


def test_a_store_that_cannot_be_read_is_an_error_and_not_an_empty_one(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot read the store"):
        Store(tmp_path / "file").names()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_version_that_may_not_be_looked_into_keeps_no_other_from_running(tmp_path: Path):
    """Such as one that root copied there."""
    store = Store(tmp_path / "own", tmp_path / "none")
    for version in ("1", "2"):
        write(store.root, version=version)
    store.set_current("reach", "1")
    for above in tmp_path.parents:
        if not above.stat().st_mode & 0o001:
            above.chmod(0o755)
    (store.root / "reach" / "2").chmod(0o700)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        assert store.versions("reach") == ["1", "2"]
        assert store.read("reach").version == "1"
        with pytest.raises(EngineError, match=r"cannot read the engine .+: Permission denied"):
            store.read("reach", "2")
    finally:
        os.seteuid(0)


def test_folders_that_do_not_say_what_they_hold_are_refused(store: Store):
    write(store.root, version="1").rename(store.root / "reach" / "2")
    with pytest.raises(RefusedError, match="holds reach 1"):
        store.read("reach", "2")


@pytest.mark.parametrize("chosen", [True, False])
def test_a_choice_that_cannot_be_brought_to_disk_is_none(store: Store, monkeypatch: pytest.MonkeyPatch, chosen: bool):
    """Who could not commit goes back to the engine before, and a restart must not lead to the other one."""
    for version in ("1", "2"):
        write(store.root, version=version)
    link = store.root / "reach" / "current"
    if chosen:
        store.set_current("reach", "1")

    def refuses(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(core_files, "sync", refuses)
    with pytest.raises(EngineError, match="cannot write the store"):
        store.set_current("reach", "2")
    assert (str(link.readlink()) if link.is_symlink() else "") == ("1" if chosen else "")


def test_the_journal_keeps_its_lines_in_order(store: Store):
    assert list(store.journal("reach")) == []
    store.journal_append("reach", who="swap", version="2", state="staged")
    store.journal_append("reach", who="swap", version="2", state="refused", reason="golden: j1 0.2 rad", attempt=1)
    first, second = store.journal("reach")
    assert (first["state"], second["state"], second["reason"], second["attempt"]) == (
        "staged",
        "refused",
        "golden: j1 0.2 rad",
        1,
    )
    assert first["time"] <= second["time"]


def test_a_line_torn_by_a_power_cut_spoils_no_other(store: Store):
    store.journal_append("reach", who="swap", version="1", state="staged")
    path = store.root / "reach" / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"time": "2024')
    store.journal_append("reach", who="swap", version="1", state="live")
    assert [line["state"] for line in store.journal("reach")] == ["staged", "live"]
    assert json.loads(path.read_text().splitlines()[-1])["state"] == "live"


def test_a_journal_of_any_size_takes_no_memory_and_one_that_is_far_too_long_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    store.journal_append("reach", who="swap", version="1", state="staged")
    path = store.root / "reach" / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"state": "' + b"x" * (1 << 20) + b'"}\n')
    store.journal_append("reach", who="swap", version="1", state="live")
    assert [line["state"] for line in store.journal("reach")] == ["staged", "live"]
    monkeypatch.setattr("edged.bundle.store.MAX_JOURNAL", 1 << 20)
    with pytest.raises(EngineError, match=r"journal of reach is too long: .* at most 1048576 are read; move it away"):
        next(store.journal("reach"))


@pytest.mark.timeout(20)
def test_a_journal_that_is_no_file_is_not_waited_for(store: Store):
    (store.root / "reach").mkdir(parents=True)
    os.mkfifo(store.root / "reach" / "journal.jsonl")
    with pytest.raises(EngineError, match="cannot read the journal"):
        next(store.journal("reach"))


def test_a_journal_alone_is_not_an_engine(store: Store):
    store.journal_append("reach", who="swap", version="1", state="refused")
    write(store.shipped)
    assert store.resolve("reach").is_relative_to(store.shipped)


def test_what_cannot_be_written_says_why(store: Store):
    (store.root / "reach").mkdir()
    (store.root / "reach" / "journal.jsonl").symlink_to("/dev/null")
    with pytest.raises(EdgedError, match="cannot write the store"):
        store.journal_append("reach", who="swap", version="1", state="staged")


def test_a_store_that_could_not_be_written_is_told_before_the_work(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    (store.root / "plate").touch()
    for root, name, why in (
        (tmp_path / "file" / "deep" / "er", "reach", "Not a directory"),
        (tmp_path / "file", "reach", "Not a directory"),
        (store.root, "plate", "Not a directory"),
        (Path("/proc/none"), "reach", ""),
    ):
        if why:
            with pytest.raises(EngineError, match=f"cannot write the store {root}: {why}"):
                Store(root).check_writable(name)
        with pytest.raises(EngineError, match=f"cannot write the store {root}: {why}"):
            Store(root).write(name, "1", {})
    for root in (store.root, tmp_path / "new" / "store"):
        Store(root).check_writable("reach")
        assert not (root / "reach").exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EngineError, match="Permission denied"):
        store.check_writable("reach")
