"""The demo's judgement: what was measured, whether it is good enough, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REACHED = 0.90  # of the targets tried
REACHED_SWAPPING = 0.75  # when it begins with the worse policy and stands still for a while under the poisoned one
FEWEST = 5  # targets that have to be tried at least
MIOU = 0.90
SWAPPED = ["committed", "rolled_back"]
GAP_PERIODS = 5.0  # longest silence between two verdicts
SKIPPED = 0.005  # of the slots


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the processes reported at the end: the cell's and the line's last lines, the controller's, both daemons'."""

    cell: Mapping[str, Any]
    line: Mapping[str, Any]
    controller: Mapping[str, Any]
    pick: Mapping[str, Any]
    inspect: Mapping[str, Any]
    seconds: float
    swaps: Sequence[Mapping[str, Any]] | None = None  # None: nothing was to be swapped

    @property
    def gap_periods(self) -> float:
        """The longest gap between verdicts at the controller, in periods of the policy's loop."""
        gaps = self.controller["gap_ms"]
        return gaps["max"] / 1000 * self.pick["daemon"]["rate_hz"] if gaps else float("inf")

    def checks(self) -> Iterator[tuple[str, bool]]:
        """Each thing that has to hold, with whether it does."""
        reached, total = self.cell["reached"], self.cell["total"]
        yield f"at least {FEWEST} targets tried ({total})", total >= FEWEST
        share = REACHED if self.swaps is None else REACHED_SWAPPING
        yield f"at least {share:.0%} of the targets reached ({reached} of {total})", reached >= share * total
        yield f"mIoU at least {MIOU:.2f} ({self.line['miou']:.3f})", self.line["miou"] >= MIOU
        yield f"no gap beyond {GAP_PERIODS:g} periods ({self.gap_periods:.1f})", self.gap_periods <= GAP_PERIODS
        for name, daemon in (("pick", self.pick), ("inspect", self.inspect)):
            share = daemon["skipped"] / max(1, daemon["ticks"] + daemon["skipped"])
            yield f"at most {SKIPPED:.1%} of {name}'s slots skipped ({share:.2%})", share <= SKIPPED
        if self.swaps is not None:
            outcomes = [swap["outcome"] for swap in self.swaps]
            shown = ", ".join(outcomes) or "none"
            yield f"the better engine committed, the poisoned one rolled back ({shown})", outcomes == SWAPPED

    @property
    def ok(self) -> bool:
        return all(held for _, held in self.checks())

    def as_json(self) -> dict[str, Any]:
        """The keys that the README documents."""
        latency = self.controller["latency_ms"] or {}
        return {
            "targets": {"reached": self.cell["reached"], "total": self.cell["total"]},
            "miou": self.line["miou"],
            "iou": self.line["iou"],
            "ticks": self.pick["ticks"],
            "skipped": self.pick["skipped"],
            "holds": dict(self.pick["holds"]),
            "latency_ms": {key: latency.get(key) for key in ("p50", "p99")},
            "gap_ms": (self.controller["gap_ms"] or {}).get("max"),
            "stops": self.controller["stops"],
            "steps_us": {name: {"p50": s["p50_us"], "p99": s["p99_us"]} for name, s in self.pick["steps"].items()},
            "inspect": {key: self.inspect[key] for key in ("ticks", "skipped", "holds")},
            "masks": self.line["matched"],
            **({"swaps": [dict(swap) for swap in self.swaps]} if self.swaps is not None else {}),
            "seconds": round(self.seconds, 1),
            "ok": self.ok,
        }

    def table(self) -> str:
        """What a person reads at the end."""
        return "\n".join(self._rows())

    def _rows(self) -> Iterator[str]:
        latency = self.controller["latency_ms"] or {"p50": float("nan"), "p99": float("nan")}
        yield f"targets reached      {self.cell['reached']} of {self.cell['total']}"
        iou = ", ".join(f"{name} {value:.3f}" for name, value in self.line["iou"].items())
        yield f"mIoU                 {self.line['miou']:.3f} over {self.line['matched']} masks ({iou})"
        yield f"capture to command   p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"
        yield f"longest gap          {self.gap_periods:.1f} periods; {self.controller['stops']} controlled stops"
        for name, daemon in (("pick", self.pick), ("inspect", self.inspect)):
            holds = ", ".join(f"{count} {reason}" for reason, count in sorted(daemon["holds"].items())) or "none"
            yield f"{name:<20} {daemon['ticks']} ticks, {daemon['skipped']} slots skipped, holds: {holds}"
        yield f"{'step':<20} {'pick p50':>10} {'p99':>9}   {'inspect p50':>12} {'p99':>9}   (ms)"
        for step in self.pick["steps"]:
            cells = [self.pick["steps"].get(step), self.inspect["steps"].get(step)]
            figures = [f"{s['p50_us'] / 1000:.3f}" if s else "-" for s in cells]
            tails = [f"{s['p99_us'] / 1000:.3f}" if s else "-" for s in cells]
            yield f"  {step:<18} {figures[0]:>10} {tails[0]:>9}   {figures[1]:>12} {tails[1]:>9}"
        for swap in self.swaps or ():
            gap = f", gap {swap['gap_ms']:.1f} ms" if swap["gap_ms"] is not None else ""
            reason = f": {swap['reason']}" if swap["reason"] else ""
            yield f"swap {swap['from']} to {swap['to']:<8}  {swap['outcome'].replace('_', ' ')}{gap}{reason}"
        for text, held in self.checks():
            yield f"{'ok  ' if held else 'FAIL'} {text}"
