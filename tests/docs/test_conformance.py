"""What we use of TensorRT exists in the real bindings of all three versions, and our fake offers nothing else.

The bindings come from their wheels over libraries that are null; the wheels are proprietary and stay in a scratch
folder of this user. Offline these tests skip; in CI they fail.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bindings.uses import Reading, Use, read_package, read_source
from gpus import BINDINGS, FAKES, compile_library
from wheels import install

PACKAGE = Path(__file__).parents[2] / "edged"
FAKE = FAKES / "tensorrt"
WHEELS = [("tensorrt-cu12-bindings", "10.16.1.11"), ("tensorrt-cu13-bindings", "11.4.0.106")]
if sys.version_info < (3, 13):  # the oldest has no wheel for it
    WHEELS.insert(0, ("tensorrt-cu12-bindings", "10.3.0"))
LIBRARIES = {"libnvinfer": "INFER", "libnvonnxparser": "ONNX", "libnvinfer_plugin": "PLUGIN"}


class Real:
    """One version of the real bindings over the null libraries, loaded once, in a process of its own."""

    def __init__(self, version: str, wheel: Path, libraries: Path) -> None:
        self.version, self.major = version, version.split(".")[0]
        argv = [sys.executable, BINDINGS / "check.py", wheel, libraries, self.major]
        self._child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def check(self, uses: list[Use], fake: Path | str = "") -> list[str]:
        """What is wrong with these uses, and with that fake."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"uses": [use.plain() for use in uses], "fake": str(fake)}) + "\n")
        self._child.stdin.flush()
        said: dict[str, Any] = json.loads(self._child.stdout.readline())
        assert "error" not in said, said["error"]
        assert said["version"] == self.version
        return list(said["problems"])

    def close(self) -> None:
        self._child.communicate(timeout=30)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    for major in ("10", "11"):
        for name, part in LIBRARIES.items():
            compile_library(BINDINGS / "nvinfer.c", folder / f"{name}.so.{major}", define=part)
    return folder


@pytest.fixture(scope="module", params=WHEELS, ids=[version for _, version in WHEELS])
def real(request: pytest.FixtureRequest, libraries: Path) -> Iterator[Real]:
    name, version = request.param
    made = Real(version, install(name, version), libraries)
    yield made
    made.close()


@pytest.fixture(scope="module")
def ours() -> Reading:
    return read_package(PACKAGE)


def test_every_use_can_be_followed(ours: Reading) -> None:
    assert not ours.complaints, "\n".join(ours.complaints)
    kinds = {use.kind for use in ours.uses}
    assert kinds >= {"name", "get", "set", "call", "new", "override", "subclass"}
    assert {use.name for use in ours.uses} >= {"Builder.build_serialized_network", "MemoryPoolType.WORKSPACE"}


def test_what_we_use_exists(real: Real, ours: Reading) -> None:
    assert real.check(ours.uses) == []


def test_the_fake_offers_nothing_that_the_real_one_lacks(real: Real) -> None:
    assert real.check([], FAKE) == []


def test_the_fake_hides_everything_of_its_own() -> None:
    """An attribute that is set on an object is not seen on its class: those begin with an underscore, all of them."""
    for path in FAKE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                assert node.attr.startswith("_"), f"{path.name}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("kind", ["name", "get", "set", "call", "new", "subclass"])
def test_a_renamed_attribute_is_noticed(real: Real, ours: Reading, kind: str) -> None:
    use = next(use for use in ours.uses if use.kind == kind)
    renamed = dataclasses.replace(use, name=f"{use.name}_renamed")
    assert real.check([renamed]) == [f"{use.where}: {renamed.name} does not exist"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f(b: trt.Builder) -> None:\n    b.max_workspace_size = 1", "Builder.max_workspace_size does not exist"),
        ("def f(b: trt.Builder) -> None:\n    b.create_network(1, 2)", "Builder.create_network does not take 2"),
        ("def f(b: trt.Builder) -> None:\n    b.create_network(flag=1)", "Builder.create_network does not take 0"),
        ("trt.OnnxParser(1)", "OnnxParser does not take 1 arguments"),
        ("def f(p: trt.OnnxParser) -> None:\n    p.num_errors()", "OnnxParser.num_errors is a property"),
        ("def f(p: trt.OnnxParser) -> None:\n    p.num_errors = 1", "OnnxParser.num_errors cannot be set"),
        ("def f(p: trt.OnnxParser) -> None:\n    print(p.parse)", "OnnxParser.parse is not a property"),
        ("x = trt.BuilderFlag.NO_SUCH", "BuilderFlag.NO_SUCH does not exist"),
        (
            "def f(b: trt.Builder) -> None:\n    n: trt.IBuilderConfig = b.create_network()",
            "INetworkDefinition, not IBuilderConfig",
        ),
        (
            "class M(trt.IProgressMonitor):\n    def phase_start(self, name): pass",
            "IProgressMonitor.phase_start is called with {3}, not 1",
        ),
        ("class M(trt.ILogger):\n    def lag(self, severity, msg): pass", "a subclass of ILogger has to override"),
    ],
)
def test_wrong_uses_are_noticed(real: Real, source: str, problem: str) -> None:
    reading = read_source(f"import tensorrt as trt\n{source}\n", "here", Reading())
    problems = real.check(reading.uses)
    assert any(problem in found for found in problems), problems


