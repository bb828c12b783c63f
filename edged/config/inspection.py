"""What rules and a calibration contradict in a config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edged.config.polygon import polygon_fault

if TYPE_CHECKING:
    from edged.config.schema import Config


def inspected_sizes(config: Config) -> set[tuple[int, int]]:
    """(width, height) of the cameras that may be inspected: those that are served in turn, else any."""
    names = config.execution.cameras or tuple(config.cameras)
    return {(config.cameras[name].width, config.cameras[name].height) for name in names if name in config.cameras}


def check_inspection(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Key, value and what is allowed there, of each contradiction."""
    if config.stream == "action" and config.inspection.rules:
        yield "inspection.rules", len(config.inspection.rules), "none: a daemon with [guard] moves, it does not inspect"
    names = [rule.name for rule in config.inspection.rules]
    calibration = config.inspection.calibration
    if calibration is not None and {(c.width, c.height) for c in config.cameras.values()} != {calibration.size}:
        yield (
            "inspection.calibration.size",
            list(calibration.size),
            "the camera's width and height: calibrate as it runs",
        )
    if calibration is not None and len(config.cameras) != 1:
        yield "inspection.calibration", len(config.cameras), "one camera: each has a calibration of its own"
    for index, rule in enumerate(config.inspection.rules):
        key = f"inspection.rules.{index}"
        if names.count(rule.name) > 1:
            yield f"{key}.name", rule.name, "a name of its own for each rule"
        if rule.max_count is not None and rule.max_count < rule.min_count:
            yield f"{key}.max_count", rule.max_count, f"at least min_count = {rule.min_count}"
        if rule.unit == "mm2" and calibration is None:
            yield f"{key}.unit", rule.unit, "px, or an [inspection.calibration]: 'edged calibrate --help' says how"
        sizes = inspected_sizes(config)
        for name, polygon in (("region", rule.region), *(("ignore", one) for one in rule.ignore)):
            if polygon and (allowed := polygon_fault(polygon, sizes)):
                yield f"{key}.{name}", [list(point) for point in polygon], allowed
        if rule.violations > rule.of_last:
            yield f"{key}.violations", rule.violations, f"at most of_last = {rule.of_last}"
        if not rule.min_count and rule.max_count is None and rule.max_area is None:
            yield key, rule.name, "min_count, max_count or max_area: without one it is never violated"
