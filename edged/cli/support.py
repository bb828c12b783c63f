"""`edged support`: one file with what somebody who was not there has to know, and without secrets.

In it: this machine as `doctor` sees it, versions, and of each daemon its status, its config, its history and its log.
Not in it: keys, environments, pictures, engines, and of an address what could be a password (`core.redact`).
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edged import __version__
from edged.cli.doctor import doctor
from edged.cli.finding import facts
from edged.cli.history import facts as history_facts
from edged.cli.history import folders, read_history
from edged.cli.list_engines import list_engines
from edged.cli.locate import ASK_MS, locate, running
from edged.client import request
from edged.config import load_daemon, paths
from edged.config.load import read_tables
from edged.core.clock import wall_time
from edged.core.errors import EdgedError, UsageError, in_words
from edged.core.files import write_file
from edged.core.procfs import text_of
from edged.core.redact import hide, redacted, scrub

DAYS = "2d"
MOST_ENTRIES = 5000
MOST_LOG = 8 << 20
PATIENCE_S = 30.0
MACHINE = ("version", "cpuinfo", "meminfo", "mounts", "cmdline", "interrupts", "loadavg")
ADDRESSES = ("uri", "endpoint")


class Known(NamedTuple):
    """Of a daemon: its control endpoint, its TOML file, and the word by which its history is found."""

    control: str | None
    file: Path | None
    word: str


@dataclass(slots=True)
class Bundle:
    """Files by name, and why others are missing."""

    files: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)

    def add(self, name: str, value: Any) -> None:
        """A value as JSON, a text as it is; both without what could be a secret."""
        if isinstance(value, str):
            for address in self.addresses:
                value = hide(value, address)
            self.files[name] = scrub(value).encode("utf-8", "replace")
        else:
            data = msgspec.json.encode(redacted(value), enc_hook=str)
            for address in self.addresses:
                data = hide(data.decode(), address).encode()
            self.files[name] = msgspec.json.format(data, indent=1)


def collect(words: Sequence[str] = ()) -> Bundle:
    """Of the daemons that are named, else of all that run here or have a file in /etc/edged.

    Raises `EdgedError` for one of whom nothing is known: it runs nowhere, and has neither a file nor a history.
    """
    bundle = Bundle()
    daemons = _daemons(words, bundle)
    for name, known in daemons.items():  # first, so that their secrets are known for all that follows
        if known.file is not None:
            _config(name, known.file, bundle)
        else:
            bundle.missing.append(f"{name}/config.json: its file is not in {paths.SYSTEM_CONFIGS}; name the .toml")
    bundle.add("doctor.json", facts(doctor()))
    versions = sorted({f"{one.metadata['Name']} {one.version}" for one in distributions()}, key=str.lower)
    bundle.add("versions.json", {"edged": __version__, "packages": versions})
    for name in MACHINE:
        bundle.add(f"proc/{name}.txt", text_of(Path("/proc") / name))
    engines, closed = list_engines()
    bundle.add("engines.json", engines)
    bundle.missing += closed
    for name, known in daemons.items():
        _daemon(name, known, bundle)
    return bundle


def write(bundle: Bundle, path: Path) -> None:
    """Everything in one .tar.gz that only its owner may read."""
    out = io.BytesIO()
    folder = path.name.partition(".")[0]
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in {"README.txt": _readme(bundle), **bundle.files}.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(data))
    write_file(path, out.getvalue(), 0o600)


def _readme(bundle: Bundle) -> bytes:
    lines = [
        f"edged {__version__}, {wall_time()}",
        "No keys, environments or pictures; addresses without passwords.",
        "",
    ]
    lines += [*sorted(bundle.files), ""]
    lines += [f"missing: {scrub(reason)}" for reason in bundle.missing]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _daemons(words: Sequence[str], bundle: Bundle) -> dict[str, Known]:
    """What is known of each daemon, by the folder it gets."""
    found: dict[str, Known] = {}
    if not words:
        # A service first: the file is its own, should a daemon of somebody else have that name too.
        for folder in sorted(running(), key=lambda folder: folder.parent != paths.SYSTEM_RUNTIME):
            file = None if folder.name in found else _system_file(folder.name)
            name = _distinct(folder.name, found)
            found[name] = Known(f"ipc://{folder / 'control'}", file, str(file or folder))
        for file in _system_files(bundle):
            found.setdefault(file.stem, Known(None, file, str(file)))
        return found
    for word in dict.fromkeys(words):
        is_file = word.endswith(".toml")
        written = Path(word) if is_file else _system_file(word)
        name = load_daemon(Path(word)).name if is_file else word.partition("://")[2] or Path(word).resolve().name
        try:
            control: str | None = locate(word).control
        except EdgedError as error:
            if written is None and not _has_history(word):
                raise
            control = None
            bundle.missing.append(f"{word}: {error}")
        named = Known(control, written, str(written or word))
        same = next((folder for folder, known in found.items() if _is_one(known, named)), "")
        file = written or (found[same].file if same else None)
        found[same or _distinct(name.replace("/", "_"), found)] = Known(control, file, str(file or word))
    return found


def _is_one(one: Known, other: Known) -> bool:
    """Of daemons that run the socket tells, of those that do not their file, or their history where one has no file."""
    if one.control is not None or other.control is not None:
        return one.control == other.control
    if one.file is not None and other.file is not None:
        return os.path.realpath(one.file) == os.path.realpath(other.file)
    return not _traces(one).isdisjoint(_traces(other))


def _traces(known: Known) -> set[str]:
    places = [] if known.file is None else [known.file]
    with contextlib.suppress(EdgedError):
        places += folders(known.word).values()
    return {os.path.realpath(place) for place in places}


def _distinct(name: str, taken: Container[str]) -> str:
    """`name`, with a number behind it where another has it."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(one for one in numbered if one not in taken)


