"""A pretended GPU in this process: the fake driver and the fake TensorRT, gone again after the test.

Nothing here is run on a GPU: it proves the order of calls, who owns what, and what happens when they fail.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from gpus import FAKES
from models import make
from onnx import helper

from edged.bundle.bundle import Bundle
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput, Axis, HiddenOutput, StateInput, StatePart
from edged.engine.base import Engine
from edged.engine.device import Device
from edged.engine.plan_cache import BuildOptions, Plan

DEVICE = Device("pretended GPU", "9.9", 8, 1024, "0.0", False)
NAMES = ("a", "b", "c")
PASSING = ("tensorrt", "edged.engine.tensorrt", "edged.engine.plan_build.network", "edged.engine.plan_build.progress")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`import tensorrt`, `cuda_driver` and `pretended` find the fakes, until the test ends."""
    monkeypatch.syspath_prepend(str(FAKES))
    yield
    for name in [name for name in sys.modules if name in PASSING or name.startswith("tensorrt.")]:
        del sys.modules[name]
    if "pretended" in sys.modules:
        sys.modules["pretended"].watch_memory(None)


@pytest.fixture
def gpu(fakes: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`gpu(**options)` is this machine's pretended GPU from then on; what is left on it at the end fails the test."""
    import cuda_driver

    made: list[Any] = []

    def plug_in(**options: Any) -> Any:
        cuda = cuda_driver.FakeCuda(**options)
        made.append(cuda)
        monkeypatch.setattr("edged.engine.cuda._opened", [cuda])
        monkeypatch.setattr("edged.engine.device.read_device", lambda: DEVICE)
        monkeypatch.setattr("edged.engine.select.read_device", lambda: DEVICE)
        return cuda

    yield plug_in
    for cuda in made:
        assert cuda.dead or cuda.left == (0, 0, 0), f"left on the device: {cuda.left}"


def state_bundle(
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list[Any]],
    batch: int | str = 1,
    hidden: dict[str, tuple[int, ...]] | None = None,
) -> Bundle:
    """A policy of three state values: `nodes` from "state" to "action" and to hidden outputs, whose shape in the golden
    samples `hidden` tells."""
    used = {name for node in nodes for name in node.input}
    constants = {"two": np.float32(2), "none": np.zeros((1, 3), np.float32)}
    known = {name: value for name, value in constants.items() if name in used}
    model = make(nodes, {"state": [batch, 3]}, outputs, known)
    axes = tuple(Axis(name=name, unit="rad", kind="continuous", mode="absolute", range=(-10.0, 10.0)) for name in NAMES)
    part = StatePart(sensor="joints", names=NAMES, unit="rad")
    manifest = Manifest(
        schema=1,
        name="double",
        version="1",
        task="policy",
        precision="fp32",
        provenance={},
        inputs={"state": StateInput(parts=(part,))},
        outputs={
            "action": ActionOutput(axes=axes, step_ms=20.0, on_swap="cut"),
            **{name: HiddenOutput() for name in hidden or {}},
        },
        head=None,
        classes=(),
        tolerance={"action": 1e-4, **dict.fromkeys(hidden or {}, 1e-4)},
    )
    given = np.array([[1, 2, 3]], np.float32)
    golden = {"000/in/state": given, "000/out/action": given * 2}
    golden |= {f"000/out/{name}": np.zeros(shape, np.float32) for name, shape in (hidden or {}).items()}
    return Bundle("double", "1", manifest, bytes(range(32)), model, golden, b"")


def double(batch: int | str = 1) -> Bundle:
    """action = 2 * state."""
    return state_bundle([helper.make_node("Mul", ["state", "two"], ["action"])], {"action": [batch, 3]}, batch)


def positives() -> Bundle:
    """action = 2 * state, and `found` the positive values of the state: as many as there are."""
    nodes = [
        helper.make_node("Mul", ["state", "two"], ["action"]),
        helper.make_node("Greater", ["state", "none"], ["which"]),
        helper.make_node("Squeeze", ["which"], ["flat"]),
        helper.make_node("Compress", ["state", "flat"], ["found"], axis=1),
    ]
    return state_bundle(nodes, {"action": [1, 3], "found": [1, "count"]}, hidden={"found": (1, 3)})


def plan_of(bundle: Bundle, shapes: dict[str, list[tuple[int, ...]]] | None = None) -> Plan:
    """What the fake TensorRT builds of it."""
    from edged.engine.plan_build.network import build
    from edged.engine.plan_build.progress import Log

    built = build(
        bundle.model, shapes or {}, BuildOptions(), b"", Log(lambda *_: None), lambda _: None, threading.Event()
    )
    return Plan("key", built.plan, {"activation_bytes": built.activation_bytes})


def run(engine: Engine, *state: float) -> list[float]:
    """One tick: the actions."""
    engine.inputs["state"][...] = state
    engine.run()
    return engine.outputs["action"].reshape(-1).tolist()


def runs_on(live: Engine, load: Callable[[], object], begun: threading.Event, go_on: threading.Event) -> None:
    """Check that `live`, a `double`, runs while `load`, on another thread, has `begun` and waits for `go_on`."""
    loader = threading.Thread(target=load)
    loader.start()
    assert begun.wait(30)
    try:
        assert [run(live, number, 2, 3)[0] for number in range(50)] == [2 * number for number in range(50)]
        assert not go_on.is_set()
    finally:
        go_on.set()
        loader.join()


def elsewhere(work: Callable[[], Any]) -> Any:
    """What `work` gives, or raises, on another thread."""
    found: list[Any] = []

    def body() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return found[0]


__all__ = ["DEVICE", "double", "elsewhere", "fakes", "gpu", "plan_of", "positives", "run", "state_bundle"]
