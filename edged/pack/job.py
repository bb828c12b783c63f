"""What `edged pack` does: gather the descriptions of a model, infer the rest, ask, pack."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edged.bundle.bundle import SUFFIX, write_archive
from edged.bundle.manifest import is_name, is_version
from edged.bundle.store import Store
from edged.core.errors import EngineError, UsageError
from edged.pack import SEARCH_S, pack
from edged.pack.answers import Questions
from edged.pack.graph import load_model
from edged.pack.int8 import Progress
from edged.pack.lerobot import read_policy, relative
from edged.pack.metadata import descriptions
from edged.pack.network import Network, look_at
from edged.pack.recipe import Recipe
from edged.pack.report import Result, facts, show
from edged.pack.resolve import resolve
from edged.pack.sample_files import Samples, read_given
from edged.pack.sound import check_network, remarks
from edged.pack.spec import OutputSpec, Part, Spec, load_spec, merge
from edged.pack.synthetic import synthetic

GOLDEN, CALIBRATION, SYNTHETIC = 8, 200, 4
Emit = Callable[[str], None]

__all__ = ["facts", "new_facts", "pack_job", "show"]


def pack_job(
    target: Path,
    flags: Callable[[Network], Spec],
    store: Path,
    *,
    archive: bool = False,
    replace: bool = False,
    sign: Callable[[bytes], bytes] | None = None,
    backend: str = "",
    emit: Emit = lambda line: None,
    progress: Progress | None = None,
) -> Result:
    """Pack `target`: an ONNX file, a TOML recipe, or a LeRobot policy folder with its ONNX file.

    `flags` makes the spec of the command line, which beats the recipe, which beats the model's own metadata; it is
    given the network, whose only image or state a flag is about. `emit` gets each line of output.
    """
    spec, path = _start(target)
    model = load_model(path)
    check_network(model)
    for line in remarks(model):
        emit(f"note: {line}")
    network = look_at(model)
    del model
    spec = merge(flags(network), spec)
    inferred: list[str] = []
    for who, part in _descriptions(spec, network):
        if spec.classes and part.classes and len(spec.classes) != len(part.classes):
            fact = f"{len(spec.classes)} classes are named and the {who} has {len(part.classes)}"
            raise UsageError(fact, f"name all of them, or none: {','.join(part.classes)[:200]}")
        inferred += [f"{fact} ({who})" for fact in new_facts(part, spec)]
        spec = merge(spec, part)
    _check_address(spec)
    spec = _relative_modes(spec)
    spec = merge(spec, Spec(provenance=_provenance(path)))
    questions = Questions()
    recipe = resolve(spec, network, questions, target.name)
    place = Store(store)
    place.check_writable(recipe.name)  # before minutes of proving, as name and version are
    inferred += questions.inferred
    golden = _golden(spec, recipe, inferred)
    for line in inferred:
        emit(f"inferred: {line}")
    calibration: Samples = []
    if recipe.precision == "int8":
        if spec.calibration is None:
            raise UsageError("int8 needs to see what the engine will see", "give --calibration FOLDER or FILE.npz")
        calibration = read_given(Path(spec.calibration), recipe, CALIBRATION)
        emit(f"calibrating with {len(calibration)} samples of {Path(spec.calibration).name}")
    packed = pack(
        path,
        recipe,
        golden,
        place,
        calibration=calibration,
        replace=replace,
        progress=progress,
        sign=sign,
        backend=backend,
        search_s=SEARCH_S if spec.search_s is None else spec.search_s,
    )
    with contextlib.suppress(EngineError):  # whoever loads the current version says what is wrong with it
        if (current := place.current(recipe.name)) not in (None, packed.manifest.version):
            emit(f"note: {recipe.name} still means version {current}, until a swap has proved another one")
    single = None
    if archive:
        single = write_archive(Path(f"{packed.manifest.name}-{packed.manifest.version}{SUFFIX}"), packed.files)
    return Result(packed, recipe, tuple(inferred), single)


def _check_address(spec: Spec) -> None:
    """Raise `UsageError` for a name or a version that no folder could have: before minutes of proving."""
    if spec.name is not None and not is_name(spec.name):
        remedy = "use 63 lower-case letters, digits, '_' and '-' at most, a letter or a digit first"
        raise UsageError(f"{spec.name!r} cannot be an engine's name", remedy)
    if spec.version and not is_version(spec.version):
        raise UsageError(f"{spec.version!r} cannot be a version", "give one, such as 3 or 1.4.2")


def new_facts(part: Part, known: Part | None, path: str = "") -> Iterator[str]:
    """`key = value` for all that `part` sets and `known` does not."""
    for name in part.__struct_fields__:
        value, there = getattr(part, name), getattr(known, name, None)
        where = f"{path}.{name}" if path else name
        if isinstance(value, Part) and (there is None or isinstance(there, Part)):
            yield from new_facts(value, there, where)
        elif isinstance(value, dict) and any(isinstance(item, Part) for item in value.values()):
            for key, item in value.items():
                yield from new_facts(item, (there or {}).get(key), f"{where}.{key}")
        elif value is not None and there is None:
            yield f"{where} = {_short(value)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:97]}..."


def _start(target: Path) -> tuple[Spec, Path]:
    if target.suffix == ".toml":
        spec = load_spec(target)
        if spec.model is None:
            raise UsageError(f"{target} names no model", 'add model = "file.onnx"')
        return spec, Path(spec.model)
    if target.is_dir():
        models = sorted(target.glob("*.onnx"))
        if len(models) != 1:
            raise UsageError(f"{target} holds {len(models)} ONNX files", "name the one to pack, with --lerobot FOLDER")
        return Spec(lerobot=str(target)), models[0]
    return Spec(), target


def _descriptions(spec: Spec, network: Network) -> Iterator[tuple[str, Spec]]:
    if spec.lerobot is not None:
        yield "LeRobot policy", read_policy(Path(spec.lerobot), network)
    yield from descriptions(network)


def _relative_modes(spec: Spec) -> Spec:
    """Axes of a LeRobot policy with relative actions become differences to the state."""
    if spec.lerobot is None or not spec.outputs:
        return spec
    enabled, excluded, names = relative(Path(spec.lerobot))
    if not enabled:
        return spec
    return msgspec.structs.replace(
        spec, outputs={name: _relative(part, excluded, names) for name, part in spec.outputs.items()}
    )


def _relative(part: OutputSpec, excluded: Sequence[str], names: Sequence[str]) -> OutputSpec:
    """`names`: those of the policy, by which it excludes; without them ours."""
    given = part.axes or ()
    if names and given and len(names) != len(given):
        fact = f"the policy's action has {len(names)} names, {', '.join(names)}; {len(given)} axes are named"
        raise UsageError(fact, "name them all, in the same order")
    axes = tuple(
        axis
        if any(word in name.lower() for word in excluded) or axis.kind == "binary"
        else msgspec.structs.replace(axis, mode="delta_state")
        for axis, name in zip(given, names or [axis.name for axis in given], strict=True)
    )
    return msgspec.structs.replace(part, axes=axes or None)


def _golden(spec: Spec, recipe: Recipe, inferred: list[str]) -> Samples:
    if spec.golden is not None:
        return read_given(Path(spec.golden), recipe, GOLDEN)
    inferred.append(f"golden = {SYNTHETIC} synthetic samples; real ones prove more: --golden")
    return synthetic(recipe, SYNTHETIC)


def _provenance(path: Path) -> dict[str, str]:
    return {"model": path.name, "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
