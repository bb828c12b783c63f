"""Whose keys a daemon lets in from the network: list them, allow one, revoke one."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq.auth

from edged.cli.keys import certificate, check_name
from edged.config import load_config, unit_environ
from edged.core.errors import ConfigError, EdgedError, UsageError
from edged.core.files import make_folder, write_file
from edged.runtime.clients import OPERATE, SUFFIX, Client, list_clients


def find_clients(word: str) -> Path:
    """The folder of a daemon's clients, by its TOML file or by the folder itself. Raises `UsageError`."""
    path = Path(word)
    if path.suffix == ".toml":
        folder = load_config(path, (), unit_environ(path)).bus.authorized
        if folder is None:
            raise UsageError(f"{word} has no [bus] authorized: it lets nobody in", "set it, and bus.secret_key")
        return folder
    if not path.is_dir():
        raise UsageError(f"there is no folder {word}", "give the daemon's TOML file, or make the folder")
    return path.absolute()


def listed(folder: Path) -> list[dict[str, Any]]:
    """One map per file: name, role, key ("" = it holds none), path."""
    return [{"name": one.name, "role": one.role, "key": one.key, "path": str(one.path)} for one in _clients(folder)]


def show_clients(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table."""
    if not rows:
        return "no keys: nobody is let in from the network"
    width = max(len(row["name"]) for row in rows)
    roles = {"read": "read", OPERATE: "read and operate"}
    return "\n".join(
        f"{row['name']:<{width}}  {roles[row['role']]:<16}  {row['key'] or 'not a key: nobody is let in by it'}"
        for row in rows
    )


def allow(key: Path, folder: Path, operate: bool) -> Client:
    """Put the public key of the file `key` where its role wants it, and away from where it was."""
    public = _public(key)
    name = key.stem
    check_name(name)
    others = [one for one in _clients(folder) if (one.key == public) != (one.name == name)]
    if others:
        one = others[0]
        what = f"this key is there as {one.name}" if one.key == public else f"another key is there as {name}"
        raise UsageError(
            f"{what} ({one.path})", f"revoke that first: edged keys revoke {one.name} {shlex.quote(str(folder))}"
        )
    target = (folder / OPERATE if operate else folder) / f"{name}{SUFFIX}"
    other = (folder if operate else folder / OPERATE) / f"{name}{SUFFIX}"
    try:
        make_folder(target.parent, 0o755)
        write_file(target, certificate(public).encode(), 0o644)  # first: at no moment is it in neither
        other.unlink(missing_ok=True)
    except OSError as error:
        raise EdgedError(f"cannot write {error.filename or target}: {error.strerror}", "check its owner") from None
    return Client(name, "operate" if operate else "read", public, target)


def revoke(word: str, folder: Path) -> list[Path]:
    """Remove every file that holds the key called `word`, or that is `word`, under whatever name; which they were."""
    clients = _clients(folder)
    keys = {one.key for one in clients if word in (one.name, one.key) and one.key}
    gone = [one for one in clients if one.name == word or one.key in keys]
    if not gone:
        there = ", ".join(sorted({one.name for one in clients})) or "none"
        raise UsageError(f"no key {word!r} in {folder}", f"there is: {there}")
    try:
        for one in gone:
            one.path.unlink(missing_ok=True)
    except OSError as error:
        raise EdgedError(f"cannot remove {error.filename}: {error.strerror}", "check the folder's owner") from None
    return [one.path for one in gone]


def _clients(folder: Path) -> list[Client]:
    try:
        return list_clients(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be looked at: {error.strerror}", "check its owner") from None


def _public(path: Path) -> str:
    """The public key of a certificate that holds no secret one: that never leaves its owner's machine."""
    public, secret = b"", None
    with contextlib.suppress(OSError, ValueError, IndexError):
        public, secret = zmq.auth.load_certificate(path)
    if secret is not None:
        raise UsageError(f"{path} holds a secret key, which stays with its owner", f"give the {SUFFIX} file beside it")
    if len(public) != 40:
        raise UsageError(f"{path} holds no public key", "give the .key file that 'edged keys curve' made")
    return public.decode("ascii")
