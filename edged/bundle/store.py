"""The store: engines by name, their versions, which one is current, and the journal of what happened.

    <store>/<name>/<version>/        see bundle.py
    <store>/<name>/current           link to the version that runs after a power cut; absent with one version = that one
    <store>/<name>/journal.jsonl     one line per event
    <store>/<name>/waiting.json      swaps that a restart of the daemon asks for again

Shipped engines are read-only package data; an engine that the writable store does not have is taken from there, in its
newest version (a wheel has no links). Whatever writes a version copies them into the writable store first, and what ran
runs on: versions that somebody copies there by hand are an engine of one's own, which hides the shipped one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edged.bundle.bundle import MANIFEST, SUMS, Bundle, holds, read_bundle, read_files, write_files
from edged.bundle.manifest import is_name, is_version
from edged.core.clock import wall_time
from edged.core.errors import UNREADABLE, EngineError, RefusedError
from edged.core.files import TooLongError, append_line, make_folder, write_link
from edged.core.lines import read_lines
from edged.core.spelling import did_you_mean

CURRENT, JOURNAL = "current", "journal.jsonl"
MAX_JOURNAL = 256 << 20  # bytes; a swap takes three thousand


def shipped_store() -> Path:
    """Where the engines that come with edged are: inside an installed wheel, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "_engines"
    return inside if inside.is_dir() else package.parent / "engines"


def natural(version: str) -> tuple[Any, ...]:
    """Sorts versions as people count: 2 before 10, 1.9 before 1.10."""
    parts = re.split(r"(\d+)", version, flags=re.ASCII)
    return ([int(part) if index % 2 else part for index, part in enumerate(parts)], version)


