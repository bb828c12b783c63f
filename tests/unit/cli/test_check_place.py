"""`edged check`: where the daemon will be, its folders, disk, doors and keys, and who is there already."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from checked import cell, change, faults, packed

from edged.cli import check as module
from edged.cli.check import check
from edged.cli.finding import exit_code
from edged.cli.keys import new_curve_key
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE

__all__ = ["cell", "packed"]


@pytest.mark.parametrize(
    ("subject", "level"), [("daemon.store", "warning"), ("daemon.cache", "warning"), ("daemon.runtime", "error")]
)
def test_a_full_disk(cell: Path, monkeypatch: pytest.MonkeyPatch, subject: str, level: str) -> None:
    monkeypatch.setitem(module.NEEDS, subject, 1 << 62)
    findings = check(cell)
    (full,) = (finding for finding in findings if " is full (" in finding.fact)
    assert (full.subject, full.level, full.remedy) == (subject, level, "make room")
    assert exit_code(findings) == (EXIT_FAILED if level == "error" else EXIT_OK)


@pytest.fixture
def listening(cell: Path) -> Iterator[None]:
    """Somebody who listens on the control socket, as a running daemon does."""
    (cell.parent / "run" / "lock").write_text("4711\n", encoding="ascii")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as daemon:
        daemon.bind(str(cell.parent / "run" / "control"))
        daemon.listen()
        yield


@pytest.mark.usefixtures("listening")
def test_a_running_daemon_is_named(cell: Path) -> None:
    (warning,) = faults(check(cell), "warning")
    assert warning.startswith("daemon: daemon pick is running with pid 4711, a second one would end at once")


def test_what_a_killed_daemon_left_is_no_daemon(cell: Path) -> None:
    (cell.parent / "run" / "lock").write_text("4711\n", encoding="ascii")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as daemon:
        daemon.bind(str(cell.parent / "run" / "control"))
    assert faults(check(cell), "warning") == []


def test_an_operators_hold_is_told(cell: Path) -> None:
    folder = cell.parent / "engines" / ".hold"
    folder.mkdir()
    (folder / "pick").touch()
    (warning,) = faults(check(cell), "warning")
    assert "held by an operator" in warning
    assert f"edged resume {cell}" in warning


def test_open_doors(cell: Path) -> None:
    (cell.parent / "run").chmod(0o777)
    cell.chmod(0o666)
    findings = check(cell)
    assert any("everybody may put sockets into" in fault for fault in faults(findings))
    assert any("can be written by everybody, limits and all" in warning for warning in faults(findings, "warning"))
    assert exit_code(findings) == EXIT_FAILED


def test_a_runtime_folder_that_is_a_file(cell: Path) -> None:
    shutil.rmtree(cell.parent / "run")
    (cell.parent / "run").touch()
    findings = check(cell)
    assert any("is not a folder, the daemon cannot start" in fault for fault in faults(findings))
    assert exit_code(findings) == EXIT_FAILED


@contextmanager
def somebody_else() -> Iterator[None]:
    """Permissions are judged for the real user: as root, be nobody for a while; others have their own limits."""
    if os.getuid() != 0:
        yield
        return
    os.setreuid(65534, -1)
    try:
        yield
    finally:
        os.setreuid(0, -1)


def test_folders_that_may_not_be_written(cell: Path) -> None:
    for folder in ("run", "engines"):
        (cell.parent / folder).chmod(0o550)
    with somebody_else():
        findings = check(cell)
    folders = {finding.subject: finding for finding in findings if "cannot be written" in finding.fact}
    assert (folders["daemon.runtime"].level, folders["daemon.runtime"].exit_code) == ("error", EXIT_FAILED)
    assert folders["daemon.store"].level == "warning"


def test_keys(cell: Path) -> None:
    change(cell, "valid_ms = 200", 'valid_ms = 200\nsecret_key = "k"\nauthorized = "clients"')
    findings = check(cell)
    assert [fault.partition(";")[0] for fault in faults(findings)] == [
        f"bus.secret_key: {cell.parent}/k: no such file or directory",
        f"bus.authorized: there is no readable folder {cell.parent}/clients",
    ]
    assert exit_code(findings) == EXIT_USAGE  # as 'edged run' would end
    (cell.parent / "clients").mkdir()
    pair = new_curve_key("k", cell.parent)
    pair.secret.rename(cell.parent / "k").chmod(0o644)
    findings = check(cell)
    assert [fault.partition(";")[0] for fault in faults(findings)] == [
        f"bus.secret_key: {cell.parent}/k can be read by others"
    ]
    assert any("is empty" in warning for warning in faults(findings, "warning"))
