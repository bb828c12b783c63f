"""DropWatcher: a drop is taken once it is all there, however it came; what never will be is refused with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from drops import CONFIG, SECOND, Heard, clock, content, folder, heard, incoming
from swap_engines import NAME, files, put
from waiting import leaves_nothing, until

from edged.bundle.bundle import write_archive
from edged.core.clock import ManualClock
from edged.core.errors import RefusedError
from edged.swap.drop import Drop, IncompleteError, inspect
from edged.swap.drop_watcher import DropWatcher, owner

__all__ = ["clock", "content", "folder", "heard", "incoming"]


@pytest.fixture
def watching(folder: Path, heard: Heard) -> Iterator[DropWatcher]:
    thread = DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse)
    thread.start()
    yield thread
    thread.close()


def test_a_whole_drop_is_asked_for_once(
    incoming: DropWatcher, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    put(folder / "any name", content)
    write_archive(folder / "reach-7.edged", content)
    for _ in range(3):
        incoming.scan()
    assert [(drop.path.name, drop.version) for drop in heard.drops] == [("any name", "7"), ("reach-7.edged", "7")]
    assert heard.drops[0].digest == heard.drops[1].digest
    assert heard.who == {owner(folder)}


def test_a_copy_in_progress_is_waited_for(
    incoming: DropWatcher, folder: Path, heard: Heard, clock: ManualClock, content: dict[str, bytes]
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
    incoming: DropWatcher, folder: Path, heard: Heard, clock: ManualClock, content: dict[str, bytes]
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
    incoming: DropWatcher, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    (folder / "drop").symlink_to(put(folder.parent / "outside", content))
    incoming.scan()
    assert len(heard.refused) == 1
    DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse).scan()
    assert len(heard.refused) == 1
    (folder / "drop").unlink()
    incoming.scan()
    assert not list(folder.iterdir())


def test_a_drop_that_was_refused_on_trial_is_not_asked_for_again(
    incoming: DropWatcher, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    drop = put(folder / "drop", content)
    incoming.scan()
    incoming.note(drop, "it is too slow")
    incoming.scan()
    DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse).scan()
    assert len(heard.drops) == 1
    shutil.rmtree(drop)
    put(drop, content)
    incoming.scan()
    assert len(heard.drops) == 2, "the same bytes dropped again are meant to be tried again"


def test_a_drop_that_was_taken_is_gone(
    incoming: DropWatcher, folder: Path, heard: Heard, content: dict[str, bytes]
) -> None:
    put(folder / "drop", content)
    write_archive(folder / "drop.edged", content)
    incoming.scan()
    (folder / "drop" / "model.onnx").touch()
    (folder / "drop.edged").touch()
    for drop in heard.drops:
        incoming.take(drop.path, drop.digest)
    assert list(folder.iterdir()) == []


@pytest.fixture
def first(incoming: DropWatcher, folder: Path, heard: Heard, content: dict[str, bytes]) -> Drop:
    """A drop of version 7 that became a job; version 8 was copied over it since."""
    path = write_archive(folder / "reach.edged", content)
    incoming.scan()
    (first,) = heard.drops
    write_archive(path, files("8"))
    return first


def test_another_drop_in_its_place_is_not_taken(incoming: DropWatcher, first: Drop, heard: Heard) -> None:
    incoming.take(first.path, first.digest)
    assert first.path.exists(), "version 8 is nowhere else"
    incoming.scan()
    assert [drop.version for drop in heard.drops] == ["7", "8"]


def test_a_refusal_is_that_of_the_drop_that_was_tried(incoming: DropWatcher, first: Drop, heard: Heard) -> None:
    incoming.note(first.path, "7 is too slow", first.digest)
    incoming.scan()
    assert [drop.version for drop in heard.drops] == ["7", "8"]


def test_temporary_files_of_others_are_not_looked_at(
    incoming: DropWatcher, folder: Path, heard: Heard, clock: ManualClock
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
    watching: DropWatcher, folder: Path, heard: Heard, content: dict[str, bytes]
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
    thread = DropWatcher(tmp_path / "incoming", NAME, CONFIG, heard.ask, heard.refuse, told.append)
    thread.start()
    until(lambda: told)
    thread.close()
    assert "cannot be watched" in told[0]


def test_it_leaves_nothing(folder: Path, heard: Heard) -> None:
    def cycle() -> None:
        thread = DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse)
        thread.start()
        thread.close()

    leaves_nothing(cycle, 5)