class Store:
    """Engines under `root` (writable, may not exist yet), and those of `shipped` that `root` lacks.

    Raises `EngineError` naming store, engine and remedy when something is missing or cannot be read or written.
    """

    def __init__(self, root: Path, shipped: Path | None = None) -> None:
        self.root = root
        self.shipped = shipped if shipped is not None else shipped_store()

    def names(self) -> list[str]:
        """Every engine that has at least one version."""
        found = {name for place in (self.root, self.shipped) for name in _folders(place) if is_name(name)}
        return sorted(name for name in found if self.versions(name))

    def versions(self, name: str) -> list[str]:
        """The versions of an engine in natural order; empty when there is no such engine."""
        return _versions(self._home(name))

    def current(self, name: str) -> str | None:
        """The version that `current` means, None when several are there and none was chosen."""
        home = self._home(name)
        versions = _versions(home)
        if home.parent == self.shipped:
            return versions[-1] if versions else None
        try:
            chosen = str((home / CURRENT).readlink())
        except FileNotFoundError:
            return versions[0] if len(versions) == 1 else None
        except OSError as error:
            raise EngineError(f"{home / CURRENT} cannot be read: {error.strerror}", "make it a link") from None
        if chosen not in versions:
            there = ", ".join(versions) or "none"
            raise EngineError(f"{name}: current is {chosen!r}, which is not here", f"link it to one of: {there}")
        return chosen

    def resolve(self, name: str, version: str = CURRENT) -> Path:
        """The directory of a version, `current` or by name; raises `EngineError` with what there is instead."""
        versions = self.versions(name)
        if not versions:
            there = f"it has {', '.join(self.names()) or 'none'}" if self.root.exists() else "it does not exist"
            remedy = f"pack or copy it there{did_you_mean(name, self.names())}"
            raise EngineError(f"no engine {name!r} in the store {self.root}, {there}", remedy)
        wanted = self.current(name) if version == CURRENT else version
        if wanted is None:
            newest = versions[-1]
            remedy = f'choose one of them: {name}/{newest}, in a config [engine] version = "{newest}"'
            raise EngineError(f"{name} has the versions {', '.join(versions)} and no current one", remedy)
        if wanted not in versions:
            raise EngineError(f"{name} has no version {wanted!r}", f"choose one of: {', '.join(versions)}")
        return self._home(name) / wanted

    def read(self, name: str, version: str = CURRENT) -> Bundle:
        """Read a version and check that it is what its folders call it."""
        path = self.resolve(name, version)
        bundle = read_bundle(path)
        if (bundle.name, bundle.version) != (name, path.name):
            fact = f"{path} holds {bundle.name} {bundle.version}"
            raise RefusedError(fact, f"rename the folders to {bundle.name}/{bundle.version}")
        return bundle

    def adopt(self, name: str) -> None:
        """Copy the newest shipped version of `name` into the writable store, link it as current, and copy the others.

        Does nothing for an engine of the writable store's own, or an older version alone. Cut short, it leaves a store
        that runs the newest, perhaps without older ones.
        """
        shipped, own = _versions(self.shipped / name), _versions(self.root / name)
        if not shipped or not set(own) <= set(shipped) or (self.root / name / CURRENT).is_symlink():
            return
        if self._is_shipped or (own and shipped[-1] not in own):
            return
        try:
            if not all(holds(self.root / name / one, read_files(self.shipped / name / one)) for one in own):
                return  # of one's own, called as a shipped one is
            for version in reversed(shipped):
                write_files(self.root / name / version, read_files(self.shipped / name / version))
                if version == shipped[-1]:
                    write_link(self.root / name / CURRENT, version)
        except RefusedError as error:
            remedy = f"remove it: what is shipped of {name} is copied there first"
            raise RefusedError(error.fact, remedy) from None
        except OSError as error:
            raise self._unwritable(error) from None

    def write(self, name: str, version: str, files: Mapping[str, bytes], replace: bool = False) -> Path:
        """A version of an engine, see `write_files`. What ran runs on: the newest of the shipped ones of that name, or
        the one that was there alone, becomes the current one. Raises `EngineError` where the store cannot be written.
        """
        self.check_writable(name)
        self.adopt(name)
        link, own = self.root / name / CURRENT, _versions(self.root / name)
        try:
            if len(own) == 1 and version not in own and not link.is_symlink() and not self._is_shipped:
                write_link(link, own[0])
            return write_files(self.root / name / version, files, replace=replace)
        except OSError as error:
            raise self._unwritable(error) from None

    @property
    def _is_shipped(self) -> bool:
        """Whether it is the folder of the shipped engines itself, which has no links."""
        return os.path.realpath(self.root) == os.path.realpath(self.shipped)

    def check_writable(self, name: str) -> None:
        """Raise `EngineError` where no version of `name` could be written, as far as that is seen without writing."""
        home = self.root.absolute() / name
        try:
            there = next(place for place in (home, *home.parents) if place.exists())
            if not there.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise self._unwritable(error) from None

    def set_current(self, name: str, version: str) -> None:
        """Make `version` what runs after a power cut: the link is replaced atomically and on disk on return. Where that
        fails, it is what it was."""
        self.adopt(name)
        self.resolve(name, version)
        link = self.root / name / CURRENT
        before = str(link.readlink()) if link.is_symlink() else ""
        try:
            write_link(link, version)
        except OSError as error:
            with contextlib.suppress(OSError):  # it may be there, and only not known to be on disk
                write_link(link, before) if before else link.unlink(missing_ok=True)
            raise self._unwritable(error) from None

    def journal_append(
        self, name: str, *, who: str, version: str, state: str, reason: str = "", attempt: int = 0, engine: str = "",
        back: bool = False,
    ) -> None:  # fmt: skip
        """Add one line to the engine's journal; on disk on return. A line torn by a power cut stays alone.

        `engine`: the hex identity of what lies under `version`, left out when it is not known; `back`: it was
        gone back to. A refusal with `attempt` 0 is that of a request or a drop, whose name `version` then is.
        """
        line = {"time": wall_time(), "who": who, "version": version, "state": state, "reason": reason}
        known = {**({"engine": engine} if engine else {}), **({"back": True} if back else {})}
        text = json.dumps({**line, "attempt": attempt, **known}, ensure_ascii=False)
        folder = self.root / _checked(name)
        try:
            make_folder(folder)
            append_line(folder / JOURNAL, text.encode())
        except OSError as error:
            raise self._unwritable(error) from None

    def journal(self, name: str) -> Iterator[dict[str, Any]]:
        """Every readable line of the engine's journal, oldest first."""
        try:
            for line in read_lines(self.root / _checked(name) / JOURNAL, MAX_JOURNAL):
                with contextlib.suppress(*UNREADABLE):  # torn, or nothing that we wrote
                    value = json.loads(line.decode(errors="replace"))
                    if isinstance(value, dict):
                        yield value
        except FileNotFoundError:
            return
        except TooLongError as error:
            remedy = "move it away: crashes and commits that it knows are then forgotten"
            raise EngineError(f"the journal of {name} is too long: {error.strerror}", remedy) from None
        except OSError as error:
            raise EngineError(f"cannot read the journal of {name}: {error.strerror}", "check its owner") from None

    def _home(self, name: str) -> Path:
        """The folder that has this engine: the writable store's when that has a version or a choice."""
        own = self.root / _checked(name)
        return own if _versions(own) or (own / CURRENT).is_symlink() else self.shipped / name

    def _unwritable(self, error: OSError) -> EngineError:
        return EngineError(f"cannot write the store {self.root}: {error.strerror}", "check its owner and the disk")


def _checked(name: str) -> str:
    if not is_name(name):
        raise EngineError(f"{name!r} is not an engine's name", "use lower-case letters, digits, '_' and '-'")
    return name


def _folders(place: Path) -> list[str]:
    """Names of the directories in `place`, none when it does not exist."""
    try:
        with os.scandir(place) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EngineError(f"cannot read the store {place}: {error.strerror}", "check [daemon] store") from None


def _versions(home: Path) -> list[str]:
    """Folders with a version's name and a seal or manifest: half-copied ones count, so that they are refused aloud."""
    found = [name for name in _folders(home) if is_version(name)]
    return sorted((name for name in found if _has_files(home / name)), key=natural)


def _has_files(directory: Path) -> bool:
    try:
        return (directory / SUMS).exists() or (directory / MANIFEST).exists()
    except PermissionError:  # whoever reads it says so
        return True
