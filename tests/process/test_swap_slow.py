"""Swaps of engines that run beside the ticks: slow ones, and one that never comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rig import Daemon, Rig, camera_toml, rig
from slow_cells import hanging, hanging_segmenter, is_action, policy_cell
from waiting import TRIAL_S, until

from edged.bench.slow import write_slow
from edged.client import FrameSender
from edged.core.types import Reason
from edged.wire import Kind

__all__ = ["rig"]

QUICK = "shadow_samples = 5\nprobation_predictions = 5\nprobation_seconds = 0.2\nincoming = false"


def swapped(daemon: Daemon, version: str) -> dict[str, Any]:
    """How the swap ended."""
    job = daemon.ask("swap", version=version, who="test")["job"]

    def ended() -> dict[str, Any] | None:
        return next((one for one in daemon.status()["swap"]["past"] if one["job"] == job), None)

    found: dict[str, Any] = until(ended, TRIAL_S, lambda: daemon.status()["swap"])
    return found


def test_a_swap_takes_the_slot_from_a_run_that_hangs(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15), rate_hz=200.0)
    cell = hanging(rig)
    write_slow(rig.store, "bench-slow", 20, "2")
    (rig.store / "bench-slow" / "current").symlink_to("1")
    daemon = rig.daemon(rig.config(**{**cell, "swap": QUICK}))
    actions = daemon.listen()
    actions.wait(is_action)
    feed.values = np.r_[np.zeros(14), 1e9]
    late = actions.wait(lambda message: message.reason == Reason.LATE, actions.mark())
    mark = actions.mark()
    done = swapped(daemon, "2")
    assert done["state"] == "committed", done
    heard = actions.since(mark)
    engines = [message.engine for message in heard if is_action(message)]
    assert engines, "the new engine commands"
    assert set(engines) != {late.engine}
    assert not [m.header["detail"] for m in heard if m.stop], "nothing was stopped for it"
    skipped = sum(message.header["skipped"] for message in heard)
    assert skipped < len(heard), "supervision went on beside a run that has not come back"
    assert daemon.status()["engine"]["version"] == "2"
    assert daemon.terminate() == 0
    assert actions.messages[-1].reason == Reason.STOPPING


@contextmanager
def filmed(rig: Rig, image: np.ndarray[Any, Any], fps: float) -> Iterator[None]:
    """`image` as it is now, from the camera `camera_toml` names."""
    ended = threading.Event()

    def send() -> None:
        with FrameSender(f"ipc://{rig.folder}/camera", "camera") as sender:
            while not ended.wait(1 / fps):
                sender.send(image.copy())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_swap_takes_the_slot_from_a_segmenter_that_hangs(rig: Rig) -> None:
    cell = hanging_segmenter(rig, fps=25)
    write_slow(rig.store, "bench-slow-masks", 20, "2")
    (rig.store / "bench-slow-masks" / "current").symlink_to("1")
    image = np.zeros((48, 64, 3), np.uint8)
    with filmed(rig, image, 25):
        daemon = rig.daemon(rig.config(**{**cell, "swap": QUICK}))
        masks = daemon.listen("masks")
        masks.wait(lambda message: message.kind is Kind.LABELS)
        image[...] = 255
        late = masks.wait(lambda message: message.reason == Reason.LATE, masks.mark())
        assert "no result yet: inference has been running for" in late.header["detail"]
        mark = masks.mark()
        done = swapped(daemon, "2")
        assert done["state"] == "committed", done
        masks.wait_count(5, masks.mark())
        heard = masks.since(mark)
        results = [message for message in heard if message.kind is Kind.LABELS]
        assert results, "the new engine looks at the picture that the old one hangs on"
        assert late.engine not in {message.engine for message in results}
        ours = (0, Reason.LATE, Reason.STALE)  # its camera is a thread of this process, late itself on a busy machine
        assert not [m.header["detail"] for m in heard if m.reason not in ours]
        assert daemon.status()["engine"]["version"] == "2"
        assert daemon.terminate() == 0


def test_a_swap_between_slow_policies_leaves_no_gap(rig: Rig) -> None:
    rig.feed("state", np.zeros(15), rate_hz=200.0)
    cell = policy_cell(rig, 25, 50.0, swap=QUICK)
    write_slow(rig.store, "bench-slow", 35, "2")
    (rig.store / "bench-slow" / "current").symlink_to("1")
    daemon = rig.daemon(rig.config(**cell))
    actions = daemon.listen()
    actions.wait(is_action)
    mark = actions.mark()
    done = swapped(daemon, "2")
    assert done["state"] == "committed", done
    assert daemon.status()["engine"]["version"] == "2"
    heard = [message for message in actions.since(mark) if message.kind in (Kind.ACTION, Kind.HOLD)]
    held = [message for message in heard if message.reason not in (0, Reason.LATE)]
    assert not held, held
    engines = [message.engine for message in heard if is_action(message)]
    change = engines.index(engines[-1])
    assert set(engines[:change]) == {engines[0]}
    assert set(engines[change:]) == {engines[-1]} != {engines[0]}, "the old plan speaks until the new engine has one"
    assert {message.header["motion"] for message in heard} == {1}
    assert daemon.ask("rollback", who="test")["version"] == "1"
    daemon.wait_status(lambda status: status["engine"]["version"] == "1" and status["swap"]["active"] is None)


def test_a_swap_from_a_quick_segmenter_to_a_slow_one_and_back(rig: Rig) -> None:
    write_slow(rig.store, "bench-slow-masks", 0)
    write_slow(rig.store, "bench-slow-masks", 80, "2")
    (rig.store / "bench-slow-masks" / "current").symlink_to("1")
    cell = {
        "loop": "clock = 'camera:camera'",
        "engine": "name = 'bench-slow-masks'\nthreads = 1",
        "bus": "",
        "swap": QUICK,
        "inputs": camera_toml(rig, fps=10, max_age_ms=400),
    }
    rig.camera(fps=10.0)
    daemon = rig.daemon(rig.config(**cell))
    masks = daemon.listen("masks")
    masks.wait(lambda message: message.kind is Kind.LABELS)
    for version in ("2", "1"):
        done = swapped(daemon, version)
        assert done["state"] == "committed", done
        mark = masks.mark()
        masks.wait(lambda message: message.kind is Kind.LABELS, mark)
    ticks = [message.header["tick"] for message in masks.messages]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks))), "one count through both clocks"
