"""Swaps in cells of other kinds: a segmenter, a disarmed robot, engines that give chunks."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from models import segment_model, segment_recipe
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from plain_hermite import play
from rig import Rig, camera_toml, rig
from swap_engines import AXES, NAME, WIDTH, golden, manifest, model
from swaps import QUICK, Cell, open_cell
from waiting import until

from edged.bundle.bundle import write_bundle
from edged.bundle.roles import ActionOutput
from edged.pack import pack
from edged.wire import Kind, Message

__all__ = ["rig"]

STEPS, STEP_MS = 25, 20.0


def chunks(cell: Cell, version: str, value: float, on_swap: str) -> None:
    """A version whose chunk of half a second is `value` at every step and axis; the last axis is binary."""
    zero = numpy_helper.from_array(np.zeros((WIDTH, STEPS * AXES), np.float32), "zero")
    always = numpy_helper.from_array(np.full((1, STEPS * AXES), value, np.float32), "always")
    shape = numpy_helper.from_array(np.array([1, STEPS, AXES], np.int64), "shape")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["state", "zero", "always"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["action"]),
        ],
        "main",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, STEPS, AXES])],
        [zero, always, shape],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    tensor, action = manifest("0").action or ("", None)
    assert isinstance(action, ActionOutput)
    changed = msgspec.structs.replace(action, step_ms=STEP_MS, on_swap=on_swap)  # type: ignore[arg-type]
    write_bundle(cell.rig.store, manifest(version, outputs={tensor: changed}), data, golden(data))


def way_after(cell: Cell, version: str) -> tuple[list[float], NDArray[np.float64]]:
    """Swap; when each message of the new engine was published, in seconds since the first, and where it has the axes
    at that moment, [N, AXES]: played the plain way."""
    assert cell.swapped(version)["state"] == "committed"

    def of_the_new() -> list[Message]:
        heard = [message for message in cell.actions.messages if message.kind is Kind.ACTION]
        first = max(number for number, (one, other) in enumerate(pairwise(heard), 1) if one.engine != other.engine)
        return heard[first:]

    until(lambda: of_the_new()[-1].published_ns - of_the_new()[0].published_ns > 1.2e9)
    heard = of_the_new()
    times = [(message.published_ns - heard[0].published_ns) / 1e9 for message in heard]
    return times, np.array([where(message) for message in heard])


def where(message: Message) -> NDArray[np.float64]:
    header, arrays = message.header, message.arrays
    knots = (arrays["action"], arrays["velocity"], header["t0_ns"], header["step_ns"])
    found = play(*knots, message.published_ns)[0]
    found[-1] = arrays["action"][max(0, message.published_ns - header["t0_ns"]) // header["step_ns"], -1]
    return np.asarray(found)


@pytest.mark.parametrize("rule", ["finish", "blend", "cut"])
def test_the_running_chunk_ends_as_its_manifest_says(rig: Rig, rule: str) -> None:
    """Half a second of zeros, then a version that wants ones; the trajectory goes through what the join makes of it."""
    cell = open_cell(rig, swap=f"{QUICK}\nshadow = false")
    chunks(cell, "2", 0.0, rule)
    chunks(cell, "3", 1.0, "cut")
    ended = cell.swapped("2")
    assert ended["state"] == "committed", ended
    times, way = way_after(cell, "3")
    joint, tool = way[:, 0], way[:, -1]
    assert set(tool.tolist()) <= {0.0, 1.0}, "a switch is never half-way"
    assert abs(joint[0]) < 0.05, "no step at the swap"
    assert np.abs(way[np.array(times) > 1.0] - 1).max() < 0.02, "the seam is over"
    half = times[int(np.argmax(joint > 0.5))]
    match rule:
        case "cut":
            assert half < 0.15
        case "finish":
            assert half > 0.1, "the old chunk goes first"
            assert np.abs(joint[np.array(times) < 0.05]).max() < 0.05
        case "blend":
            between = [when for when, value in zip(times, joint.tolist(), strict=True) if 0.1 < value < 0.9]
            assert between[-1] - between[0] > 0.05, "it takes its time"


def test_a_disarmed_robot_is_shown_the_new_engine_and_probation_waits_for_it(rig: Rig) -> None:
    cell = open_cell(rig)
    cell.daemon.terminate()
    path = cell.daemon.path
    path.write_text(path.read_text().replace("start = 'armed'", "start = 'disarmed'"))
    cell.daemon = rig.daemon(path)
    cell.daemon.wait_status(lambda status: status["state"] == "DISARMED" and status["engine"]["loaded"])
    cell.add("2", model(seed=2))
    job = cell.swap("2")
    cell.wait_state("probation")
    assert cell.swaps()["active"]["shadow"]["samples"] == 15
    until(lambda: cell.swaps()["active"]["probation"].get("seconds", 0) > 0.5)
    assert cell.swaps()["active"]["probation"]["predictions"] == 0
    cell.daemon.ask("resume", who="test")
    ended = cell.ended(job)
    assert ended["state"] == "committed"
    assert "the running engine held meanwhile: there was nothing to compare with" in ended["notes"]


def test_a_segmenter_is_swapped_and_compared_by_mean_iou(rig: Rig) -> None:
    rig.camera("line", 64, 48, 25.0)
    for version in ("1", "2"):
        pack(segment_model(), segment_recipe(version=version), _pictures(), rig.store)  # type: ignore[no-untyped-call]
    path = rig.config(
        "inspect",
        loop="clock = 'camera:line'",
        engine="name = 'plate'",
        bus="valid_ms = 1000",
        swap=QUICK,
        inputs=camera_toml(rig, "line"),
    )
    (rig.store / "plate" / "current").symlink_to("1")
    daemon = rig.daemon(path)
    until(lambda: (daemon.runtime / "events").exists(), 20, lambda: daemon.said)
    masks = daemon.listen("masks")
    masks.wait(lambda message: message.kind is Kind.LABELS)
    job = daemon.ask("swap", version="2", who="test")["job"]
    ended = until(lambda: next((a for a in daemon.status()["swap"]["past"] if a["job"] == job), None), 30)
    assert ended["state"] == "committed", ended
    assert ended["shadow"]["agreement"] == {"pairs": 15, "score": 1.0}
    assert len({message.engine for message in masks.messages if message.kind is Kind.LABELS}) == 2


def _pictures() -> list[dict[str, NDArray[np.uint8]]]:
    rng = np.random.default_rng(4)
    return [{"image": rng.integers(0, 256, (1, 16, 12, 3), np.uint8)} for _ in range(2)]


def test_a_drop_of_what_runs_changes_nothing(rig: Rig) -> None:
    from swap_engines import files, put

    cell = open_cell(rig)
    content = files("2", model(seed=2))
    put(rig.folder / "drop", content).rename(cell.incoming / "drop")
    assert cell.ended_of("2")["state"] == "committed"
    put(rig.folder / "drop", content).rename(cell.incoming / "again")
    until((cell.incoming / "again.refused").exists)
    assert f"{NAME} 2 is what runs" in (cell.incoming / "again.refused").read_text()
