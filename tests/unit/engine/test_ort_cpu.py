"""The ONNX Runtime engine: arrays it owns, bound once; what does not fit is refused before the loop sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from bundles import a_manifest
from models import make, policy_golden, policy_model, policy_recipe, segment_golden, segment_model, segment_recipe

from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput, ConstInput, FeedbackInput, HiddenOutput, ImageInput
from edged.bundle.samples import split_samples
from edged.core.errors import EngineError, RefusedError
from edged.engine.ort_cpu import OrtEngine, default_threads
from edged.engine.registry import open_engine
from edged.pack import pack
from edged.pipeline.golden import golden_check, judge


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    packed = pack(policy_model(), policy_recipe(), policy_golden(), tmp_path_factory.mktemp("store"))
    return read_bundle(packed.path)


def bare(manifest: Manifest, model: bytes) -> Bundle:
    return Bundle(manifest.name, manifest.version, manifest, bytes(32), model, {}, b"")


def test_it_gives_what_a_plain_session_gives(bundle: Bundle):
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    with open_engine(bundle) as engine:
        for given, _ in split_samples(bundle.golden):
            for tensor, array in given.items():
                engine.inputs[tensor][...] = array
            engine.run()
            assert np.allclose(engine.outputs["action"], session.run(["action"], given)[0], atol=1e-6)


def test_its_arrays_never_move(bundle: Bundle):
    with open_engine(bundle) as engine:
        places = [array.ctypes.data for array in (*engine.inputs.values(), *engine.outputs.values())]
        first = None
        for value in (1, 200):
            engine.inputs["image"].fill(value)
            engine.run()
            assert [array.ctypes.data for array in (*engine.inputs.values(), *engine.outputs.values())] == places
            assert first is None or not np.array_equal(engine.outputs["action"], first)
            first = engine.outputs["action"].copy()
        with pytest.raises(TypeError):
            engine.inputs["image"] = np.zeros(1)  # type: ignore[index]


def test_it_says_what_it_is(bundle: Bundle):
    with open_engine(bundle, "cpu", 2) as engine:
        assert (engine.backend, engine.identity, engine.manifest) == ("cpu", bundle.identity, bundle.manifest)
        assert engine.about == {"runtime": f"onnxruntime {onnxruntime.__version__}", "threads": "2"}


def test_a_policy_gets_one_thread_and_a_segmenter_half_the_cpus():
    assert [default_threads("policy", cpus) for cpus in (1, 2, 16)] == [1, 1, 1]
    assert [default_threads("semantic", cpus) for cpus in (1, 2, 6, 16)] == [1, 1, 3, 4]


def test_it_passes_its_golden_samples(bundle: Bundle):
    with open_engine(bundle) as engine:
        found = golden_check(engine, bundle)
    assert [item.ok for item in found] == [True, True, True]


def test_a_model_that_gives_something_else_does_not(bundle: Bundle):
    golden = {key: value + np.float32(0.002) if "/out/" in key else value for key, value in bundle.golden.items()}
    other = Bundle(bundle.name, "2", bundle.manifest, bundle.digest, bundle.model, golden, bundle.sums)
    with open_engine(bundle) as engine:
        assert [item.ok for item in judge(engine, other)] == [False] * 3
        with pytest.raises(
            RefusedError, match=r"3 of 3 outputs differ: sample 00\d action: error 0.002, .*\(tool 0.002"
        ):
            golden_check(engine, other)


def test_a_closed_engine_says_so_and_closes_twice(bundle: Bundle):
    engine = open_engine(bundle)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run()


def test_constants_are_filled_in_and_state_is_fed(tmp_path: Path):
    from onnx import helper

    nodes = [
        helper.make_node("Mul", ["state", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "memory"], ["memory_next"]),
        helper.make_node("Identity", ["memory_next"], ["action"]),
    ]
    shape = {"state": ["n", 3], "gain": [1], "memory": ["n", 3]}
    model = make(nodes, shape, {"action": ["n", 3], "memory_next": ["n", 3]}, {})
    recipe = policy_recipe()
    axis = recipe.outputs["action"].axes[0]
    axes = tuple(msgspec.structs.replace(axis, name=name) for name in "abc")
    feedback = {
        "gain": ConstInput(value=2.0),
        "memory": FeedbackInput(output="memory_next", reset="stop"),
        "state": recipe.inputs["state"],
    }
    outputs = {"action": ActionOutput(axes=axes, step_ms=1.0, on_swap="cut"), "memory_next": HiddenOutput()}
    golden = [{"state": np.ones((1, 3), np.float32), "memory": np.full((1, 3), 5, np.float32)}]
    packed = pack(model, policy_recipe(inputs=feedback, outputs=outputs, before={}, after={}), golden, tmp_path)
    with open_engine(read_bundle(packed.path)) as engine:
        assert engine.inputs["gain"].tolist() == [2.0]
        engine.inputs["state"][...] = 1
        engine.inputs["memory"][...] = 5
        engine.run()
        assert engine.outputs["action"].tolist() == [[7.0, 7.0, 7.0]]
        golden_check(engine, read_bundle(packed.path))


def test_an_open_shape_is_refused_with_the_remedy():
    with pytest.raises(RefusedError, match="open shape; pack the model"):
        OrtEngine(bare(a_manifest(), policy_model()))


def test_a_manifest_of_another_model_is_refused(bundle: Bundle, tmp_path: Path):
    plate = read_bundle(pack(segment_model(), segment_recipe(), segment_golden(), tmp_path).path)
    with pytest.raises(RefusedError, match="the graph has no input 'state'"):
        OrtEngine(bare(bundle.manifest, plate.model))
    image = msgspec.structs.replace(bundle.manifest.inputs["image"], size=(8, 8))
    assert isinstance(image, ImageInput)
    wrong = msgspec.structs.replace(bundle.manifest, inputs={**bundle.manifest.inputs, "image": image})
    with pytest.raises(
        RefusedError, match=r"'image' is uint8\[1, 8, 6, 3\] in the graph, its role needs uint8\[1, 8, 8"
    ):
        OrtEngine(bare(wrong, bundle.model))


@pytest.mark.parametrize("model", [b"", b"nonsense", bytes(1000)])
def test_what_is_no_model_is_refused(model: bytes):
    with pytest.raises(RefusedError, match="does not load"):
        OrtEngine(bare(a_manifest(), model))


@pytest.mark.parametrize("backend", ["cuda", "tensorrt", "abacus"])
def test_a_backend_that_is_not_here_says_so(bundle: Bundle, backend: str):
    with pytest.raises(EngineError, match=f"{backend}.*set \\[engine\\] backend"):
        open_engine(bundle, backend)


def test_without_onnxruntime_the_remedy_is_named():
    code = """
import sys
sys.modules["onnxruntime"] = None
from edged.engine.registry import open_engine
from edged.core.errors import EngineError
try:
    open_engine(None, "cpu")
except EngineError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "onnxruntime is not installed" in done.stdout
    assert "edged[cpu]" in done.stdout


def test_engines_are_described_without_importing_a_runtime():
    modules = "edged.engine.registry, edged.pipeline.golden, edged.bundle.store"
    code = f"import sys, {modules}; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
