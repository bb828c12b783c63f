"""TensorRT's own parser and builder take what pack makes, up to the loading, for which there would have to be a GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gpus import BINDINGS, pretended_gpu
from models import make
from onnx import TensorProto, helper
from pack_models.policies import all_roles, cnn_lstm, transformer
from pack_models.segmenters import mask_rcnn, query_mask, rfdetr_seg, segformer, yolo_seg
from pack_recipes import chunk_recipe, instance_recipe, lstm_recipe, moments, roles_recipe, scenes, segformer_recipe
from real_tensorrt import real_tensorrt

from edged.bundle.store import shipped_store
from edged.engine.plan_build.accepts import UNKNOWN, obstacles
from edged.pack import int8, pack

Env = dict[str, str]
NETWORKS: dict[str, tuple[Callable[[], bytes], Callable[..., Any]]] = {
    "lstm": (cnn_lstm, lstm_recipe),
    "transformer": (transformer, chunk_recipe),
    "roles": (all_roles, roles_recipe),
    "segformer": (segformer, segformer_recipe),
    "yolo-seg": (yolo_seg, lambda **more: instance_recipe("yolo-seg", **more)),
    "yolo-seg-nms": (lambda: yolo_seg(nms=True), lambda **more: instance_recipe("yolo-seg-nms", **more)),
    "rfdetr-seg": (rfdetr_seg, lambda **more: instance_recipe("rfdetr-seg", **more)),
    "query-mask": (query_mask, lambda **more: instance_recipe("query-mask", **more)),
    "mask-rcnn": (mask_rcnn, lambda **more: instance_recipe("mask-rcnn", **more)),
}
SAMPLED = {"transformer": "int8", "segformer": "fp16"}  # by default the others are fp32


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Env:
    return real_tensorrt(tmp_path_factory.mktemp("tensorrt") / "libraries")


def run(env: Env, *argv: object) -> Any:
    done = subprocess.run([sys.executable, *map(str, argv)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def answers(env: Env, folder: Path, models: Mapping[str, bytes]) -> dict[str, str]:
    """Of each model, why no plan was made of it, or ""."""
    files = {str(folder / f"{index}.onnx"): name for index, name in enumerate(models)}
    for file, name in files.items():
        Path(file).write_bytes(models[name])
    said = run(env, BINDINGS / "build.py", *files)
    return {files[file]: why for file, why in said.items()}


def packed(name: str, precision: str, folder: Path) -> Path:
    network, recipe_of = NETWORKS[name]
    recipe = recipe_of(precision=precision)
    given = moments if recipe.task == "policy" else scenes
    made = pack(network(), recipe, given(recipe), folder / f"{name}-{precision}", calibration=given(recipe, 16, 100))
    return made.path


def check_plans(real: Env, tmp_path: Path, chosen: list[tuple[str, str]]) -> None:
    models = {
        f"{name} {precision}": (packed(name, precision, tmp_path) / "model.onnx").read_bytes()
        for name, precision in chosen
    }
    said = answers(real, tmp_path, models)
    rcnn = {name: why for name, why in said.items() if name.startswith("mask-rcnn")}
    assert {name: why for name, why in said.items() if why and name not in rcnn} == {}
    assert all("ROIAlign plugin" in why for why in rcnn.values())  # which asks the driver for its memory: needs a GPU
    assert {name: obstacles(model) for name, model in models.items() if obstacles(model)} == {}


def test_plans_are_made_of_what_pack_makes(real: Env, tmp_path: Path) -> None:
    check_plans(real, tmp_path, [(name, SAMPLED.get(name, "fp32")) for name in NETWORKS])


@pytest.mark.soak
def test_plans_are_made_in_every_precision(real: Env, tmp_path: Path) -> None:
    check_plans(real, tmp_path, [(name, precision) for name in NETWORKS for precision in ("fp32", "fp16", "int8")])


def test_plans_are_made_of_the_shipped_engines(real: Env, tmp_path: Path) -> None:
    models = {str(path): path.read_bytes() for path in shipped_store().glob("*/*/model.onnx")}
    assert len(models) >= 3
    assert set(answers(real, tmp_path, models).values()) == {""}


def test_nodes_that_stay_in_float32_are_taken_among_half_ones_and_quantised_ones(real: Env, tmp_path: Path) -> None:
    models = {}
    for precision in ("fp16", "int8"):
        keep = ("Mul55", "ReduceMean56", "Add57", "Sqrt58") if precision == "fp16" else ("MatMul17", "Conv2")
        recipe = segformer_recipe(precision=precision, keep=keep)
        made = pack(
            segformer(hot=300.0), recipe, scenes(recipe), tmp_path / precision, calibration=scenes(recipe, 16, 100)
        )
        assert set(made.converted.kept) == set(keep)
        models[precision] = made.files["model.onnx"]
    assert answers(real, tmp_path, models) == {"fp16": "", "int8": ""}


def one(op: str, kind: int, shape: list[int], made: int, out: list[Any], *more: Any, **attributes: Any) -> bytes:
    """A graph of one node; `more` are constants after its first input."""
    names = [f"k{index}" for index in range(len(more))]
    node = helper.make_node(op, ["x", *names], ["y"], name=op, **attributes)
    model = onnx.load_from_string(make([node], {"x": shape}, {"y": out}, dict(zip(names, more, strict=True))))  # type: ignore[no-untyped-call]
    model.graph.input[0].type.tensor_type.elem_type = kind
    model.graph.output[0].type.tensor_type.elem_type = made
    return model.SerializeToString()  # type: ignore[no-any-return]


FLOAT, BYTE, LONG = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
REFUSED = {
    "bytes turned": one("Transpose", BYTE, [1, 2, 3], BYTE, [1, 3, 2], perm=[0, 2, 1]),
    "bytes added": one("Add", BYTE, [1, 4], BYTE, [1, 4], np.uint8(1)),
    "short": one("Cast", TensorProto.INT16, [1, 4], FLOAT, [1, 4], to=FLOAT),
    "best 3841": one("TopK", FLOAT, [1, 4000], FLOAT, [1, 3841], np.array([3841])),
    "unique": one("Unique", FLOAT, [4], FLOAT, ["n"]),
    "nine dimensions": one("Reshape", FLOAT, [1, 4], FLOAT, [1] * 8 + [4], np.array([1] * 8 + [4])),
}
TAKEN = {
    "bytes cast": one("Cast", BYTE, [1, 4], FLOAT, [1, 4], to=FLOAT),
    "cast to bytes": one("Cast", FLOAT, [1, 4], BYTE, [1, 4], to=BYTE),
    "best 3840": one("TopK", FLOAT, [1, 4000], FLOAT, [1, 3840], np.array([3840])),
    "the largest": one("ArgMax", FLOAT, [1, 4], LONG, [1, 1], axis=1),
    "tokens": one("Cast", LONG, [1, 4], FLOAT, [1, 4], to=FLOAT),
}


def two_outputs(models: dict[str, bytes]) -> dict[str, bytes]:
    """TopK has a second output, which nobody reads here."""
    for name in [name for name in models if name.startswith("best")]:
        model = onnx.load_from_string(models[name])
        model.graph.node[0].output.append("indices")
        models = {**models, name: model.SerializeToString()}
    return models


def test_the_list_of_what_it_refuses_is_what_it_refuses(
    real: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "biases", lambda graph: [])  # as it was: their sums quantised
    quantised = (packed("transformer", "int8", tmp_path) / "model.onnx").read_bytes()
    refused, taken = {**two_outputs(REFUSED), "biases in int8": quantised}, two_outputs(TAKEN)
    said = answers(real, tmp_path, {**refused, **taken})
    assert {name for name, why in said.items() if why} == set(refused), said
    assert {name for name, model in refused.items() if not obstacles(model)} == set()
    assert {name: obstacles(model) for name, model in taken.items() if obstacles(model)} == {}


def test_the_operators_it_does_not_know_are_those_listed(real: Env) -> None:
    known = set(run(real, BINDINGS / "build.py"))
    assert not known & UNKNOWN
    since = {schema.name: schema.since_version for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {name for name, version in since.items() if version <= 21} - known <= UNKNOWN


def verified(env: Env, target: Path) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "edged", "verify", str(target), "--for", "tensorrt", "--json"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout)["checks"]
    return done.returncode, next(row for row in rows if row["check"] == "tensorrt")


def test_verify_asks_the_parser_without_a_gpu(real: Env, tmp_path: Path) -> None:
    code, row = verified(real, shipped_store() / "plate" / "1")
    assert (code, row["detail"]) == (0, "the parser of TensorRT 11.4.0.106 takes the graph")
    code, row = verified(real, packed("mask-rcnn", "fp32", tmp_path))
    assert code == 3
    assert "(RoiAlign)" in row["detail"]


def test_a_plan_that_cannot_be_loaded_is_not_kept(real: Env, tmp_path: Path) -> None:
    """The build goes through with the driver of nobody's GPU, and the loading says so."""
    pretended = pretended_gpu(tmp_path / "gpu")
    libraries = f"{real['LD_LIBRARY_PATH']}:{pretended['LD_LIBRARY_PATH']}"
    argv = [
        sys.executable,
        "-m",
        "edged",
        "build",
        str(shipped_store() / "reach" / "2"),
        "--cache",
        str(tmp_path / "c"),
    ]
    done = subprocess.run(
        [*argv, "--level", "0"], env={**real, "LD_LIBRARY_PATH": libraries}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TensorRT" in done.stderr
    assert not list((tmp_path / "c").rglob("*.plan"))


def test_without_tensorrt_verify_goes_by_the_list(tmp_path: Path) -> None:
    path = tmp_path / "reach" / "2"
    shutil.copytree(shipped_store() / "reach" / "2", path)
    code, row = verified(dict(os.environ), path)
    assert (code, row["result"]) == (0, "ok")
    assert "it is not installed here" in row["detail"]
