"""Every version in the stores of this machine, without asking a daemon what it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edged.bundle.minimum import read_minimum
from edged.bundle.store import Store
from edged.cli.stores import homes
from edged.config import default_store
from edged.swap.history import History
from edged.swap.listing import list_versions


def list_engines(name: str = "", root: Path | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """As `list_versions`, with `store`: engine `name` or all, of the store `root` or of all there are. And a line for
    each that may not be looked into.

    What comes with edged is listed once, beside the first store that does not have it.
    """
    known, closed = homes() if root is None else ([], [])
    roots = [home.store for home in known] or [root or default_store()]
    listed: list[dict[str, Any]] = []
    for number, place in enumerate(roots):
        store = Store(place) if number == 0 else Store(place, place)
        for engine in [name] if name else store.names():
            history = History(store, engine)
            history.read()
            listed += [
                {**entry, "store": str(place)}
                for entry in list_versions(store, engine, history, minimum=read_minimum(place, engine))
            ]
    return listed, [f"{fact}; {remedy}" for fact, remedy in closed]
