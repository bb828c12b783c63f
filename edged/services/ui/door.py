"""Door: who may stay connected. A visitor who says nothing, or comes many times at once, keeps nobody else out."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_S = 10.0  # for the first request to be there as a whole
MOST_EACH = 24  # connections of one address; a browser uses six


class PatientProtocol(H11Protocol):
    """A connection that ends where no request comes, and at once where its address has too many.

    Connections wait for requests without end otherwise, and the server takes a bounded number of them.
    """

    _first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        connected = [one for one in self.connections if isinstance(one, PatientProtocol)]
        addresses = Counter(one.client[0] for one in connected if one.client)
        if self.client and addresses[self.client[0]] > MOST_EACH:
            transport.abort()
            return
        self._first = self.loop.call_later(FIRST_S, self._hurry)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._first is not None:
            self._first.cancel()
        super().connection_lost(exc)

    def _hurry(self) -> None:
        cycle: Any = self.cycle
        if cycle is None:
            self.transport.abort()
