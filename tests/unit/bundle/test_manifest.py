"""A manifest is a closed vocabulary: what is unknown, missing or contradictory is refused with its path."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import EXAMPLES, changed, example

from edged.bundle.manifest import (
    Manifest,
    dump_manifest,
    is_name,
    is_version,
    lowest_schema,
    parse_manifest,
    toleranced,
)
from edged.bundle.manifest_check import HEAD_OUTPUTS
from edged.bundle.roles import Head
from edged.core.errors import RefusedError

FILES = sorted(EXAMPLES.glob("*.json"))


def refusal(data: dict) -> str:
    with pytest.raises(RefusedError) as caught:
        parse_manifest(json.dumps(data).encode())
    assert caught.value.exit_code == 3
    assert caught.value.remedy
    return str(caught.value)


def test_there_is_a_complete_example_for_every_task():
    tasks = ["instance", "policy", "semantic"]
    assert sorted(path.stem for path in FILES) == sorted([*tasks, *(f"{task}-2" for task in tasks)])
    for path in FILES:
        manifest = parse_manifest(path.read_bytes(), str(path))
        assert manifest.task == path.stem.removesuffix("-2")
        assert manifest.schema == (2 if path.stem.endswith("-2") else 1)
        assert lowest_schema(manifest) == manifest
        assert dump_manifest(manifest) == path.read_bytes()  # in canonical form, as edged writes them


def test_the_policy_example_shows_every_input_role():
    roles = {type(role).__name__ for role in parse_manifest(json.dumps(example("policy")).encode()).inputs.values()}
    assert roles == {"ImageInput", "StateInput", "FeedbackInput", "ConstInput"}


@pytest.mark.parametrize("task", ["policy", "semantic", "instance"])
def test_every_field_is_needed_and_no_other_taken(task: str):
    for field in msgspec.structs.fields(Manifest):
        assert f"`{field.name}`" in refusal(changed(task, field.name, ...))
    assert "unknown field `colour`" in refusal(changed(task, "colour", "red"))


def test_a_nested_field_is_needed_and_named_by_its_path():
    assert "$.inputs" in refusal(changed("policy", "inputs/tool_image/interpolation", ...))
    assert "`pad`" in refusal(changed("policy", "inputs/tool_image/pad", ...))


@pytest.mark.parametrize(
    ("task", "path", "value", "says"),
    [
        ("policy", "schema", 3, "this edged reads 1 and 2"),
        ("policy", "name", "Reach", "$.name"),
        ("policy", "name", "../reach", "$.name"),
        ("policy", "name", "reach\n", "$.name"),
        ("policy", "version", "current", "word of the store"),
        ("policy", "version", "waiting.json", "word of the store"),
        ("policy", "version", "..", "$.version"),
        ("policy", "task", "dance", "'dance'"),
        ("policy", "provenance/model", "/home/someone/reach.onnx", "$.provenance.model"),
        ("policy", "inputs/tool_image/size", [0, 96], "$.inputs"),
        ("policy", "inputs/tool_image/pad", 256, "$.inputs"),
        ("policy", "inputs/tool_image/resize", "squeeze", "'squeeze'"),
        ("policy", "inputs/state/parts", [], "length >= 1"),
        ("policy", "inputs/state/parts/0/names", ["j1", "j1"], "listed twice"),
        ("policy", "inputs/memory/output", "action", "hidden outputs are ['memory_next']"),
        ("policy", "outputs/action/axes/0/range", [1.0, 1.0], "is empty"),
        ("policy", "outputs/action/axes/0/unit", "m", "an angle in 'm'"),
        ("policy", "outputs/action/axes/1/name", "j1", "same name"),
        ("policy", "outputs/action/axes/6/mode", "delta_state", "binary axis cannot be"),
        ("policy", "outputs/action/axes/5/mode", "delta_state", "needs a state value"),
        (
            "policy",
            "inputs/state/parts/1",
            {"sensor": "leader", "names": ["j4"], "unit": "rad"},
            "delta_state of 'j4', which joints and leader measure",
        ),
        ("policy", "outputs/action/step_ms", 0, "$.outputs"),
        ("policy", "outputs/memory_next", {"role": "labels"}, "$.inputs"),
        ("policy", "classes", ["a"], "$.classes"),
        ("policy", "tolerance/action", ..., "no tolerance for action"),
        ("policy", "tolerance/other", 0.1, "not judged"),
        ("policy", "tolerance/action", -0.1, "$.tolerance"),
        ("semantic", "classes", [], "$.classes"),
        ("semantic", "classes", ["a", "a"], "$.classes"),
        ("semantic", "outputs/more", {"role": "logits"}, "one output"),
        ("semantic", "head", {"kind": "yolo-seg", "score_threshold": 0.5, "mask_threshold": 0.5}, "$.head"),
        ("instance", "head", None, "$.head"),
        ("instance", "head/score_threshold", 1.5, "$.head"),
        ("instance", "outputs/prototypes", ..., "head yolo-seg has the outputs"),
        ("instance", "inputs/more", example("instance")["inputs"]["image"] if FILES else {}, "one image"),
    ],
)
def test_what_contradicts_itself_is_refused(task: str, path: str, value: object, says: str):
    assert says in refusal(changed(task, path, value))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes):
    with pytest.raises(RefusedError):
        parse_manifest(data)


def test_an_instance_head_is_judged_as_one():
    manifest = parse_manifest(json.dumps(example("instance")).encode())
    assert toleranced(manifest) == ("instances",)


def test_every_head_kind_has_its_outputs_listed():
    (kind,) = (field for field in msgspec.structs.fields(Head) if field.name == "kind")
    assert set(HEAD_OUTPUTS) == set(msgspec.json.schema(Head)["$defs"]["Head"]["properties"]["kind"]["enum"])
    assert kind.required


@pytest.mark.parametrize("text", ["reach", "a", "pick-2", "x_y", "9"])
def test_names(text: str):
    assert is_name(text)


@pytest.mark.parametrize("text", ["", ".", "..", "-a", "A", "a/b", "a b", "a\n", "a" * 64, "é"])
def test_what_is_not_a_name(text: str):
    assert not is_name(text)


@pytest.mark.parametrize(("text", "fine"), [("1", True), ("1.2-rc+3", True), ("current", False), (".hidden", False)])
def test_versions(text: str, fine: bool):
    assert is_version(text) is fine
