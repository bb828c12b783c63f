"""The process that builds a plan, started by `start.py`. It takes the leash first and imports the rest then."""

from __future__ import annotations

import threading

from edged.core.child import settle

if __name__ == "__main__":
    stop = threading.Event()
    settle(stop.set)
    from edged.engine.plan_build.worker import main

    main(stop)
