"""What somebody without the right to a daemon's socket is told to do about it."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from edged.client.reach import no_right

OWN = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given to other groups by root")
@pytest.mark.parametrize(
    ("group", "mode", "wanted"),
    [
        (4, 0o660, f"sudo usermod -aG {grp.getgrgid(4).gr_name} $USER"),
        (0, 0o660, "run the daemon as a user and group of its own"),
        (4, 0o600, f"use sudo, or ask as {OWN}"),
    ],
)
def test_the_remedy_gives_no_more_than_is_needed(tmp_path: Path, group: int, mode: int, wanted: str) -> None:
    """Who joins the group root may do far more than ask a daemon."""
    path = tmp_path / "control"
    path.touch()
    path.chmod(mode)
    os.chown(path, -1, group)
    fact, remedy = no_right(path)
    assert fact.startswith(f"you may not use {path}: it is ")
    assert wanted in remedy
    assert "-aG root" not in remedy
