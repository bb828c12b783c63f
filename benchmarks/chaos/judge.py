"""What has to hold after a run with faults, beside one without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from benchmarks.chaos.growth import Growth
from benchmarks.chaos.run import Outcome

MORE_SKIPPED = 0.005  # of all slots
MOST_GROWTH = 1.0  # MB an hour
MOST_ERROR = 0.5  # its standard error, in a run of full length
FULL_S = 1100.0
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
    for what, of in (("memory in use", attrgetter("in_use_mb")), ("resident memory", attrgetter("rss_mb"))):
        found, calm = chaos.watch.growth(of), control.watch.growth(of)
        fact = f"{_shown(found)} MB/h over the last {found.seconds:.0f} s, "
        fact += f"{_shown(calm)} without faults, {_shown(found - calm)} more"
        yield Verdict(f"{what} grows by at most 1 MB/h", _stays(found), fact)
    yield Verdict("at most 200 MB", chaos.watch.peak_mb <= MOST_MB, f"peak {chaos.watch.peak_mb:.0f} MB")
    for what, then, now in (
        ("descriptors", chaos.before.files, chaos.after.files),
        ("threads", chaos.before.threads, chaos.after.threads),
    ):
        yield Verdict(f"{what} as at the start", now <= then, f"{then} at first, {now} at last")


def _stays(found: Growth) -> bool | None:
    """In a run of full length it has to be known: one that is too noisy to tell has failed."""
    if found.seconds >= FULL_S:
        return found.mb_per_hour <= MOST_GROWTH and found.error <= MOST_ERROR
    if found.mb_per_hour + SURE * found.error <= MOST_GROWTH:
        return True
    return False if found.mb_per_hour - SURE * found.error > MOST_GROWTH else None


def _shown(found: Growth) -> str:
    return f"{found.mb_per_hour:+.2f} (standard error {found.error:.2f})"


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
