"""Zip files whose entries are stored, never compressed: what a `.edged` file and golden.npz are.

Stored entries cannot be bombs, and a writer that fixes the timestamps gives the same bytes for the same members.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import IO

from edged.core.errors import RefusedError, in_words

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
END_BYTES = 22  # of the end-of-central-directory record, without a comment
ZIP64_BYTES = 56 + 20  # its two records before that one
MAX_END = (1 << 16) + END_BYTES + ZIP64_BYTES  # a comment has at most 65 535 bytes
MAX_MEMBERS = 4096
MAX_DIRECTORY = MAX_MEMBERS * 300
REMEDY = "make it with 'edged pack MODEL', or as a zip without compression (zip -0)"


def write_stored_zip(members: Mapping[str, bytes]) -> bytes:
    """The bytes of a zip with these members, sorted by name, without clocks or modes of this machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, whoever writes
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def read_stored_zip(data: bytes, where: str) -> dict[str, bytes]:
    """Every member of a stored zip; `RefusedError` for anything that is not exactly that.

    Nothing is extracted to disk and names are plain words, so `..`, absolute paths and links mean nothing here.
    """
    try:
        check_directory(io.BytesIO(data), where)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_MEMBERS:
                raise RefusedError(f"{where}: {len(infos)} entries, at most {MAX_MEMBERS} are read", REMEDY)
            end = data[len(data) - END_BYTES - len(archive.comment) :]  # zipfile does not compare its count
            if int.from_bytes(end[10:12], "little") != len(infos):
                raise RefusedError(f"{where}: {len(infos)} entries are there, its directory promises others", REMEDY)
            names = [info.filename for info in infos]
            if len(set(names)) != len(names):
                raise RefusedError(f"{where}: an entry is there twice", REMEDY)
            for info in infos:
                check_member(info, where)
            if (total := sum(info.file_size for info in infos)) > len(data):
                raise RefusedError(f"{where}: its entries claim {total} bytes, the file has {len(data)}", REMEDY)
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError, OSError) as error:
        raise RefusedError(f"{where}: not a readable zip file ({in_words(error)})", REMEDY) from None


def check_directory(file: IO[bytes], where: str) -> None:
    """Refuse a table of contents that would take long to read: zipfile reads all of it before anything can be asked."""
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - MAX_END))
    tail = file.read()
    file.seek(0)
    if (at := tail.rfind(b"PK\x05\x06")) < 0:
        return  # zipfile reports that it is none
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[at - 20 : at - 16] == b"PK\x06\x07" and at >= ZIP64_BYTES:
        size = int.from_bytes(tail[at - ZIP64_BYTES + 40 : at - ZIP64_BYTES + 48], "little")
    if size > MAX_DIRECTORY:
        raise RefusedError(f"{where}: its table of contents has {size} bytes, at most {MAX_DIRECTORY} are read", REMEDY)


def check_member(info: zipfile.ZipInfo, where: str) -> None:
    """Refuse an entry that is not a stored, regular file: nothing of it has to be expanded to know."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise RefusedError(f"{where}: entry {info.filename!r} is compressed", REMEDY)
    kind = info.external_attr >> 28
    # ZipInfo.is_dir() fails on an empty name
    if info.filename[-1:] in ("", "/") or kind not in (0, 0o10):  # 0o10 = S_IFREG >> 12; 0 = written without a mode
        raise RefusedError(f"{where}: entry {info.filename!r} is not a regular file", REMEDY)
