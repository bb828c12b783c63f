"""The one bar: a line that changes on a terminal, a line for each stage in a log, and never in the way of the job."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from edged.cli.progress import Bar
from edged.cli.show_swap import jobs_before, show_attempt


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(out: io.StringIO) -> str:
    with Bar(out, now=lambda: 0) as bar:
        for step in range(5):
            bar.show(step / 4, "building", f"building {step}/4")
        bar.note("warning", "slow")
        bar.show(2.0, "loading")
    return out.getvalue()


def test_a_terminal_has_one_line_and_it_is_gone_at_the_end() -> None:
    said = drawn(Terminal())
    assert f"[{'#' * 30}]   0.0 s  building 4/4" in said
    assert said.count("\n") == 1
    assert "\rwarning: slow\n" in said
    assert said.endswith(" \r")


def test_a_log_has_a_line_for_each_stage() -> None:
    assert drawn(io.StringIO()) == "    0.0 s  building 0/4\nwarning: slow\n    0.0 s  loading\n"


def test_a_quiet_one_writes_nothing() -> None:
    out = io.StringIO()
    Bar(out, quiet=True).show(0.5, "building")
    assert out.getvalue() == ""


def test_a_line_is_never_wider_than_the_terminal() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(theirs, "w") as out:
        bar = Bar(out)
        bar.show(0.5, "shadow", "shadow " + "x" * 100)
        assert len(os.read(ours, 4096).strip(b"\r")) == 39
    os.close(ours)


def test_a_display_that_is_gone_does_not_end_the_job() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    out = io.TextIOWrapper(os.fdopen(writer, "wb", buffering=0), write_through=True)
    bar = Bar(out)
    bar.show(0.1, "building")
    bar.note("warning", "slow")
    bar.show(0.9, "loading")
    out.close()


@pytest.mark.parametrize(("state", "drawn"), [("shadow", True), ("committed", True), ("refused", False)])
def test_a_swap_draws_its_states(state: str, drawn: bool) -> None:
    out = io.StringIO()
    show_attempt(Bar(out, now=lambda: 0), {"state": state, "progress": 0.5})
    assert (state in out.getvalue()) == drawn


def test_a_swap_that_is_queued_says_behind_what() -> None:
    first = {"job": 4, "version": "3", "state": "probation", "who": "ann"}
    second, third = ({"job": job, "version": "4", "state": "queued", "who": "bob"} for job in (5, 6))
    swaps = {"active": first, "waiting": [second, third]}
    assert jobs_before(swaps, 4) == []
    assert jobs_before(swaps, 6) == [first, second]
    assert jobs_before({"active": None, "waiting": [third]}, 6) == []
    assert jobs_before(swaps, 3) == [], "it is over"
    out = io.StringIO()
    bar = Bar(out, now=lambda: 0)
    show_attempt(bar, third, jobs_before(swaps, 6))
    first["state"] = "committed"
    show_attempt(bar, third, [second])
    show_attempt(bar, third)
    assert [line.split("s  ", 1)[1] for line in out.getvalue().splitlines()] == [
        "queued    behind 3 (probation, asked by ann), 4 (queued, asked by bob)",
        "queued    behind 4 (queued, asked by bob)",
        "queued",
    ]


def test_a_swap_that_waits_for_its_moment_says_for_which() -> None:
    out = io.StringIO()
    steps = {"queued": 0.0, "shadow": 5.0, "waiting": 9.0}
    waits = {"state": "waiting", "reason": "for 22:00-05:00", "progress": 0.0, "steps": steps}
    show_attempt(Bar(out, now=lambda: 0), waits)
    assert "waiting   for 22:00-05:00" in out.getvalue()
