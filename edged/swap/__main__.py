"""python -m edged.swap JOB --report FD: the trial process. It takes the leash first and imports what is heavy then."""

from __future__ import annotations

import os
import sys

from edged.core.child import settle
from edged.core.errors import EXIT_FAILED

if __name__ == "__main__":
    settle(lambda: os._exit(EXIT_FAILED))
    from edged.swap.trial_worker import main

    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # what a strange engine left behind need not be taken down in order
