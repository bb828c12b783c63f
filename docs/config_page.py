"""docs/config.md, written from the schema itself: python docs/config_page.py > docs/config.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edged.config.schema import Config
from edged.config.sections import DaemonConfig

HEAD = """# Configuration

One TOML file is one daemon. Unknown keys are refused and every number has a range; `edged check FILE` reports what is
wrong before anything runs. `--set loop.rate_hz=100` (a TOML value) beats `EDGED_LOOP__RATE_HZ`, which beats the file;
`[guard]` is read from the file alone. Relative paths are taken from the file's folder. SIGHUP reads `[log]` again and
nothing else. Whole files to start from: [pick.toml](../systemd/pick.toml), [inspect.toml](../systemd/inspect.toml).
What a sensor has to send, with an example publisher: [sensors.md](sensors.md).

This page is made from the schema: `python docs/config_page.py > docs/config.md`.
"""
PLACES = {  # defaults that paths.py finds
    "name": "the file's stem",
    "store": "systemd's state directory, else the user's data folder",
    "cache": "systemd's cache directory, else the user's",
    "runtime": "systemd's runtime directory, else the session's",
}
INNER = {"calibration": "inspection.calibration", "rules": "[inspection.rules]"}
TITLES = {"cameras": "cameras.<name>", "sensors": "sensors.<name>"}


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n{section}" for section in _sections(Config))


def _sections(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = _models(field.annotation)[0]
        rows = [_row(section, key, entry) for key, entry in section.model_fields.items()]
        yield _table(TITLES.get(name, name), section, rows)
        for key, entry in section.model_fields.items():
            for inner in _models(entry.annotation):
                inner_rows = [
                    _row(inner, inner_key, inner_entry) for inner_key, inner_entry in inner.model_fields.items()
                ]
                yield _table(INNER.get(key, f"{name}.{key}.<axis>"), inner, inner_rows)


def _table(title: str, model: type[BaseModel], rows: list[str]) -> str:
    about = (model.__doc__ or "").strip().splitlines()[0]
    return (
        f"## [{title}]\n\n{about}\n\n| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n"
        + "".join(rows)
    )


def _row(owner: type[BaseModel], key: str, field: FieldInfo) -> str:
    is_place = owner is DaemonConfig
    default = PLACES[key] if is_place else "**required**" if field.is_required() else f"`{_shown(field.default)}`"
    meaning = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
    return f"| `{key}` | {_type(field.annotation)} | {default} | {_allowed(field)} | {meaning} |\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "absent"
    if isinstance(value, BaseModel):
        return "{}"
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{argument!r}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(argument) for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "table"
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    names = {"str": "string", "int": "integer", "float": "number", "bool": "true or false", "Path": "path"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, "table")


def _allowed(field: FieldInfo) -> str:
    """The range of a number; patterns are explained in the meaning."""
    bounds = [*field.metadata, *_inner_bounds(field.annotation)]
    parts = []
    for bound in bounds:
        match bound:
            case Ge():
                parts.append(f">= {bound.ge:g}")
            case Gt():
                parts.append(f"> {bound.gt:g}")
            case Le():
                parts.append(f"<= {bound.le:g}")
            case Lt():
                parts.append(f"< {bound.lt:g}")
            case MinLen() if bound.min_length:
                parts.append("not empty")
    return ", ".join(dict.fromkeys(parts))


def _inner_bounds(annotation: Any) -> list[Any]:
    found: list[Any] = []
    for bound in getattr(annotation, "__metadata__", ()):
        found += getattr(bound, "metadata", [bound])
    for argument in get_args(annotation) if get_origin(annotation) is not Literal else ():
        found += _inner_bounds(argument)
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models inside a type: itself, or the values of a table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


if __name__ == "__main__":
    sys.stdout.write(reference())
