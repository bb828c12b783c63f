"""Holds our uses and our fake against the real TensorRT bindings. Run as a process, since each version takes it over.

    python check.py WHEEL LIBRARIES MAJOR USES FAKE

imports `tensorrt_bindings` from the folder WHEEL over null libraries from LIBRARIES (see nvinfer.c), reads uses as
JSON from USES (see uses.py), and prints a JSON list of what does not fit. Without a GPU or TensorRT's own libraries the
bindings still know every class, enum, property and signature, which is what they are asked for.
"""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import json
import os
import re
import sys
import traceback
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.+)$", re.MULTILINE)
HIDDEN = "Initialize self."  # the docstring of an __init__ that nobody bound
PLAIN = object()
# What Python itself puts on every class that is written in Python; the last two since 3.13.
NOT_OFFERED = ("__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__")
OVER_BUFFER = {
    "__bytes__"
}  # what Python derives from the buffer protocol, which a Python class cannot have before 3.12


@dataclass(frozen=True)
class Signature:
    names: tuple[str, ...]
    required: int
    result: str

    def takes(self, positional: int, keywords: list[str]) -> bool:
        rest = self.names[positional:]
        if positional > len(self.names) or not set(keywords) <= set(rest):
            return False
        return all(name in keywords for name in self.names[positional : self.required])


def signatures(member: Any, name: str) -> list[Signature]:
    """What pybind11 wrote into the docstring: one signature, or a numbered one per overload; without `self`."""
    found = []
    for shown, parameters, result in SIGNATURE.findall(getattr(member, "__doc__", "") or ""):
        if shown != name or parameters == "*args, **kwargs":
            continue
        given = [part for part in split(parameters) if not part.startswith("self")]
        names = tuple(part.partition(":")[0].strip() for part in given)
        required = sum("=" not in part for part in given)
        found.append(Signature(names, required, result.strip()))
    return found


def split(parameters: str) -> list[str]:
    """At commas outside of brackets."""
    parts, depth = [""], 0
    for character in parameters:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def load_bindings(wheel: str, libraries: str, major: str) -> Any:
    for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        ctypes.CDLL(f"{libraries}/lib{name}.so.{major}", ctypes.RTLD_GLOBAL)
    sys.path.insert(0, wheel)
    import tensorrt_bindings

    return tensorrt_bindings


