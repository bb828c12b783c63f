"""An engine's journal, torn, edited or of another program: a history that can be listed, gone back through and added
to, and no exception at all."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from fuzz import Target, in_memory, values
from hypothesis import strategies as st

from edged.bench import ENGINES
from edged.bundle.store import JOURNAL, Store
from edged.swap.history import History
from edged.swap.job import ENDS, ORDER, Job
from edged.swap.listing import list_versions
from edged.wire.bounded import bounded

NAME = "bench-state"


@lru_cache(maxsize=1)
def _store() -> Store:
    store = Store(in_memory("fuzz-journal"), ENGINES)
    store.adopt(NAME)
    return store


def check(data: bytes) -> None:
    """Read it as a daemon that starts does, and go on."""
    journal = _store().root / NAME / JOURNAL
    journal.write_bytes(data)
    history = History(_store(), NAME)
    history.read()
    interrupted = history.mark_interrupted()
    assert all(history.entries[version].state == "interrupted" for version in interrupted)
    rows = list_versions(_store(), NAME, history, "1")
    assert rows[0]["version"] == "1"
    msgspec.msgpack.encode(bounded(rows))
    history.previous("1")
    history.settle("1", "aa")
    history.add(Job(1, "1", "anna"), "committed", engine="bb")
    again = History(_store(), NAME)
    again.read()
    assert again.committed("1", "bb")
    assert again.entry("1").attempts == history.entry("1").attempts


_STATES = [*ORDER, *sorted(ENDS), "reset"]
_LINE = st.fixed_dictionaries(
    {},
    optional={
        "time": st.just("2026-01-02T03:04:05Z") | values(2),
        "who": st.text(max_size=5) | values(2),
        "version": st.sampled_from(["1", "2", "10", "../1", ""]) | values(2),
        "state": st.sampled_from(_STATES) | values(2),
        "reason": st.text(max_size=9) | values(3),
        "attempt": st.integers(-3, 1 << 60) | values(2),
        "engine": st.just("00112233aabbccdd") | values(2),
        "back": st.booleans() | values(2),
    },
)
_NEARLY = st.lists((_LINE | values(4)).map(msgspec.json.encode) | st.binary(max_size=12), max_size=8).map(b"\n".join)


def _lines() -> bytes:
    base = {"time": "2026-01-02T03:04:05Z", "who": "anna", "reason": "", "attempt": 1, "engine": "00112233aabbccdd"}
    states = ("queued", "loaded", "shadow", "swapped", "probation", "committed")
    lines = [{**base, "version": version, "state": state} for version in ("1", "2") for state in states]
    lines += [{**base, "version": "1", "state": "committed", "back": True}]
    return b"\n".join(map(msgspec.json.encode, lines)) + b"\n"


SEEDS = (_lines(), b"")
TARGET = Target("journal", check, SEEDS, _NEARLY, mutants=5)
