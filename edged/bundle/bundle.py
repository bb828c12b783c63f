"""One version of an engine: manifest.json, model.onnx, golden.npz and the SHA256SUMS that seals them.

    <store>/<name>/<version>/{manifest.json, model.onnx, golden.npz, SHA256SUMS[, signature]}

or the same as one file, `<name>-<version>.edged`, a stored zip. Each file is opened once, without following links, and
what is hashed are the very bytes that are used: there is no moment between check and use.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edged.bundle.archive import read_stored_zip, write_stored_zip
from edged.bundle.closed import check_closed
from edged.bundle.manifest import Manifest, dump_manifest, parse_manifest
from edged.bundle.samples import Arrays, check_samples, read_samples, write_samples
from edged.core.errors import EngineError, RefusedError
from edged.core.files import ChangedError, NotRegularError, TooLongError, read_bounded, write_file, write_folder

MANIFEST, MODEL, GOLDEN, SUMS, SIGNATURE = "manifest.json", "model.onnx", "golden.npz", "SHA256SUMS", "signature"
SEALED = (MANIFEST, MODEL, GOLDEN)
LIMITS = {MANIFEST: 1 << 20, MODEL: (1 << 31) - 1, GOLDEN: 1 << 28, SUMS: 4096, SIGNATURE: 96}
SIGNATURE_BYTES = 96  # a raw Ed25519 public key (32) and its signature over SHA256SUMS (64)
SUFFIX = ".edged"
REMEDY = "fetch or pack this engine again; 'edged verify ENGINE' says what else is wrong"


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A whole version in memory. `digest`: sha256 of SHA256SUMS (32 bytes); `signature`: 96 bytes or None."""

    name: str
    version: str
    manifest: Manifest
    digest: bytes
    model: bytes
    golden: Mapping[str, NDArray[Any]]
    sums: bytes
    signature: bytes | None = None

    @property
    def identity(self) -> bytes:
        """The 8 bytes by which messages name the engine that made them."""
        return self.digest[:8]


def read_bundle(path: Path) -> Bundle:
    """Read a version directory or a `.edged` file, refusing whatever is not exactly a sealed bundle.

    Raises `RefusedError` for content that does not hold, `EngineError` when there is nothing readable at `path`.
    """
    where = path.name if path.parent.name == "" else f"{path.parent.name}/{path.name}"
    try:
        files = read_files(path)
    except OSError as error:
        raise EngineError(f"cannot read the engine {path}: {error.strerror}", "check the path and its owner") from None
    return open_bundle(files, where)


def read_files(path: Path) -> dict[str, bytes]:
    """The files of a version directory or `.edged` file as they are, only safely read: nothing is checked but names."""
    return _files_of_archive(path) if path.suffix == SUFFIX and not path.is_dir() else _files_of_directory(path)


def open_bundle(files: Mapping[str, bytes], where: str) -> Bundle:
    """A bundle from the bytes of its files, by name; checks digests, manifest, golden samples, and that nothing outside
    of these bytes is needed."""
    _check_names(files, where)
    if files[SUMS] != seal(files):
        raise RefusedError(f"{where}: {_broken(files)}", REMEDY)
    signature = files.get(SIGNATURE)
    if signature is not None and len(signature) != SIGNATURE_BYTES:
        raise RefusedError(f"{where}: signature has {len(signature)} bytes, not {SIGNATURE_BYTES}", REMEDY)
    manifest = parse_manifest(files[MANIFEST], f"{where}/{MANIFEST}")
    golden = read_samples(files[GOLDEN], f"{where}/{GOLDEN}")
    check_samples(golden, manifest, f"{where}/{GOLDEN}")
    check_closed(files[MODEL], f"{where}/{MODEL}")
    digest = hashlib.sha256(files[SUMS]).digest()
    return Bundle(manifest.name, manifest.version, manifest, digest, files[MODEL], golden, files[SUMS], signature)


def read_digest(version: Path) -> bytes:
    """sha256 of the SHA256SUMS that lies in a version's directory, which need not fit what is sealed. `OSError`."""
    return hashlib.sha256(read_bounded(version / SUMS, LIMITS[SUMS])).digest()


