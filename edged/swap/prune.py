"""Pruning: old versions go when there are more than `[swap] keep_versions` of them."""

from __future__ import annotations

import logging
from collections.abc import Collection

from edged.bundle.store import Store, natural
from edged.core.errors import EngineError
from edged.core.files import remove
from edged.swap.history import History

log = logging.getLogger("edged")


def prune(store: Store, name: str, history: History, keep: int, never: Collection[str]) -> list[str]:
    """Remove the oldest tried versions beyond `keep`, never one of `never`, and return them.

    What was put into the store by hand and never tried is left alone. A crash leaves a version or none, never a part
    of one. A disk that refuses is only logged: what was committed is committed.
    """
    home = store.root / name
    try:
        there = store.versions(name)
    except EngineError as error:
        log.warning("old versions of %s stay: %s", name, error)
        return []
    tried = [version for version in there if version in history.entries and version not in never]
    tried.sort(key=lambda version: (_rank(history, version), natural(version)))
    removed = []
    for version in tried[: max(0, len(tried) - keep)]:
        try:
            remove(home / version)
        except OSError as error:
            log.warning("cannot remove %s %s: %s", name, version, error.strerror)
            continue
        log.info("removed %s %s: more than %d versions", name, version, keep)
        removed.append(version)
    return removed


def _rank(history: History, version: str) -> int:
    """What never made it goes first, then the committed by age."""
    return history.order.index(version) + 1 if version in history.order else 0
