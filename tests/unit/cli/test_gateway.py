"""`edged gateway`: what a gateway says while it ends is in its log too."""

from __future__ import annotations

import logging
import threading

import pytest

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
