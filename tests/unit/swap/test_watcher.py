"""Incoming: a drop is taken once it is all there, however it came; what never will be is refused with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from swap_engines import NAME, files, put
from waiting import leaves_nothing, until

from edged.bundle.bundle import write_archive
from edged.config import SwapConfig
from edged.core.clock import ManualClock
from edged.core.errors import RefusedError
from edged.swap.drop import Drop, IncompleteError, inspect
from edged.swap.watcher import Incoming, owner

CONFIG = SwapConfig(settle_seconds=30, scan_seconds=0.1)
SECOND = 1_000_000_000


@dataclass
class Heard:
    """What the watcher said."""

    drops: list[Drop] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    who: set[str] = field(default_factory=set)

    def ask(self, drop: Drop, who: str) -> None:
        self.drops.append(drop)
        self.who.add(who)

    def refuse(self, entry: str, who: str, reason: str) -> None:
        self.refused.append((entry, reason))
        self.who.add(who)


@pytest.fixture(scope="module")
def content() -> dict[str, bytes]:
    return files("7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "incoming"
    made.mkdir()
    return made


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def incoming(folder: Path, heard: Heard, clock: ManualClock) -> Incoming:
    return Incoming(folder, NAME, CONFIG, heard.ask, heard.refuse, now=clock)


@pytest.fixture
def watching(folder: Path, heard: Heard) -> Iterator[Incoming]:
    thread = Incoming(folder, NAME, CONFIG, heard.ask, heard.refuse)
    thread.start()
    yield thread
    thread.close()


def test_a_whole_drop_is_asked_for_once(
    incoming: Incoming, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    put(folder / "any name", content)
    write_archive(folder / "reach-7.edged", content)
    for _ in range(3):
        incoming.scan()
    assert [(drop.path.name, drop.version) for drop in heard.drops] == [("any name", "7"), ("reach-7.edged", "7")]
    assert heard.drops[0].digest == heard.drops[1].digest
    assert heard.who == {owner(folder)}


def test_a_copy_in_progress_is_waited_for(
    incoming: Incoming, folder: Path, heard: Heard, clock: ManualClock, content: dict[str, bytes]
) -> None:
    drop = put(folder / "drop", {"SHA256SUMS": content["SHA256SUMS"]})
    for name in ("golden.npz", "manifest.json", "model.onnx"):
        for end in (len(content[name]) // 2, len(content[name])):
            incoming.scan()
            clock.advance(20 * SECOND)
            incoming.scan()
            (drop / name).write_bytes(content[name][:end])
    assert not heard.drops
    assert not heard.refused
    incoming.scan()
    assert len(heard.drops) == 1


def test_what_does_not_change_any_more_is_refused_until_it_does(
    incoming: Incoming, folder: Path, heard: Heard, clock: ManualClock, content: dict[str, bytes]
) -> None:
    drop = put(folder / "drop", {**content, "model.onnx": content["model.onnx"][:100]})
    incoming.scan()
    clock.advance(29 * SECOND)
    incoming.scan()
    assert not heard.refused
    clock.advance(1 * SECOND)
    incoming.scan()
    incoming.scan()
    ((entry, reason),) = heard.refused
    assert entry == "drop"
    assert reason == "drop is not complete after 30 s without a change: model.onnx does not match SHA256SUMS"
    note = folder / "drop.refused"
    assert note.read_text().startswith(reason)
    (drop / "model.onnx").write_bytes(content["model.onnx"])
    incoming.scan()
    assert len(heard.drops) == 1
    assert not note.exists()


def test_a_refusal_is_remembered_over_a_restart_and_forgotten_with_the_drop(
    incoming: Incoming, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    (folder / "drop").symlink_to(put(folder.parent / "outside", content))
    incoming.scan()
    assert len(heard.refused) == 1
    Incoming(folder, NAME, CONFIG, heard.ask, heard.refuse).scan()
    assert len(heard.refused) == 1
    (folder / "drop").unlink()
    incoming.scan()
    assert not list(folder.iterdir())


def test_a_drop_that_was_refused_on_trial_is_not_asked_for_again(
    incoming: Incoming, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    drop = put(folder / "drop", content)
    incoming.scan()
    incoming.note(drop, "it is too slow")
    incoming.scan()
    Incoming(folder, NAME, CONFIG, heard.ask, heard.refuse).scan()
    assert len(heard.drops) == 1
    shutil.rmtree(drop)
    put(drop, content)
    incoming.scan()
    assert len(heard.drops) == 2, "the same bytes dropped again are meant to be tried again"


def test_a_drop_that_was_taken_is_gone(incoming: Incoming, folder: Path, content: dict[str, bytes]) -> None:
    incoming.take(put(folder / "drop", content))
    incoming.take(write_archive(folder / "drop.edged", content))
    assert list(folder.iterdir()) == []


def test_temporary_files_of_others_are_not_looked_at(
    incoming: Incoming, folder: Path, heard: Heard, clock: ManualClock
) -> None:
    (folder / ".reach-3.edged.Xa81").write_bytes(b"half")
    incoming.scan()
    clock.advance(60 * SECOND)
    incoming.scan()
    assert not heard.refused


@pytest.mark.parametrize(
    ("name", "reason"),
    [("notes.txt", "neither a version's folder nor a .edged file"), ("x.edged", "not a whole zip file")],
)
def test_other_things(folder: Path, name: str, reason: str) -> None:
    (folder / name).write_text("hello")
    with pytest.raises(IncompleteError, match=reason):
        inspect(folder / name, NAME)


def test_an_engine_of_another_name_and_a_bare_network(folder: Path, content: dict[str, bytes]) -> None:
    drop = put(folder / "drop", content)
    with pytest.raises(RefusedError, match=f"drop is engine '{NAME}', this is where 'reach' goes"):
        inspect(drop, "reach")
    (folder / "best.onnx").write_bytes(content["model.onnx"])
    with pytest.raises(RefusedError, match=f"edged pack {folder}/best.onnx --name reach"):
        inspect(folder / "best.onnx", "reach")


def test_a_pipe_is_not_waited_on(folder: Path, content: dict[str, bytes]) -> None:
    import os

    drop = put(folder / "drop", {name: data for name, data in content.items() if name != "model.onnx"})
    os.mkfifo(drop / "model.onnx")
    with pytest.raises(RefusedError, match="not a regular file"):
        inspect(drop, NAME)
    os.mkfifo(folder / "pipe.edged")
    with pytest.raises(IncompleteError, match="neither"):
        inspect(folder / "pipe.edged", NAME)


def test_the_watcher_notices_each_way_to_get_there(
    watching: Incoming, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    assert watching.is_alive()
    ready = put(folder.parent / "ready", content)
    shutil.copytree(ready, folder / "cp")
    ready.rename(folder / "mv")
    hidden = folder / ".rsync.edged.1234"
    write_archive(hidden, content)
    hidden.rename(folder / "rsync.edged")
    until(lambda: {drop.path.name for drop in heard.drops} == {"cp", "mv", "rsync.edged"}, 10)


def test_a_folder_that_cannot_be_watched_is_told(tmp_path: Path, heard: Heard) -> None:
    (tmp_path / "incoming").write_text("a file")
    told: list[str] = []
    thread = Incoming(tmp_path / "incoming", NAME, CONFIG, heard.ask, heard.refuse, told.append)
    thread.start()
    until(lambda: told)
    thread.close()
    assert "cannot be watched" in told[0]


def test_it_leaves_nothing(folder: Path, heard: Heard) -> None:
    def cycle() -> None:
        thread = Incoming(folder, NAME, CONFIG, heard.ask, heard.refuse)
        thread.start()
        thread.close()

    leaves_nothing(cycle, 5)
