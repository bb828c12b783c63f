"""The same networks in torch, in the same run: eager, and compiled by torch.compile. What they do without edged."""

from __future__ import annotations

import time
from typing import Any

from edged.bench import quantiles

WARM = 3


def beside(name: str, dry: bool, seconds: float) -> dict[str, Any]:
    """Milliseconds of a run of network `name` with its inputs on the device already and its outputs left there.

    Raises `ImportError` without torch, or torchvision where it needs that.
    """
    import torch

    from benchmarks.gpu.networks import NETWORKS

    if not dry and not torch.cuda.is_available():
        return {"not_run": "this torch sees no GPU"}
    device = "cpu" if dry else "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as in the engines
    network, given = NETWORKS[name]()
    network, tensors = network.to(device), [tensor.to(device) for tensor in given.values()]
    arguments = [tensors] if name == "mask-rcnn" else tensors
    found: dict[str, Any] = {"torch": torch.__version__}
    for how in ("eager", "compile"):
        try:
            runner = network if how == "eager" else torch.compile(network, mode="reduce-overhead")
            found[how] = _time(runner, arguments, device, seconds / 2)
        except Exception as error:  # torch.compile raises whatever a compiler below it does
            found[how] = {"not_run": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return found


def _time(network: Any, arguments: list[Any], device: str, seconds: float) -> dict[str, Any]:
    import torch

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    spent: list[float] = []
    with torch.inference_mode():
        began = time.perf_counter()
        for _ in range(WARM):
            network(*arguments)
        wait()
        warm_s = round(time.perf_counter() - began, 2)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(spent) < WARM:
            begun = time.perf_counter()
            network(*arguments)
            wait()
            spent.append(1000 * (time.perf_counter() - begun))
    return {"run_ms": quantiles(spent), "runs": len(spent), "warm_s": warm_s}
