"""Options of `edged demo` that would do nothing are refused before anything is started."""

from __future__ import annotations

import pytest
from fake_daemon import Machine, edged, machine

from edged.core.errors import EXIT_USAGE

__all__ = ["machine"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--line", "--targets", "3"), "--targets would do nothing with --line; leave it out, or --line"),
        (("--line", "--blank", "--swap"), "--blank and --swap would do nothing with --line; leave them out, or --line"),
        (("--line", "--controller", "python"), "--controller would"),
        (("--policy", "reach", "--delay", "0", "--line"), "--policy and --delay would"),
        (("--trays", "200"), "--trays would do nothing without --line; leave it out, or add --line"),
    ],
)
def test_what_would_do_nothing_is_refused_with_the_remedy(machine: Machine, given: tuple[str, ...], named: str) -> None:
    done = edged("demo", *given)
    assert (done.code, done.out) == (EXIT_USAGE, "")
    assert done.err.startswith(f"edged: {named}")
