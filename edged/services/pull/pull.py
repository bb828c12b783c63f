"""pull: an engine from a registry into `incoming/`, where a running daemon proves it and takes it over.

It lies there whole and checked, or not at all: the bytes come into a scratch folder of the store, the bundle is read as
a daemon would, and one rename makes it a drop. A pull that is killed leaves a scratch folder, which the next one
removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from edged.bundle.archive import EPOCH
from edged.bundle.bundle import LIMITS, SEALED, SIGNATURE, SUFFIX, SUMS, Bundle, read_bundle, read_digest
from edged.bundle.manifest import is_version
from edged.bundle.signature import check_signature
from edged.core.errors import EdgedError, RefusedError, UsageError
from edged.core.files import NotRegularError, TooLongError, move, read_bounded, scratch_folder, write_file
from edged.core.owner import make_folder_of
from edged.services.pull.reference import Reference
from edged.services.pull.registry import Access, Blob, Registry

INCOMING = "incoming"
NOTE = ".pulled-"  # and the digest of a manifest: what it was, so that it need not be fetched again
NOTE_BYTES = 256
ROOM = 1.02  # of what is fetched, on the disk


@dataclass(frozen=True, slots=True)
class Target:
    """`store`, and the name of the engine that is expected there, empty for any. `trusted`: who has to have signed."""

    store: Path
    engine: str = ""
    trusted: Path | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """`path`: the drop, or the version of the store where that `was_there`. `identity`: hex, as in messages."""

    reference: str
    name: str
    version: str
    identity: str
    path: Path
    was_there: bool


def pull(reference: Reference, target: Target, access: Access) -> Pulled:
    """Bring an engine into the store's `incoming/`, unless the store has it.

    Raises `UsageError` for a reference without a digest, and says what its tag means now; `RefusedError` for what is no
    sound engine, or another than is expected; `EdgedError` for a registry that does not give it, or a full disk.
    """
    if reference.digest and (known := _known(reference, target)):
        return known
    with contextlib.closing(Registry(reference, access)) as registry:
        return _bring(registry, reference, target)


def _bring(registry: Registry, reference: Reference, target: Target) -> Pulled:
    digest, blobs = registry.manifest()
    if not reference.digest:
        remedy = f"pin what it means now: {replace(reference, digest=digest)}"
        raise UsageError(f"{reference} has no digest, and a tag can be moved", remedy)
    place = target.store / target.engine / INCOMING if target.engine else target.store
    try:
        make_folder_of(place, target.store)
        _look_for_room(place, blobs)
        with scratch_folder(place) as scratch:
            fetched = _fetch(registry, reference, blobs, scratch)
            bundle = read_bundle(fetched)
            _refuse(bundle, target)
            return _drop(reference, bundle, fetched, target.store)
    except PermissionError as error:
        raise EdgedError(
            f"{error.filename or place}: {error.strerror}", "use sudo, or join the store's group"
        ) from None


def _fetch(registry: Registry, reference: Reference, blobs: list[Blob], scratch: Path) -> Path:
    """As one file that is named `.edged`, whichever way it was pushed: as that, or as the files of a version."""
    whole = scratch / f"engine{SUFFIX}"
    archives = [blob for blob in blobs if blob.title.endswith(SUFFIX)]
    if len(archives) == 1 and len(blobs) == 1:
        with whole.open("wb") as file:
            registry.fetch(archives[0], file, archives[0].title)
        return whole
    titles = sorted(blob.title for blob in blobs)
    if titles not in (sorted([*SEALED, SUMS]), sorted([*SEALED, SUMS, SIGNATURE])):
        there = ", ".join(repr(title) for title in titles[:6]) or "nothing"
        remedy = f"push one {SUFFIX} file, or the files of a version by their names: oras push REF reach-3{SUFFIX}"
        raise RefusedError(f"{reference} holds {there}, which is no engine", remedy)
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for blob in sorted(blobs, key=lambda blob: blob.title):
            with archive.open(zipfile.ZipInfo(blob.title, EPOCH), "w", force_zip64=True) as file:
                registry.fetch(blob, file, blob.title)
    return whole


def _refuse(bundle: Bundle, target: Target) -> None:
    if target.engine and bundle.name != target.engine:
        fact = f"that is engine {bundle.name} {bundle.version}, and {target.engine} is what runs there"
        raise RefusedError(fact, "pull another one, or name the daemon of this one")
    if target.trusted is not None:
        check_signature(bundle, target.trusted, required=True)


def _drop(reference: Reference, bundle: Bundle, fetched: Path, store: Path) -> Pulled:
    incoming = store / bundle.name / INCOMING
    make_folder_of(incoming, store)
    found = _in_store(store / bundle.name, bundle.version, bundle.digest.hex())
    path = found or _drop_path(incoming, bundle.version)
    if found is None:
        fetched.chmod(0o644)  # the daemon is another user, whatever our umask; its folder says who may come in
        move(fetched, path)
    note = f"{bundle.version} {bundle.digest.hex()}\n"
    write_file(incoming / f"{NOTE}{reference.digest.partition(':')[2]}", note.encode())
    _forget(incoming)
    return Pulled(str(reference), bundle.name, bundle.version, bundle.identity.hex(), path, found is not None)


def _drop_path(incoming: Path, version: str) -> Path:
    return incoming / f"{incoming.parent.name}-{version}{SUFFIX}"


def _forget(incoming: Path) -> None:
    """Remove notes that spare no fetch any more: their drop is not there and, looked for next, nor is their version."""
    with contextlib.suppress(OSError), os.scandir(incoming) as entries:
        for entry in entries:
            if not entry.name.startswith(NOTE):
                continue
            with contextlib.suppress(OSError):  # another user's, or forgotten by another pull
                version, digest = _noted(Path(entry.path))
                if version and _drop_path(incoming, version).exists():
                    continue
                if not version or _in_store(incoming.parent, version, digest) is None:
                    Path(entry.path).unlink()


def _noted(note: Path) -> tuple[str, str]:
    """Version and digest that a note tells; empty for one that tells neither. Raises `OSError`."""
    try:
        text = read_bounded(note, NOTE_BYTES).decode("ascii")
    except (ValueError, TooLongError):
        return "", ""
    version, _, digest = text.strip().partition(" ")
    return (version, digest) if is_version(version) else ("", "")


def _known(reference: Reference, target: Target) -> Pulled | None:
    """What was pulled before by this digest, if the store has it still: then nothing need be fetched."""
    for note in target.store.glob(f"{target.engine or '*'}/{INCOMING}/{NOTE}{reference.digest.partition(':')[2]}"):
        version = digest = ""
        with contextlib.suppress(OSError):
            version, digest = _noted(note)
        home = note.parents[1]
        if version and (found := _in_store(home, version, digest)) is not None:
            if target.trusted is not None:
                check_signature(read_bundle(found), target.trusted, required=True)
            return Pulled(str(reference), home.name, version, digest[:16], found, True)
    return None


def _in_store(home: Path, version: str, digest: str) -> Path | None:
    """The version's folder, where it is sealed by the same SHA256SUMS."""
    try:
        found = read_digest(home / version).hex()
    except (FileNotFoundError, NotADirectoryError, NotRegularError, TooLongError):
        return None
    return home / version if found == digest else None


def _look_for_room(place: Path, blobs: list[Blob]) -> None:
    if (most := sum(LIMITS.values())) < (size := sum(blob.size for blob in blobs)):
        raise RefusedError(f"it has {size} bytes, and an engine at most {most}", "look what was pushed there")
    if (free := shutil.disk_usage(place).free) < size * ROOM:
        raise EdgedError(f"it has {size / 1e6:.0f} MB, and {place} room for {free / 1e6:.0f}", "make room")
