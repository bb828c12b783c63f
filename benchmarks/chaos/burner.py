"""Takes so many processors, in slices of 10 ms: `python burner.py SHARE`."""

from __future__ import annotations

import os
import sys
import time

SLICE_S = 0.01


def burn(share: float) -> None:
    while True:
        until_s = time.monotonic() + SLICE_S * share
        while time.monotonic() < until_s:
            pass
        time.sleep(SLICE_S * (1 - share))


if __name__ == "__main__":
    wanted = float(sys.argv[1])
    while wanted > 1:  # a process takes one at most
        wanted -= 1
        if os.fork() == 0:
            burn(0.98)
    burn(min(wanted, 0.98))
