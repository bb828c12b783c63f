"""`edged gateway`: what a gateway says while it ends is in its log too."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

import pytest
from fake_daemon import edged

from edged.cli import gateway


class Reads:
    """A plant whose reader fails in the moment in which it is closed."""

    def __init__(self, *_: object) -> None: ...

    def close(self) -> None:
        logging.getLogger("edged.gateway").error("reading results failed")


def test_what_a_gateway_says_while_it_ends_is_logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("edged")
    for what in ("handlers", "propagate"):  # as they were again for whoever is next in this process
        monkeypatch.setattr(log, what, getattr(log, what))
    monkeypatch.setattr(gateway, "Plant", Reads)
    monkeypatch.setattr(gateway, "expected", lambda word: ([], word))
    monkeypatch.setattr(gateway, "told_to_end", threading.Event)
    with gateway.attached("line", 1000.0, None):
        pass
    assert "reading results failed" in capfd.readouterr().err


def test_axes_may_be_written_with_blanks_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no action has would make all set-points wait for ever."""
    played: list[Any] = []
    monkeypatch.setattr(gateway, "attached", lambda *_: contextlib.nullcontext((Reads(), None)))
    monkeypatch.setattr(Reads, "name", "pick", raising=False)
    monkeypatch.setattr("edged.services.gateway.udp.run", lambda plant, options, wait: played.append(options.axes))
    asked = ("gateway", "udp", "pick", "--to", "127.0.0.1:5700", "--braking", "8", "--axes")
    assert edged(*asked, "j1, j2 ,tool").code == 0
    assert played == [("j1", "j2", "tool")]
    for wrong in ("j1,,j2", "j1,j2,", "j1,j1"):
        assert edged(*asked, wrong).code == 2
