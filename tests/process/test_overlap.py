"""A real segmenter that decodes beside its next run: each result is its own frame's, in order, under swaps too."""

from __future__ import annotations

import threading
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from rig import Daemon, Rig, rig
from swaps import QUICK
from waiting import TRIAL_S, until

from edged.bench.slow import write_slow
from edged.client import FrameSender, Kind, Message
from edged.core.clock import monotonic_ns
from edged.core.errors import EXIT_OK

__all__ = ["rig"]
NAME, SIZE, FPS = "bench-slow-masks", (48, 64), 50.0


class Blinking(threading.Thread):
    """A camera whose pictures are bright and dark by chance; `bright` is by capture."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self.bright: dict[int, bool] = {}
        self._sender = FrameSender(endpoint, "camera")
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        random = np.random.default_rng(1)
        while not self._ended.wait(1 / FPS):
            bright, stamp_ns = bool(random.random() < 0.5), monotonic_ns()
            self.bright[stamp_ns] = bright
            self._sender.send(np.full((*SIZE, 3), 255 * bright, np.uint8), stamp_ns)

    def close(self) -> None:
        self._ended.set()
        self.join()
        self._sender.close()


def is_labels(message: Message) -> bool:
    return message.kind is Kind.LABELS


def ended(daemon: Daemon, job: int) -> dict[str, Any] | None:
    """The swap, once it is over."""
    return next((one for one in daemon.status()["swap"]["past"] if one["job"] == job), None)


def test_each_result_is_its_own_frames_in_order_whatever_is_swapped(rig: Rig) -> None:
    swaps = 1
    for version in range(1, swaps + 2):
        write_slow(rig.store, NAME, 20.0 + 3 * version, str(version))
    endpoint = f"ipc://{rig.folder}/camera"
    camera = Blinking(endpoint)
    try:
        cell = {
            "loop": "clock = 'camera:camera'",
            "engine": f"name = '{NAME}'\nversion = '1'\nthreads = 1",
            "execution": "overlap = true",
            "swap": QUICK,
            "inputs": f"[cameras.camera]\nuri = 'zmq+{endpoint}#camera'\nheight = {SIZE[0]}\nwidth = {SIZE[1]}\n"
            f"fps = {FPS}\nmax_age_ms = 1000",
        }
        daemon = rig.daemon(rig.config(**cell))
        masks = daemon.listen("masks")
        masks.wait(is_labels)
        for version in range(2, swaps + 2):
            job = daemon.ask("swap", version=str(version), who="ann")["job"]
            past = until(partial(ended, daemon, job), TRIAL_S, lambda: (daemon.status()["swap"], daemon.said))
            assert past["state"] == "committed", past
        masks.wait_count(20, masks.mark())
        execution = daemon.status()["engine"]["execution"]
        assert execution["inference"] == "async"
        assert execution["overlap"]["decode_ms"] > 0
        assert "decoded beside the next run in " in rig.edged("status", daemon.name).stdout
        assert daemon.terminate() == EXIT_OK
        heard = list(masks.messages)
    finally:
        camera.close()
    assert all(later.seq == earlier.seq + 1 for earlier, later in pairwise(heard))
    results = [message for message in heard if is_labels(message)]
    assert all(later.captured_ns > earlier.captured_ns for earlier, later in pairwise(results)), "in order, each once"
    for message in results:
        labels = message.arrays["labels"]
        assert labels.min() == labels.max() == camera.bright[message.captured_ns], "of another frame"
    engines = [message.engine for message in results]
    changes = [later for earlier, later in pairwise(engines) if later != earlier]
    assert len(changes) == swaps
    assert len(set(engines)) == swaps + 1, "none comes back"
    assert "Traceback" not in daemon.said
