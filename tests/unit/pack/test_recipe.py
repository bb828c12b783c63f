"""A TOML recipe says it all, flags beat it, and a mistake is refused with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pack_cli import edged, fault, reach_flags
from pack_models.shipped import REACH, golden_inputs

from edged.bundle.bundle import read_bundle

AXES = ", ".join(f'{{ name = "j{number}", unit = "rad", range = [-1, 1] }}' for number in range(1, 7))
RECIPE = f"""
model = "reach.onnx"
name = "reach"
version = "from-recipe"
task = "policy"
golden = "samples.npz"

[inputs.image]
source = "tool"
channels = "bgr"
pixels = "0..1"
mean = [0, 0, 0]
std = [1, 1, 1]
resize = "stretch"
interpolation = "linear"

[inputs.state]
statistics = {{ form = "mean_std", file = "stats.json" }}
parts = [
  {{ sensor = "joints", names = ["j1", "j2", "j3", "j4", "j5", "j6"], unit = "rad" }},
  {{ sensor = "imu", names = ["ax", "ay", "az"], unit = "m/s^2" }},
  {{ sensor = "imu", names = ["wx", "wy", "wz"], unit = "rad/s" }},
  {{ sensor = "force", names = ["fx", "fy", "fz"], unit = "N" }},
]

[outputs.action]
step_ms = 33.3
statistics = {{ form = "mean_std", values = {{ mean = {[0] * 7}, std = {[0.5] * 7} }} }}
axes = [{AXES}, {{ name = "tool", unit = "closed", kind = "binary" }}]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The recipe beside its model, statistics and samples."""
    reach_flags(tmp_path)
    given = golden_inputs(REACH)
    np.savez(
        tmp_path / "samples.npz", **{name: np.concatenate([sample[name] for sample in given]) for name in given[0]}
    )
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_says_it_all_and_flags_beat_it(recipe: Path, tmp_path: Path) -> None:
    said = edged(recipe, "--store", tmp_path / "s")
    assert "outputs.action.axes.tool.range = (0.0, 1.0)" in said
    bundle = read_bundle(tmp_path / "s" / "reach" / "from-recipe")
    assert bundle.manifest.states["state"].width == 15
    assert bundle.manifest.action[1].axes[6].kind == "binary"
    edged(recipe, "--store", tmp_path / "s", "--version", "from-flag", "--precision", "fp16")
    assert read_bundle(tmp_path / "s" / "reach" / "from-flag").manifest.precision == "fp16"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("name =", "nmae ="), "unknown field `nmae`"),
        (('channels = "bgr"', 'channels = "gbr"'), "$.inputs[...].channels"),
        (("[inputs.image]", "[inputs.picture]"), "inputs.picture: the network has no such input; it has image, state"),
        (
            ("[inputs.image]", "[fixed]\nheigth = 96\n[inputs.image]"),
            "fixed.heigth: no input has such an open dimension",
        ),
        (('file = "stats.json"', 'file = "none.json"'), "cannot read the statistics"),
        (
            (f", values = {{ mean = {[0] * 7}, std = {[0.5] * 7} }}", ""),
            "outputs.action.statistics.file: --statistics FILE",
        ),
        (("model =", "# model ="), "names no model"),
        (("[inputs.image]", "[inputs.image"), "not TOML"),
        (('golden = "samples.npz"', 'golden = "none.npz"'), "cannot read the samples"),
        (('"j6"], unit', '"j6", "j7"], unit'), "a state is [N, 16] in physical units"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_with_its_place(recipe: Path, change: tuple[str, str], says: str) -> None:
    recipe.write_text(RECIPE.replace(*change, 1))
    assert says in fault(recipe, "--store", recipe.parent / "s")
