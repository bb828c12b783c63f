"""A line whose endpoint means nothing is told so, and nothing is left behind however often it tries."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from edged.client import PartResults, TriggerSender
from edged.core.errors import UsageError
from edged.wire import sockets
from edged.wire.sockets import Context, open_context


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """Contexts that were opened, not given."""
    made: list[Context] = []

    def one_more() -> Context:
        made.append(open_context())
        return made[-1]

    monkeypatch.setattr(sockets, "open_context", one_more)
    return made


def ends(contexts: list[Context]) -> list[bool]:
    """Which have ended; then all have, so that a failure leaves nothing either."""
    ended = [context.closed for context in contexts]
    for context in contexts:
        context.destroy(linger=0)
    return ended


def test_results_that_cannot_be_asked_for_leave_nothing_open(tmp_path: Path, opened: list[Context]) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        PartResults(f"ipc://{tmp_path}/r", "line/results", "nonsense")
    assert ends(opened) == [True, True]


def test_triggers_that_cannot_be_sent_leave_nothing_open(opened: list[Context]) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        TriggerSender("nonsense")
    assert ends(opened) == [True]


def test_who_asks_has_no_heartbeats(tmp_path: Path) -> None:
    """One that is due while its socket closes makes libzmq 4.3.5 abort the process (stream_engine_base.cpp:310)."""
    endpoint = f"ipc://{tmp_path}/t"
    with TriggerSender(endpoint) as sender, PartResults(f"ipc://{tmp_path}/r", "line/results", endpoint) as results:
        for asker in (sender._socket, results._catalogue._socket):
            assert (asker.get(zmq.HEARTBEAT_IVL), asker.get(zmq.IMMEDIATE)) == (0, 1)
            assert asker.get(zmq.TCP_MAXRT) == 3000, "what ends a connection to a host that is gone"


def test_a_given_context_stays_and_ends_at_once(tmp_path: Path, opened: list[Context]) -> None:
    context: Context = zmq.Context()
    for _ in range(2):
        with pytest.raises(UsageError):
            PartResults(f"ipc://{tmp_path}/r", "line/results", "nonsense", context=context)
        with pytest.raises(UsageError):
            TriggerSender("nonsense", context=context)
    assert not context.closed
    left = [one for one in context._sockets if not one.closed]
    context.destroy(linger=0)
    assert (left, opened) == ([], [])
