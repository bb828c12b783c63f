"""Rooms open onto the rooms below them, and a vendor's package is imported at home only. Nothing is executed.

ROOMS says which room may import which. Stages of the pipeline do not import each other. An import inside a function,
under TYPE_CHECKING or by `importlib.import_module("...")` counts like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import edged

PACKAGE = Path(edged.__file__).parent


# Every room, and the rooms it may open a door to. A room is a folder of `edged/`; `daemon` and `__main__` are files.
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "config": {"core"},
    "wire": {"core"},
    "bundle": {"core", "config"},
    "source": {"core", "config", "wire"},
    "engine": {"core", "config", "bundle"},
    "guard": {"core", "config", "bundle"},
    "pipeline": {"core", "config", "bundle", "engine", "guard"},
    "inspection": {"core", "config"},
    "runtime": {"core", "config", "wire", "bundle", "source", "engine", "guard", "pipeline", "inspection"},
    "swap": {"core", "config", "bundle", "source", "engine", "guard", "pipeline", "runtime"},
    "client": {"core", "wire"},
    "evaluation": {"core", "config", "bundle", "source", "engine", "pipeline", "inspection"},
    "pack": {"core", "bundle", "source", "engine", "pipeline"},
    "bench": {"core", "config", "wire", "bundle", "source", "engine", "guard", "pipeline", "runtime", "swap",
              "client"},
    "demo": {"core", "wire", "bundle", "pipeline", "inspection", "runtime", "client", "pack"},
    "services": {"core", "config", "wire", "bundle", "source", "engine", "guard", "pipeline", "inspection", "runtime",
                 "client"},
    "daemon": {
        "core", "config", "wire", "bundle", "source", "engine", "guard", "pipeline", "inspection", "runtime", "swap",
    },
    "cli": {
        "core", "config", "wire", "bundle", "source", "engine", "guard", "pipeline", "inspection", "runtime", "swap",
        "client", "pack", "bench", "demo", "daemon", "services", "evaluation",
    },
    "__main__": {"core", "cli"},
}  # fmt: skip


STAGES = ("align", "encode", "decode_policy", "decode_semantic", "decode_instance", "join", "overlay", "golden")
"""Files of `pipeline/` that do not know each other: only `pipeline.pipeline` knows their order."""


CUDA_HOME = ("engine.cuda",)
CV2_HOME = (
    "source",
    "pipeline",
    "inspection",
    "evaluation",
    "bench",
    "demo",
    "cli",
    "pack",
    "services.ui",
    "services.record",
)
# Where each package from outside may be imported: rooms, or modules of one. `*` = everywhere, () = nowhere.
HOMES = {
    "numpy": ("*",),
    "msgspec": ("*",),
    "zmq": ("wire.sockets", "wire.link", "source", "runtime", "client", "demo", "bench", "cli"),
    "onnxruntime": ("engine.ort_cpu", "engine.ort_cuda", "engine.plug_in", "pack", "cli.verify"),
    "onnx": ("pack", "engine.plan_build", "cli.verify"),
    "tensorrt": ("engine.tensorrt", "engine.plan_build"),
    "pycuda": CUDA_HOME,
    "cuda": CUDA_HOME,
    "nvtx": ("core.profiling",),
    "pynvml": ("engine.gpu_info",),
    "torch": (),
    "cv2": CV2_HOME,
    "av": ("source.video",),
    "gi": ("source.genicam_child",),
    "mujoco": ("demo.arm",),
    "matplotlib": ("demo.plot", "services.replay.plot"),
    "pydantic": ("config",),
    "annotated_types": ("config",),
    "pydantic_settings": ("config",),
    "typer": ("cli",),
    "watchfiles": ("swap.drop_watcher",),
    "cryptography": ("bundle.signature", "cli.keys"),
    "paho": ("services.gateway.mqtt",),
    "asyncua": ("services.gateway.opcua",),
    "oras": ("services.pull",),
    "requests": ("services.pull",),
    "urllib3": ("services.pull",),
    "prometheus_client": ("services.metrics",),
    "mcap": ("services.record",),
    "foxglove_schemas_protobuf": ("services.record",),
    "google": ("services.record",),
    "anyio": ("services.ui",),
    "starlette": ("services.ui",),
    "uvicorn": ("services.ui",),
    "tomli": ("config", "pack"),
    "gpiod": ("source.gpio",),
    "pycocotools": ("inspection.evaluation",),
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
    room, other = module.partition(".")[0], rest.partition(".")[0]
    if other not in ROOMS or room not in ROOMS:  # `edged` itself, or a name in it
        return None
    if other != room:
        return None if other in ROOMS[room] else f"points up: {room} opens onto {', '.join(sorted(ROOMS[room]))}"
    mine, theirs = module.partition(".")[2], rest.partition(".")[2].partition(".")[0]
    if room == "pipeline" and mine != theirs and mine in STAGES and theirs in STAGES:
        return "is another stage: only pipeline.pipeline knows their order"
    return None


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    found = imported(module, source, is_package)
    return [f"edged.{module}:{line}: {name} {why}" for line, name in found if (why := objection(module, name))]


def test_every_module_is_in_a_room() -> None:
    homeless = sorted({name.partition(".")[0] for name in modules()} - ROOMS.keys() - {""})
    assert not homeless, f"place them in ROOMS: {homeless}"
    top = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert top == ["__init__.py", "__main__.py", "daemon.py"]


def test_no_file_is_longer_than_a_person_reads() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: lines for name, lines in lengths.items() if lines > 300}
    assert len((PACKAGE.parent / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_imports_point_one_way_and_vendors_stay_at_home() -> None:
    wrong = [
        problem
        for name, path in modules().items()
        for problem in violations(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    ]
    assert not wrong, "\n".join(wrong)


def test_sockets_are_made_and_set_up_in_one_place() -> None:
    """Else one of them waits for ever, takes messages of any size, or does not notice that its peer lost power."""
    made = set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="zmq"), attr="Context")):
                    made.add(name)
                case ast.Call(func=ast.Attribute(attr="socket" | "setsockopt"), args=[first, *_]):
                    what = ast.unparse(first)
                    if what.startswith(("zmq.", "option", "kind")) and what != "zmq.RCVTIMEO":
                        made.add(name)
    assert made == {"wire.sockets"}


def test_rooms_are_no_circle_as_agreed_and_as_built() -> None:
    TopologicalSorter(ROOMS).prepare()  # raises CycleError and names the circle
    built: dict[str, set[str]] = {}
    for name, path in modules().items():
        targets = imported(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")
        others = {target.split(".")[1] for _, target in targets if target.startswith("edged.")} & ROOMS.keys()
        built.setdefault(name.partition(".")[0], set()).update(others - {name.partition(".")[0]})
    TopologicalSorter(built).prepare()


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("core.clock", "from edged.core.types import Frame\nfrom edged import config", "points up"),
        ("guard", "def f():\n    from edged.runtime.loop import run", "points up"),
        ("guard.rules", "from ..daemon import main", "points up"),
        ("source.camera", "from ..runtime.health import Health", "points up"),
        ("engine", "import importlib\nimportlib.import_module('edged.cli.main')", "points up"),
        ("client.stream", "from edged.runtime.publish import Publisher", "points up"),
        ("pipeline.decode_policy", "import edged.pipeline.encode", "another stage"),
        ("pipeline.encode", "import onnxruntime as ort", "belongs in engine.ort_cpu"),
        ("engine.ort_cpu", "if True:\n    from onnx import shape_inference", "belongs in pack"),
        ("pack.pre", "import torch.nn", "belongs in no module"),
        ("wire", "import flask", "not in the table"),
    ],
)
def test_a_bad_import_is_caught(module: str, source: str, why: str) -> None:
    (problem,) = {p.partition(": ")[2].partition(" ")[2] for p in violations(module, source)}
    assert why in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("runtime.loop", "from edged.pipeline.align import observe\nfrom edged import __version__\nimport edged.guard"),
        ("engine.ort_cpu", "import onnxruntime\nfrom edged.engine.registry import Engine\nfrom . import cuda"),
        ("client.stream", "from edged import wire\nimport numpy.typing, zmq, msgspec, json"),
    ],
)
def test_a_good_import_is_let_through(module: str, source: str) -> None:
    assert violations(module, source) == []


HEAVY = sorted(HOMES.keys() - {"numpy", "msgspec", "zmq"})


@pytest.mark.parametrize("light", ["edged", "edged.wire", "edged.client", "edged.runtime.sender"])
def test_what_a_controller_imports_needs_no_extra(light: str) -> None:
    """`pip install edged` without extras is enough for it, and it starts without OpenCV or an engine."""
    code = f"import sys, {light}; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(HEAVY) & set(done.stdout.split())
