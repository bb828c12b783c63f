"""Files of lines that others may have written to, read a line at a time: no file takes more memory than that."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edged.core.files import TooLongError, open_regular

LONGEST = 1 << 16  # bytes of a line of ours, by far


def read_lines(path: Path, most: int = 0, longest: int = LONGEST) -> Iterator[bytes]:
    """The lines of a regular file without their ends; longer ones are passed over, they are none of ours.

    `most`: bytes that a file may have, 0 = any number. Raises `OSError`, `TooLongError` among them.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if most and size > most:
            raise TooLongError(errno.EFBIG, f"{size} bytes, at most {most} are read", str(path))
        whole = True
        while line := file.readline(longest):
            ended = line.endswith(b"\n")
            if whole and (ended or len(line) < longest):
                yield line.rstrip(b"\n")
            whole = ended
