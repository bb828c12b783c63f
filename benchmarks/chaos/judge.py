"""What has to hold after a run with faults, beside one without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.chaos.run import Outcome

MORE_SKIPPED = 0.005  # of all slots
MOST_GROWTH = 1.0  # MB an hour
MOST_MB = 200.0
SURE = 2.0  # standard errors


@dataclass(frozen=True)
class Verdict:
    """`ok` is None where the run was too short to tell."""

    what: str
    ok: bool | None
    fact: str


def judge(chaos: Outcome, control: Outcome) -> list[Verdict]:
    """Everything the run has to show."""
    return [
        *_recorders(chaos, control),
        _slots(chaos, control),
        *_held(chaos, control),
        *_visible(chaos),
        _alive(chaos),
    ]


def _recorders(chaos: Outcome, control: Outcome) -> Iterator[Verdict]:
    for run, name in ((chaos, "chaos"), (control, "control")):
        for stream, account in run.accounts.items():
            was_cut = re.search(rf"cut off a reader of \S+ \(pid {account.pid},", run.log) is not None
            fact = f"{account.missing} of {account.received + account.missing} missing"
            if account.gaps:
                connection = [(event, round(at_s, 2)) for event, at_s in account.connection]
                fact += f", after {account.gaps[:5]}; connection {connection[-6:]}"
            fact += ", cut off for cause" * was_cut
            yield Verdict(f"no seq missing at {stream}, {name}", not account.missing or was_cut, fact)


def _slots(chaos: Outcome, control: Outcome) -> Verdict:
    more = chaos.skipped_share - control.skipped_share
    fact = f"{chaos.skipped_share:.3%} against {control.skipped_share:.3%}"
    return Verdict("at most 0.5 % more slots skipped", more <= MORE_SKIPPED, fact)


def _held(chaos: Outcome, control: Outcome) -> Iterator[Verdict]:
    slope = chaos.watch.slope()
    low, high = slope.mb_per_hour - SURE * slope.error, slope.mb_per_hour + SURE * slope.error
    ok = True if high <= MOST_GROWTH else False if low > MOST_GROWTH else None
    fact = f"{slope.mb_per_hour:+.1f} +- {SURE * slope.error:.1f} MB/h over the last {slope.seconds:.0f} s"
    other = control.watch.slope()
    fact += f", {other.mb_per_hour:+.1f} +- {SURE * other.error:.1f} without faults"
    yield Verdict("memory grows by at most 1 MB/h", ok, fact + (": too short a run to tell" if ok is None else ""))
    yield Verdict("at most 200 MB", chaos.watch.peak_mb <= MOST_MB, f"peak {chaos.watch.peak_mb:.0f} MB")
    for what, then, now in (
        ("descriptors", chaos.before.files, chaos.after.files),
        ("threads", chaos.before.threads, chaos.after.threads),
    ):
        yield Verdict(f"{what} as at the start", now <= then, f"{then} at first, {now} at last")


def _visible(chaos: Outcome) -> Iterator[Verdict]:
    done, seen = sum(chaos.done.values()), sum(chaos.seen.values())
    unseen = f"; not seen: {', '.join(chaos.unseen[:8])}" if chaos.unseen else ""
    yield Verdict("every fault is visible", done == seen, f"{seen} of {done}{unseen}")
    yield Verdict("every swap ends", not chaos.swaps["did not end"], f"{dict(chaos.swaps)}")
    fact = "; ".join(chaos.broken[:3]) or "each fault could be done"
    yield Verdict("the run itself worked", not chaos.broken, fact)


def _alive(chaos: Outcome) -> Verdict:
    tracebacks = chaos.log.count("Traceback (most recent call last)")
    fact = f"exit code {chaos.exit_code}, {tracebacks} tracebacks in its log"
    return Verdict("the daemon lives, ends with 0, and logs no traceback", not chaos.exit_code and not tracebacks, fact)
