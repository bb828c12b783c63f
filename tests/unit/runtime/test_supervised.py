"""An item that fails is logged, and the next one is done."""

from __future__ import annotations

import logging

import pytest

from edged.core.errors import MachineryError
from edged.runtime.supervised import Supervised


def _fail() -> None:
    raise ValueError("too long")


def test_a_failure_is_logged_once_with_its_item_and_the_next_item_is_done(caplog: pytest.LogCaptureFixture) -> None:
    supervised, done = Supervised("reporter"), []
    with caplog.at_level(logging.ERROR, "edged"):
        assert not supervised.item("health", _fail)
        assert not supervised.item("health", _fail)
    assert supervised.item("health", lambda: done.append(1))
    assert (done, supervised.failures) == ([1], 2)
    assert [record.getMessage() for record in caplog.records] == ["reporter goes on, but health failed"]


def test_broken_machinery_is_not_swallowed() -> None:
    def broken() -> None:
        raise MachineryError("no device", "restart")

    with pytest.raises(MachineryError):
        Supervised("frames").item("frame 1", broken)
