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
from edged.cli.show_swap import show_attempt


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
