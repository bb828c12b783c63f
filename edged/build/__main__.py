"""The process that builds a plan, started by `edged.planning`. It takes the leash first and imports the rest then."""

from __future__ import annotations

import threading

from edged.throwaway import settle

if __name__ == "__main__":
    stop = threading.Event()
    settle(stop.set)
    from edged.build.worker import main

    main(stop)
