"""Engines to swap: good ones, and each kind of bad one, made by code; and a daemon of the rig to swap them in."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rig import Daemon, Feed, Listener, Rig, state_cell, state_toml
from watching import until

from edged.bench import ENGINES
from edged.bundle import bundle_files as sealed
from edged.bundle import read_bundle, write_archive, write_bundle
from edged.manifest import Manifest
from edged.samples import name_samples
from edged.sign import sign_bundle
from edged.wire import Kind, Message

NAME = "bench-state"
WIDTH, AXES = 15, 7
QUICK = (
    "settle_seconds = 1\nscan_seconds = 0.2\nshadow_samples = 15\nprobation_predictions = 25\nprobation_seconds = 0.3"
)
Nodes = list[Any]
Build = Callable[[dict[str, Any]], Nodes]


def replaced(version: str, **changes: Any) -> dict[str, bytes]:
    """A good version whose model is another one: `input`, `dtype`, `width`, or without the initializer `missing`."""
    made = onnx.load_from_string(model(width=changes.get("width", WIDTH)))
    given = made.graph.input[0]
    if "input" in changes:
        given.name = made.graph.node[0].input[0] = changes["input"]
    if "dtype" in changes:
        given.type.tensor_type.elem_type = changes["dtype"]
        made.graph.node.insert(0, helper.make_node("Cast", ["state"], ["cast"], to=TensorProto.FLOAT))
        made.graph.node[1].input[0] = "cast"
    for initializer in [item for item in made.graph.initializer if item.name == changes.get("missing")]:
        made.graph.initializer.remove(initializer)
    return files(version, made.SerializeToString(), golden(model()))


def manifest(version: str, **changes: Any) -> Manifest:
    """The running engine's, under another version."""
    return msgspec.structs.replace(read_bundle(ENGINES / NAME / "1").manifest, version=version, **changes)


def model(build: Build | None = None, seed: int = 1, output: str = "action", width: int = WIDTH) -> bytes:
    """state [1, width] -> tanh(state @ w + b) [1, 7], or what `build` makes of `raw`, which is that."""
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "w": rng.normal(size=(width, AXES)).astype(np.float32) * 0.2,
        "b": rng.normal(size=AXES).astype(np.float32) * 0.1,
    }
    nodes = [helper.make_node("Gemm", ["state", "w", "b"], ["sum"]), helper.make_node("Tanh", ["sum"], ["raw"])]
    nodes += build(values) if build else [helper.make_node("Identity", ["raw"], [output])]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, AXES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return made


def golden(data: bytes, count: int = 3, seed: int = 5) -> Mapping[str, Any]:
    """Samples that the model gives."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    name, made = session.get_inputs()[0], session.get_outputs()[0].name
    inputs = [{name.name: rng.uniform(-0.3, 0.3, name.shape).astype(np.float32)} for _ in range(count)]
    return name_samples(inputs, [{made: session.run(None, given)[0]} for given in inputs])


def files(version: str, data: bytes | None = None, samples: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """The sealed files of a version."""
    data = data or model()
    return sealed(manifest(version), data, samples or golden(data))


def put(folder: Path, content: Mapping[str, bytes]) -> Path:
    """As somebody's cp would: plain files, one after the other."""
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


def slow(rounds: int) -> Build:
    """Multiplies matrices whose product does not matter, `rounds` times."""

    def build(values: dict[str, Any]) -> Nodes:
        rng = np.random.default_rng(3)
        values["grind"] = (rng.normal(size=(256, 256)) / 16).astype(np.float32)
        values["start"] = rng.normal(size=(AXES, 256)).astype(np.float32)
        values["end"] = np.full((256, AXES), 0.0, np.float32)
        nodes = [helper.make_node("MatMul", ["raw", "start"], ["m0"])]
        for number in range(rounds):
            nodes.append(helper.make_node("MatMul", [f"m{number}", "grind"], [f"p{number}"]))
            nodes.append(helper.make_node("Tanh", [f"p{number}"], [f"m{number + 1}"]))
        nodes.append(helper.make_node("MatMul", [f"m{rounds}", "end"], ["nothing"]))
        return [*nodes, helper.make_node("Add", ["raw", "nothing"], ["action"])]

    return build


def not_a_number_above(limit: float) -> Build:
    """NaN as soon as the first state value exceeds `limit`: golden samples never show it."""

    def build(values: dict[str, Any]) -> Nodes:
        values["limit"] = np.array(limit, np.float32)
        values["nan"] = np.array(np.nan, np.float32)
        values["first"] = np.array([0], np.int64)
        return [
            helper.make_node("Gather", ["state", "first"], ["one"], axis=1),
            helper.make_node("Greater", ["one", "limit"], ["beyond"]),
            helper.make_node("Where", ["beyond", "nan", "raw"], ["action"]),
        ]

    return build


def constant(values: dict[str, Any]) -> Nodes:
    values["zero"] = np.zeros((1, AXES), np.float32)
    values["half"] = np.full((1, AXES), 0.1, np.float32)
    return [helper.make_node("Mul", ["raw", "zero"], ["gone"]), helper.make_node("Add", ["gone", "half"], ["action"])]


