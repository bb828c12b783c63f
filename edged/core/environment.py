"""What a process of edged is, before anything else happens in it: no vendor telemetry, and three standard descriptors.

`import edged` calls `silence_telemetry`, so that it holds in every process, children and other people's included,
before a vendor's library can be imported. `fill_descriptors` belongs to the entry points: it is for whole processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping

OURS = "EDGED_"
OFF = {"ORT_DISABLE_TELEMETRY": "1"}
"""ONNX Runtime 1.31 else writes below ~/.cache/Microsoft at every session, and its threads call the vendor's host."""
USED_ALONE = {"CUDA_MODULE_LOADING": "LAZY"}


def silence_telemetry(environ: MutableMapping[str, str] = os.environ) -> None:
    """No library of ours may report about a robot cell to its vendor, whatever the environment sets."""
    environ.update(OFF)


def for_children(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without what configures a daemon (EDGED_...): a camera's password may be in it.

    Whatever their parent does, they load no more of CUDA's libraries than they use.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(OURS)}
    return kept | USED_ALONE


def fill_descriptors() -> None:
    """Open /dev/null as each of the descriptors 0 to 2 that is closed.

    Else the next file or socket takes that number: a lock becomes stdout, and what a library prints goes into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: those below are open by now
            assert opened == number, f"/dev/null became {opened}, not {number}"
            os.set_inheritable(number, True)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(number, mode, closefd=False))
