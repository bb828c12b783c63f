"""What `edged infer` found in one picture, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

SHOWN = 20  # rows; `--json` has them all


def show_inferred(told: Mapping[str, Any]) -> str:
    """Lines from the facts of `edged.cli.infer.facts`."""
    lines = [f"{told['engine']} {told['version']}: {told['run_ms']:.2f} ms"]
    if "class_area" in told:
        lines += _labels(told)
    elif "instances" in told:
        lines += _instances(told)
    else:
        lines += _actions(told)
    return "\n".join([*lines, f"overlay: {told['overlay']}"])


def _labels(told: Mapping[str, Any]) -> list[str]:
    areas, shares = {name: area for name, area in told["class_area"].items() if area}, told["classes"]
    width = max(map(len, areas), default=0)
    lines = [f"  {name:<{width}}  {areas[name]:>9.0f} px  {shares[name]:>7.2%}" for name in areas]
    left_out = f", {told['parts_left_out']} more were left out" if told["parts_left_out"] else ""
    return [*lines, f"connected parts: {len(told['parts'])}{left_out}", *_rows(told["parts"])]


def _instances(told: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{name} {count}" for name, count in told["counts"].items() if count)
    left_out = f", {told['truncated']} or more were left out" if told["truncated"] else ""
    return [f"objects: {len(told['instances'])}{left_out}{f' ({counts})' * bool(counts)}", *_rows(told["instances"])]


def _rows(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line each of the first."""
    width = max((len(one["class"]) for one in objects), default=0)
    lines = []
    for one in objects[:SHOWN]:
        score = f"  {one['score']:.3f}" if "score" in one else ""
        box = " ".join(f"{value:.0f}" for value in one["xyxy"])
        x, y = one["centroid"]
        place = "" if isnan(x) else f"  at {x:.1f} {y:.1f}"  # an object without a pixel has none
        edge = "  at the edge" if one.get("at_edge") else ""
        lines.append(f"  {one['class']:<{width}}{score}  {one['area']:.0f} px{place}  box {box}{edge}")
    return lines + [f"  and {len(objects) - SHOWN} more: --json has all"] * (len(objects) > SHOWN)


def _actions(told: Mapping[str, Any]) -> list[str]:
    """An axis a line: its value at the first, the middle and the last step."""
    lines = []
    if "assumed_state" in told:
        assumed = {name: values for name, values in told["assumed_state"].items() if name != "from"}
        lines.append(f"no sensor was read; state of the {told['assumed_state']['from']}:")
        lines += [f"  {name}: {_values(values)}" for name, values in assumed.items()]
    steps = told["actions"]
    shown = sorted({0, len(steps) // 2, len(steps) - 1})
    lines.append(f"action, {len(steps)} step{'s' * (len(steps) != 1)}:")
    width = max(map(len, steps[0]))
    if len(shown) > 1:
        lines.append(f"  {'step':<{width}}" + "".join(f"{at + 1:>12}" for at in shown))
    return lines + [f"  {name:<{width}}" + "".join(f"{steps[at][name]:>12.5g}" for at in shown) for name in steps[0]]


def _values(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())
