"""What others may lay into `incoming`: bad entries, junk, and drops of another user."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drops import CONFIG, SECOND, Heard, clock, content, folder, heard, incoming
from swap_engines import NAME, put
from waiting import leaves_nothing

from edged.bundle.bundle import seal, write_archive
from edged.core.clock import ManualClock
from edged.swap.drop_watcher import MOST_ENTRIES, DropWatcher

__all__ = ["clock", "content", "folder", "heard", "incoming"]


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
