"""Schema 2 of the manifest: what it adds, what of that contradicts itself, and that schema 1 has none of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from manifests import EXAMPLES, changed, example

from edged.bundle.manifest import Manifest, dump_manifest, lowest_schema, parse_manifest
from edged.bundle.roles import Strict
from edged.core.errors import RefusedError


def read(data: dict[str, Any]) -> Manifest:
    return parse_manifest(json.dumps(data).encode())


def structs(value: object) -> Iterator[Strict]:
    if isinstance(value, Strict):
        yield value
        for field in value.__struct_fields__:
            yield from structs(getattr(value, field))
    elif isinstance(value, dict | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from structs(item)


def optional(cls: type[Strict]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(cls) if not field.required}


def test_the_examples_show_every_role_and_every_optional_field():
    shown: dict[type[Strict], set[str]] = {}
    for path in EXAMPLES.glob("*.json"):
        for struct in structs(parse_manifest(path.read_bytes())):
            used = {name for name in optional(type(struct)) if name in msgspec.to_builtins(struct)}
            shown.setdefault(type(struct), set()).update(used)
    assert {cls.__name__ for cls in subclasses(Strict)} - {cls.__name__ for cls in shown} == set()
    assert {name for cls in shown for name in optional(cls)} == {name for used in shown.values() for name in used}


def subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        if sub.__module__.startswith("edged."):
            yield sub
            yield from subclasses(sub)


def test_what_is_not_used_is_not_written():
    manifest = read(example("policy"))
    assert dump_manifest(msgspec.structs.replace(manifest, schema=2)) == dump_manifest(manifest).replace(
        b'"schema": 1', b'"schema": 2'
    )


def test_an_equal_default_is_not_written_either():
    data = changed("policy", "schema", 2)
    data["outputs"]["action"] |= {"first_step": 1, "observation_delay_ms": float("0.0"), "rotations": []}
    assert lowest_schema(read(data)) == read(example("policy"))
    assert dump_manifest(lowest_schema(read(data))) == dump_manifest(read(example("policy")))


def test_the_lowest_schema_is_that_of_what_is_used():
    assert lowest_schema(read(changed("policy", "schema", 2))).schema == 1
    assert lowest_schema(read(changed("policy-2", "name", "other"))).schema == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("inputs/tool_image/history", {"steps": 2, "spacing_ms": 100}),
        ("inputs/state/history", None),  # what it means without is no reason to take it
        ("inputs/temperature/settable", False),
        ("inputs/temperature/value", [1.0, 2.0]),
        ("inputs/noise", {"role": "noise"}),
        ("outputs/action/first_step", 1),
        ("outputs/action/observation_delay_ms", 0),
        ("outputs/action/rotations", []),
    ],
)
def test_schema_1_has_none_of_it(path: str, value: object):
    assert read({**changed("policy", path, value), "schema": 2}).schema == 2
    with pytest.raises(RefusedError, match="schema 1 has nothing of that kind") as caught:
        read(changed("policy", path, value))
    assert path.split("/")[1] in str(caught.value)
    assert "schema 2" in caught.value.remedy


@pytest.mark.parametrize(
    ("path", "value"), [("head/max_objects", 10), ("head/score_floor", 0.0), ("outputs/class_ids/names", ["bolt"])]
)
def test_schema_1_has_none_of_it_for_a_segmenter(path: str, value: object):
    with pytest.raises(RefusedError, match="schema 1 has nothing of that kind"):
        read(changed("instance", path, value))


@pytest.mark.parametrize(
    ("name", "path", "value", "says"),
    [
        ("policy-2", "inputs/state/history/steps", 1, "Expected `int` >= 2"),
        ("policy-2", "inputs/state/history/spacing_ms", 0, "> 0.0"),
        ("policy-2", "inputs/state/history/every", 3, "unknown field `every`"),
        ("policy-2", "inputs/noise/distribution", "uniform", "unknown field"),
        ("policy-2", "inputs/delay", ..., "1 prefix and 0 delay inputs"),
        ("policy-2", "inputs/more", {"role": "prefix"}, "2 prefix and 1 delay"),
        ("policy-2", "inputs/memory/reset", "swap", 'say "stop"'),
        ("policy-2", "inputs/instruction/value", [[1, 2], [3]], "lists of different lengths"),
        ("policy-2", "inputs/instruction/value", [], "numbers, in lists"),
        ("policy-2", "inputs/instruction/value", ["pour"], "numbers, in lists"),
        ("policy-2", "inputs/instruction/value", [True], "numbers, in lists"),
        ("policy-2", "inputs/instruction/value", [0] * 65_537, "65537 values"),
        ("policy-2", "outputs/actions/first_step", 2, "first_step"),
        ("policy-2", "outputs/actions/observation_delay_ms", -1, "observation_delay_ms"),
        ("policy-2", "outputs/actions/rotations/0/form", "rot6d", "rot6d has 6 axes, not 4"),
        ("policy-2", "outputs/actions/rotations/0/axes", ["qw", "qx", "qy", "q"], "no axis q"),
        ("policy-2", "outputs/actions/rotations/0/axes", ["qw", "qx", "qy", "qy"], "and once"),
        ("policy-2", "outputs/actions/rotations/0/axes", ["qw", "qx", "qy", "gripper"], "gripper is binary"),
        ("policy-2", "outputs/actions/axes/3/mode", "delta_previous", "qw is continuous and delta_previous"),
        ("semantic-2", "outputs/scores/names", ["seal", "seal"], "listed twice"),
        ("semantic-2", "outputs/scores/names", ["seal", "dirt"], "dirt: not among the classes"),
        ("semantic-2", "inputs/prefix", {"role": "prefix"}, "1 prefix and 0 delay"),
        ("instance-2", "head/score_floor", 0.3, "below the score floor"),
        ("instance-2", "head/max_objects", 0, "max_objects"),
        ("instance-2", "outputs/found/counts", "all", "'all'"),
    ],
)
def test_what_contradicts_itself_is_refused(name: str, path: str, value: object, says: str):
    with pytest.raises(RefusedError) as caught:
        read(changed(name, path, value))
    assert says in str(caught.value)
    assert caught.value.remedy
