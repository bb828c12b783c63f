"""What a result is on the wire: kind 9, RESULT, of a verdict or of a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edged.core.types import ActionChunk, Tick, Verdict
from edged.inspection.part import Outcome
from edged.inspection.rules import Result, result_header


def describe_result(result: Result, digest: str) -> dict[str, Any]:
    """The header of a result: what it is, and what each rule came to."""
    rules = [
        {"name": one.name, "violated": one.violated, "count": one.count, "area": one.area,
         "objects": one.objects, "severity": one.severity} for one in result.counted
    ]  # fmt: skip
    return {**result_header(result, digest), "rules": rules}


def verdict_result(
    result: Result, verdict: Verdict, tick: Tick, digest: str, alarms: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The header of a verdict's result."""
    header: dict[str, Any] = {"tick": tick.seq, "skipped": tick.skipped, **describe_result(result, digest)}
    if not isinstance(verdict, ActionChunk) and verdict.camera:
        header["camera"] = verdict.camera
    if alarms:
        header["alarms"] = alarms
    return header


def part_result(outcome: Outcome, facts: Mapping[str, Any], camera: str) -> dict[str, Any]:
    """The header of a part's result; `facts`: of its line in the ledger."""
    header = {"tick": outcome.tick, "camera": camera, **describe_result(outcome.result, str(facts["digest"]))}
    header |= {key: facts[key] for key in ("line", "part", "number", "entry", "stamp_ns")}
    if "ledger" in facts:
        header["ledger"] = facts["ledger"]
    if outcome.alarms:
        header["alarms"] = outcome.alarms
    return header
