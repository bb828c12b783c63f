"""A control request: answered whatever it is, in bounds, and never as a failure of the daemon's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import msgspec
from cells import config
from fuzz import Target, in_memory, values
from hypothesis import strategies as st

from edged.bench import ENGINES
from edged.bundle.store import Store
from edged.daemon import operations
from edged.runtime.control import Operation, answer
from edged.runtime.door import LIMIT_BYTES
from edged.runtime.health import Health
from edged.swap.supply import EngineSupply

NAME = "bench-state"
OPERATIONS = ["status", "hold", "resume", "swap", "rollback", "reset", "engines", "minimum"]
LONGEST_LINE = 2000  # characters of the audit log


class _Lines(logging.Handler):
    """The audit log: one line a record."""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        assert record.exc_info is None, record.exc_text
        assert line.isprintable()
        assert len(line) < LONGEST_LINE


class _Arming:
    """Arming without a disk."""

    state = "armed"

    def hold(self, who: str, reason: str, lock: bool = False) -> None:
        self.state = f"held by {who}: {reason}"

    def resume(self, who: str) -> None:
        self.state = "armed"

    def wait_published(self, seconds: float) -> bool:
        return True


@lru_cache(maxsize=1)
def _operations() -> Mapping[str, Operation]:
    """Those of a daemon: what they ask for goes to a queue that nobody works on."""
    folder = in_memory("fuzz-control")
    store = Store(folder, ENGINES)
    places = {"name": "cell", "store": folder, "cache": folder, "runtime": folder}
    cell = config(daemon=places, engine={"name": NAME}, swap={"incoming": False})
    motion: Any = SimpleNamespace(arming=_Arming(), ask_to_forget=lambda: None)
    nobody: Any = SimpleNamespace(running=None)
    notifier: Any = SimpleNamespace(emit=None, warn=None)
    supply = EngineSupply(cell, store, nobody, motion, nobody, notifier)
    return operations(cell, motion, Health(), supply.operations)


def check(data: bytes) -> None:
    """Ask."""
    offered, log, lines = _operations(), logging.getLogger("edged.audit"), _Lines()
    before, log.propagate = (log.level, log.propagate), False
    log.setLevel(logging.INFO)
    log.addHandler(lines)
    try:
        reply = msgspec.msgpack.decode(raw := answer(data, offered))
    finally:  # other tests have a log of their own
        log.removeHandler(lines)
        log.setLevel(before[0])
        log.propagate = before[1]
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
        "op": st.sampled_from(["status", "hold", "swap", "rollback", "reset", "engines", "minimum"])
        | st.text(max_size=3),
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
    _ask("minimum", version="1"),
)
TARGET = Target("control", check, SEEDS, _NEARLY)