def crashing(version: str) -> dict[str, bytes]:
    """Functions that call each other 20 000 deep: loading it overflows the stack of the process."""
    depth, opsets = 20_000, [helper.make_opsetid("", 17), helper.make_opsetid("me", 1)]
    calls = [helper.make_node(f"F{number}", ["x"], ["y"], domain="me") for number in range(1, depth)]
    bodies = [*calls, helper.make_node("Tanh", ["x"], ["y"])]
    functions = [
        helper.make_function("me", f"F{number}", ["x"], ["y"], [node], opsets) for number, node in enumerate(bodies)
    ]
    graph = helper.make_graph(
        [helper.make_node("F0", ["state"], ["action"], domain="me")],
        "main",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, AXES])],
    )
    data = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8).SerializeToString()
    return files(version, data, golden(model()))


def hungry(values: dict[str, Any]) -> Nodes:
    """Wants 16 GB at once. The size comes from the input, so that no optimiser folds it away beforehand."""
    values["side"] = np.array([1, 4_000_000_000], np.int64)
    values["zero"] = np.array(0, np.int64)
    values["axes"] = np.array([1], np.int64)
    return [
        helper.make_node("ReduceMax", ["state"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "zero"], ["none"]),
        helper.make_node("Add", ["side", "none"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["wide"]),
        helper.make_node("ReduceSum", ["wide", "axes"], ["total"]),
        helper.make_node("Add", ["raw", "total"], ["action"]),
    ]


@dataclass
class Cell:
    """A daemon at 100 Hz with a sensor that moves, its store, and what it publishes."""

    rig: Rig
    feed: Feed
    daemon: Daemon
    actions: Listener
    events: Listener

    @property
    def home(self) -> Path:
        return self.rig.store / NAME

    @property
    def incoming(self) -> Path:
        return self.home / "incoming"

    def add(self, version: str, data: bytes | None = None, samples: Mapping[str, Any] | None = None) -> None:
        """Put a version straight into the store, for `swap`."""
        data = data or model()
        write_bundle(self.rig.store, manifest(version), data, samples or golden(data))

    def swap(self, version: str, **args: Any) -> int:
        return int(self.daemon.ask("swap", version=version, who="test", **args)["job"])

    def swapped(self, version: str, **args: Any) -> dict[str, Any]:
        """Swap, and how it ended."""
        return self.ended(self.swap(version, **args))

    def ended(self, job: int, seconds: float = 60.0) -> dict[str, Any]:
        """The attempt of a job, once it is over."""
        found: dict[str, Any] = until(lambda: self.past(lambda attempt: attempt["job"] == job), seconds, self.swaps)
        return found

    def ended_of(self, version: str, seconds: float = 60.0) -> dict[str, Any]:
        """The latest attempt at a version, once it is over."""
        found: dict[str, Any] = until(
            lambda: self.past(lambda attempt: attempt["version"] == version), seconds, self.swaps
        )
        return found

    def past(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        time.sleep(0.02)
        return next((attempt for attempt in reversed(self.swaps()["past"]) if wanted(attempt)), None)

    def swaps(self) -> dict[str, Any]:
        return dict(self.daemon.status()["swap"])

    def wait_state(self, state: str, seconds: float = 30.0) -> None:
        """Until the active attempt is in `state`."""
        until(lambda: (self.swaps()["active"] or {}).get("state") == state, seconds, self.swaps)

    def running(self) -> str:
        return str(self.daemon.status()["engine"].get("version"))

    def journal(self) -> list[dict[str, Any]]:
        lines = (self.home / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def states(self, version: str) -> list[str]:
        return [line["state"] for line in self.journal() if line["version"] == version]

    def archive(self, content: Mapping[str, bytes], name: str) -> Path:
        self.incoming.mkdir(parents=True, exist_ok=True)
        return write_archive(self.incoming / name, content)


class Wave(Feed):
    """A sensor whose values swing within +-0.3, as those of a robot at work."""

    def run(self) -> None:
        began = time.monotonic()
        phases = np.linspace(0, 3, WIDTH)
        while not self._ended.wait(self._period_s):
            if not self.silent:
                self.say(self.values + 0.3 * np.sin(4 * (time.monotonic() - began) + phases))


def open_cell(
    rig: Rig, swap: str = QUICK, name: str = "cell", rate_hz: int = 50, signed: Path | None = None, **sections: str
) -> Cell:
    """The daemon, running. `signed`: the secret key that signs its first engine."""
    shutil.rmtree(rig.store)
    shutil.copytree(ENGINES / NAME, rig.store / NAME)
    if signed is not None:
        sign_bundle(rig.store / NAME / "1", signed)
    feed = Wave(f"ipc://{rig.folder}/state", "state", np.zeros(WIDTH), 200.0)
    rig._stack.callback(feed.close)
    loop = f"clock = 'timer'\nrate_hz = {rate_hz}"
    sections = {**state_cell(rig, loop=loop, swap=swap, inputs=state_toml(rig)), **sections}
    return start(rig, feed, rig.config(name, **sections))


def start(rig: Rig, feed: Feed, path: Path) -> Cell:
    daemon = rig.daemon(path)
    until(lambda: (daemon.runtime / "events").exists(), 20, lambda: daemon.said)
    cell = Cell(rig, feed, daemon, daemon.listen(), daemon.listen("events"))
    cell.actions.wait(lambda message: message.kind is Kind.ACTION)
    return cell


def gaps(messages: list[Message]) -> list[int]:
    """Sequence numbers that are missing between the first and the last message."""
    seqs = [message.seq for message in messages]
    return sorted(set(range(seqs[0], seqs[-1] + 1)) - set(seqs))
