"""The TensorRT engine on a pretended GPU (not run on a GPU): bound once, owned by one, freed, and honest."""

from __future__ import annotations

import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import policy_golden, policy_model, policy_recipe, segment_golden, segment_model, segment_recipe
from pretended_gpu import double, elsewhere, fakes, gpu, plan_of, positives, run, runs_on
from trt_engine import Plug, opened

from edged.bundle.bundle import Bundle, read_bundle
from edged.core.errors import EngineError, MachineryError, RefusedError
from edged.engine.registry import open_engine
from edged.pack import pack
from edged.pipeline.golden import golden_check

__all__ = ["fakes", "gpu"]


def test_it_gives_what_the_cpu_gives(gpu: Plug, tmp_path: Path) -> None:
    packed = [
        pack(policy_model(), policy_recipe(), policy_golden(), tmp_path),
        pack(segment_model(), segment_recipe(), segment_golden(), tmp_path),
    ]
    for bundle in (read_bundle(item.path) for item in packed):
        with opened(bundle, gpu()) as engine:
            assert all(item.ok for item in golden_check(engine, bundle))


def test_a_tick_is_one_upload_per_input_one_launch_one_download_per_output_one_synchronisation(
    gpu: Plug, tmp_path: Path
) -> None:
    bundle = read_bundle(pack(policy_model(), policy_recipe(), policy_golden(), tmp_path).path)
    cuda = gpu()
    with opened(bundle, cuda) as engine:
        cuda.calls.clear()
        engine.run()
        assert cuda.calls == {"upload": 2, "launch": 1, "download": 1, "synchronize": 1, "mark": 4, "elapsed": 3}


def test_a_tick_allocates_nothing(gpu: Plug) -> None:
    """Neither on the device nor page-locked (`calls`), nor in Python: only the pretended GPU itself does that."""
    cuda = gpu()
    ticks = 3000
    ours = [tracemalloc.Filter(True, f"*/edged/{name}.py") for name in ("engine/*", "histogram", "spans")]
    with opened(double(), cuda) as engine:
        for _ in range(10):
            engine.run()
        cuda.calls.clear()
        tracemalloc.start()
        try:
            for _ in range(100):
                engine.run()
            before = tracemalloc.take_snapshot().filter_traces(ours)
            for _ in range(ticks):
                engine.run()
            after = tracemalloc.take_snapshot().filter_traces(ours)
        finally:
            tracemalloc.stop()
        grown = sum(line.size_diff for line in after.compare_to(before, "lineno"))
        assert grown < ticks, after.compare_to(before, "lineno")[:5]  # a byte a tick would be more
        assert not {"alloc", "host", "stream", "free", "free_host", "capture"} & set(cuda.calls)


def test_inputs_are_the_page_locked_arrays_and_never_move(gpu: Plug) -> None:
    cuda = gpu()
    with opened(double(), cuda) as engine:
        places = [array.ctypes.data for array in (*engine.inputs.values(), *engine.outputs.values())]
        assert set(places) <= set(cuda.pinned)
        for value in (1.0, -2.0, 3.5):
            assert run(engine, value, value, value) == [2 * value] * 3
            assert [array.ctypes.data for array in (*engine.inputs.values(), *engine.outputs.values())] == places
        with pytest.raises(TypeError):
            engine.inputs["state"] = np.zeros(1)  # type: ignore[index]


@pytest.mark.parametrize(("integrated", "memory", "copies"), [(False, "auto", 2), (True, "auto", 0), (True, "copy", 2)])
def test_where_memory_is_shared_nothing_is_copied(gpu: Plug, integrated: bool, memory: str, copies: int) -> None:
    cuda = gpu(integrated=integrated)
    with opened(double(), cuda, memory) as engine:
        cuda.calls.clear()
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        assert cuda.calls["upload"] + cuda.calls["download"] == copies
        assert cuda.calls["synchronize"] == 1
        assert engine.about["memory"] == ("copied" if copies else "mapped")


def test_it_runs_without_graphs_and_says_so(gpu: Plug) -> None:
    with opened(double(), gpu(graphs=False)) as engine:
        assert engine.about["graph"] == "cuda-bindings is not installed"
        assert run(engine, 1, 2, 3) == [2, 4, 6]


