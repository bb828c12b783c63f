"""A version's number is used once: what was committed under it here is what it means.

A key that signed two contents with one number, a bad one and a better one, makes both of them good for ever; the
minimum compares numbers alone. So where signatures are required, the journal decides which of the two it is.
"""

from __future__ import annotations

from edged.bundle.bundle import Bundle
from edged.bundle.store import Store
from edged.core.errors import RefusedError


def committed_identity(store: Store, name: str, version: str) -> str:
    """What was committed last under this version, as the hex of its identity; "" = nothing, or nobody wrote it."""
    found = ""
    for line in store.journal(name):
        if line.get("version") == version and line.get("state") == "committed" and line.get("engine"):
            found = str(line["engine"])
    return found


def refuse_replayed(store: Store, bundle: Bundle) -> None:
    """Raise `RefusedError` where this version was committed with other content; `EngineError` without a journal."""
    known, given = committed_identity(store, bundle.name, bundle.version), bundle.identity.hex()
    if known and known != given:
        fact = f"{bundle.name} {bundle.version} is not what was committed here under that number ({given}, not {known})"
        raise RefusedError(fact, "pack it under a number that was not used yet")