def seal(files: Mapping[str, bytes]) -> bytes:
    """The text of SHA256SUMS for these files: `<lower-case hex>  <path>`, sorted by path."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(SEALED)]
    return "".join(lines).encode("ascii")


def bundle_files(manifest: Manifest, model: bytes, golden: Arrays) -> dict[str, bytes]:
    """The files of a version, sealed; checked as a reader would, so that what is written can be read."""
    files = {MANIFEST: dump_manifest(manifest), MODEL: model, GOLDEN: write_samples(golden)}
    files[SUMS] = seal(files)
    open_bundle(files, f"{manifest.name}/{manifest.version}")
    return files


def write_bundle(store: Path, manifest: Manifest, model: bytes, golden: Arrays, *, replace: bool = False) -> Path:
    """Write `<store>/<name>/<version>/` and return it. It appears whole or not at all.

    Writing the same bytes again changes nothing; other bytes under the same version are refused unless `replace`.
    """
    return write_files(store / manifest.name / manifest.version, bundle_files(manifest, model, golden), replace=replace)


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the bundle as one `.edged` file, a stored zip of its directory."""
    write_file(path, write_stored_zip(files))
    return path


def write_files(target: Path, files: Mapping[str, bytes], *, replace: bool = False) -> Path:
    """Make the directory `target` hold exactly these files. A replacement that is cut short leaves the old version."""
    if holds(target, files):
        return target
    try:
        if not replace and target.exists():
            raise FileExistsError  # before all of it is written
        write_folder(target, files, replace)
    except FileExistsError:
        if not target.exists():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from None
        if not holds(target, files):  # else another process wrote the same meanwhile
            raise RefusedError(
                f"{target} exists with other content", "give another --version, or remove it first"
            ) from None
    return target


def holds(directory: Path, files: Mapping[str, bytes]) -> bool:
    """Whether a directory holds exactly these files."""
    try:
        return _files_of_directory(directory) == dict(files)
    except (OSError, RefusedError):
        return False


def _check_names(files: Mapping[str, bytes], where: str) -> None:
    if missing := [name for name in (*SEALED, SUMS) if name not in files]:
        raise RefusedError(f"{where}: {', '.join(missing)} missing", REMEDY)
    if extra := sorted(set(files) - {*SEALED, SUMS, SIGNATURE}):
        raise RefusedError(f"{where}: {extra[0]!r} does not belong to an engine", "remove it")


def _broken(files: Mapping[str, bytes]) -> str:
    """Which file does not match its line in SHA256SUMS, for the message."""
    lines = set(files[SUMS].splitlines())
    wrong = [line.split(b"  ", 1)[1].decode() for line in seal(files).splitlines() if line not in lines]
    return f"{', '.join(wrong)} does not match SHA256SUMS" if wrong else "SHA256SUMS is not in its one form"


def _files_of_directory(path: Path) -> dict[str, bytes]:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for _, entry in zip(range(64), entries, strict=False))
        return {name: _read_once(directory, name, path) for name in names}
    finally:
        os.close(directory)


def _read_once(directory: int, name: str, path: Path) -> bytes:
    """The bytes of one regular file, opened without following a link and without waiting on a pipe."""
    if name not in LIMITS:
        raise RefusedError(f"{path}: {name!r} does not belong to an engine", "remove it")
    try:
        return read_bounded(name, LIMITS[name], dir_fd=directory)
    except NotRegularError:
        raise RefusedError(f"{path}/{name} is not a regular file", REMEDY) from None
    except TooLongError as error:
        raise RefusedError(f"{path}/{name} has {error.strerror}", REMEDY) from None
    except ChangedError:
        raise RefusedError(f"{path}/{name} changed while it was read", "wait until it is all there") from None
    except OSError as error:
        raise RefusedError(f"{path}/{name}: {error.strerror}; links are not followed", REMEDY) from None


def _files_of_archive(path: Path) -> dict[str, bytes]:
    limit = sum(LIMITS.values())
    try:
        return read_stored_zip(read_bounded(path, limit, follow=True), path.name)
    except (NotRegularError, TooLongError):
        raise RefusedError(f"{path} is not a regular file of at most {limit} bytes", REMEDY) from None
    except ChangedError:
        raise RefusedError(f"{path} changed while it was read", "wait until it is all there") from None
