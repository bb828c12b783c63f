"""The masks of several cameras: on `masks` together, and on `masks-<camera>` each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edged.runtime.publish import Outlet
from edged.wire.topic import readdressed


class SplitOutlet(Outlet):
    """`camera`: whose the next message is, "" = everybody's; it is asked for anew each time."""

    camera = ""

    def __init__(self, parts: Mapping[str, Outlet], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._parts = parts

    def send(self, data: bytes) -> None:
        super().send(data)
        camera, self.camera = self.camera, ""
        for name, part in self._parts.items():
            if camera in ("", name):
                part.send(readdressed(data, part.topic, part.seq + 1))
                part.tend()
