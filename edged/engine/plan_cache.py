"""The plan cache: TensorRT plans built on this machine, found again only where they belong.

    <cache>/<key>.plan     the plan
    <cache>/<key>.json     what the key was made of, the plan's own sha256, and `seal`, that of the other lines
    <cache>/<key>.lock     held while it is built, so that two builders of one plan do not race

A plan is executable code and fits one engine on one GPU under one driver and one TensorRT. All of these are in the key,
so a plan for something else is not refused but never found. The sha256 finds damage, not malice: what protects
plans is that no other user can write the folder, and that is checked too.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from edged.core.errors import UNREADABLE, EngineError
from edged.core.files import NotRegularError, open_lock, open_regular, write_file
from edged.engine.device import Device

SCHEMA = 1
MAX_PLAN_BYTES = 1 << 34

log = logging.getLogger("edged")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What a plan is built with. `workspace_mib` 0 leaves TensorRT its default, the whole device memory.

    `optimization_level` 0 to 5 (TensorRT's default is 3). `hardware_compatible`: runs on Ampere and newer GPUs, slower.
    `version_compatible`: also loads in newer TensorRT versions. `tf32`: matrix products rounded to 10-bit mantissas.
    """

    optimization_level: int = 3
    workspace_mib: int = 1024
    hardware_compatible: bool = False
    version_compatible: bool = False
    tf32: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`data` is private to the process: nothing can change it between its check and its use."""

    key: str
    data: bytes
    about: Mapping[str, Any]


def key_parts(digest: bytes, tensorrt: str, device: Device, options: BuildOptions) -> dict[str, Any]:
    """All that a plan depends on: the engine's sealed files, TensorRT, the GPU, its driver, and how it was built.

    Orin modules share name and compute capability, so multiprocessors and memory count too.
    """
    kind = {name: value for name, value in asdict(device).items() if name != "pci"}  # another of its kind will do
    return {"engine": digest.hex(), "tensorrt": tensorrt, "device": kind, "options": asdict(options)}


def plan_key(parts: Mapping[str, Any]) -> str:
    """32 hex digits that are different whenever a part is."""
    return _sha256(msgspec.json.encode(parts, order="deterministic"))[:32]


class Plans:
    """The plans in `folder`. Raises `EngineError` when it cannot be used, or others could have written into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, parts: Mapping[str, Any]) -> Plan | None:
        """The plan of these parts, None when there is none; one that is damaged is none, and is logged."""
        key = plan_key(parts)
        try:
            about = msgspec.json.decode(self._read(f"{key}.json"), type=dict[str, Any])
            data = self._read(f"{key}.plan")
        except FileNotFoundError:
            return None
        except UNREADABLE:
            about, data = {}, b""
        except OSError as error:
            raise EngineError(f"cannot read {self.folder}/{key}: {error.strerror}", "check its owner") from None
        whole = about.pop("seal", None) == _sha256(_text(about)) and about["sha256"] == _sha256(data)
        if not whole or about["parts"] != parts:
            log.warning("plan %s does not match what is written about it: it will be built again", key)
            return None
        return Plan(key, data, about)

    def save(self, parts: Mapping[str, Any], data: bytes, about: Mapping[str, Any]) -> Plan:
        """Keep a plan. It is found whole or not at all, whenever the power is cut. The caller holds `lock`."""
        key = plan_key(parts)
        facts = {"schema": SCHEMA, **about, "key": key, "parts": parts, "bytes": len(data)}
        facts["sha256"] = _sha256(data)
        self.write(f"{key}.plan", data)
        self.write(f"{key}.json", _text({**facts, "seal": _sha256(_text(facts))}))
        return Plan(key, data, facts)

    def discard(self, key: str) -> None:
        """Forget a plan that did not prove itself: the next one who needs it builds it again."""
        for name in (f"{key}.json", f"{key}.plan"):
            with suppress(OSError):
                (self.folder / name).unlink()

    def write(self, name: str, data: bytes) -> None:
        """Replace a file of the cache atomically; on disk on return."""
        try:
            self._prepare()
            write_file(self.folder / name, data, 0o600)
        except OSError as error:
            raise EngineError(
                f"cannot write the plan cache {self.folder}: {error.strerror}", "check [daemon] cache and the disk"
            ) from None

    def read(self, name: str) -> bytes:
        """The bytes of another file of the cache, such as a timing cache; empty when there is none."""
        try:
            return self._read(name)
        except OSError:
            return b""

    def folder_for(self, key: str) -> Path:
        """A folder of this cache for what a library compiles and keeps by itself. Code, and nobody else's to write."""
        try:
            self._prepare()
            folder = self.folder / key
            folder.mkdir(mode=0o700, exist_ok=True)
            for path in (folder, *folder.iterdir()):
                self._refuse_foreign(path.lstat(), path)
        except OSError as error:
            raise EngineError(f"cannot use the cache {self.folder}: {error.strerror}", "check [daemon] cache") from None
        return folder

    @contextmanager
    def lock(self, parts: Mapping[str, Any], wait: bool = True) -> Iterator[bool]:
        """Hold the right to build this plan; yields False at once when another has it and `wait` is not set."""
        try:
            self._prepare()
            handle = open_lock(self.folder / f"{plan_key(parts)}.lock")
        except OSError as error:
            raise EngineError(f"cannot use the plan cache {self.folder}: {error.strerror}", "check its owner") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._refuse_foreign(self.folder.stat(), self.folder)

    def _read(self, name: str) -> bytes:
        self._refuse_foreign(self.folder.stat(), self.folder)
        no_file = EngineError(f"{self.folder / name} is not a file of the plan cache", "remove it")
        try:
            handle = open_regular(self.folder / name)
        except NotRegularError:
            raise no_file from None
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            self._refuse_foreign(status, self.folder / name)
            if status.st_size > MAX_PLAN_BYTES:
                raise no_file
            return file.read()

    def _refuse_foreign(self, status: os.stat_result, path: Path) -> None:
        """Loading a plan runs it: whoever can write it can run anything as us."""
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise EngineError(
                f"others can write {path}, and a plan is code",
                f"chown it to this user, chmod go-w {shlex.quote(str(path))}",
            )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _text(facts: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(facts, order="deterministic"), indent=2) + b"\n"
