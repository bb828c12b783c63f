"""Every number that a network can put out has the name that its trainer gave it, or nothing is packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from pack_models.net import Net
from pack_models.segmenters import mask_rcnn, segformer, yolo_seg
from pack_recipes import camera, instance_recipe, scenes, segformer_recipe

from edged.bundle.bundle import read_bundle
from edged.bundle.roles import LabelsOutput
from edged.core.errors import EngineError, RefusedError, UsageError
from edged.pack import Image, Labels, Recipe, job, pack
from edged.pack.answers import Questions
from edged.pack.graph import load_model
from edged.pack.job import pack_job
from edged.pack.network import look_at
from edged.pack.resolve import resolve
from edged.pack.spec import HeadSpec, InputSpec, OutputSpec, Spec

SIZE = 32
SEEN = InputSpec(
    role="image",
    source="line",
    size=(SIZE, SIZE),
    resize="stretch",
    interpolation="linear",
    pixels="0..1",
    channels="bgr",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def unet(channels: int) -> bytes:
    """[1, 3, H, W] 0..1 -> [1, channels, H, W]: of one channel above 0 where it is bright."""
    net = Net(5)
    image = net.input("image", [1, 3, SIZE, SIZE])
    weight = np.zeros((channels, 3, 1, 1))
    weight[:] = 3.0
    net.output(net.fixed_conv(image, weight, [-4.5] * channels), "scores", [1, channels, SIZE, SIZE])
    return net.model()


def numbered(highest: int) -> bytes:
    """Class numbers by brightness, 0 to `highest`."""
    net = Net(6)
    image = net.input("image", [1, 3, SIZE, SIZE])
    mean = net.add("ReduceMean", image, axes=[1], keepdims=0)
    floor = net.add("Floor", net.add("Mul", mean, net.const(highest + 0.99)))
    net.output(net.add("Cast", floor, to=6), "labels", [1, SIZE, SIZE], 6)
    return net.model()


def asked(model: bytes, spec: Spec) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(spec, look_at(load_model(model)), Questions())
    return str(caught.value)


def binary(classes: tuple[str, ...], above: str | None = None) -> Spec:
    outputs = {"scores": OutputSpec(above=above)}
    return Spec(task="semantic", name="scratch", classes=classes, inputs={"image": SEEN}, outputs=outputs)


def test_a_binary_head_is_asked_which_side_is_the_defect(tmp_path: Path) -> None:
    assert "--classes background,defect --above defect" in asked(unet(1), binary(("defect",)))
    assert "--above defect or --above clean" in asked(unet(1), binary(("clean", "defect")))
    assert "--above" in asked(unet(1), binary(("clean", "defect"), "scratch"))
    assert "separates two, not 3" in asked(unet(1), binary(("clean", "defect", "dirt")))
    bright = np.full((1, SIZE, SIZE, 3), 255, np.uint8)
    for classes in (("clean", "defect"), ("defect", "clean")):  # the order that people write them in says nothing
        recipe = resolve(binary(classes, "defect"), look_at(load_model(unet(1))), Questions())
        packed = pack(unet(1), recipe, [{"image": bright}], tmp_path, replace=True)
        number = int(read_bundle(packed.path).golden["000/out/scores"][0, 0, 0])
        assert packed.manifest.classes[number] == "defect"


def test_a_name_for_every_channel_and_no_more(tmp_path: Path) -> None:
    assert "3 scores per pixel, and 2 classes" in asked(unet(3), binary(("a", "b")))
    for classes in (("background", "red", "green"), ("background", "red", "green", "blue", "white")):
        with pytest.raises(RefusedError, match="4 scores per pixel"):
            pack(segformer(), segformer_recipe(classes=classes), scenes(segformer_recipe()), tmp_path)


def test_class_numbers_without_a_name_are_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, SIZE).astype(np.uint8)[None, None, :, None] * np.ones((1, SIZE, 1, 3), np.uint8)

    def recipe(count: int) -> Recipe:
        return Recipe(
            name="ramp",
            version="1",
            task="semantic",
            inputs={"image": camera(SIZE)},
            outputs={"labels": LabelsOutput()},
            before={"image": Image((SIZE, SIZE))},
            after={"labels": Labels(made=True)},
            classes=tuple("abcdefgh"[:count]),
        )

    with pytest.raises(RefusedError, match="has class 4, and 4 are named: a, b, c, d"):
        pack(numbered(4), recipe(4), [{"image": ramp}], tmp_path)
    pack(numbered(4), recipe(5), [{"image": ramp}], tmp_path)


def test_what_a_head_calls_none_has_no_name(tmp_path: Path) -> None:
    tensors = {name: name for name in ("boxes", "labels", "scores", "masks")}
    head = HeadSpec(layout="mask-rcnn", tensors=tensors, background="first")
    spec = Spec(task="instance", name="parts", inputs={"image": SEEN}, head=head, fixed={"height": 32, "width": 32})
    for first in ("__background__", "background", "BG"):
        classes = (first, "red", "green", "blue")
        assert "is what this head calls none" in asked(mask_rcnn(), structs.replace(spec, classes=classes))
    recipe = instance_recipe("mask-rcnn", classes=("red", "green"))
    with pytest.raises(RefusedError, match="beyond the 2 that are named"):
        pack(mask_rcnn(), recipe, scenes(recipe, 6), tmp_path)


def test_names_on_the_command_line_are_as_many_as_in_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "yolo.onnx"
    path.write_bytes(yolo_seg(nms=True))
    with pytest.raises(UsageError, match="2 classes are named and the Ultralytics metadata has 3"):
        pack_job(path, lambda network: Spec(classes=("red", "green")), tmp_path)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"name": "Red"}, "'Red' cannot be an engine's name"),
        ({"name": "../red"}, "'../red' cannot be an engine's name"),
        ({"name": "red", "version": "1/2"}, "'1/2' cannot be a version"),
        ({"name": "red", "version": "current"}, "'current' cannot be a version"),
    ],
)
def test_a_name_that_no_folder_could_have_is_told_before_anything_is_asked(
    tmp_path: Path, said: dict[str, str], why: str
) -> None:
    path = tmp_path / "yolo.onnx"
    path.write_bytes(yolo_seg(nms=True))
    with pytest.raises(UsageError, match=why):
        pack_job(path, lambda network: Spec(**said), tmp_path)


def test_a_store_that_cannot_be_written_is_told_before_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "red.onnx"
    path.write_bytes(unet(3))
    monkeypatch.setattr(job, "pack", lambda *_, **__: pytest.fail("it was packed"))
    said = Spec(task="semantic", name="red", classes=("a", "b", "c"), inputs={"image": SEEN}, golden=str(tmp_path))
    with pytest.raises(EngineError, match="cannot write the store"):
        pack_job(path, lambda network: said, path)
