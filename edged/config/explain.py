"""Validation errors as lines for a person: which source, which key, which value, what is allowed."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from edged.config.schema import Config
from edged.config.sections import NAME_PATTERN, VERSION_PATTERN
from edged.core.redact import redacted
from edged.core.spelling import did_you_mean

OPEN = "?"
"""What `edged init` writes where only a person knows the value."""

Layers = Sequence[tuple[str, Mapping[str, Any]]]
"""(what to call it, its tables), the strongest first; the file is the last."""

_SHAPES = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "missing": "a list of more items",  # of a key that is there
    "too_short": "",
    "too_long": "",
}
"""Faults of a value's shape, by Pydantic's word: no range of the numbers in it says what is wrong."""

_KINDS = {
    "string_type": "a text in quotes",
    "path_type": "a path in quotes",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
"""What a value has to be, by Pydantic's word for what it is not."""

_PATTERNS = {
    NAME_PATTERN: "lower-case letters, digits, _ and -, at most 63, a letter or digit first",
    VERSION_PATTERN: "letters, digits and . _ + -, at most 63, a letter or digit first",
}
"""What a pattern asks for, where the field's description does not say it."""


def explain(error: ValidationError, layers: Layers, whole: type[BaseModel] = Config) -> list[str]:
    """One line per fault and key of a `whole`: a union reports each of its members, the first is enough."""
    lines: dict[str, str] = {}
    for fault in error.errors():
        lines.setdefault(".".join(_locate(fault["loc"], whole)[0]), _line(fault, layers, whole))
    return list(lines.values())


def open_questions(tables: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[str]:
    """A line for each key that `edged init` left open, with what is allowed there."""
    for key, value in tables.items():
        location = (*above, key)
        if isinstance(value, Mapping):
            yield from open_questions(value, location)
        elif isinstance(value, list) and any(isinstance(row, Mapping) for row in value):
            yield from open_questions(
                {str(i): row for i, row in enumerate(value) if isinstance(row, Mapping)}, location
            )
        elif value == OPEN or (isinstance(value, list) and OPEN in value):
            _, field, _ = _locate(location)
            yield f"{'.'.join(location)} = {OPEN!r}: still open; {_allowed(field, '').strip() or 'see docs/config.md'}"


def line(key: str, value: Any, allowed: str, layers: Layers) -> str:
    """`pick.toml: loop.rate_hz = 0: allowed is >= 0.001 and <= 2000`."""
    return f"{_origin(key.split('.'), layers)}: {key} = {redacted(value)!r}: allowed is {allowed}"


def _line(fault: Any, layers: Layers, whole: type[BaseModel]) -> str:
    location, field, table = _locate(fault["loc"], whole)
    key = ".".join(location)
    origin = _origin(location, layers)
    if fault["type"] == "extra_forbidden":
        known = list(table.model_fields)
        meant = did_you_mean(location[-1], known)
        return f"{origin}: {key} = {redacted(fault['input'])!r}: unknown key; known are {', '.join(known)}{meant}"
    if fault["type"] == "missing" and len(location) == len(fault["loc"]):
        return f"{origin}: {key}: missing; {_wanted(key, field)}"
    if "[key]" in fault["loc"]:
        return f"{origin}: name {key} = {redacted(fault['input'])!r}: allowed is {_words(fault)}"
    return line(key, fault["input"], _allowed(field, _words(fault), fault["type"] in _SHAPES), layers)


def _words(fault: Any) -> str:
    """Pydantic's message as the second half of "allowed is"."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], "")
    if said := _SHAPES.get(kind) or _KINDS.get(kind):
        return said
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        least, most = context.get("min_length"), context.get("max_length")
        count, what = (most if least is None else least), "character" if kind.startswith("string") else "item"
        return f"at {'most' if least is None else 'least'} {count} {what}{'s' * (count != 1)}"
    message: str = fault["msg"]
    return message.removeprefix("Input should be ")


def _locate(parts: Sequence[Any], whole: type[BaseModel] = Config) -> tuple[list[str], FieldInfo | None, Any]:
    """The key a person wrote, its field, and what it stands in: members of unions and indices of plain lists, which
    follow it, are cut off. The index of a table in a list of tables stays."""
    model: Any = whole
    table = model
    field: FieldInfo | None = None
    key: list[str] = []
    for part in parts:
        if part == "[key]" or not (_is_model(model) or _below(model)):
            break
        key.append(str(part))
        table = model
        field = model.model_fields.get(part) if _is_model(model) else None
        model = (_present(field.annotation) if field else None) if _is_model(model) else _below(model)
    return key, field, table


def _below(annotation: Any) -> Any:
    """What each item of a table of names, or of a list of tables, is; None for what has no such items."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if typing.get_origin(annotation) in (tuple, list) and _is_model(arguments[0]) else None


def _present(annotation: Any) -> Any:
    """The section itself, of one that may be absent."""
    choices = typing.get_args(annotation) if typing.get_origin(annotation) in (types.UnionType, typing.Union) else ()
    return next((one for one in choices if _is_model(one)), annotation)


def _is_model(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _origin(location: Sequence[str], layers: Layers) -> str:
    for name, layer in layers[:-1]:
        found: Any = layer
        for part in location:
            if isinstance(found, list):  # a layer replaces a list as a whole
                return name
            found = found.get(part) if isinstance(found, Mapping) else None
        if found is not None:
            return name
    return layers[-1][0]


def _allowed(field: FieldInfo | None, otherwise: str, is_shape: bool = False) -> str:
    """The range of a field from its own constraints, and what it is. `is_shape`: `otherwise` is it in any case."""
    if field is None:
        return otherwise
    if is_shape:
        ranges = otherwise
    elif typing.get_origin(field.annotation) is typing.Literal:
        ranges = "one of " + ", ".join(typing.get_args(field.annotation))
    else:
        signs = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        constraints = list(_constraints(field))
        bounds = (f"{sign} {getattr(c, name):g}" for name, sign in signs for c in constraints if hasattr(c, name))
        words = [
            repr(word) for c in constraints if typing.get_origin(c) is typing.Literal for word in typing.get_args(c)
        ]
        choice = " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
        ranges = ", or ".join(filter(None, (choice, " and ".join(dict.fromkeys(bounds)))))
    said, meant = ranges or otherwise, field.description or ""
    return f"{said} ({meant})" if said and meant else said or meant


def _wanted(key: str, field: FieldInfo | None) -> str:
    """What to write for a key or a section that is not there."""
    section = field.annotation if field else None
    if isinstance(section, type) and issubclass(section, BaseModel):
        required = [name for name, below in section.model_fields.items() if below.is_required()]
        return f"add [{key}] with {', '.join(required)}"
    return f"add it: {_allowed(field, 'see the examples')}"


def _constraints(field: FieldInfo) -> Iterator[Any]:
    """annotated_types of the field itself and of what its union or tuple holds."""
    pending: list[Any] = [*field.metadata, field.annotation]
    while pending:
        item = pending.pop()
        if isinstance(item, FieldInfo):
            pending += item.metadata
        elif isinstance(item, types.UnionType) or typing.get_origin(item) in (typing.Annotated, typing.Union, tuple):
            pending += typing.get_args(item)
        elif not isinstance(item, type):
            yield item
