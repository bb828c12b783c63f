"""`edged pack` from end to end: flags, recipes, policy folders and what models say about themselves."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from pack_cli import FIT, IMAGE, edged, fault, reach_flags, written
from pack_models.policies import transformer
from pack_models.segmenters import mask_rcnn, rfdetr_seg, scene, segformer, yolo_seg
from pack_models.shipped import REACH, golden_inputs, raw_plate, raw_reach
from statfiles import lerobot_policy, relative, statistics

from edged.bundle.bundle import read_bundle, read_files
from edged.bundle.samples import split_samples
from edged.bundle.store import Store
from edged.cli.list_engines import list_engines
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check

SEGFORMER = ["--name", "road", "--task", "semantic", "--classes", "none,red,green,blue", *IMAGE, *FIT]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(12):
        cv2.imwrite(str(folder / f"{seed:03d}.png"), scene(seed)[0])
    return folder


def test_flags_alone_and_the_version_is_the_models_hash(tmp_path: Path, pictures: Path) -> None:
    model = written(tmp_path, "segformer.onnx", segformer())
    said = json.loads(edged(model, *SEGFORMER, "--golden", pictures, "--store", tmp_path / "store", "--json"))
    bundle = read_bundle(Path(said["path"]))
    assert said["version"] == bundle.version
    assert bundle.version == hashlib.sha256(bundle.model).hexdigest()[:12]
    assert "outputs.logits.upscale = 4" in said["inferred"]
    assert said["proof"]["logits"]["worst"] == 1.0
    assert said["measured"]["logits"]["mIoU"] == 1.0
    assert said["model_bytes"] == len(bundle.model)
    assert len(split_samples(bundle.golden)) == 8
    assert bundle.manifest.provenance["model"] == "segformer.onnx"
    with open_engine(bundle) as engine:
        golden_check(engine, bundle)


def test_run_twice_in_two_processes_it_writes_the_same_bytes(tmp_path: Path, pictures: Path) -> None:
    model = written(tmp_path, "segformer.onnx", segformer())
    extra = ["--precision", "int8", "--calibration", str(pictures), "--golden", str(pictures), "--version", "7"]
    for name in ("a", "b"):
        command = [sys.executable, "-m", "edged", "pack", str(model), *SEGFORMER, *extra, "--store", name, "--archive"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (tmp_path / "road-7.edged").rename(tmp_path / f"{name}.edged")
    assert read_files(tmp_path / "a/road/7") == read_files(tmp_path / "b/road/7") == read_files(tmp_path / "a.edged")
    assert (tmp_path / "a.edged").read_bytes() == (tmp_path / "b.edged").read_bytes()


def test_everything_that_is_missing_is_asked_for_at_once(tmp_path: Path) -> None:
    model = written(tmp_path, "segformer.onnx", segformer())
    said = fault(model, "--task", "semantic")
    assert said.startswith("2 segformer.onnx does not say everything")
    for flag in ("--name", "--classes", "--camera", "--channels", "--pixels", "--mean", "--std", "--resize"):
        assert flag in said
    assert "--task" in fault(model, "--name", "road")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--channels", "grb"], "channels"),
        (["--mean", "0.5"], "--mean 0.5: 3 numbers"),
        (["--task", "detect"], "task"),
        (["--frame", "640"], "--frame 640: HEIGHTxWIDTH"),
        (["--axes", "a"], "'a' is not of the form --axes"),
        (["--state", "a:b"], "--state SENSOR:NAMES:UNIT"),
        (["--fix", "batch"], "--fix batch: NAME=VALUE"),
        (["--camera", "left=a"], "which image is that"),
        (["--calibration", "x", "--precision", "int8", "--golden", "x"], "x"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_a_usage_error(tmp_path: Path, flags: list[str], says: str) -> None:
    said = fault(written(tmp_path, "m.onnx", segformer()), *SEGFORMER, *flags)
    assert said.startswith("2 ")
    assert says in said


def test_int8_asks_for_calibration(tmp_path: Path) -> None:
    said = fault(written(tmp_path, "m.onnx", segformer()), *SEGFORMER, "--precision", "int8", "--store", tmp_path)
    assert "--calibration" in said


def test_a_raw_policy_with_its_statistics_is_numpy_within_1e_5_of_each_range(tmp_path: Path) -> None:
    flags = reach_flags(tmp_path)
    for store in ("a", "b"):
        edged(*flags, "--store", tmp_path / store)
    (path,) = (tmp_path / "a" / "lift").iterdir()
    assert read_files(path) == read_files(tmp_path / "b" / "lift" / path.name)
    bundle = read_bundle(path)
    model, stats = raw_reach()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    spans = np.array([0.4] * 6 + [40.0])
    for number, sample in enumerate(golden_inputs(REACH)):
        image = sample["image"].astype(np.float64).transpose(0, 3, 1, 2) / 255
        state = (sample["state"] - np.array(stats["state"]["mean"])) / np.array(stats["state"]["std"])
        (raw,) = session.run(None, {"image": image.astype(np.float32), "state": state.astype(np.float32)})
        wanted = raw * np.array(stats["action"]["std"])
        error = np.abs(bundle.golden[f"{number:03d}/out/action"] - wanted) / spans
        assert error.max() <= 1e-5


def test_a_statistic_that_is_missing_is_a_refusal_with_the_keys_found(tmp_path: Path) -> None:
    flags = reach_flags(tmp_path)
    flags[flags.index("mean_std")] = "q01_q99"
    assert fault(*flags, "--store", tmp_path / "s").startswith("3 the statistics lack 'q01'")
    (tmp_path / "stats.json").write_text(json.dumps({"qpos": {"mean": [0], "std": [1]}}))
    assert "no statistics for 'state' (found: qpos)" in fault(*flags, "--store", tmp_path / "s")


def test_a_lerobot_policy_folder(tmp_path: Path) -> None:
    folder = lerobot_policy(
        tmp_path / "act", "QUANTILES", use_relative_actions=True, relative_exclude_joints=["gripper"]
    )
    relative(folder, exclude_joints=["gripper"])
    written(folder, "policy.onnx", transformer())
    axes = ["--axes", "j1,j2,j3,j4,j5,j6:rad", "--axes", "gripper:closed", "--step-ms", "33.3", "--name", "pour"]
    state = ["--state", "arm:j1,j2,j3,j4,j5,j6:rad", "--state", "arm:gripper:closed"]
    said = edged(folder, *axes, *state, "--resize", "stretch", "--interpolation", "area", "--store", tmp_path / "s")
    assert "inputs.observation_images_top.channels = rgb (LeRobot policy)" in said
    assert "task = policy (LeRobot policy)" in said
    (path,) = (tmp_path / "s" / "pour").iterdir()
    manifest = read_bundle(path).manifest
    modes = [axis.mode for axis in manifest.action[1].axes]
    assert modes == ["delta_state"] * 6 + ["absolute"]
    low = statistics()["action"]["min"]
    assert manifest.action[1].axes[0].range == pytest.approx((low[0], low[0] + 1.5), rel=1e-6)
    assert "--axes" in fault(folder, "--name", "pour", *state, "--resize", "none")


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        (yolo_seg, []),
        (lambda: yolo_seg(nms=True), []),
        (rfdetr_seg, ["--classes", "red,green,blue"]),
        (mask_rcnn, ["--classes", "red,green,blue", "--size", "64x64", "--resize", "none"]),
    ],
)
def test_instance_models_say_what_they_are(tmp_path: Path, pictures: Path, model: Any, extra: list[str]) -> None:
    path = written(tmp_path, "parts.onnx", model())
    said = edged(path, "--name", "pieces", "--camera", "bin", "--golden", pictures, "--store", tmp_path / "s", *extra)
    assert "inferred: task = instance" in said
    (engine,) = (tmp_path / "s" / "pieces").iterdir()
    bundle = read_bundle(engine)
    assert bundle.manifest.classes == ("red", "green", "blue")
    assert bundle.manifest.head is not None
    with open_engine(bundle) as running:
        golden_check(running, bundle)


def test_an_instance_head_is_not_proved_on_noise(tmp_path: Path) -> None:
    path = written(tmp_path, "parts.onnx", yolo_seg())
    assert "pictures that show objects" in fault(path, "--name", "pieces", "--camera", "bin", "--store", tmp_path / "s")
    cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((64, 64, 3), np.uint8))
    said = fault(path, "--name", "p", "--camera", "b", "--store", tmp_path / "s", "--golden", tmp_path / "dark.png")
    assert "no object in any golden sample" in said


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_frames_may_be_resized_in_the_graph(tmp_path: Path, resize: str) -> None:
    path = written(tmp_path, "plate.onnx", raw_plate())
    flags = ["--name", "sheet", "--task", "semantic", "--classes", "a,b,c,d", "--camera", "line", "--channels", "bgr"]
    flags += ["--pixels", "0..1", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--frame", "300x480"]
    edged(path, *flags, "--resize", resize, "--pad", "114", "--store", tmp_path / "s")
    (engine,) = (tmp_path / "s" / "sheet").iterdir()
    bundle = read_bundle(engine)
    (image,) = bundle.manifest.images.values()
    assert (image.size, image.resize) == ((300, 480), "none")
    labels = bundle.golden["000/out/labels"]
    assert labels.shape == (1, 300, 480)
    assert bool(labels[0, :, :80].any()) is (resize != "crop")  # a square was cut out of the middle


def test_an_engine_signed_while_packing(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from edged.bundle.signature import check_own_signature
    from edged.cli.keys import new_signing_key

    key = new_signing_key("me", tmp_path)
    path = written(tmp_path, "segformer.onnx", segformer())
    flags = [path, *SEGFORMER, "--sign", key.secret, "--store", tmp_path / "s", "--version", "1"]
    edged(*flags)
    bundle = read_bundle(tmp_path / "s" / "road" / "1")
    assert check_own_signature(bundle) == key.public.read_bytes()
    edged(*flags)  # the same key makes the same bytes: nothing is overwritten


def test_it_says_which_nodes_stay_in_float32_and_what_that_brings(tmp_path: Path, pictures: Path) -> None:
    model = written(tmp_path, "hot.onnx", segformer(hot=300.0))
    given = [model, *SEGFORMER, "--precision", "fp16", "--golden", pictures, "--store", tmp_path / "store"]
    text = edged(*given, "--search-s", "3600", "--backend", "cpu")
    assert "kept     4 of 72 nodes in float32, found in " in text
    assert "proof    on cpu: logits: agreement" in text
    assert " times as fast: " in text
    nodes = [flag for name in ("Mul55", "ReduceMean56", "Add57", "Sqrt58") for flag in ("--keep", name)]
    said = json.loads(edged(*given, *nodes, "--search-s", "0", "--json"))["converted"]
    assert (said["kept"], said["trials"], said["backend"], said["ms"]) == (nodes[1::2], 0, None, None)
    assert fault(*given, "--backend", "abacus").startswith("2 there is no back end 'abacus'; there are cpu, ")
    assert fault(*given, "--backend", "cuda").startswith("1 there is no NVIDIA GPU here")
    assert "--search-s" in fault(*given, "--search-s", "0")


def test_under_a_shipped_name_the_shipped_version_goes_on_running(tmp_path: Path) -> None:
    model, store = written(tmp_path, "segformer.onnx", segformer()), tmp_path / "store"
    flags = [model, "--name", "plate", *SEGFORMER[2:], "--store", store, "--version"]
    assert "note: plate still means version 1, until a swap has proved another one" in edged(*flags, "7")
    listed, _ = list_engines("plate", store)
    assert [(one["version"], one["current"]) for one in listed] == [("1", True), ("7", False)]
    assert read_bundle(Store(store).resolve("plate")).digest == read_bundle(Store(store).shipped / "plate" / "1").digest
    assert fault(*flags, "1").startswith(f"3 {store}/plate/1 exists with other content")
    assert "note: plate" not in edged(*flags, "1", "--replace"), "which was asked for"


def test_an_upgrade_of_a_shipped_engine_does_not_run_by_itself(tmp_path: Path) -> None:
    assert "plate/1-schema2" in edged("plate", "--upgrade", "--store", tmp_path)
    assert (Store(tmp_path).versions("plate"), Store(tmp_path).current("plate")) == (["1", "1-schema2"], "1")
