"""Imports point one way, and a vendor's package is imported at home only. Nothing is executed: the test reads syntax.

ground <- contracts <- flow <- runtime <- tools. A module may import its own layer and those before it; in the flow a
stage may not even import another stage. An import inside a function, under TYPE_CHECKING or by
`importlib.import_module("...")` counts like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from enum import IntEnum
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import edged
from edged.__main__ import EXTRAS

PACKAGE = Path(edged.__file__).parent


class Layer(IntEnum):
    """Later layers may import earlier ones."""

    GROUND = 0
    CONTRACTS = 1
    FLOW = 2
    RUNTIME = 3
    TOOLS = 4


# Every unit of the package: a file, or a folder with all that is in it. A new one is placed here.
UNITS = {
    Layer.GROUND: ("errors", "clock", "records", "histogram", "spans"),
    Layer.CONTRACTS: (
        "roles",
        "manifest",
        "config",
        "contract",
        "fits",
        "wire",
        "storedzip",
        "samples",
        "bundle",
        "sign",
        "device",
        "plans",
        "golden",
        "instances",
        "overlap",
        "resize",
    ),
    Layer.FLOW: ("source", "observe", "encode", "engine", "decode", "guard", "arming", "publish", "ticks"),
    Layer.RUNTIME: (
        "store",
        "slot",
        "seam",
        "loader",
        "swap",
        "drops",
        "incoming",
        "health",
        "remarks",
        "reporter",
        "loop",
        "frames",
        "control",
        "curve",
        "throwaway",
        "planning",
        "building",
        "notify",
        "logs",
        "realtime",
        "locks",
        "daemon",
    ),
    Layer.TOOLS: (
        "pack",
        "build",
        "verify",
        "target",
        "keys",
        "check",
        "check_inputs",
        "finding",
        "bench",
        "gpu_info",
        "replay",
        "client",
        "draw",
        "infer",
        "tail",
        "show",
        "show_swap",
        "cli",
        "cli_pack",
        "cli_shared",
        "cli_engines",
        "cli_swap",
        "demo",
        "__main__",
    ),
}
LAYER = {unit: layer for layer, units in UNITS.items() for unit in units}

# Stricter than its layer: a controller takes the client along, and nothing that runs engines.
CEILING = {"client": Layer.CONTRACTS}

CUDA_HOME = ("engine.cuda",)
CV2_HOME = ("source", "encode", "decode", "bench", "demo", "cli", "draw", "infer", "pack")
# Where each package from outside may be imported: units, or modules of one. `*` = everywhere, () = nowhere.
HOMES = {
    "numpy": ("*",),
    "msgspec": ("*",),
    "zmq": ("source", "publish", "control", "curve", "daemon", "client", "demo", "bench", "cli", "keys"),
    "onnxruntime": ("engine.ort", "engine.ort_cuda", "pack", "verify"),
    "onnx": ("pack", "build", "verify"),
    "tensorrt": ("engine.tensorrt", "build"),
    "pycuda": CUDA_HOME,
    "cuda": CUDA_HOME,
    "nvtx": ("spans",),
    "pynvml": ("gpu_info",),
    "torch": (),
    "cv2": CV2_HOME,
    "mujoco": ("demo.arm",),
    "matplotlib": ("demo.plot",),
    "pydantic": ("config",),
    "annotated_types": ("config",),
    "pydantic_settings": ("config",),
    "typer": ("cli", "cli_pack", "cli_engines", "cli_swap"),
    "watchfiles": ("incoming",),
    "cryptography": ("sign", "keys"),
    "tomli": ("config", "pack"),
    "zstandard": ("wire",),
}
STDLIB = sys.stdlib_module_names | {"tomllib"}  # tomllib joined in 3.11


def modules() -> dict[str, Path]:
    """Dotted name, without the leading `edged`, of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(module: str, source: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything `source` imports; `from a import b` gives both `a` and `a.b`."""
    here = ["edged", *module.split(".")] if module else ["edged"]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module=target, names=names, level=level):
                above = here[: len(here) - level + is_package] if level else []
                base = ".".join([*above, *([target] if target else [])])
                yield node.lineno, base
                yield from ((node.lineno, f"{base}.{name.name}") for name in names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield node.lineno, str(node.args[0].value)


def inside(module: str, homes: tuple[str, ...]) -> bool:
    return "*" in homes or any(module == home or module.startswith(f"{home}.") for home in homes)


def objection(module: str, target: str) -> str | None:
    """Why `module` may not import `target`, or None."""
    top, _, rest = target.partition(".")
    if top != "edged":
        if top in STDLIB:
            return None
        if top not in HOMES:
            return "is not in the table of outside packages"
        return None if inside(module, HOMES[top]) else f"belongs in {', '.join(HOMES[top]) or 'no module'}"
    unit, other = module.partition(".")[0], rest.partition(".")[0]
    if other not in LAYER or other == unit or unit not in LAYER:  # `edged` itself, or a name in it
        return None
    mine, theirs = LAYER[unit], LAYER[other]
    if theirs > CEILING.get(unit, mine):
        return f"points up: {unit} may import {CEILING.get(unit, mine).name} and below, this is {theirs.name}"
    if mine is theirs is Layer.FLOW:
        return f"is another stage of the flow: only the loop knows both {unit} and {other}"
    return None


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    found = imported(module, source, is_package)
    return [f"edged.{module}:{line}: {name} {why}" for line, name in found if (why := objection(module, name))]


def test_every_module_has_a_place() -> None:
    homeless = sorted({name.partition(".")[0] for name in modules()} - LAYER.keys() - {""})
    assert not homeless, f"place them in UNITS: {homeless}"


def test_imports_point_one_way_and_vendors_stay_at_home() -> None:
    wrong = [
        problem
        for name, path in modules().items()
        for problem in violations(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    ]
    assert not wrong, "\n".join(wrong)


def test_units_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, path in modules().items():
        unit = name.partition(".")[0]
        targets = imported(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")
        others = {target.split(".")[1] for _, target in targets if target.startswith("edged.")} & LAYER.keys()
        graph.setdefault(unit, set()).update(others - {unit})
    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("clock", "from edged.records import Frame\nfrom edged import config", "points up"),
        ("guard", "def f():\n    from edged.loop import run", "points up"),
        ("guard", "from .daemon import main", "points up"),
        ("source.camera", "from ..health import Health", "points up"),
        ("engine", "import importlib\nimportlib.import_module('edged.cli')", "points up"),
        ("client.stream", "from edged.publish import Publisher", "points up"),
        ("decode.policy", "import edged.guard", "another stage"),
        ("encode", "import onnxruntime as ort", "belongs in engine.ort"),
        ("engine.ort", "if True:\n    from onnx import shape_inference", "belongs in pack"),
        ("pack.pre", "import torch.nn", "belongs in no module"),
        ("wire", "import requests", "not in the table"),
    ],
)
def test_a_bad_import_is_caught(module: str, source: str, why: str) -> None:
    (problem,) = {p.partition(": ")[2].partition(" ")[2] for p in violations(module, source)}
    assert why in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("loop", "from edged.observe import observe\nfrom edged import __version__\nimport edged.guard"),
        ("engine.ort", "import onnxruntime\nfrom edged.engine import Engine\nfrom . import cuda"),
        ("client.stream", "from edged import wire\nimport numpy.typing, zmq, msgspec, json"),
    ],
)
def test_a_good_import_is_let_through(module: str, source: str) -> None:
    assert violations(module, source) == []


HEAVY = sorted(HOMES.keys() - {"numpy", "msgspec", "zmq"})


@pytest.mark.parametrize("light", ["edged", "edged.wire", "edged.client"])
def test_what_a_controller_imports_needs_no_extra(light: str) -> None:
    """`pip install edged` without extras is enough for it, and it starts without OpenCV or an engine."""
    code = f"import sys, {light}; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(HEAVY) & set(done.stdout.split())


@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("typer", "cpu", "version"),
        ("pydantic_settings", "cpu", "check x.toml"),
        ("mujoco", "demo", "demo"),
    ],
)
def test_a_command_without_its_extra_says_which_one(missing: str, extra: str, command: str) -> None:
    """None in `sys.modules` is what an import finds where a package is not installed."""
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {command.split()}; "
    code += "from edged.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith(f"edged: {missing} is not installed; pip install 'edged[{extra}]'")
    assert done.stderr.count("\n") == 1


def test_the_entry_is_the_one_that_says_so_and_knows_the_extras() -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"edged": "edged.__main__:main"}
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
    for package, extra in EXTRAS.items():
        if package in ("tomli", "pydantic", "cv2"):  # by a marker, through pydantic-settings, and as opencv-python
            continue
        wanted = project["optional-dependencies"][extra]
        assert any(line.startswith(package.replace("_", "-")) for line in wanted), package
