"""Shared libraries with the GPU code of one compute capability: the rest is zeros, which cost nothing once compressed.

Libraries for GPUs carry their code once for each architecture. In `.nv_fatbin` there is a container for each source
file (magic 0xBA55ED50, version 1, a header of 16 bytes with the size of what follows), with an entry for each
architecture; the driver takes the entry that fits and never reads another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = struct.pack("<IHH", 0xBA55ED50, 1, 16)
CONTAINER = struct.Struct("<8sQ")
ENTRY = struct.Struct("<HHIQIIHHI")  # kind, version, header, size, compressed, -, minor, major, architecture
KINDS = (1, 2)  # PTX, machine code


@dataclass(frozen=True, slots=True)
class Entry:
    """One architecture's code: `start` and `size` in bytes, `architecture` such as 90."""

    start: int
    size: int
    architecture: int
    is_machine_code: bool


def containers(library: bytes | bytearray) -> Iterator[list[Entry]]:
    """The entries of each container in the file."""
    at = library.find(MAGIC)
    while 0 <= at <= len(library) - CONTAINER.size:
        _, size = CONTAINER.unpack_from(library, at)
        end = at + CONTAINER.size + size
        if end <= len(library) and (entries := _entries(library, at + CONTAINER.size, end)):
            yield entries
            at = library.find(MAGIC, end)
        else:  # eight bytes that only look like one
            at = library.find(MAGIC, at + 1)


def thin(library: bytearray, architecture: int) -> int:
    """Zero the code for other architectures wherever there is machine code for this one; how many bytes that were."""
    zeroed = 0
    for entries in containers(library):
        if any(entry.is_machine_code and entry.architecture == architecture for entry in entries):
            for entry in entries:
                if entry.architecture != architecture:
                    library[entry.start : entry.start + entry.size] = bytes(entry.size)
                    zeroed += entry.size
    return zeroed


def _entries(library: bytes | bytearray, at: int, end: int) -> list[Entry]:
    found = []
    while at + ENTRY.size <= end:
        kind, _, header, size, _, _, _, _, architecture = ENTRY.unpack_from(library, at)
        if kind not in KINDS or header < ENTRY.size or at + header + size > end:
            break
        found.append(Entry(at + header, size, architecture, kind == 2))
        at += header + size
    return found
