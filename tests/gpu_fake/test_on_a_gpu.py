"""On a real GPU: pytest -m gpu. Parity with the CPU, one tick's cost, two engines on one device.

What needs minutes and prints figures is `python -m benchmarks.gpu`; this says whether it works there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.gpu.disturbance import disturbance
from benchmarks.gpu.engines import BACKENDS, open_backend, opener, samples, unavailable
from benchmarks.gpu.measures import BOUND, parity
from edged.bench import ENGINES
from edged.bench.gpu import run_loops, shipped
from edged.bundle.bundle import Bundle, read_bundle
from edged.core.errors import EngineError
from edged.engine.cuda import Cuda, open_cuda
from edged.engine.ort_cpu import OrtEngine
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

SHIPPED = shipped()


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    try:
        return open_cuda()
    except EngineError as error:
        pytest.skip(f"no GPU: {error}")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, cuda: Cuda) -> str:
    if why := unavailable(request.param):
        pytest.skip(f"{request.param}: {why}")
    return str(request.param)


@pytest.fixture
def native() -> Bundle:
    return read_bundle(ENGINES / "bench-native" / "1")


@pytest.fixture
def room(cuda: Cuda) -> Callable[[], int]:
    def free() -> int:
        with cuda:
            return cuda.free_bytes()

    return free


@pytest.mark.parametrize("precision", list(BOUND))
@pytest.mark.parametrize("bundle", SHIPPED, ids=[f"{bundle.name}-{bundle.version}" for bundle in SHIPPED])
def test_it_gives_what_the_cpu_gives(bundle: Bundle, precision: str, backend: str, cuda: Cuda) -> None:
    found = parity(bundle, backend, precision, cuda)
    assert found["ok"], found


def test_golden_samples_hold(backend: str, cuda: Cuda) -> None:
    for bundle in SHIPPED:
        with open_backend(bundle, backend, cuda) as engine:
            golden_check(engine, bundle)


def test_the_work_is_replayed_as_a_graph(native: Bundle, backend: str, cuda: Cuda) -> None:
    if not cuda.graphs and backend == "tensorrt":
        pytest.skip("cuda-bindings is not installed")
    with open_backend(native, backend, cuda) as engine:
        assert engine.about["graph"].startswith("replayed"), engine.about


def test_a_thousand_ticks_take_no_memory(native: Bundle, backend: str, cuda: Cuda, room: Callable[[], int]) -> None:
    with open_backend(native, backend, cuda) as engine:
        before = room()
        for _ in range(1000):
            engine.run()
        assert room() == before


def test_what_an_engine_took_comes_back(native: Bundle, backend: str, cuda: Cuda, room: Callable[[], int]) -> None:
    """Libraries keep some memory after their first use; later engines add nothing to it."""
    open_backend(native, backend, cuda).close()
    before = room()
    for _ in range(3):
        open_backend(native, backend, cuda).close()
    assert before - room() < 32 << 20


@pytest.mark.parametrize("memory", ["copy", "mapped"])
def test_mapped_memory_gives_the_same(memory: str, cuda: Cuda, backend: str) -> None:
    if backend != "cuda":
        pytest.skip("one back end is enough")
    from edged.engine.ort_cuda import open_ort_cuda

    (bundle, *_) = SHIPPED
    with open_ort_cuda(bundle, cuda, memory) as engine, OrtEngine(bundle) as reference:
        for given in samples(bundle, 4):
            for one in (engine, reference):
                for tensor, array in given.items():
                    np.copyto(one.inputs[tensor], array)
                one.run()
            for name, array in reference.outputs.items():
                assert np.mean(engine.outputs[name] == array) > 0.99 or np.allclose(
                    engine.outputs[name], array, atol=1e-3
                )


def test_the_stages_add_up(native: Bundle, backend: str, cuda: Cuda) -> None:
    with open_backend(native, backend, cuda) as engine:
        for _ in range(100):
            engine.run()
        assert all(figure.count >= 100 and figure.max_ns > 0 for figure in engine.timings.values())


def test_a_second_engine_can_be_loaded_while_the_first_runs(native: Bundle, backend: str, cuda: Cuda) -> None:
    opened = opener(native, backend)
    with opened(cuda) as engine:
        found = disturbance(engine, lambda: opened(cuda), 1.0)
    assert found["loading"]["ticks"] > 0
    print(f"\nloading made a tick take up to {found['worst_ms']:.1f} ms, a period is {found['period_ms']:.1f} ms")


def test_the_loop_adds_its_glue_and_no_more(cuda: Cuda) -> None:
    with open_engine(read_bundle(ENGINES / "bench-native" / "1")) as engine:
        if engine.backend == "cpu":
            pytest.skip(engine.about["chosen"])
    for found in run_loops(5.0):
        assert found.ok, found
