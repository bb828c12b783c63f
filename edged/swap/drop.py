"""Is a drop all there? Only as much is read as it takes to know: the digests, and whose version it is.

Read in pieces, because whoever looks does so beside the loop: hashing lets go of the interpreter, copying does not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from edged.bundle.archive import REMEDY as REPACK
from edged.bundle.archive import check_directory, check_member
from edged.bundle.bundle import LIMITS, MANIFEST, SEALED, SUFFIX, SUMS
from edged.bundle.manifest import is_version
from edged.core.errors import UNREADABLE, RefusedError, in_words
from edged.core.files import NotRegularError, open_regular

PIECE_BYTES = 1 << 18


class IncompleteError(Exception):
    """Not yet, and perhaps never: what is missing."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A complete one. `digest`: sha256 of its SHA256SUMS."""

    path: Path
    version: str
    digest: bytes


class _Head(msgspec.Struct):
    name: str
    version: str


def inspect(path: Path, name: str) -> Drop:
    """A complete drop of engine `name`. `IncompleteError` while it may still become one, else `RefusedError`."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise RefusedError(f"{path.name} is a link", "copy what it points to; links are not followed")
    if stat.S_ISREG(mode) and path.suffix == ".onnx":
        remedy = f"make it an engine: edged pack {shlex.quote(str(path))} --name {name} --version VERSION"
        raise RefusedError(f"{path.name} is a bare network: nothing says what goes in and what comes out", remedy)
    if stat.S_ISDIR(mode):
        with _directory(path) as files:
            return _complete(path, name, files)
    if not stat.S_ISREG(mode) or path.suffix != SUFFIX:
        raise IncompleteError(f"neither a version's folder nor a {SUFFIX} file")
    with _archive(path) as files:
        return _complete(path, name, files)


def _complete(path: Path, name: str, files: Mapping[str, IO[bytes]]) -> Drop:
    if SUMS not in files:
        raise IncompleteError(f"there is no {SUMS}")
    sums = files[SUMS].read(LIMITS[SUMS] + 1)
    listed = _listed(sums)
    manifest = b""
    for file, digest in listed.items():
        if file not in files:
            raise IncompleteError(f"{file} is missing")
        if file == MANIFEST:
            manifest = files[file].read(LIMITS[MANIFEST])
            found = hashlib.sha256(manifest).hexdigest()
        else:
            found = _digest(files[file])
        if found != digest:
            raise IncompleteError(f"{file} does not match {SUMS}")
    try:
        head = msgspec.json.decode(manifest, type=_Head)
    except UNREADABLE as error:
        raise RefusedError(f"{path.name}/{MANIFEST}: {error}", "re-pack the model with 'edged pack MODEL'") from None
    if head.name != name:
        raise RefusedError(f"{path.name} is engine {head.name!r}, this is where {name!r} goes", "drop it there")
    if not is_version(head.version):
        raise RefusedError(f"{head.version!r} cannot be a version", "re-pack the model with 'edged pack MODEL'")
    return Drop(path, head.version, hashlib.sha256(sums).digest())


def _listed(sums: bytes) -> dict[str, str]:
    """What SHA256SUMS lists; every sealed file has to be there."""
    lines = (line.partition("  ") for line in sums.decode("ascii", errors="replace").splitlines())
    listed = {file: digest for digest, _, file in lines}
    if sorted(listed) != sorted(SEALED):
        raise IncompleteError(f"{SUMS} does not list {', '.join(sorted(SEALED))}")
    return listed


def _digest(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        found.update(piece)
    return found.hexdigest()


@contextmanager
def _directory(path: Path) -> Iterator[Mapping[str, IO[bytes]]]:
    """The files of a version's folder that belong to one, opened without following links or waiting on pipes."""
    opened: dict[str, IO[bytes]] = {}
    try:
        for name in (*SEALED, SUMS):
            try:
                opened[name] = os.fdopen(open_regular(path / name), "rb", buffering=0)
            except FileNotFoundError:
                continue
            except NotRegularError:
                raise RefusedError(f"{path.name}/{name} is not a regular file", "copy it again") from None
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise RefusedError(f"{path.name}/{name} is a link", "copy the file itself") from None
                raise IncompleteError(f"{name} cannot be read: {error.strerror}") from None
            size = os.fstat(opened[name].fileno()).st_size
            if size > LIMITS[name]:
                raise RefusedError(f"{path.name}/{name} has {size} bytes, {LIMITS[name]} are read", REPACK)
        yield opened
    finally:
        for file in opened.values():
            file.close()


@contextmanager
def _archive(path: Path) -> Iterator[Mapping[str, IO[bytes]]]:
    """The members of a `.edged` file, by name. One that is still being written has no table of contents."""
    try:
        handle = open_regular(path)
    except PermissionError as error:
        raise IncompleteError(f"it cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        try:
            if os.fstat(handle).st_size > sum(LIMITS.values()):
                raise RefusedError(f"{path.name} is larger than an engine can be", REPACK)
            check_directory(file, path.name)
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
                if len(infos) > len(LIMITS):
                    if not set(LIMITS) <= {info.filename for info in infos}:
                        raise IncompleteError("not a whole zip file (its table of contents is another one's)")
                    raise RefusedError(f"{path.name} holds {len(infos)} entries", REPACK)
                for info in infos:
                    check_member(info, path.name)
                with ExitStack() as open_files:
                    members = [info for info in infos if info.filename in LIMITS]
                    yield {info.filename: open_files.enter_context(archive.open(info)) for info in members}
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError, OSError) as error:
            raise IncompleteError(f"not a whole zip file ({in_words(error)})") from None
