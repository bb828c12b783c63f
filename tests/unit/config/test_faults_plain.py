"""Every key of the config with values that it cannot have: what is said is a person's language, not Pydantic's."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edged.config import Config, load_config
from edged.core.errors import ConfigError

BAD = ("", "x" * 300, -1, 10**30, float("nan"), [], {}, True, "x", ["x"], [[]], [1, "a"], "é", "\0", [1] * 300)
FOREIGN = re.compile(r"should|<class|unable|\^|\$'|valid |Input|String|type=|NoneType|pydantic")


def parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for one in typing.get_args(annotation):
        yield from parts(one)


def keys(model: type[BaseModel], above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        for one in parts(field.annotation):
            if isinstance(one, type) and issubclass(one, BaseModel):
                inner = {dict: ("one",), tuple: (0,)}.get(typing.get_origin(field.annotation), ())  # type: ignore[call-overload]
                yield from keys(one, (*above, name, *inner))


def toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str() | bool():
            return json.dumps(value)
    return repr(value)


def test_all_sections_are_gone_through() -> None:
    found = set(keys(Config))
    assert {("loop", "rate_hz"), ("guard", "limits", "one", "jerk"), ("inspection", "rules", 0, "ignore")} <= found
    assert len(found) > 150


@pytest.mark.parametrize("key", list(keys(Config)), ids=lambda key: ".".join(map(str, key)))
def test_a_fault_is_told_in_plain_words(key: tuple[str | int, ...], tmp_path: Path) -> None:
    path = tmp_path / "cell.toml"
    refused = 0
    for bad in BAD:
        value: Any = bad
        for step in reversed(key[1:]):
            value = {step: value} if isinstance(step, str) else [value]
        sections = {"engine": {"name": "reach"}, str(key[0]): value}
        path.write_text("\n".join(f"{name} = {toml(section)}" for name, section in sections.items()), encoding="utf-8")
        try:
            load_config(path)
        except ConfigError as error:
            refused += 1
            for line in str(error).splitlines():
                assert not FOREIGN.search(line.replace(repr(bad), "")), line
    assert refused > 4
