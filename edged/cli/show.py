"""show: a health snapshot as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edged.cli.show_swap import show_status as show_swaps


def show_status(snapshot: Mapping[str, Any]) -> str:
    """Several lines: state, engine, loop, latencies per step, cameras, sensors, results, guard, warnings."""
    return "\n".join(_lines(snapshot))


def _lines(snapshot: Mapping[str, Any]) -> Iterator[str]:
    daemon, engine = snapshot["daemon"], snapshot["engine"]
    state = {"ok": "running", "none": "starting"}.get(snapshot["state"], f"HOLD {snapshot['state']}")
    detail = f": {snapshot['detail']}" if snapshot["detail"] else ""
    yield f"{daemon['name']}  {state}{detail}  (for {seconds(snapshot['state_s'])})"
    up = seconds(snapshot["uptime_s"])
    yield f"  edged {daemon['version']}, pid {daemon['pid']}, up {up}, {snapshot['rss_mb']} MB"
    if engine["loaded"]:
        yield (
            f"  engine   {engine['name']} {engine['version']} ({engine['task']}, {engine['precision']}) "
            f"on {engine['backend']}, {engine['identity']}"
        )
        if execution := engine.get("execution"):
            yield f"  run      {_execution(execution)}"
    else:
        yield f"  engine   none: {engine['detail']}"
    yield (
        f"  loop     {daemon['rate_hz']:g} Hz on {daemon['clock']}: {snapshot['ticks']} ticks, "
        f"{snapshot['predictions']} predictions, {snapshot['skipped']} slots skipped"
    )
    if waiting := snapshot.get("waiting"):
        yield f"  waiting  {waiting}: the plan goes on without a next one"
    if snapshot["holds"]:
        yield "  holds    " + ", ".join(f"{count} {name}" for name, count in sorted(snapshot["holds"].items()))
    if snapshot["changes"]:
        yield "  guard    changed " + ", ".join(f"{n} by {rule}" for rule, n in sorted(snapshot["changes"].items()))
    if "guard" in snapshot:
        yield f"  arming   {snapshot['guard']['arming']}"
    for name, step in snapshot["steps"].items():
        yield f"  {name:<8} p50 {_micros(step['p50_us'])}  p99 {_micros(step['p99_us'])}  max {_micros(step['max_us'])}"
    covered = 0.0
    for window in snapshot.get("recent", {}).values():
        if window["seconds"] > covered:  # an hour that has not been longer than a minute yet says nothing new
            covered = window["seconds"]
            yield f"  recent   {_recent(window)}"
    for kind in ("cameras", "sensors"):
        for name, stats in snapshot[kind].items():
            yield f"  {kind[:-1]:<8} {name}: {_input(stats)}"
    for name in ("parts" if "parts" in snapshot else "results", "evidence"):  # where parts count, verdicts do not
        if name in snapshot:
            yield f"  {name:<8} {' '.join(_counts(snapshot[name])) or 'none yet'}"
    if (plan := snapshot.get("plan")) and plan["state"] != "loaded":
        what = f"{plan['name']} {plan['version']} {plan['state']}, {seconds(plan['elapsed_s'])}"
        yield f"  plan     {what}: {plan['detail']}"
    if "swap" in snapshot:
        yield from show_swaps(snapshot["swap"])
    if (doors := snapshot.get("descriptors", {})) and not doors["open"]:
        yield f"  NOBODY NEW MAY CONNECT: {doors['spare']} of {doors['limit']} file descriptors are left"
    for stream, readers in snapshot.get("readers", {}).items():
        if readers["cut"]:
            cut = ", ".join(f"{count} ({cause})" for cause, count in sorted(readers["cut"].items()))
            yield f"  readers  {stream}: {readers['connected']} of at most {readers['most']}; cut off: {cut}"
    for name, duty in snapshot.get("threads", {}).items():
        if duty["failures"] or duty["restarts"] or not duty["alive"]:
            counts = f"{duty['failures']} failures, {duty['restarts']} restarts"
            yield f"  thread   {name}: {'' if duty['alive'] else 'ended, '}{counts}; the last: {duty['last_error']}"
    for warning in snapshot["warnings"]:
        yield f"  warning  {warning}"


def _recent(window: Mapping[str, Any]) -> str:
    """What happened lately, beside the figures since the start."""
    parts = [f"{window['ticks']} ticks, {window['predictions']} predictions, {window['skipped']} skipped"]
    for name, step in window["steps"].items():
        parts.append(f"{name} p50 {_micros(step['p50_us']).strip()} p99 {_micros(step['p99_us']).strip()}")
    parts += [f"{count} {name}" for name, count in sorted(window["holds"].items())]
    return f"last {seconds(window['seconds'])}: " + "; ".join(parts)


def _execution(execution: Mapping[str, Any]) -> str:
    """How long a run takes, whether ticks wait for it, and how it does beside them."""
    took = f"{execution['run_ms']:.3g} ms when loaded"
    if execution["inference"] == "inline":
        return f"{took}, ticks wait for it"
    counts = f"{execution['runs']} runs, {execution['discarded']} came for nothing"
    now = f", one for {execution['running_ms']:.0f} ms now" if execution["running_ms"] else ""
    beside = ""
    if (overlap := execution.get("overlap")) is not None:
        beside = f"; decoded beside the next run in {overlap['decode_ms']:.3g} ms, after {overlap['waited_ms']:.3g} ms"
    return f"{took}, beside the ticks: {counts}{beside}{now}"


def _input(stats: Mapping[str, Any]) -> str:
    """A camera or sensor: how it is and how old its newest is, then what it counted."""
    age_ms, state = stats.get("age_ms"), stats.get("state", "")
    age = "nothing came yet"
    if age_ms is not None:
        age = f"age {age_ms:.1f} ms" if age_ms < 10_000 else f"age {seconds(age_ms / 1000)}"
    shown = {"state", "age_ms", "captured_ns", *(["last_error"] if stats.get("last_error") == state else [])}
    counts = _counts({key: value for key, value in stats.items() if key not in shown})
    return " ".join([f"{state}, {age}" if state else age, *counts])


def _counts(stats: Mapping[str, Any]) -> list[str]:
    """What was counted, less what says nothing."""
    return [f"{key}={value}" for key, value in stats.items() if value not in (None, 0, "", {})]


def seconds(duration_s: float) -> str:
    """A duration for people: `5.9 s`, `12 min 03 s`, `3 h 07 min`."""
    if duration_s < 120:
        return f"{duration_s:.1f} s"
    minutes, rest = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _micros(micros: float) -> str:
    return f"{micros / 1000:8.2f} ms" if micros >= 1000 else f"{micros:8.1f} us"
