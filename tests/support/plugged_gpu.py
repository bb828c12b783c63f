"""A daemon process on a pretended GPU (not run on a GPU): what its environment and config say."""

from __future__ import annotations

import os
import subprocess
import sys

from gpus import FAKES
from rig import Rig

PLUGGED = {"PYTHONPATH": os.pathsep.join((str(FAKES / "plugged"), str(FAKES)))}

ON_TENSORRT = "name = 'bench-state'\nbackend = 'tensorrt'"


def build(rig: Rig) -> None:
    argv = [sys.executable, "-m", "edged", "build", "bench-state", "--store", str(rig.store)]
    argv += ["--cache", str(rig.folder / "cache")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **PLUGGED})
    assert done.returncode == 0, done.stderr
