"""What a person names on the command line: an engine by name, a version directory, or a `.edged` file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from edged.bundle.bundle import MANIFEST, SUFFIX, SUMS
from edged.bundle.store import CURRENT, Store
from edged.core.errors import UsageError

HEADER = struct.Struct("<I")  # Ultralytics: how long the JSON before the plan is
MAX_HEADER_BYTES = 1 << 20


def find_target(target: str, store: Store) -> tuple[Path, bool]:
    """Where the engine is, and whether it was found by name: NAME (its current version) or NAME/VERSION.

    A path wins over a name when something is there. Raises `UsageError` for files of other kinds, saying what they
    are; `EngineError` for names the store does not know.
    """
    path = Path(target)
    if path.is_file() and path.suffix != SUFFIX:
        refuse_file(path)
    if path.suffix == SUFFIX or (path / SUMS).exists() or (path / MANIFEST).exists():
        return path, False
    if path.is_dir() and "/" in target.rstrip("/"):
        raise UsageError(f"{target} holds no engine", f"give a folder with {MANIFEST} and {SUMS}, or a {SUFFIX} file")
    name, _, version = target.partition("/")
    return store.resolve(name, version or CURRENT), True


def refuse_file(path: Path) -> None:
    """Say what a file is that is no bundle, and how it becomes one."""
    remedy = f"give a version folder or a {SUFFIX} file"
    with path.open("rb") as file:
        start = file.read(HEADER.size + MAX_HEADER_BYTES)
    if (about := ultralytics_header(start)) is not None:
        made_by = about.get("description") or "a model"
        raise UsageError(
            f"{path} is a TensorRT plan that Ultralytics wrapped ({made_by}): it fits one GPU and one TensorRT, and "
            "nothing proves what it does",
            "export the model again (yolo export format=onnx) and pack that: edged pack MODEL.onnx",
        )
    if path.suffix == ".onnx":
        raise UsageError(f"{path} is a graph without a manifest", f"edged pack {path} --name NAME --task TASK")
    if path.suffix in (".engine", ".plan", ".trt"):
        raise UsageError(f"{path} is a TensorRT plan: it fits one GPU and one TensorRT", "pack the ONNX it came from")
    raise UsageError(f"{path} is not an engine", remedy)


def ultralytics_header(data: bytes) -> dict[str, object] | None:
    """The JSON that Ultralytics writes before a plan (4-byte little-endian length, JSON, plan), None for other data."""
    if len(data) < HEADER.size:
        return None
    (length,) = HEADER.unpack_from(data)
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - HEADER.size):
        return None
    try:
        about = json.loads(data[HEADER.size : HEADER.size + length])
    except ValueError:
        return None
    return about if isinstance(about, dict) else None
