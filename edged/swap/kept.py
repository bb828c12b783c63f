"""kept: the swaps that a restart of the daemon, however it ended, does not lose: `<store>/<engine>/waiting.json`.

Written whole before it is answered that a swap was asked for, called off or begun. A job of it is proved anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edged.bundle.manifest import is_version
from edged.core.files import make_folder, read_bounded, sync, write_file
from edged.swap.job import Job

WAITING = "waiting.json"
MAX_BYTES = 1 << 20
SHA256_HEX = 64


class _Kept(msgspec.Struct, frozen=True):
    """`digest`: sha256 of SHA256SUMS as hex, "" = whatever lies there; `calm`: see `Job`."""

    id: int
    version: str
    who: str
    digest: str = ""
    contract_change: bool = False
    calm: bool = False
    token: str = ""  # of one that an edged wrote which had none


class KeptJobs:
    """One file of one daemon; `write` is for one thread at a time. `calm`: versions that the daemon cannot have died
    of while they waited, as it was when it began."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: tuple[_Kept, ...] | None = ()  # None: something else
        self.calm: frozenset[str] = frozenset()

    def read(self) -> list[Job]:
        """What was kept, in its order. Raises `OSError`, and `ValueError` for what we did not write."""
        self._written = None
        try:
            found = msgspec.json.decode(read_bounded(self._path, MAX_BYTES), type=tuple[_Kept, ...])
        except FileNotFoundError:
            found = ()
        except RecursionError as error:
            raise ValueError(str(error)) from None
        for one in found:
            if not is_version(one.version) or one.id < 1 or len(bytes.fromhex(one.digest)) * 2 not in (0, SHA256_HEX):
                raise ValueError(f"{one.version!r} is no swap that was kept")
        self._written = found
        self.calm = frozenset(one.version for one in found if one.calm)
        return [_job(one) for one in found]

    def write(self, jobs: Sequence[Job]) -> None:
        """Keep these and no others; on disk on return. Raises `OSError`."""
        kept = tuple(
            _Kept(job.id, job.version, job.who, job.digest.hex(), job.contract_change, job.calm, job.token)
            for job in jobs
        )
        if kept == self._written:
            return
        if kept:
            make_folder(self._path.parent)
            write_file(self._path, msgspec.json.encode(kept) + b"\n")
        else:
            self._path.unlink(missing_ok=True)
            sync(self._path.parent)
        self._written = kept


def _job(kept: _Kept) -> Job:
    job = Job(
        kept.id, kept.version, kept.who, digest=bytes.fromhex(kept.digest), contract_change=kept.contract_change,
        kept=True, token=kept.token or secrets.token_hex(8),
    )  # fmt: skip
    job.notes.append("kept over a restart of the daemon")
    return job
