"""A recording as a tape."""

from __future__ import annotations

from pathlib import Path

from edged.core.errors import EdgedError, WireError
from edged.services.record.file import WIRE, read
from edged.services.record.shown import PICTURE, read_picture
from edged.services.replay.tape import Tape
from edged.wire import decode


def read_tape(path: Path) -> Tape:
    """The trace, the verdicts and the pictures of a recording. Raises `EdgedError` where there is no trace."""
    tape = Tape()
    for entry in read(path):
        if entry.encoding == WIRE:
            try:
                tape.add(decode(entry.data))
            except WireError as error:
                raise EdgedError(f"{path} holds a message that cannot be read: {error}", "record it anew") from None
        elif entry.schema == PICTURE and entry.topic.endswith("/image"):
            try:
                camera, pixels = read_picture(entry.data)
            except ValueError as error:
                fact = f"{path} holds a picture that none of our recorders wrote: {error}"
                raise EdgedError(fact, "give a file that it wrote") from None
            tape.add_picture(camera, entry.sequence, pixels)
    if not tape.ticks:
        fact = f"{path} holds no trace: nothing of it can be replayed"
        raise EdgedError(fact, "record it with 'edged record DAEMON'")
    return tape
