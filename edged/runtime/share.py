"""share: a daemon's camera frames in shared memory, for the page, a recorder and other daemons. A thread per camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from edged.config import CameraConfig, Config
from edged.core.clock import NS_PER_S
from edged.core.duty import Duties, Duty
from edged.core.errors import EdgedError
from edged.core.pixels import seen_as
from edged.runtime.health import Health
from edged.source.mailbox import Mailbox
from edged.wire.shm_writer import RingWriter

PATIENCE_NS = NS_PER_S // 4
RETRY_S = 0.5


class FrameSharer(Duty):
    """Puts the newest frames of one mailbox into the ring that `share` names, while nobody else writes it.

    Where that cannot be, the daemon goes on without: it is a warning in its status, and tried again.
    """

    def __init__(
        self, camera: str, config: CameraConfig, mailbox: Mailbox, warn: Callable[[str], None],
        withdraw: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__(f"share:{camera}")
        self._camera, self._config, self._mailbox = camera, config, mailbox
        self._warn, self._withdraw = warn, withdraw
        self._seq = 0

    def work(self) -> None:
        said, config = "", self._config
        while not self.stopping.is_set():
            try:
                ring = RingWriter(config.share, config.height, config.width, pixels=seen_as(config.format))
            except EdgedError as error:
                if said != (text := f"camera {self._camera} is not shared: {error}"):
                    self._withdraw(said)
                    self._warn(text)
                    said = text
                self.stopping.wait(RETRY_S)
                continue
            self._withdraw(said)
            said = ""
            with ring:
                self._fill(ring)

    def _fill(self, ring: RingWriter) -> None:
        """Until the end, or the file is not ours any more: somebody removed it, or has another in its place."""
        while not self.stopping.is_set() and not ring.is_lost:
            frame = self._mailbox.wait_newer(self._seq, PATIENCE_NS)
            if frame is not None:
                self._seq = frame.seq
                if not frame.flaw:  # a ring has no words for it; its readers find nothing newer
                    ring.write(frame.image, frame.captured_ns)


def start_shared(
    config: Config, mailboxes: Mapping[str, Mailbox], health: Health, duties: Duties, stack: ExitStack
) -> None:
    """A thread for each camera whose frames are to be shared; they end with `stack`."""
    for name, camera in config.cameras.items():
        if camera.share:
            duties.start(FrameSharer(name, camera, mailboxes[name], health.warn, health.withdraw), stack)
