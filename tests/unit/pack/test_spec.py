"""One spec over another: what is said first holds, and what is left open is filled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from models import segment_model
from typer.testing import CliRunner

from edged.cli.commands import app
from edged.core.errors import UsageError
from edged.pack.job import new_facts
from edged.pack.spec import HeadSpec, InputSpec, Part, Spec, load_spec, merge

FLAGS = Spec(name="a", inputs={"image": InputSpec(channels="bgr")})
MODEL = Spec(
    name="b",
    task="instance",
    inputs={"image": InputSpec(channels="rgb", pixels="0..1"), "other": InputSpec(role="const")},
    head=HeadSpec(layout="yolo-seg"),
)


def test_the_upper_one_holds_down_to_each_field() -> None:
    made = merge(FLAGS, MODEL)
    assert (made.name, made.task) == ("a", "instance")
    assert made.inputs["image"] == InputSpec(channels="bgr", pixels="0..1")
    assert made.inputs["other"].role == "const"
    assert made.head == HeadSpec(layout="yolo-seg")
    assert merge(MODEL, Spec()) == merge(Spec(), MODEL) == MODEL


def test_only_what_was_not_known_is_reported() -> None:
    assert set(new_facts(MODEL, FLAGS)) == {
        "task = instance",
        "inputs.image.pixels = 0..1",
        "inputs.other.role = const",
        "head.layout = yolo-seg",
    }
    assert list(new_facts(FLAGS, FLAGS)) == []


DOCUMENT = Path(__file__).parents[3] / "docs" / "packing.md"


def keys(part: type) -> Iterator[str]:
    """Every key of a recipe, those of its parts included."""
    for field in msgspec.structs.fields(part):
        yield field.name
        for inner in get_args(field.type):
            for found in (inner, *get_args(inner)):
                if isinstance(found, type) and issubclass(found, Part):
                    yield from keys(found)


def test_the_document_shows_every_key_and_its_recipes_are_read(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    recipes = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(recipes) == 2
    for recipe in recipes:
        (tmp_path / "recipe.toml").write_text(recipe)
        assert load_spec(tmp_path / "recipe.toml").name in ("reach", "parts")
    for key in set(keys(Spec)) - {"lerobot", "provenance", "head"}:
        assert re.search(rf"\b{key}\b", text), f"{key} is not in docs/packing.md"


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", "[0, 64]"), ("size", "[64, 99999]"), ("frame", "[-1, 64]"), ("frame", "[99999, 99999]"),
     ("pad", "256"), ("pad", "-1")],
)  # fmt: skip
def test_numbers_that_no_image_has_are_refused(tmp_path: Path, key: str, value: str) -> None:
    """As an engine's manifest does, before OpenCV or numpy die of them."""
    (tmp_path / "recipe.toml").write_text(f"[inputs.image]\n{key} = {value}\n")
    with pytest.raises(UsageError, match=rf"Expected `int` .*{key}"):
        load_spec(tmp_path / "recipe.toml")
    (tmp_path / "model.onnx").write_bytes(segment_model())
    words = value.strip("[]").replace(", ", "x")
    if "-" not in words:  # that is no HEIGHTxWIDTH, and another option
        told = CliRunner().invoke(app, ["pack", str(tmp_path / "model.onnx"), f"--{key}", words])
        assert isinstance(told.exception, UsageError)
        assert re.match(f"Expected `int` .*{key}", told.exception.fact)
