"""DropWatcher: a drop is taken once it is all there, however it came; what never will be is refused with its reason."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from swap_engines import NAME, files, put
from waiting import leaves_nothing, until

from edged.bundle.bundle import seal, write_archive
from edged.config import SwapConfig
from edged.core.clock import ManualClock
from edged.core.errors import RefusedError
from edged.swap.drop import Drop, IncompleteError, inspect
from edged.swap.drop_watcher import MOST_ENTRIES, DropWatcher, owner

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
def incoming(folder: Path, heard: Heard, clock: ManualClock) -> DropWatcher:
    return DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse, now=clock)


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


def spoil(folder: Path, content: dict[str, bytes]) -> None:
    """Everything that somebody may have dropped, beside what is well."""
    whole = write_archive(folder / ".a.edged", content).read_bytes()
    (folder / ".a.edged").unlink()
    for name, method in (("deflated", zipfile.ZIP_DEFLATED), ("lzma", zipfile.ZIP_LZMA), ("bz2", zipfile.ZIP_BZIP2)):
        with zipfile.ZipFile(folder / f"{name}.edged", "w", method) as archive:
            for file, body in content.items():
                archive.writestr(file, body)
        packed = bytearray((folder / f"{name}.edged").read_bytes())
        packed[100:140] = bytes(40)
        (folder / f"{name}-broken.edged").write_bytes(packed)
    with zipfile.ZipFile(folder / "bomb.edged", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SHA256SUMS", content["SHA256SUMS"])
        archive.writestr("model.onnx", bytes(64 << 20))
    with zipfile.ZipFile(folder / "crowd.edged", "w") as archive:
        for number in range(5000):
            archive.writestr(f"{number}", b"")
    (folder / "cut.edged").write_bytes(whole[:-30])
    (folder / "end.edged").write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    nested = {**content, "manifest.json": b'{"a":' * 50_000}
    nested["SHA256SUMS"] = seal(nested)
    put(folder / "nested", nested)
    put(folder / "long", content)
    os.truncate(folder / "long" / "golden.npz", 1 << 40)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / os.fsdecode(b"na\xefve")).mkdir()
    put(folder / "well", content)


def test_every_entry_is_judged_alone(folder: Path, incoming: DropWatcher, heard: Heard, clock, content):
    spoil(folder, content)
    incoming.scan()
    clock.advance(31 * SECOND)
    incoming.scan()
    assert [drop.path.name for drop in heard.drops] == ["well"]
    refused = dict(heard.refused)
    assert set(refused) == {
        *("deflated.edged", "lzma.edged", "bz2.edged"),
        *("deflated-broken.edged", "lzma-broken.edged", "bz2-broken.edged"),
        *("bomb.edged", "crowd.edged", "cut.edged", "end.edged", "nested", "long", "pipe", "loop", "na\\xefve"),
    }
    assert "not UTF-8" in refused["na\\xefve"]
    assert "is compressed" in refused["bomb.edged"]
    assert "golden.npz has" in refused["long"]
    incoming.scan()
    assert len(heard.refused) == len(refused)  # said once


def test_bad_entries_leave_no_descriptor_open(folder: Path, heard: Heard, content):
    spoil(folder, content)
    leaves_nothing(lambda: DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse).scan(), times=5)


def test_a_crowd_of_junk_is_told_once_and_bounded(folder: Path, heard: Heard):
    warnings: list[str] = []
    incoming = DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse, warnings.append)
    for number in range(MOST_ENTRIES + 500):
        (folder / f"junk-{number}").touch()
    incoming.scan()
    incoming.scan()
    assert len(warnings) == 1
    assert "remove what is no engine" in warnings[0]


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Become another user for the rest of the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    yield lambda: os.seteuid(65534)
    os.seteuid(0)


def let_others_in(folder: Path) -> None:
    """Open the folders above `folder` that pytest made for its user alone."""
    for above in folder.parents:
        if not above.stat().st_mode & 0o001:
            above.chmod(0o755)


def test_drops_of_another_user(folder: Path, heard: Heard, content, as_nobody: Callable[[], None]):
    """An unreadable folder is refused by its name and hinders nobody; a taken one that is not ours is told of once."""
    warnings: list[str] = []
    clock = ManualClock()
    incoming = DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse, warnings.append, clock)
    put(folder / "closed", content).chmod(0o700)
    put(folder / "open", content)
    os.chown(folder, 65534, 65534)
    let_others_in(folder)
    as_nobody()
    incoming.scan()
    clock.advance(31 * SECOND)
    incoming.scan()
    assert [drop.path.name for drop in heard.drops] == ["open"]
    assert [name for name, _ in heard.refused] == ["closed"]
    assert "Permission denied" in heard.refused[0][1]
    incoming.take(folder / "open", heard.drops[0].digest)
    incoming.scan()
    assert len(warnings) == 1
    assert "its owner, root, may remove it" in warnings[0]
    os.seteuid(0)
    shutil.rmtree(folder / ".taken.open")
    (folder / "closed").chmod(0o755)
    os.seteuid(65534)
    incoming.scan()
    assert [drop.path.name for drop in heard.drops] == ["open", "closed"]  # another mode is another look


def test_a_folder_that_may_only_be_read_is_still_looked_through(
    folder: Path, heard: Heard, content, as_nobody: Callable[[], None]
):
    put(folder / "open", content)
    (folder / "x.onnx").write_bytes(b"")
    (folder / "gone.refused").write_text("of a drop that went", encoding="utf-8")
    let_others_in(folder)
    as_nobody()
    DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse).scan()
    assert [drop.path.name for drop in heard.drops] == ["open"]
    assert [name for name, _ in heard.refused] == ["x.onnx"]


def test_a_name_is_told_as_it_can_be_written_on_one_line(
    folder: Path, incoming: DropWatcher, heard: Heard, clock: ManualClock
) -> None:
    (folder / "a\x1b[31mb\n2026 notice: swap version=9 state=committed").mkdir()
    for _ in range(3):
        incoming.scan()
        clock.advance(31 * SECOND)
    ((name, reason),) = heard.refused
    assert name.startswith("a\\x1b[31mb\\n2026 notice")
    assert reason.isprintable()
