"""A line whose endpoint means nothing is told so, and nothing is left behind however often it tries."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import zmq
from golden.handmade import hand_made

from edged.client import PartResults, TriggerSender, part_results
from edged.client.part_result import read_result
from edged.core.errors import UsageError
from edged.wire import decode, sockets
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
        for asker in (sender._asker.socket, results._catalogue.socket):
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


PART = {"line": "a", "part": 1, "number": 1, "entry": 1, "stamp_ns": 5, "result": "PASS"}


@pytest.mark.parametrize("odd", [{}, {"line": 5}, {"part": "one"}, {"entry": None}, {"stamp_ns": 1.5}, {"number": []}])
def test_a_result_that_names_no_part_is_none_and_no_error(tmp_path: Path, odd: dict[str, object]) -> None:
    said = {**PART, **odd} if odd else {"entry": 1}
    lacking = {key: value for key, value in PART.items() if key not in odd} if odd else said  # of another type: refused
    with PartResults(f"ipc://{tmp_path}/r", "a/b", f"ipc://{tmp_path}/t") as results:
        message = decode(hand_made(msgspec.msgpack.encode(lacking), kind=9))
        assert results._heard_one(message) == []
        assert (results.entry, results.lost) == (0, 0)
        ask(results, [said, {**PART, "entry": 2}])
        assert [one.entry for one in results._answered(0.0)] == [2]
        assert (results.entry, results.lost) == (2, 1)


def ask(results: PartResults, answer: list[dict[str, object]]) -> None:
    """A question is out, and this is its answer."""
    results._catalogue.after = 0
    page = part_results._Results(answer, 1, 2)
    results._catalogue.answer = lambda timeout_ms: page  # type: ignore[method-assign]


def test_every_key_that_names_no_part_may_be_missing() -> None:
    (part,) = filter(None, [read_result({key: PART[key] for key in PART if key != "result"})])
    assert (part.result, part.passed, part.why, part.decided, part.digest) == ("", False, "", (), "")


ANSWER = {"v": 1, "id": 1, "ok": False}


@pytest.mark.parametrize(
    "odd", [[], 5, {"id": 1}, {**ANSWER, "id": []}, {**ANSWER, "error": "no"}, {**ANSWER, "error": {"code": 5}}]
)
def test_an_answer_that_is_none_acknowledges_nothing(tmp_path: Path, odd: object) -> None:
    with TriggerSender(f"ipc://{tmp_path}/t") as sender:
        number = sender.send(1)
        sender._take(msgspec.msgpack.encode(odd))
        assert (sender.waiting, list(sender.refused)) == ([number], [])
        sender._take(msgspec.msgpack.encode({**ANSWER, "error": {"code": "refused", "text": "no", "more": 1}}))
        assert (sender.waiting, list(sender.refused)) == ([], [(1, "no; ")])
