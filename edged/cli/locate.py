"""Locate: the daemon that a person means. Every command that addresses one takes the same words, by way of here.

A word is a name (of a daemon; where none has it, of the engine that one runs), a TOML file, a runtime folder, or an
endpoint such as `tcp://host:5600`. By name and file a service of systemd is found like a daemon of this user's own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.client import CurveKeys, RequestError, request
from edged.client.reach import no_right, reach
from edged.config import load_daemon, runtime_roots, unit_environ
from edged.core.errors import EdgedError, UsageError
from edged.core.spelling import did_you_mean

WORDS = "give its name, its TOML file, its runtime folder or tcp://HOST:PORT"
ASK_MS = 1000.0  # for what only helps to find the one that is meant
_TO_TYPE = re.compile(r"\bedged (swap|reset|hold|engines) [^\s'`;,]+")  # in what a daemon says, before its own name


@dataclass(frozen=True, slots=True)
class Located:
    """A daemon by its control endpoint; `runtime` is the folder of its sockets, None for one on the network."""

    word: str
    control: str
    runtime: Path | None = None
    keys: CurveKeys | None = None

    def ask(self, op: str, args: Mapping[str, Any] | None = None, timeout_ms: float = 2000.0) -> Any:
        """The result of `op`. Raises `RequestError`."""
        try:
            return request(self.control, op, args, timeout_ms, keys=self.keys)
        except RequestError as error:
            if self.runtime is not None or error.code != "no_daemon":
                raise RequestError(error.code, self.as_typed(error.fact), error.remedy) from None
            unknown = "a control endpoint on the network answers only whom it knows: "
            remedy = "check [bus] authorized" if self.keys else "give --server-key and --key"
            raise RequestError(error.code, error.fact, f"{unknown}{remedy}, or start it") from None

    def as_typed(self, said: str) -> str:
        """What the daemon says to type, with the word that it was found by: not every one is found by its name."""
        return _TO_TYPE.sub(lambda command: f"edged {command[1]} {shlex.quote(self.word)}", said)


def locate(word: str, keys: CurveKeys | None = None) -> Located:
    """Find it. Raises `UsageError` or `ConfigError` for words that mean nothing, `RequestError` when none listens."""
    if not word:
        raise UsageError("no daemon named", WORDS)
    if "://" in word:
        return Located(word, word, None, keys)
    path = Path(word)
    if word.endswith(".toml"):
        return _by_file(word, path)
    if "/" in word or word in (".", ".."):
        return _by_path(word, path)
    folders = [root / word for root in runtime_roots()]
    return _at(word, _choose(word, folders) or _by_engine(word), folders)


def running() -> list[Path]:
    """The runtime folders of all daemons that listen here, those included that are closed to us."""
    found = []
    for root in runtime_roots():
        try:
            folders = sorted(path for path in root.iterdir() if path.is_dir())
        except OSError:
            continue
        found += [folder for folder in folders if reach(folder / "control") in ("listens", "closed")]
    return found


def _by_file(word: str, path: Path) -> Located:
    """The daemon of a TOML file, wherever it was started: as a service, or by this user."""
    try:
        path.open("rb").close()
    except PermissionError:
        raise RequestError("permission", *no_right(path)) from None
    except OSError:
        pass  # whoever reads it reports that
    places = load_daemon(path)
    if places.runtime is not None:
        folders = [places.runtime]
    elif given := unit_environ(path, {}).get("RUNTIME_DIRECTORY"):
        folders = [Path(given)]
    else:
        # A unit's folder is called after the file, one's own after the daemon.
        folders = [root / name for root in runtime_roots() for name in dict.fromkeys((places.name, path.stem))]
    return _at(word, _choose(word, folders), folders)


def _by_path(word: str, path: Path) -> Located:
    try:
        if path.is_socket():
            path = path.parent
        elif path.is_file():
            return _by_file(word, path)
        elif not path.is_dir():
            raise UsageError(f"there is no {word}", WORDS)
    except PermissionError:
        raise RequestError("permission", *no_right(path)) from None
    return _at(word, _choose(word, [path]), [path])


def _choose(word: str, folders: Iterable[Path]) -> Path | None:
    """The one folder in which a daemon listens. What is closed to us counts: it may be the one that is meant."""
    states = {folder: reach(folder / "control") for folder in folders}
    found = [folder for folder, state in states.items() if state in ("listens", "closed")]
    if len(found) > 1:
        there = " and ".join(map(str, found))
        raise UsageError(f"{word} runs more than once: in {there}", "give the folder of the one you mean")
    if found and states[found[0]] == "closed":
        raise RequestError("permission", *no_right(found[0] / "control"))
    return found[0] if found else None


def _by_engine(word: str) -> Path | None:
    """The folder of the one daemon that runs the engine `word`."""
    found = []
    for folder in running():
        try:
            if request(f"ipc://{folder / 'control'}", "status", timeout_ms=ASK_MS)["engine"].get("name") == word:
                found.append(folder)
        except EdgedError:
            continue
    if len(found) > 1:
        raise UsageError(f"{', '.join(folder.name for folder in found)} run {word}", "name the daemon")
    return found[0] if found else None


def _at(word: str, folder: Path | None, looked: Iterable[Path]) -> Located:
    """The daemon in `folder`. Raises `RequestError` where it is None: among those of another name may be the one that
    is meant."""
    if folder is not None:
        return Located(word, f"ipc://{folder.absolute() / 'control'}", folder.absolute())
    places = " or ".join(map(str, dict.fromkeys(looked)))
    name, there = Path(word).stem, [folder.name for folder in running()]
    remedy = f"start it (edged run FILE, or systemctl start edged@{name}), or give its TOML file or runtime folder"
    if there:
        remedy += f"; here runs: {', '.join(there)}" + did_you_mean(name, there)
    raise RequestError("no_daemon", f"no daemon answers to {word}: none in {places}", remedy)
