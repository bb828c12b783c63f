"""share: read one camera for ever, and put each new frame into the ring.

Stamps are those that a daemon would have given: whoever reads the ring gets the frames as if the camera were its own.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from edged.config.cameras import Shared, load_cameras
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EXIT_OK, UsageError
from edged.core.pixels import seen_as
from edged.core.signals import told_to_end
from edged.runtime.logs import logged
from edged.runtime.systemd import READY, STOPPING, WATCHDOG, notify, status, watchdog_period
from edged.source.camera import CameraThread
from edged.wire.shm_writer import RingWriter

log = logging.getLogger(__name__)
LOOK_NS = NS_PER_S // 4


def run_camera(path: Path, name: str = "", shared_as: str = "") -> int:
    """Share the camera `name` of the config at `path` (the only one, if it is empty) until SIGTERM or SIGINT.

    `shared_as`: the name in `shm:<name>`, the camera's unless given. Raises `ConfigError`, `UsageError` for a name that
    is not there, and `EdgedError` while another process shares frames under that name.
    """
    shared = load_cameras(path)
    if name not in shared.cameras and (name or len(shared.cameras) > 1):
        fact = f"{path} has no camera {name!r}" if name else f"{path} has {len(shared.cameras)} cameras"
        raise UsageError(fact, f"name one of {', '.join(sorted(shared.cameras))}")
    name = name or next(iter(shared.cameras))
    ended = told_to_end()
    with logged():
        _share(shared, name, shared_as or shared.cameras[name].share or name, ended)
    return EXIT_OK


def _share(shared: Shared, name: str, shared_as: str, ended: threading.Event) -> None:
    config = shared.cameras[name]
    pixels, slots = seen_as(config.format), shared.share.slots
    camera = CameraThread(name, config)
    ring = RingWriter(shared_as, config.height, config.width, slots, pixels=pixels)
    frames = 0
    try:
        camera.start()
        log.info("%s is shared as shm:%s, %d slots", name, shared_as, slots)
        while not ended.is_set():
            _fill(camera, ring, ended)
            frames += ring.seq
            if not ended.is_set():
                log.warning("%s was removed or replaced; %s is shared anew", ring.path, name)
                ring.close()
                ring = RingWriter(shared_as, config.height, config.width, slots, pixels=pixels)
    finally:
        notify(STOPPING)
        camera.close()
        ring.close()
    log.info("%s ended after %d frames", name, frames)


def _fill(camera: CameraThread, ring: RingWriter, ended: threading.Event) -> None:
    """Until the end, or the file is not ours any more."""
    state, seq, is_ready = "", 0, False
    watchdog_s = watchdog_period()
    fed_ns = monotonic_ns()
    while not ended.is_set() and not ring.is_lost:
        frame = camera.mailbox.wait_newer(seq, LOOK_NS)
        if frame is not None:
            seq = frame.seq
            if not frame.flaw:  # a ring has no words for it; its readers find nothing newer
                ring.write(frame.image, frame.captured_ns)
            if not is_ready:
                is_ready = notify(READY) or True
        if (said := camera.stats()["state"]) != state:
            state = said
            notify(status(state))
            log.info("%s: %s", camera.name.partition(":")[2], state)
        # Fed whether or not the camera is there: a restart of ours brings none back.
        if watchdog_s is not None and monotonic_ns() - fed_ns > watchdog_s * NS_PER_S / 2 and camera.is_alive():
            fed_ns = monotonic_ns()
            notify(WATCHDOG)
