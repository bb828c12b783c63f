"""One version of an engine: manifest.json, model.onnx, golden.npz and the SHA256SUMS that seals them.

    <store>/<name>/<version>/{manifest.json, model.onnx, golden.npz, SHA256SUMS[, signature]}

or the same as one file, `<name>-<version>.edged`, a stored zip. Each file is opened once, without following links, and
what is hashed are the very bytes that are used: there is no moment between check and use.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
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
        """The 8 bytes by which messages say which engine made them."""
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    _write(temporary, write_stored_zip(files))
    temporary.replace(path)
    sync(path.parent)
    return path


def write_files(target: Path, files: Mapping[str, bytes], *, replace: bool = False) -> Path:
    """Make the directory `target` hold exactly these files, by way of a neighbour that is renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if _same(target, files):
            return target
        if not replace:
            raise RefusedError(f"{target} exists with other content", "give another --version, or remove it first")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.mkdir()
    try:
        for name, content in files.items():
            _write(temporary / name, content)
        sync(temporary)
        if target.exists():
            _remove(target)
        temporary.rename(target)
    except BaseException:
        _remove(temporary)
        raise
    sync(target.parent)
    return target


def sync(directory: Path) -> None:
    """Bring a directory's entries to disk: a rename is only then safe from a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _same(directory: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return _files_of_directory(directory) == dict(files)
    except (OSError, RefusedError):
        return False


def _remove(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


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
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        raise RefusedError(f"{path}/{name}: {error.strerror}; links are not followed", REMEDY) from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise RefusedError(f"{path}/{name} is not a regular file", REMEDY)
    with os.fdopen(handle, "rb") as file:
        if status.st_size > LIMITS[name]:
            raise RefusedError(f"{path}/{name} has {status.st_size} bytes, at most {LIMITS[name]} are read", REMEDY)
        content = file.read(status.st_size + 1)
    if len(content) != status.st_size:
        raise RefusedError(f"{path}/{name} changed while it was read", "wait until it is all there")
    return content


def _files_of_archive(path: Path) -> dict[str, bytes]:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size > sum(LIMITS.values()):
        os.close(handle)
        raise RefusedError(f"{path} is not a regular file of at most {sum(LIMITS.values())} bytes", REMEDY)
    with os.fdopen(handle, "rb") as file:
        return read_stored_zip(file.read(), path.name)
