"""A control request: answered whatever it is, in bounds, and never as a failure of the daemon's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from fuzz import Target, in_memory, values
from hypothesis import strategies as st

from edged.bench import ENGINES
from edged.bundle.store import Store
from edged.runtime.control import LIMIT_BYTES, Operation, answer
from edged.swap.history import History
from edged.swap.job_queue import JobQueue
from edged.swap.operations import Operations

NAME = "bench-state"
LONGEST_LINE = 2000  # characters of the audit log


class _Lines(logging.Handler):
    """The audit log: one line a record."""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        assert record.exc_info is None, record.exc_text
        assert line.isprintable()
        assert len(line) < LONGEST_LINE


@lru_cache(maxsize=1)
def _operations() -> Mapping[str, Operation]:
    """Those of a daemon: the ones about engines are real, over a store that is read alone."""
    log = logging.getLogger("edged.audit")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(_Lines())
    store = Store(in_memory("fuzz-control"), ENGINES)
    history = History(store, NAME)
    slot = SimpleNamespace(running=None)
    motion = SimpleNamespace(ask_to_forget=lambda: None)
    config = SimpleNamespace(engine=SimpleNamespace(name=NAME), daemon=SimpleNamespace(name="cell"))
    jobs = JobQueue()
    swaps = Operations(cast("Any", config), store, cast("Any", slot), cast("Any", motion), history, jobs)
    return {
        "status": Operation(lambda args: {"state": "ok"}),
        "hold": Operation(
            lambda args: {"who": str(args.get("who", "")), "reason": str(args.get("reason", ""))},
            mutates=True, args=frozenset({"reason"}),
        ),
        "swap": Operation(swaps.swap, mutates=True, args=frozenset({"name", "version", "allow_contract_change"})),
        "rollback": Operation(swaps.rollback, mutates=True),
        "reset": Operation(swaps.reset, mutates=True, args=frozenset({"version"})),
        "engines": Operation(swaps.engines),
    }  # fmt: skip


def check(data: bytes) -> None:
    """Ask."""
    reply = msgspec.msgpack.decode(raw := answer(data, _operations()))
    assert len(raw) < 2 * LIMIT_BYTES
    assert reply["v"] == 1
    if not reply["ok"]:
        error = reply["error"]
        assert error["code"] != "internal", error
        assert error["text"]
        assert len(error["text"]) < LONGEST_LINE


_ARGS = st.dictionaries(
    st.sampled_from(["who", "reason", "name", "version", "allow_contract_change"]) | st.text(max_size=3),
    values(),
    max_size=4,
)
_NEARLY = st.fixed_dictionaries(
    {
        "v": st.just(1) | values(1),
        "id": st.integers(0, 9) | values(1),
        "op": st.sampled_from(["status", "hold", "swap", "rollback", "reset", "engines"]) | st.text(max_size=3),
    },
    optional={"args": _ARGS | values(4), "more": values(1)},
).map(msgspec.msgpack.encode)


def _ask(op: str, **args: object) -> bytes:
    return msgspec.msgpack.encode({"v": 1, "id": "a", "op": op, "args": args})


SEEDS = (
    _ask("status"),
    _ask("hold", who="anna", reason="a jam"),
    _ask("swap", version="1", name=NAME, allow_contract_change=True),
    _ask("swap", version="2"),
    _ask("rollback", who="anna"),
    _ask("reset"),
    _ask("reset", version="1"),
    _ask("engines"),
)
TARGET = Target("control", check, SEEDS, _NEARLY)