def test_a_capture_that_fails_leaves_an_engine_without_a_graph(gpu: Plug) -> None:
    cuda = gpu()
    cuda.fail("capture", "operation not permitted")
    with opened(double(), cuda) as engine:
        assert engine.about["graph"] == "capture failed: operation not permitted"
        assert run(engine, 1, 2, 3) == [2, 4, 6]


def test_an_engine_runs_while_another_one_is_captured(gpu: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever captures holds nothing that a run waits for, however long it takes."""
    cuda = gpu()
    begun, go_on = threading.Event(), threading.Event()
    capture = cuda.capture

    def slowly(stream: Any, work: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return capture(stream, work)

    with opened(double(), cuda) as live:
        monkeypatch.setattr(cuda, "capture", slowly)
        runs_on(live, lambda: opened(double(), cuda).close(), begun, go_on)


def test_it_says_what_it_is(gpu: Plug) -> None:
    with opened(double(), gpu()) as engine:
        assert (engine.backend, engine.identity) == ("tensorrt", bytes(range(8)))
        assert engine.about["runtime"] == "TensorRT 10.3.0"
        assert engine.about["gpu"] == "pretended GPU"
        assert engine.about["graph"] == "replayed"


def test_the_gpu_times_every_stage(gpu: Plug) -> None:
    with opened(double(), gpu()) as engine:
        before = {stage: figure.count for stage, figure in engine.timings.items()}
        assert list(before) == ["upload", "compute", "download", "wait"]
        engine.run()
        assert {stage: figure.count for stage, figure in engine.timings.items()} == {
            stage: count + 1 for stage, count in before.items()
        }


def test_open_axes_take_the_shape_of_the_golden_samples(gpu: Plug) -> None:
    bundle = double(batch="n")
    with opened(bundle, gpu(), plan=plan_of(bundle, {"state": [(1, 3), (4, 3)]})) as engine:
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        assert engine.about["graph"] == "replayed"


def test_a_shape_outside_of_the_profile_is_refused(gpu: Plug) -> None:
    bundle = double(batch="n")
    plan = plan_of(bundle, {"state": [(2, 3), (4, 3)]})
    cuda = gpu()
    with pytest.raises(RefusedError, match=r"'state' is \[1, 3\], the plan takes \[2, 3\] to \[4, 3\]; build the plan"):
        opened(bundle, cuda, plan=plan)


def test_an_output_whose_shape_depends_on_data_is_filled_up_with_zeros(gpu: Plug) -> None:
    cuda = gpu()
    with opened(positives(), cuda) as engine:
        assert engine.about["graph"] == "the shape of 'found' depends on data"
        cuda.calls.clear()
        for state, found in (((1, 2, 3), [1, 2, 3]), ((-1, 5, -1), [5, 0, 0]), ((-1, -1, -1), [0, 0, 0])):
            run(engine, *state)
            assert engine.outputs["found"].tolist() == [found]
        assert not {"alloc", "host"} & set(cuda.calls)


def test_an_output_beyond_its_room_fails_that_run_and_not_the_next(gpu: Plug) -> None:
    bundle = positives()
    small = {**bundle.golden, "000/out/found": np.zeros((1, 2), np.float32)}
    narrow = Bundle(bundle.name, "1", bundle.manifest, bundle.digest, bundle.model, small, b"")
    with opened(narrow, gpu()) as engine:
        with pytest.raises(EngineError, match=r"'found' came as \[1, 3\], it has room for \[1, 2\]"):
            run(engine, 1, 2, 3)
        run(engine, 1, -1, -1)
        assert engine.outputs["found"].tolist() == [[1, 0]]


def test_one_thread_owns_an_engine_until_it_hands_it_over(gpu: Plug) -> None:
    cuda = gpu()
    with opened(double(), cuda) as engine:
        refused = elsewhere(engine.run)
        assert isinstance(refused, EngineError)
        assert "another one owns" in str(refused)
        engine.hand_over(live=True)

        def loop() -> object:
            made = run(engine, 1, 2, 3)
            refused = elsewhere(engine.close)
            engine.hand_over(live=False)
            assert threading.get_ident() in cuda.tolerant, "the loop works while others capture"
            return made, refused

        made, refused = elsewhere(loop)
        assert made == [2, 4, 6]
        assert "another one owns" in str(refused)
        assert run(engine, 1, 1, 1) == [2, 2, 2]


def test_an_engine_that_does_not_come_to_rest_is_the_end(gpu: Plug) -> None:
    cuda = gpu()
    engine = opened(double(), cuda)
    cuda.fail("synchronize", "unspecified launch failure", sticky=True)
    with pytest.raises(MachineryError, match="does not come to rest: synchronize failed: unspecified launch failure"):
        engine.hand_over(live=True)


def test_the_loop_has_the_urgent_stream_and_the_loader_the_other(gpu: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = gpu()
    served: list[bool] = []
    monkeypatch.setattr(cuda, "launch", lambda graph, stream: served.append(stream.urgent))
    with opened(double(), cuda) as engine:
        engine.run()
        engine.hand_over(live=True)
        engine.run()
        engine.hand_over(live=False)
        engine.run()
    assert served[-3:] == [False, True, False]


def test_two_engines_can_be_resident(gpu: Plug) -> None:
    cuda = gpu()
    with opened(double(), cuda) as one, opened(positives(), cuda) as other:
        assert run(one, 1, 2, 3) == run(other, 1, 2, 3)
        one.close()
        assert run(other, 1, 1, 1) == [2, 2, 2]


def test_a_closed_engine_says_so_and_closes_twice(gpu: Plug) -> None:
    engine = opened(double(), gpu())
    program = engine._program  # type: ignore[attr-defined]
    vendors = [weakref.ref(item) for item in (program._context, program._engine, program._runtime)]
    engine.close()
    engine.close()
    assert [item() for item in vendors] == [None] * 3  # TensorRT frees with the last reference
    with pytest.raises(EngineError, match="closed"):
        engine.run()


def test_a_forgotten_synchronisation_shows(gpu: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pretended GPU is as late as it may be: this is what holds the tests above to their word."""
    cuda = gpu()
    with opened(double(), cuda) as engine:
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        stream = engine._stream_graph._stream  # type: ignore[attr-defined]
        with monkeypatch.context() as patched:
            patched.setattr(stream, "synchronize", lambda: None)
            patched.setattr(stream, "elapsed_ns", lambda since, until: 0)
            assert run(engine, 4, 5, 6) not in ([2, 4, 6], [8, 10, 12])
            engine.inputs["state"][...] = 7  # written while it is in flight
        with cuda:
            stream.synchronize()
        assert engine.outputs["action"].tolist() == [[14, 14, 14]]


def test_an_address_that_was_freed_is_noticed(gpu: Plug) -> None:
    import pretended

    with opened(double(), gpu(graphs=False)) as engine:
        gone = opened(double(), engine._cuda)  # type: ignore[attr-defined]
        address = gone._stream_graph.pointers["action"]  # type: ignore[attr-defined]
        gone.close()
        engine._program._context.set_tensor_address("action", address)  # type: ignore[attr-defined]
        with pytest.raises(pretended.Misuse, match="were freed"):
            engine.run()


def test_the_config_asks_for_it_by_name(gpu: Plug, tmp_path: Path) -> None:
    from pretended_gpu import DEVICE

    from edged.engine.plan_cache import BuildOptions, Plans, key_parts
    from edged.engine.select import find_plan

    gpu()
    bundle = double()
    with pytest.raises(EngineError, match=r"'tensorrt': no plan of double 1 .*run 'edged build double/1'; or set"):
        open_engine(bundle, "tensorrt", cache=tmp_path)
    made = plan_of(bundle)
    Plans(tmp_path / "plans").save(key_parts(bundle.digest, "10.3.0", DEVICE, BuildOptions()), made.data, made.about)
    assert find_plan(bundle, tmp_path, DEVICE, "10.3.0").data == made.data
    with open_engine(bundle, "tensorrt", cache=tmp_path) as engine:
        assert run(engine, 1, 2, 3) == [2, 4, 6]
