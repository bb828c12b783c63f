"""One item of a thread's work: what goes wrong with it is logged with the item, and the thread goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edged.core.errors import MachineryError

log = logging.getLogger("edged")


class Supervised:
    """Runs the items of one thread. A state is a line, not one per item: only another error is logged again."""

    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._said = ""
        self.failures = 0

    def item(self, what: str, work: Callable[[], None]) -> bool:
        """Do `work`; False when it failed. `MachineryError` goes on to the caller: it has to end the process."""
        try:
            work()
        except MachineryError:
            raise
        except Exception as error:
            self.failures += 1
            if (said := f"{what}: {type(error).__name__}: {error}") != self._said:
                self._said = said
                log.exception("%s goes on, but %s failed", self._thread, what)
            return False
        return True
