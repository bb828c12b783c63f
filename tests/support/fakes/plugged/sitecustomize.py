"""With this folder and tests/fakes on PYTHONPATH, every Python process has the pretended GPU; see cuda_driver.py.

PRETENDED_FAIL="call|text|sticky|after" fails the `after`th call of that name, in processes that run a loop.
"""

from __future__ import annotations

import os
import sys

import cuda_driver

import edged.engine.cuda
import edged.engine.device
import edged.engine.select

DEVICE = edged.engine.device.Device("pretended GPU", "9.9", 8, 1024, "0.0", False)

edged.engine.device.read_device = edged.engine.select.read_device = lambda *_: DEVICE
cuda = cuda_driver.FakeCuda()
edged.engine.cuda._opened.append(cuda)
if "run" in sys.orig_argv and (given := os.environ.get("PRETENDED_FAIL")):
    call, text, sticky, after = given.split("|")
    cuda.fail(call, text, sticky == "sticky", int(after))
