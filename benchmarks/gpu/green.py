"""Part of a GPU: streams on some of its multiprocessors (green contexts). Measured here, not used by the daemon.

Confinement rides on the stream: the primary context stays current, and what is enqueued on a stream of a green context
runs on its multiprocessors alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edged.core.errors import EngineError
from edged.engine.cuda import NON_BLOCKING, Cuda, CudaError, call

log = logging.getLogger("edged")


class GreenCuda(Cuda):
    """An open driver whose new streams are on `share` (above 0, up to 1) of the multiprocessors, rounded up.

    To be closed when all engines on it are. Raises `EngineError` where the driver or cuda-bindings have no such thing.
    """

    def __init__(self, cuda: Cuda, share: float) -> None:
        vars(self).update(vars(cuda))
        try:
            if self._bindings is None:
                raise EngineError("no part of the GPU: cuda-bindings is not installed", "pip install 'edged[graphs]'")
            with self:
                self._green = self._create(share)
                try:
                    self.stream(urgent=False).close()
                except BaseException:
                    self._destroy()
                    raise
        except (AttributeError, RuntimeError, CudaError) as error:  # cuda-bindings', the driver's, the GPU's
            remedy = "it takes CUDA 12.5, both as driver and as cuda-bindings, and a share from 0 to 1"
            raise EngineError(f"no part of the GPU: {error}", remedy) from None

    @property
    def about(self) -> dict[str, str]:
        return {**super().about, "multiprocessors": self._part}

    def stream_handle(self, priority: int) -> Any:
        return call(self._bindings, "cuGreenCtxStreamCreate", self._green, NON_BLOCKING, priority)

    def close(self) -> None:
        """After the last stream, and the last graph captured on one."""
        try:
            with self:
                self._destroy()
        except CudaError as error:
            log.warning("part of the GPU stays taken: %s", error)

    def _create(self, share: float) -> Any:
        driver = self._bindings
        flags = driver.CUgreenCtxCreate_flags.CU_GREEN_CTX_DEFAULT_STREAM
        device = call(driver, "cuCtxGetDevice")
        whole = call(driver, "cuDeviceGetDevResource", device, driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM)
        wanted = max(1, round(share * whole.sm.smCount))
        parts, _, _ = call(driver, "cuDevSmResourceSplitByCount", 1, whole, 0, wanted)
        self._part = f"{parts[0].sm.smCount} of {whole.sm.smCount}"
        return call(driver, "cuGreenCtxCreate", call(driver, "cuDevResourceGenerateDesc", parts, 1), device, flags)

    def _destroy(self) -> None:
        call(self._bindings, "cuGreenCtxDestroy", self._green)


@contextmanager
def part_of(cuda: Cuda | None, share: float) -> Iterator[Cuda | None]:
    """The driver on so much of the GPU; itself for all of it, None (a dry run) for None."""
    if cuda is None or share == 1:
        yield cuda
        return
    part = GreenCuda(cuda, share)
    try:
        yield part
    finally:
        part.close()