def test_what_a_version_lacks_is_noticed(real: Real) -> None:
    """The very names that 11 dropped: with 10 they are there."""
    source = "def f(e: trt.ICudaEngine) -> None:\n    print(e.device_memory_size, trt.BuilderFlag.FP16)"
    reading = read_source(f"import tensorrt as trt\n{source}\n", "here", Reading())
    gone = real.check(reading.uses)
    assert len(gone) == (2 if real.major == "11" else 0)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from tensorrt import Builder", "import tensorrt as trt"),
        ("import tensorrt as trt\ndef f(b: trt.Builder) -> None:\n    getattr(b, 'x')", "getattr cannot be followed"),
        ("import tensorrt as trt\ngetattr(trt, 'Builder')", "getattr cannot be followed"),
        ("import tensorrt as trt\ndef f(b: Any) -> None:\n    b.x()", "is Any"),
        ("import tensorrt as trt\ndef f(b: trt.Builder, a: list) -> None:\n    b.create_network(*a)", "be followed"),
    ],
)
def test_what_cannot_be_followed_is_a_complaint(source: str, complaint: str) -> None:
    (found,) = read_source(source, "here", Reading()).complaints
    assert complaint in found


FOLLOWED = """
import tensorrt as trt
class E(Base):
    def run(self) -> None:
        engine, context = self._engine, self._context
        context.execute_async_v3(1)
        engine.get_tensor_dtype("a").name
        for shape in engine.get_tensor_profile_shape("a", 0):
            shape.volume
        levels = trt.ILogger.Severity
        if (tensor := self._network.get_input(0)).shape or levels.ERROR:
            engine.name.upper()
    def __init__(self, e: trt.ICudaEngine, b: "trt.Builder | None") -> None:
        self._context = e.create_execution_context()
        self._engine, self._network = e, b.create_network(flags=1)
"""


def test_objects_are_followed_to_where_they_are_used() -> None:
    reading = read_source(FOLLOWED, "here", Reading())
    assert {(use.kind, use.name) for use in reading.uses} == {
        ("name", "ICudaEngine"),
        ("call", "ICudaEngine.create_execution_context"),
        ("call", "ICudaEngine.create_execution_context().execute_async_v3"),
        ("call", "ICudaEngine.get_tensor_dtype"),
        ("get", "ICudaEngine.get_tensor_dtype().name"),
        ("call", "ICudaEngine.get_tensor_profile_shape"),
        ("get", "ICudaEngine.get_tensor_profile_shape()[].volume"),
        ("name", "ILogger.Severity"),
        ("name", "ILogger.Severity.ERROR"),
        ("call", "Builder.create_network"),
        ("call", "Builder.create_network().get_input"),
        ("get", "Builder.create_network().get_input().shape"),
        ("get", "ICudaEngine.name"),
        ("call", "ICudaEngine.name.upper"),
    }
    assert not reading.complaints


def test_what_was_followed_is_held_against_the_bindings(real: Real) -> None:
    uses = read_source(FOLLOWED, "here", Reading()).uses
    assert real.check(uses) == [f"here:9: {VOLUME} does not exist"]
    wrong = (
        FOLLOWED.replace("execute_async_v3", "execute_async_v9")
        .replace("ERROR", "ERRORS")
        .replace("shape or", "size or")
    )
    gone = {problem.partition(": ")[2] for problem in real.check(read_source(wrong, "here", Reading()).uses)}
    assert gone >= {
        "ICudaEngine.create_execution_context().execute_async_v9 does not exist",
        "ILogger.Severity.ERRORS does not exist",
        "Builder.create_network().get_input().size does not exist",
    }


VOLUME = "ICudaEngine.get_tensor_profile_shape()[].volume"


def a_fake(folder: Path, body: str) -> Path:
    (folder / "fake").mkdir()
    (folder / "fake" / "__init__.py").write_text(f"from enum import IntEnum as _IntEnum\n{body}\n")
    return folder / "fake"


HIDDEN = "    def __init__(self):\n        raise TypeError('No constructor defined!')\n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("class Engine: pass", "Engine does not exist"),
        ("class BuilderFlag(_IntEnum):\n    FASTER = 1", "BuilderFlag.FASTER does not exist"),
        (f"class ITensor:\n{HIDDEN}    def resize(self): pass", "ITensor.resize does not exist"),
        (f"class ITensor:\n{HIDDEN}    def name(self): pass", "ITensor.name"),
        (f"class INetworkDefinition:\n{HIDDEN}    def get_input(self, index, name): pass", "get_input: takes"),
        (f"class INetworkDefinition:\n{HIDDEN}    def get_input(self): pass", "get_input: takes"),
        (f"class INetworkDefinition:\n{HIDDEN}    def get_input(self, number): pass", "get_input: takes"),
        (f"class INetworkDefinition:\n{HIDDEN}    def get_input(self, *a): pass", "takes anything"),
        (
            "class OnnxParser:\n    def __init__(self, network, logger): pass\n"
            "    num_errors = property(lambda s: 0, lambda s, v: None)",
            "OnnxParser.num_errors cannot be set",
        ),
        ("class ITensor: pass", "ITensor cannot be constructed"),
        ("class Builder:\n    def __init__(self): pass", "takes []"),
        (f"class ITensor:\n{HIDDEN}    def __bytes__(self): pass", "ITensor.__bytes__ does not exist"),
        (f"class ITensor:\n{HIDDEN}    def __enter__(self): pass", "ITensor.__enter__ does not exist"),
    ],
)
def test_a_fake_that_offers_more_is_noticed(real: Real, tmp_path: Path, body: str, problem: str) -> None:
    problems = real.check([], a_fake(tmp_path, body))
    assert any(problem in found for found in problems), problems
