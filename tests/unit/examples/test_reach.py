"""How the reach engine was made, and what the shipped versions are worth. No PyTorch needed but under `-m train`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.bundle import read_bundle
from edged.bundle.store import shipped_store
from edged.core.errors import RefusedError
from edged.demo.arm import MAX_VELOCITY, inverse
from edged.demo.bus import FORCE, IMU, JOINTS
from edged.demo.reach_task import HOME, HOME_TIP, TOOL_DOWN, reach_point
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check
from examples.reach.ahead import STEP_HZ, ahead
from examples.reach.export import GOLDEN, seal
from examples.reach.rollout import SIZE, Rollout
from examples.reach.verify import any_engine_policy, covered, engine_policy, expert_policy, verify

UNSEEN = 2024  # neither targets nor tables nor light of this seed were ever trained on
VERSIONS = ("1", "2")


def shipped(version: str) -> Path:
    return shipped_store() / "reach" / version


@pytest.mark.parametrize("version", VERSIONS)
def test_a_shipped_version_gives_its_golden_answers_and_is_small(version: str) -> None:
    bundle = read_bundle(shipped(version))
    with open_engine(bundle, "cpu") as engine:
        found = golden_check(engine, bundle)
    assert len(found) == GOLDEN
    assert all(item.ok for item in found)
    assert sum(file.stat().st_size for file in shipped(version).iterdir()) < 1 << 20


def test_a_shipped_version_says_what_its_tensors_mean() -> None:
    manifest = read_bundle(shipped("2")).manifest
    assert [name for part in manifest.states["state"].parts for name in part.names] == [*JOINTS, *IMU, *FORCE]
    assert manifest.images["image"].size == (SIZE, SIZE)
    assert manifest.action is not None
    assert [axis.name for axis in manifest.action[1].axes] == [*JOINTS, "tool"]
    assert {axis.mode for axis in manifest.action[1].axes} == {"absolute"}


def test_the_better_version_reaches_what_it_has_never_seen() -> None:
    rollout = Rollout(UNSEEN)
    with open_engine(read_bundle(shipped("2")), "cpu") as engine:
        assert verify(rollout, engine_policy(engine), count=12, seed=UNSEEN) >= 0.9


def test_it_still_does_with_three_times_the_latency() -> None:
    rollout = Rollout(UNSEEN + 1)
    with open_engine(read_bundle(shipped("2")), "cpu") as engine:
        assert verify(rollout, engine_policy(engine), count=8, seed=UNSEEN + 1, latency_ms=150) >= 0.8


def test_with_a_covered_lens_it_fails_so_it_knows_the_disc_from_the_picture_alone() -> None:
    rollout = Rollout(UNSEEN)
    with open_engine(read_bundle(shipped("2")), "cpu") as engine:
        assert verify(rollout, covered(engine_policy(engine)), count=5, seed=UNSEEN) < 0.3


def test_the_earlier_version_works_and_is_worse() -> None:
    rollout = Rollout(UNSEEN)
    with open_engine(read_bundle(shipped("1")), "cpu") as engine:
        assert 0.4 <= verify(rollout, engine_policy(engine), count=10, seed=UNSEEN) <= 0.95


def test_the_expert_reaches_everything() -> None:
    rollout = Rollout(3)
    assert verify(rollout, expert_policy(rollout), count=5, seed=3) == 1.0


@pytest.mark.parametrize(("name", "kind"), [("reach-chunk", "chunk"), ("reach-lstm", "lstm")])
def test_the_other_policies_were_proved_against_their_trainer_and_reach_what_they_have_never_seen(
    name: str, kind: str
) -> None:
    bundle = read_bundle(shipped_store() / name / "1")
    assert "of the trainer's own actions" in bundle.manifest.proof
    assert bundle.manifest.action is not None
    rollout = Rollout(UNSEEN)
    with open_engine(bundle, "cpu") as engine:
        assert all(item.ok for item in golden_check(engine, bundle))
        assert engine.outputs["action"].shape == ((1, 16, 7) if kind == "chunk" else (1, 7))
        assert verify(rollout, any_engine_policy(engine), count=10, seed=UNSEEN) >= 0.9


@pytest.mark.parametrize("name", ["reach-chunk", "reach-lstm"])
def test_the_other_policies_know_the_disc_from_the_picture_alone(name: str) -> None:
    rollout = Rollout(UNSEEN)
    with open_engine(read_bundle(shipped_store() / name / "1"), "cpu") as engine:
        assert verify(rollout, covered(any_engine_policy(engine)), count=4, seed=UNSEEN) < 0.35


@pytest.mark.soak
@pytest.mark.parametrize(("name", "version"), [("reach", "2"), ("reach-chunk", "1"), ("reach-lstm", "1")])
def test_each_policy_reaches_many_targets_it_has_never_seen(name: str, version: str, soak_scale: float) -> None:
    rollout = Rollout(UNSEEN)
    with open_engine(read_bundle(shipped_store() / name / version), "cpu") as engine:
        assert verify(rollout, any_engine_policy(engine), count=round(40 * soak_scale), seed=UNSEEN) >= 0.9
        blind = covered(any_engine_policy(engine))
        assert verify(Rollout(UNSEEN), blind, count=max(1, round(10 * soak_scale)), seed=UNSEEN) < 0.35


def test_the_expert_of_sixteen_steps_goes_where_the_other_one_goes_and_no_faster_than_the_drives() -> None:
    target = np.array([0.5, 0.15])
    plan = ahead(HOME, HOME_TIP, target)
    assert plan.shape == (16, 7)
    path = np.vstack([HOME, plan[:, :6]])
    assert (np.abs(np.diff(path, axis=0)) * STEP_HZ < MAX_VELOCITY).all()
    assert np.abs(plan[-1, :6] - inverse(reach_point(target), TOOL_DOWN)).max() < 0.01
    assert plan[:, 6].tolist() == sorted(plan[:, 6].tolist()), "it closes once, at the end"
    assert plan[-1, 6] == 1.0
    home = ahead(plan[-1, :6], reach_point(target), None)
    assert np.abs(home[-1, :6] - HOME).max() < 0.02, "what it cannot see it looks for from home"


def stand_in(width: int = 15) -> bytes:
    """A network of the policy's shape: the mean of the picture as six equal joint targets and the tool."""
    weights = np.full((width, 7), 0.01, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
            helper.make_node("MatMul", ["state", "w"], ["felt"]),
            helper.make_node("Add", ["felt", "column"], ["action"]),
        ],
        "policy",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", width]),
        ],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([1], np.int64), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)
    return pictures, random.normal(size=(20, 15)).astype(np.float32), random.normal(size=(50, 7)).astype(np.float32)