def load_fake(path: str) -> Any:
    sys.path.append(str(Path(path).parent))  # what the fakes share
    spec = importlib.util.spec_from_file_location(
        "fake_tensorrt", f"{path}/__init__.py", submodule_search_locations=[path]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_tensorrt"] = module
    spec.loader.exec_module(module)
    return module


def find(trt: Any, path: str) -> Any:
    """The member that a path leads to, `PLAIN` below a value of Python's own. Raises `LookupError` without one."""
    owner, _, last = path.rpartition(".")
    here = kind_of(trt, owner) if owner else trt
    if here is PLAIN:
        return PLAIN
    if (member := getattr(here, last, None)) is None:
        raise LookupError(f"{path} does not exist")
    return member


def kind_of(trt: Any, path: str) -> Any:
    """The class at the end of a path: names, `()` for what a call gives, `[]` for what an iterable holds.

    `PLAIN` for a value of Python's own, such as a str. Raises `LookupError`.
    """
    here = trt
    parts = path.split(".")
    for index, part in enumerate(parts):
        name = part.rstrip("[]()")
        at = ".".join(parts[: index + 1])
        if (member := getattr(here, name, None)) is None:
            raise LookupError(f"{at} does not exist")
        here = member if isinstance(member, type) else result_class(trt, member, name, "[]" in part, at)
        if here is PLAIN:
            break
    return here


def result_class(trt: Any, member: Any, name: str, inner: bool, at: str) -> Any:
    """The class of what a method or property gives, or of its elements."""
    if isinstance(member, property):
        results = re.findall(r"-> (.+)$", (member.fget.__doc__ or "").partition("\n\n")[0], re.MULTILINE)
    else:
        results = [form.result for form in signatures(member, name)]
    if not results or "::" in results[0]:
        raise LookupError(f"{at}: the bindings do not say what it gives; annotate it")
    result = results[0]
    if inner and "[" in result:
        result = result.partition("[")[2].rstrip("]")
    kind = getattr(trt, result.rpartition(".")[2], None) if "tensorrt" in result else None
    return kind if isinstance(kind, type) else PLAIN


def check_use(trt: Any, use: dict[str, Any]) -> str:
    """Why the real bindings would not do this, or ""."""
    name, kind = use["name"], use["kind"]
    try:
        member = find(trt, name)
    except LookupError as error:
        return "" if kind == "override" else str(error)  # a method of its own; "subclass" finds what was misspelt
    if member is PLAIN:
        return ""
    match kind:
        case "name":
            return ""
        case "get" | "set":
            if not isinstance(member, property):
                return f"{name} is not a property"
            return f"{name} cannot be set" if kind == "set" and member.fset is None else ""
        case "call" | "new":
            return check_call(name, kind, member, use)
        case "subclass":
            virtual = {key for key in dir(member) if key[0] != "_" and callable(getattr(member, key))}
            virtual -= {key for key in virtual if isinstance(getattr(member, key), type)}
            missing = sorted(virtual - set(use["keywords"]))
            return f"a subclass of {name} has to override {missing}" if missing else ""
        case "override":
            if isinstance(member, property):
                return f"{name} is a property"
            counts = {len(form.names) for form in signatures(member, name.rpartition(".")[2])}
            return "" if use["positional"] in counts else f"{name} is called with {counts}, not {use['positional']}"
        case _:
            return f"unknown kind of use {kind}"


def check_call(name: str, kind: str, member: Any, use: dict[str, Any]) -> str:
    if isinstance(member, property):
        return f"{name} is a property and cannot be called"
    last = name.rpartition(".")[2]
    forms = signatures(member.__init__, "__init__") if kind == "new" else signatures(member, last)
    fitting = [form for form in forms if form.takes(use["positional"], use["keywords"])]
    if not fitting:
        return f"{name} does not take {use['positional']} arguments and {use['keywords']}: {forms}"
    if use["result"] and not any(form.result.endswith(use["result"]) for form in fitting):
        return f"{name} gives {fitting[0].result}, not {use['result']}"
    return ""


def check_fake(trt: Any, fake: Any) -> list[str]:
    """What the fake offers and the real bindings lack."""
    problems = []
    for name in [name for name in vars(fake) if name[0] != "_" and name != "annotations"]:
        mine, real = getattr(fake, name), getattr(trt, name, None)
        if inspect.ismodule(mine):
            continue
        if real is None:
            problems.append(f"{name} does not exist")
        elif isinstance(mine, type) and issubclass(mine, Enum):
            problems += [f"{name}.{member} does not exist" for member in mine.__members__ if not hasattr(real, member)]
        elif isinstance(mine, type):
            problems += check_fake_class(name, mine, real)
    return problems


def check_fake_class(name: str, mine: type, real: type) -> list[str]:
    problems = []
    for attribute in dir(mine):
        if hasattr(object, attribute) or attribute in NOT_OFFERED:
            continue
        if attribute.startswith("_") and not attribute.startswith("__"):
            continue
        got, want = inspect.getattr_static(mine, attribute), getattr(real, attribute, None)
        where = f"{name}.{attribute}"
        if attribute in OVER_BUFFER and has_buffer(real):
            continue
        if want is None:
            problems.append(f"{where} does not exist")
        elif isinstance(got, property):
            if not isinstance(want, property):
                problems.append(f"{where} is a method, not a property")
            elif got.fset is not None and want.fset is None:
                problems.append(f"{where} cannot be set")
        elif isinstance(got, type):
            members = getattr(got, "__members__", {})
            problems += [f"{where}.{member} does not exist" for member in members if not hasattr(want, member)]
        elif inspect.isfunction(got):
            problems += [f"{where}: {text}" for text in check_signature(got, signatures(want, attribute))]
    return problems + check_constructor(name, mine, real)


def check_constructor(name: str, mine: type, real: type) -> list[str]:
    hidden = (real.__init__.__doc__ or "").startswith(HIDDEN)
    try:
        mine()
    except TypeError as error:
        mine_hidden = "No constructor defined" in str(error)
    else:
        mine_hidden = False
    if hidden != mine_hidden:
        return [f"{name} can{'not' if hidden else ''} be constructed"]
    return [] if hidden else check_signature(mine.__init__, signatures(real.__init__, "__init__"))


def check_signature(mine: Any, forms: list[Signature]) -> list[str]:
    """Every call that the fake takes has to be one that the real takes, positional or by name."""
    given = list(inspect.signature(mine).parameters.values())[1:]
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in given):
        return ["takes anything"]
    required = sum(parameter.default is parameter.empty for parameter in given)
    for form in forms:
        counts = form.required <= required and len(given) <= len(form.names)
        pairs = zip(given, form.names, strict=False)
        if counts and all(real.startswith("arg") or mine_.name == real for mine_, real in pairs):
            return []
    return [f"takes {[parameter.name for parameter in given]}, the real one {forms}"]


def has_buffer(kind: type) -> bool:
    return bool(ctypes.pythonapi.PyObject_CheckBuffer(ctypes.py_object(kind.__new__(kind))))


def answer(trt: Any, uses: list[dict[str, Any]], fake: str) -> dict[str, Any]:
    found = [(use["where"], check_use(trt, use)) for use in uses]
    problems = [f"{where}: {problem}" for where, problem in found if problem]
    problems += [f"fake: {problem}" for problem in check_fake(trt, load_fake(fake))] if fake else []
    return {"version": trt.__version__, "problems": problems}


def main() -> None:
    """A question a line, {"uses", "fake"}; each is answered by a process of its own, which has the bindings already."""
    trt = load_bindings(*sys.argv[1:])
    for line in sys.stdin:
        sys.stdout.flush()
        if os.fork() == 0:
            try:
                print(json.dumps(answer(trt, **json.loads(line))), flush=True)
            except BaseException:
                print(json.dumps({"error": traceback.format_exc()}), flush=True)
            os._exit(0)
        os.wait()


if __name__ == "__main__":
    main()
