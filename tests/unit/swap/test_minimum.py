"""Who raises the minimum, and what it may not rule out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from swap_engines import NAME, files, put

from edged.bundle.minimum import MINIMUM, read_minimum, write_minimum
from edged.bundle.store import Store
from edged.config import Config
from edged.core.errors import EdgedError, EngineError, RefusedError
from edged.swap.history import History
from edged.swap.listing import list_versions
from edged.swap.minimum import RaisableMinimum


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for version in ("1", "2", "3", "old"):
        put(tmp_path / "store" / NAME / version, files(version))
    (tmp_path / "store" / NAME / "current").symlink_to("2")
    return Store(tmp_path / "store", tmp_path / "none")


def opened(store: Store, rule: str = "operator", version: str = "current") -> RaisableMinimum:
    places = {"name": "cell", "store": store.root, "cache": store.root, "runtime": store.root}
    engine = {"name": NAME, "version": version}
    return RaisableMinimum(store, Config(**{"daemon": places, "engine": engine, "swap": {"minimum": rule}}))


def test_an_operator_raises_it_up_to_what_runs(store: Store) -> None:
    minimum = opened(store)
    assert (minimum.raise_to("1", "ann", "2"), minimum.shown) == ("", "1")
    assert (minimum.raise_to("2", "ann", "2"), opened(store).shown) == ("1", "2")
    assert minimum.raise_to("2", "ann", "2") == "2"
    for version, running, why in (
        ("3", "2", "2, which runs now or after a restart, is older than 3"),
        ("3", "3", "2, which runs now or after a restart, is older than 3"),  # running, and not committed yet
        ("11", "2", "is older than 11"),  # 1.1 mistyped
        ("v2", "2", "cannot be compared with v2"),
        ("1", "2", "the minimum of bench-state is 2, and 1 is older"),
    ):
        with pytest.raises(RefusedError, match=why):
            minimum.raise_to(version, "ann", running)
    assert read_minimum(store.root, NAME) == "2"
    told = [
        (line["who"], line["version"], line["reason"]) for line in store.journal(NAME) if line["state"] == "minimum"
    ]
    assert told == [("ann", "1", "the first one"), ("ann", "2", "raised from 1")]


def test_one_that_is_raised_is_raised_whatever_the_journal_says(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is told that it failed, or that the minimum stays, is told what is not."""

    def refuses(*_: object, **__: object) -> None:
        raise EngineError("cannot write the store: No space left on device", "")

    monkeypatch.setattr(store, "journal_append", refuses)
    minimum = opened(store, "committed")
    assert (minimum.raise_to("1", "ann", "2"), minimum.shown) == ("", "1")
    assert (minimum.commit("3", "2"), minimum.shown) == ([], "3")
    assert read_minimum(store.root, NAME) == "3"
    assert "the minimum of bench-state is 3, raised from 1, which is not in the journal" in caplog.text


def test_an_engine_that_is_pinned_or_runs_is_not_ruled_out(store: Store) -> None:
    with pytest.raises(RefusedError, match="1, which runs now or after a restart, is older than 2"):
        opened(store, version="1").raise_to("2", "ann", "2")
    with pytest.raises(RefusedError, match="1, which runs"):
        opened(store).raise_to("2", "ann", "1")  # a way back that is not committed
    (store.root / NAME / "current").unlink()
    with pytest.raises(EngineError, match="no version of bench-state runs or is current"):
        opened(store).raise_to("1", "ann", "")


@pytest.mark.parametrize(
    ("rule", "found"), [("operator", ["", "", ""]), ("previous", ["2", "2", "3"]), ("committed", ["3", "3", "3.1"])]
)
def test_commits_raise_it_as_configured(store: Store, rule: str, found: list[str]) -> None:
    put(store.root / NAME / "3.1", files("3.1"))
    minimum, seen = opened(store, rule), []
    for version, before in (("3", "2"), ("2", "3"), ("3.1", "3")):  # on, back, on
        if (rule, version) == ("committed", "2"):
            with pytest.raises(RefusedError):
                minimum.commit(version, before)
        else:
            assert minimum.commit(version, before) == []
        seen.append(read_minimum(store.root, NAME))
    assert seen == found
    assert store.current(NAME) == "3.1"


def test_a_commit_that_it_rules_out_does_not_happen(store: Store) -> None:
    minimum = opened(store)
    write_minimum(store.root, NAME, "2")  # while 1 was on probation
    with pytest.raises(RefusedError, match="bench-state 1 is older than the minimum 2"):
        minimum.commit("1", "2")
    assert store.current(NAME) == "2"


def test_a_commit_goes_on_where_it_cannot_be_raised(store: Store) -> None:
    minimum = opened(store, "committed", version="2")
    notes = minimum.commit("3", "2")
    assert "the minimum stays: bench-state 2, which runs now or after a restart, is older than 3" in notes[0]
    assert store.current(NAME) == "3"
    write_minimum(store.root, NAME, "3")
    with pytest.raises(RefusedError, match="old cannot be compared with the minimum 3"):
        minimum.commit("old", "3")


def test_a_disk_that_refuses_leaves_it_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    minimum = opened(store)
    minimum.raise_to("1", "ann", "2")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(EngineError, match="No space left on device; check the owner of the store and the disk"):
            minimum.raise_to("2", "ann", "2")
    assert (read_minimum(store.root, NAME), minimum.shown) == ("1", "1")


def test_it_is_no_state_of_a_version(store: Store) -> None:
    opened(store).raise_to("1", "ann", "2")
    history = History(store, NAME)
    history.read()
    assert history.entries == {}
    rows = list_versions(store, NAME, history, "2", "2")
    below = {row["version"]: row["below"] for row in rows}
    assert {row["minimum"] for row in rows} == {"2"}
    assert (below["2"], below["3"]) == ("", "")
    assert below["1"] == "is older than the minimum 2"
    assert below["old"].startswith("cannot be compared")


def test_one_that_cannot_be_read_keeps_a_commit_away(store: Store) -> None:
    minimum = opened(store)
    (store.root / NAME / MINIMUM).write_text("?")
    with pytest.raises(EdgedError, match="nobody knows which engines may run"):
        minimum.commit("3", "2")
    assert store.current(NAME) == "2"
