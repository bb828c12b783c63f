"""Reach: whether a process listens on a Unix socket, and what to do where one may not ask."""

from __future__ import annotations

import grp
import pwd
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

Reach = Literal["listens", "left", "absent", "closed"]

PROBE_S = 0.2


def reach(path: Path) -> Reach:
    """How it is about the socket at `path`. Takes no lock that could be in a daemon's way, and sends nothing.

    "listens": a process holds it, busy or frozen perhaps; "left": a dead one left its file; "closed": we have no right.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except PermissionError:
            return "closed"
        except ConnectionRefusedError:
            return "left"
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return "absent"
        except OSError as error:
            return "absent" if "too long" in str(error) else "listens"  # a full backlog: frozen, but there
    return "listens"


def no_right(path: Path) -> tuple[str, str]:
    """Fact and remedy where `path` is closed to us: who owns what is in the way, and which group opens it."""
    for place in (path, *path.parents):
        try:
            status = place.stat()
        except OSError:
            continue
        break
    else:
        return f"you may not use {path}", "use sudo"
    owner, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
    if status.st_mode & 0o020 or (place.is_dir() and status.st_mode & 0o010):
        remedy = f"join its group (sudo usermod -aG {group} $USER, then log in again), or use sudo"
        if not status.st_gid:  # whoever joins that one may do far more than this
            remedy = "use sudo, or run the daemon as a user and group of its own (User= and Group= of its unit)"
        return f"you may not use {path}: it is for {owner} and group {group}", remedy
    return f"you may not use {path}: it is {owner}'s alone", f"use sudo, or ask as {owner}"


def _name(entry: Callable[[int], pwd.struct_passwd | grp.struct_group], number: int) -> str:
    try:
        return str(entry(number)[0])
    except KeyError:  # a container without a passwd or group entry
        return str(number)
