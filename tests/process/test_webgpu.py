"""Engines on ONNX Runtime's plug-in for WebGPU, on Vulkan in software: the whole way of a plug-in, on any machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import segment_golden, segment_model, segment_recipe
from processes import Listener, holds
from rig import Daemon, Rig, rig
from software_gpu import gpu_to_lose, software_gpu
from swaps import QUICK
from waiting import TRIAL_S, until

from edged.bundle.manifest import Precision
from edged.bundle.store import shipped_store
from edged.client import FrameSender, Kind
from edged.core.errors import EXIT_FAILED, EXIT_OK
from edged.core.types import Reason
from edged.pack import pack

__all__ = ["rig"]
SIZE = (24, 32)


def verified(environ: dict[str, str], engine: str, cache: Path) -> tuple[int, dict[str, str]]:
    argv = [sys.executable, "-m", "edged", "verify", str(shipped_store() / engine), "--backend", "webgpu", "--json"]
    argv += ["--cache", str(cache)]
    done = subprocess.run(argv, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["checks"][-1]


def test_a_segmenter_gives_its_golden_samples(tmp_path: Path) -> None:
    code, row = verified(software_gpu(), "plate/1", tmp_path / "cache")
    assert (code, row["check"], row["result"]) == (0, "golden webgpu", "ok"), row
    assert not (tmp_path / "cache").exists()  # it keeps nothing of what it compiles


def test_a_policy_is_refused(tmp_path: Path) -> None:
    code, row = verified(software_gpu(), "reach/2", tmp_path)
    assert (code, row["detail"]) == (3, "webgpu runs no policy: its shaders may make a command of what is no number")


def test_without_a_vulkan_driver_the_cause_is_named(tmp_path: Path) -> None:
    """And not what the CPU says when ONNX Runtime tries that instead."""
    code, row = verified(software_gpu(tmp_path / "nothing.json"), "plate/1", tmp_path)
    assert (code, row["result"]) == (1, "failed")
    assert row["detail"].startswith("webgpu on Vulkan does not work here: Failed to get a WebGPU adapter")
    assert "/onnxruntime_src" not in row["detail"]
    assert row["remedy"].startswith("it needs a PCI GPU, its Vulkan driver and Vulkan's loader (libvulkan1)")


def test_without_a_device_that_is_said(tmp_path: Path) -> None:
    environ = software_gpu()
    del environ["ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"]
    code, row = verified(environ, "plate/1", tmp_path)
    if row["result"] == "ok":
        pytest.skip("this machine has a GPU")
    assert (code, row["detail"]) == (1, "webgpu offers no device here; offered: none")


def small(folder: Path, version: str = "1", precision: Precision = "fp32", model: bytes | None = None) -> Path:
    """A small segmenter, in the store `folder`."""
    recipe = segment_recipe(SIZE, 2, version=version, precision=precision)
    return pack(model or segment_model(size=SIZE, shrink=2), recipe, segment_golden(size=SIZE), folder).path


def test_nodes_that_it_leaves_to_the_cpu_are_named(tmp_path: Path) -> None:
    code, row = verified(software_gpu(), str(small(tmp_path, model=dull())), tmp_path)
    assert code == 3, row
    assert "webgpu on Vulkan leaves a part of the graph to the CPU: Shrink dull" in row["detail"]


def test_what_the_rest_of_the_graph_cannot_do_either_is_no_traceback(tmp_path: Path) -> None:
    """Half precision, which SwiftShader has not, shows only when nobody refuses the graph for the CPU's part."""
    code, row = verified(software_gpu(), str(small(tmp_path, precision="fp16", model=dull())), tmp_path)
    assert code == 3, row
    assert row["detail"].endswith("leaves a part of the graph to the CPU")


def dull() -> bytes:
    """A segmenter with a node that no shader has."""
    model = onnx.load_from_string(segment_model(size=SIZE, shrink=2))
    model.graph.node[-1].output[0] = "sharp"
    model.graph.node.append(onnx.helper.make_node("Shrink", ["sharp"], ["labels"], name="dull", lambd=0.0))
    return bytes(model.SerializeToString())


@contextmanager
def filmed(rig: Rig) -> Iterator[str]:
    """The inputs of a daemon whose camera sends noise."""
    ended, endpoint = threading.Event(), f"ipc://{rig.folder}/line"

    def send() -> None:
        random = np.random.default_rng(1)
        with FrameSender(endpoint, "line") as sender:
            while not ended.wait(0.1):
                sender.send(random.integers(0, 256, (*SIZE, 3), np.uint8))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        size = f"height = {SIZE[0]}\nwidth = {SIZE[1]}"
        yield f"[cameras.line]\nuri = 'zmq+{endpoint}#line'\n{size}\nfps = 10\nmax_age_ms = 5000"
    finally:
        ended.set()
        thread.join()


def started(rig: Rig, inputs: str, environ: dict[str, str]) -> tuple[Daemon, Listener]:
    small(rig.store)
    engine = "name = 'plate'\nversion = '1'\nbackend = 'webgpu'"
    config = rig.config(loop="clock = 'camera:line'", engine=engine, swap=QUICK, inputs=inputs)
    daemon = rig.daemon(config, **environ)
    masks = daemon.listen("masks")
    masks.wait(lambda message: message.kind is Kind.LABELS)
    return daemon, masks


def test_a_daemon_runs_on_it_and_swaps(rig: Rig) -> None:
    with filmed(rig) as inputs:
        daemon, masks = started(rig, inputs, software_gpu())
        engine = daemon.status()["engine"]
        assert engine["backend"] == "webgpu"
        assert engine["about"]["plug-in"] == "onnxruntime-ep-webgpu 0.4.0"
        assert engine["about"]["device"].startswith("Vulkan: ")
        small(rig.store, "2")
        for version in ("2", "1"):  # the one before is still resident
            job = daemon.ask("swap", version=version, who="test")["job"]
            past = until(partial(ended, daemon, job), TRIAL_S, lambda: (daemon.status()["swap"], daemon.said))
            assert past["state"] == "committed", past
        masks.wait_count(5, masks.mark())
        assert daemon.terminate() == EXIT_OK
    assert "Traceback" not in daemon.said
    assert "EP Error" not in daemon.said


def ended(daemon: Daemon, job: int) -> dict[str, Any] | None:
    """The swap, once it is over."""
    return next((one for one in daemon.status()["swap"]["past"] if one["job"] == job), None)


def test_a_lost_device_ends_the_daemon(rig: Rig, tmp_path: Path) -> None:
    """systemd starts it again; one that held for ever would wait for somebody who does."""
    environ, trouble = gpu_to_lose(tmp_path)
    with filmed(rig) as inputs:
        daemon, masks = started(rig, inputs, environ)
        trouble.touch()
        masks.wait(holds(Reason.STOPPING))
        assert daemon.exit_code() == EXIT_FAILED
    assert "critical: webgpu has lost its device: Failed to download data from buffer" in daemon.said
    assert "re-pack" not in daemon.said
    assert "/onnxruntime_src" not in daemon.said
