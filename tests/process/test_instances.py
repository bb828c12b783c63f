"""Instances on the bus and on a picture: a packed instance head in the daemon and in `edged infer`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from pack_models.segmenters import scene, yolo_seg
from pack_recipes import instance_recipe, scenes
from rig import Rig, rig

from edged.client import Kind, masks_of
from edged.pack import pack

__all__ = ["rig"]
SIZE = 64


@pytest.fixture
def picture(rig: Rig) -> Path:
    """A folder with one picture, and an engine that finds what is drawn on it in the rig's store."""
    recipe = instance_recipe("yolo-seg")
    pack(yolo_seg(), recipe, scenes(recipe), rig.store)
    folder = rig.folder / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "scene.png"), scene(0)[0])
    return folder


def test_objects_are_published_with_their_masks(rig: Rig, picture: Path) -> None:
    recipe = instance_recipe("yolo-seg")
    source = next(role.source for role in recipe.inputs.values())
    camera = f"[cameras.{source}]\nuri = '{picture}'\nwidth = {SIZE}\nheight = {SIZE}\nfps = 20\nloop = true"
    sections = {"loop": f"clock = 'camera:{source}'", "engine": f"name = '{recipe.name}'", "bus": "valid_ms = 2000"}
    daemon = rig.daemon(rig.config("find", **sections, inputs=camera))
    message = daemon.listen("masks").wait(lambda heard: heard.kind is Kind.INSTANCES)
    found = masks_of(message)
    assert found
    assert len(found) == len(message.arrays["score"]) == len(message.arrays["class_id"])
    assert message.header["size"] == [SIZE, SIZE]
    assert message.header["classes"] == list(recipe.classes)
    assert all(mask.any() and x + mask.shape[1] <= SIZE and y + mask.shape[0] <= SIZE for x, y, mask in found)


def test_infer_draws_and_lists_them(rig: Rig, picture: Path) -> None:
    name = instance_recipe("yolo-seg").name
    overlay = rig.folder / "overlay.png"
    done = rig.edged("infer", name, str(picture / "scene.png"), "-o", str(overlay), "--store", str(rig.store), "--json")
    assert done.returncode == 0, done.stderr
    instances = json.loads(done.stdout)["instances"]
    assert instances
    assert {"class", "score", "xyxy", "area", "centroid", "oriented_box", "axis", "elongation", "at_edge"} == set(
        instances[0]
    )
    assert cv2.imread(str(overlay)).std() > 10
    shown = rig.edged("infer", name, str(picture / "scene.png"), "-o", str(overlay), "--store", str(rig.store)).stdout
    assert f"objects: {len(instances)} (" in shown
