"""Run the parts one after the other, each in its own process and within its share of the time, and write them down."""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gpu.engines import BACKENDS, DRY, PLANS, unavailable
from benchmarks.gpu.mps import mps
from benchmarks.gpu.parts import ENVIRON, OF_MPS, OF_TORCH, PARTS
from benchmarks.gpu.table import table
from edged.core.errors import EdgedError
from edged.engine.cuda import open_cuda
from edged.engine.gpu_info import read_gpu

PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda", "cuda-bindings", "torch")
SPARE_S = 15.0  # what a part may take longer than its share before it is ended


def run_parts(
    backends: Sequence[str], seconds: float, engines: Path, only: Sequence[str] = (), say: Any = print
) -> dict[str, dict[str, Any]]:
    """What each part found on each back end, within `seconds` in all; torch once, after the first back end's."""
    until = time.monotonic() + seconds
    asked = [(backend, name) for backend in backends for name in PARTS if not only or name in only]
    asked = [(backend, name) for backend, name in asked if backend == backends[0] or name not in OF_TORCH]
    found: dict[str, dict[str, Any]] = {backend: {} for backend in backends}
    with tempfile.TemporaryDirectory(prefix="edged-gpu-plans-") as plans:
        for number, (backend, name) in enumerate(asked):
            left = until - time.monotonic()
            share = left * PARTS[name][0] / sum(PARTS[later][0] for _, later in asked[number:])
            enough = left > 1
            one = _run(name, backend, share, left, engines, plans) if enough else {"not_run": "no time left"}
            found[backend][name] = one
            say(f"{backend} {name}: {one.get('not_run', 'done')}")
    return found


def _run(name: str, backend: str, share: float, left: float, engines: Path, plans: str) -> dict[str, Any]:
    wanted = name in OF_MPS and backend != DRY
    with tempfile.TemporaryDirectory(prefix="edged-gpu-") as folder, mps(wanted, Path(folder)) as environ:
        if isinstance(environ, str):
            return {"not_run": environ}
        result = Path(folder) / "result.json"
        argv = [sys.executable, "-m", "benchmarks.gpu.parts", name, "--backend", backend, "--seconds", str(share)]
        argv += ["--engines", str(engines), "--result", str(result)]
        try:
            limit_s = min(left, share) + SPARE_S
            done = subprocess.run(
                argv,
                env={**os.environ, **environ, **ENVIRON.get(name, {}), PLANS: plans},
                timeout=limit_s,
                check=False,
                stderr=subprocess.PIPE,
            )
        except subprocess.TimeoutExpired:
            return {"not_run": f"it took longer than {limit_s:.0f} s"}
        with suppress(OSError, msgspec.DecodeError):
            return dict(msgspec.json.decode(result.read_bytes()))
        words = done.stderr.decode(errors="replace").strip().splitlines()
        return {"not_run": f"it ended with {done.returncode}: {words[-1] if words else 'without a word'}"}


def versions() -> dict[str, str]:
    """Of what has to do with the figures, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def file_name(results: Mapping[str, Any]) -> str:
    device = re.sub(r"[^a-z0-9]+", "-", str(results["device"] or "dry run").lower()).strip("-")
    return f"gpu-{device}-{str(results['date'])[:10]}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description="Everything we claim of a GPU, on one.")
    parser.add_argument("--seconds", type=float, default=450.0, help="for all of it")
    parser.add_argument("--backend", choices=(*BACKENDS, DRY), action="append", help="cpu: a dry run")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--engines", type=Path, default=Path("engines"), help="those that prepare made")
    parser.add_argument("--out", type=Path, default=Path("results"))
    given = parser.parse_args()
    backends = given.backend or list(BACKENDS)
    dry = DRY in backends
    if dry and len(backends) > 1:
        parser.error("a dry run is no part of another one")
    results: dict[str, Any] = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "device": None}
    if not dry:
        if all(unavailable(backend) for backend in backends):
            sys.exit("not run on a GPU: " + "; ".join(f"{name}: {unavailable(name)}" for name in backends))
        cuda = open_cuda()
        results |= {"device": cuda.name, "driver": cuda.about["driver"], "before": read_gpu()}
    results["versions"] = versions()
    results["parts"] = run_parts(backends, given.seconds, given.engines.absolute(), given.only or ())
    results |= {} if dry else {"after": read_gpu()}
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{file_name(results)}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    text = table(results)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text, path, path.with_suffix(".md"), sep="\n")
    rows = [row for parts in results["parts"].values() for row in parts.get("parity", {}).get("rows", [])]
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgedError as error:
        sys.exit(f"no figure was taken: {error}")