def test_any_network_of_that_shape_becomes_an_engine(tmp_path: Path) -> None:
    packed = seal(stand_in(), *samples(), tmp_path, "7", {"made_by": "a test"})
    bundle = read_bundle(packed.path)
    assert packed.path == tmp_path / "reach" / "7"
    with open_engine(bundle, "cpu") as engine:
        assert all(item.ok for item in golden_check(engine, bundle))
        engine.inputs["image"][...] = 51
        engine.inputs["state"][...] = 0.0
        engine.run()
        assert np.allclose(engine.outputs["action"], 0.2, atol=1e-4)


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="state"):
        seal(stand_in(width=14), *samples(), tmp_path, "1", {})


@pytest.mark.train
def test_from_demonstrations_to_an_engine(tmp_path: Path) -> None:
    """A recording of seconds and one epoch: no good policy, but every step of the way."""
    from examples.reach.collect import collect
    from examples.reach.export import export
    from examples.reach.train import train

    collect(tmp_path / "data", count=1200, seed=5)
    states, actions = np.load(tmp_path / "data" / "states.npy"), np.load(tmp_path / "data" / "actions.npy")
    assert np.abs(actions[:, :6] - states[:, :6]).max() < 0.4, "an expert's command is a stride, not a leap"
    assert 0.02 < actions[:, 6].mean() < 0.6, "the tool is closed on some targets and open on the way"
    train(tmp_path / "data", tmp_path / "run", epochs=2)
    assert (tmp_path / "run" / "policy.pt").exists()
    packed = export(tmp_path / "run" / "policy.pt", tmp_path / "data", tmp_path / "store", "9", {})
    bundle = read_bundle(packed.path)
    with open_engine(bundle, "cpu") as engine:
        assert all(item.ok for item in golden_check(engine, bundle))
        assert verify(Rollout(1), engine_policy(engine), count=2, seed=1) <= 1.0


@pytest.mark.train
@pytest.mark.parametrize("kind", ["chunk", "lstm"])
def test_from_demonstrations_to_the_other_engines(tmp_path: Path, kind: str) -> None:
    from examples.reach.collect import collect_beside
    from examples.reach.export_more import export
    from examples.reach.train_more import train

    collect_beside(tmp_path / "data", 960, 5, 2)
    assert np.load(tmp_path / "data" / "chunks.npy").shape == (960, 16, 7)
    train(tmp_path / "data", tmp_path / "run", kind, shipped("2"), epochs=2)
    packed = export(tmp_path / "run" / "policy.pt", kind, tmp_path / "data", tmp_path / "store", "9", {})
    assert packed.path == tmp_path / "store" / f"reach-{kind}" / "9"
    with open_engine(read_bundle(packed.path), "cpu") as engine:
        assert verify(Rollout(1), any_engine_policy(engine), count=1, seed=1) <= 1.0
