"""Which policy the demo runs, and how slow it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edged.bundle.bundle import read_bundle
from edged.bundle.store import shipped_store
from edged.core.errors import EdgedError, UsageError
from edged.demo.daemons import POLICIES


def check_policy(name: str, swap: bool) -> None:
    """`UsageError` for a policy that there is not, or that nothing can be swapped for."""
    if name not in POLICIES:
        raise UsageError(f"there is no policy {name!r}", f"choose {', '.join(POLICIES)}")
    if swap and name != POLICIES[0]:
        raise UsageError(f"--swap is about versions of {POLICIES[0]}, not of {name}", "leave one of them out")


def choose_policy(folder: Path, name: str, delay_ms: float) -> str:
    """The version of `name` that the demo in `folder` is to run; one that takes about `delay_ms` is made there."""
    if not delay_ms:
        return "current"
    if importlib.util.find_spec("onnx") is None:
        raise EdgedError("a slower engine is made with onnx, which is not installed", "pip install 'edged[pack]'")
    from edged.pack.slow import write_slower

    newest = max((shipped_store() / name).iterdir(), key=lambda path: path.name)
    return write_slower(read_bundle(newest), folder / "engines", delay_ms).name