def _has_history(word: str) -> bool:
    """Whether there is one, or may be in a folder that is closed to us."""
    try:
        return bool(folders(word))
    except UsageError:
        return False
    except EdgedError:
        return True


def _system_file(name: str) -> Path | None:
    path = paths.SYSTEM_CONFIGS / f"{name}.toml"
    return path if os.path.isfile(path) else None  # noqa: PTH113 - which raises where the folder is closed


def _system_files(bundle: Bundle) -> Iterable[Path]:
    try:
        return sorted(paths.SYSTEM_CONFIGS.glob("*.toml"))
    except OSError as error:
        bundle.missing.append(f"{paths.SYSTEM_CONFIGS}: {error.strerror}")
        return []


def _config(name: str, file: Path, bundle: Bundle) -> None:
    """The tables alone: what stands in comments is nobody's business."""
    try:
        tables = read_tables(file)
    except EdgedError as error:
        bundle.missing.append(f"{name}/config.json: {error}")
        return
    bundle.addresses |= set(_addresses(tables))
    bundle.add(f"{name}/config.json", tables)


def _addresses(tables: Mapping[str, Any]) -> Iterator[str]:
    for value in tables.values():
        if isinstance(value, Mapping):
            yield from (str(value[key]) for key in ADDRESSES if key in value)
            yield from _addresses(value)


def _daemon(name: str, known: Known, bundle: Bundle) -> None:
    if known.control is not None:
        try:
            bundle.add(f"{name}/status.json", request(known.control, "status", timeout_ms=ASK_MS))
        except EdgedError as error:
            bundle.missing.append(f"{name}/status.json: {error}")
    try:
        entries = read_history(known.word, DAYS)[-MOST_ENTRIES:]
        bundle.add(f"{name}/history.json", history_facts(entries))
    except EdgedError as error:
        bundle.missing.append(f"{name}/history.json: {error}")
    _log(name, bundle)


def _log(name: str, bundle: Bundle) -> None:
    """What journald has of its unit, and of its recorder's."""
    if shutil.which("journalctl") is None:
        bundle.missing.append(f"{name}/log.txt: there is no journalctl; add the log of whatever starts it")
        return
    units = "-u", f"edged@{name}", "-u", f"edged-record@{name}"
    command = ["journalctl", "-q", *units, "-o", "short-iso-precise", "--since", f"-{DAYS}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        bundle.missing.append(f"{name}/log.txt: journalctl: {in_words(error)}")
        return
    if done.stdout:
        bundle.add(f"{name}/log.txt", done.stdout[-MOST_LOG:].decode(errors="replace"))
    else:
        said = done.stderr.decode(errors="replace").strip() or "journald has no lines of its unit"
        bundle.missing.append(f"{name}/log.txt: {said}")
