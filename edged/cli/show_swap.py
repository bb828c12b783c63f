"""Swaps and versions as a person reads them: how far one is, how it ended, the list of engines, a status line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edged.cli.progress import Bar
from edged.swap.job import ORDER


def show_attempt(bar: Bar, attempt: Mapping[str, Any], before: Sequence[Mapping[str, Any]] = ()) -> None:
    """Draw how far a job is, and what of `before` it waits behind; one that is over draws nothing."""
    state = str(attempt["state"])
    if state == "queued" and before:
        behind = "behind " + ", ".join(f"{job['version']} ({job['state']}, asked by {job['who']})" for job in before)
        bar.show(0.0, behind, f"{state:<9} {behind}")
    elif state in ORDER or state == "waiting":  # which it does behind the shadow, or before it is loaded
        reached = [step for step in attempt.get("steps", ()) if step in ORDER] or ["queued"]
        place = ORDER.index(state if state in ORDER else reached[-1])
        share = (place + attempt.get("progress", 0.0)) / (len(ORDER) - 1)
        bar.show(share, state, f"{state:<9} {detail(attempt)}".rstrip())


def jobs_before(swaps: Mapping[str, Any], job: int) -> list[Mapping[str, Any]]:
    """Of the swap section of a status: the jobs that are worked on before this one."""
    queue = [one for one in (swaps["active"], *swaps["waiting"]) if one]
    numbers = [one["job"] for one in queue]
    return queue[: numbers.index(job)] if job in numbers else []


def detail(attempt: Mapping[str, Any]) -> str:
    """The detail that matters in the state at hand."""
    match attempt["state"]:
        case "probation" if seen := attempt.get("probation"):
            return f"{seen['predictions']} predictions, {seen['seconds']:g} s"
        case "swapped" if attempt.get("gap_ms") is not None:
            return f"gap {attempt['gap_ms']:g} ms"
        case _:
            return str(attempt.get("reason", ""))


def show_outcome(name: str, done: Mapping[str, Any]) -> str:
    """How a job ended: state and reason, gap, agreement, notes."""
    return "\n  ".join(_outcome(name, done))


def _outcome(name: str, done: Mapping[str, Any]) -> Iterator[str]:
    reason = f": {done['reason']}" if done.get("reason") else ""
    yield f"{name} {done['version']}: {done['state'].replace('_', ' ')}{reason}"
    if done.get("gap_ms") is not None:
        yield f"gap between the two engines' messages {done['gap_ms']:g} ms"
    agreement = done.get("shadow", {}).get("agreement", {})
    if agreement.get("pairs"):
        off = ", ".join(f"{axis} {value:g}" for axis, value in agreement.get("off", {}).items())
        tail = f" (mean difference {off})" if off else ""
        over = f"{agreement['objects']} objects of " if "objects" in agreement else ""
        yield f"agreement in the shadow {agreement['score']:.3f} over {over}{agreement['pairs']} inputs{tail}"
    for note in done.get("notes", ()):
        yield f"note: {note}"


def show_status(swaps: Mapping[str, Any]) -> Iterator[str]:
    """Lines of `edged status`: what is under way, what waits, how the last one ended."""
    if active := swaps["active"]:
        yield f"  swap     {active['version']} {active['state']} {active['progress']:.0%} {detail(active)}".rstrip()
    for waiting in swaps["waiting"]:
        yield f"  swap     {waiting['version']} waits, asked by {waiting['who']}"
    if minimum := swaps.get("minimum"):
        yield f"  minimum  {minimum}: nothing older is let in"
    if swaps["past"] and not active:
        last = swaps["past"][-1]
        reason = f": {last['reason']}" if last.get("reason") else ""
        yield f"  swap     last: {last['version']} {last['state'].replace('_', ' ')}{reason}"


def show_engines(listed: Sequence[Mapping[str, Any]]) -> str:
    """A table: `*` runs, `>` is what a restart runs."""
    rows = [("", "ENGINE", "VERSION", "STATE", "ASKED BY", "WHEN", "IDENTITY", "PROVENANCE")]
    for entry in listed:
        mark = ("*" if entry["running"] else " ") + (">" if entry["current"] else " ")
        state = entry["state"].replace("_", " ") + (f" ({entry['crashes']} crashes)" if entry["crashes"] else "")
        made = ", ".join(f"{key} {value}" for key, value in entry.get("provenance", {}).items())
        about = entry.get("problem") or made
        when, identity = entry["time"][:19].replace("T", " "), entry.get("identity", "")
        rows.append((mark, entry["name"], entry["version"], state, entry["who"], when, identity, _short(about, 60)))
        if below := entry.get("below"):
            rows.append(("", "", "", f"  {below}", "", "", "", ""))
        if asked := entry.get("waits"):
            rows.append(("", "", "", f"  waits, asked for by {asked}; a restart asks for it again", "", "", "", ""))
        if entry["reason"]:
            rows.append(("", "", "", f"  {entry['reason']}", "", "", "", ""))
    if len(rows) == 1:
        return "no engines"
    widths = [max(len(row[column]) for row in rows if row[1]) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    minimums = {entry["name"]: entry["minimum"] for entry in listed if entry.get("minimum")}
    return "\n".join([*lines, *(f"the minimum of {name} is {version}" for name, version in minimums.items())])


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
