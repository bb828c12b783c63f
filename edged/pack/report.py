"""What `edged pack` says of an engine that it has written, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.bundle.manifest import SELF_PROOF
from edged.pack import Packed
from edged.pack.recipe import Recipe
from edged.pack.tolerance import worst
from edged.pack.trials import Converted
from edged.pipeline.golden import Difference

NAMED = 6  # nodes that a line names


@dataclass(frozen=True, slots=True)
class Result:
    """A packed engine and what was inferred on the way. `archive`: the `.edged` file, if one was asked for."""

    packed: Packed
    recipe: Recipe
    inferred: tuple[str, ...]
    archive: Path | None


def facts(result: Result) -> dict[str, Any]:
    """For programs: `--json`."""
    packed = result.packed
    return {
        "path": str(packed.path),
        "name": packed.manifest.name,
        "version": packed.manifest.version,
        "precision": packed.manifest.precision,
        "model_bytes": len(packed.files["model.onnx"]),
        "archive": str(result.archive) if result.archive else None,
        "inferred": list(result.inferred),
        "proof": _proof(packed.differences),
        "proved_against": packed.manifest.proof or None,
        "measured": {output: dict(values) for output, values in packed.measured.items()},
        "converted": _converted(packed.converted),
    }


def show(result: Result) -> str:
    """The same for people."""
    packed = result.packed
    lines = []
    for output, item in packed.worst.items():
        lines.append(f"proof    {_line(output, item)}")
        lines += [f"         {name}: {value:.4g}" for name, value in packed.measured.get(output, {}).items()]
    if packed.manifest.task == "policy":
        against = packed.manifest.proof or f"{SELF_PROOF}; --golden with the trainer's own actions proves the import"
        lines.append(f"proof    {against}")
    lines += _of_precision(packed)
    size = len(packed.files["model.onnx"]) / 1024
    lines.append(f"wrote    {packed.path} ({packed.manifest.precision}, {size:.0f} KiB)")
    if result.archive is not None:
        lines.append(f"wrote    {result.archive}")
    return "\n".join(lines)


def _of_precision(packed: Packed) -> Iterator[str]:
    made, precision = packed.converted, packed.manifest.precision
    for output, item in worst(made.there).items():
        yield f"proof    on {made.backend}: {_line(output, item)}"
    if precision == "fp32":
        return
    if made.kept:
        after = f", found in {made.trials} trials" if made.trials else ""
        more = ", …" if len(made.kept) > NAMED else ""
        yield f"kept     {len(made.kept)} of {made.nodes} nodes in float32{after}: {', '.join(made.kept[:NAMED])}{more}"
    if made.cut:
        yield "note     time ended the search for them: another machine may find others; --search-s gives it more"
    yield f"gained   a file {len(packed.files['model.onnx']) / made.network_bytes:.2f} times as large as the network's"
    if made.pace is None:
        yield "note     how fast it is on a GPU is measured there: --backend cuda or tensorrt"
    else:
        ms = f"{made.pace.ms:.3g} ms a run, fp32 {made.pace.fp32_ms:.3g}, on {_where(made)}"
        yield f"gained   {made.pace.times_faster:.2f} times as fast: {ms}"
        if made.pace.times_faster < 1:
            yield f"note     {precision} is no faster there than fp32, which is exact"


def _where(made: Converted) -> str:
    about = made.pace.about if made.pace else {}
    return f"{made.backend} ({about.get('gpu') or about.get('device') or about.get('runtime', '')})"


def _line(output: str, item: Difference) -> str:
    return f"{output}: {item.measure} {item.value:.3g}, bound {item.bound:g} (sample {item.sample:03d})"


def _proof(differences: Iterable[Difference]) -> dict[str, Any]:
    return {
        output: {"measure": item.measure, "worst": item.value, "bound": item.bound, "sample": item.sample}
        for output, item in worst(differences).items()
    }


def _converted(made: Converted) -> Mapping[str, Any]:
    pace = made.pace
    return {
        "kept": list(made.kept),
        "nodes": made.nodes,
        "trials": made.trials,
        "cut": made.cut,
        "network_bytes": made.network_bytes,
        "backend": made.backend or None,
        "proof": _proof(made.there),
        "ms": pace and pace.ms,
        "fp32_ms": pace and pace.fp32_ms,
        "about": dict(pace.about) if pace else {},
    }
