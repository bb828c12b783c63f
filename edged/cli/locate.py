"""Locate: the daemon that a person means. Every command that addresses one takes the same words, by way of here.

A word is a name (of a daemon; where none has it, of the engine that one runs), a TOML file, a runtime folder, or an
endpoint such as `tcp://host:5600`. By name and file a service of systemd is found like a daemon of this user's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
                raise
            unknown = "a control endpoint on the network answers only whom it knows: "
            remedy = "check [bus] authorized" if self.keys else "give --server-key and --key"
            raise RequestError(error.code, error.fact, f"{unknown}{remedy}, or start it") from None


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
    found = _choose(word, [root / word for root in runtime_roots()])
    if found is None and (found := _by_engine(word)) is None:
        raise _none(word, [root / word for root in runtime_roots()])
    return _at(word, found)


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


def _at(word: str, folder: Path) -> Located:
    return Located(word, f"ipc://{folder.absolute() / 'control'}", folder.absolute())


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
    if (found := _choose(word, folders)) is None:
        raise _none(word, folders)
    return _at(word, found)


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
    if (found := _choose(word, [path])) is None:
        raise _none(word, [path])
    return _at(word, found)


def _choose(word: str, folders: Iterable[Path]) -> Path | None:
    """The one folder in which a daemon listens. What is closed to us counts: it may be the one that is meant."""
    found = {}
    for folder in dict.fromkeys(folders):
        if (state := reach(folder / "control")) in ("listens", "closed"):
            found[folder] = state
    if len(found) > 1:
        there = " and ".join(map(str, found))
        raise UsageError(f"{word} runs more than once: in {there}", "give the folder of the one you mean")
    for folder, state in found.items():
        if state == "closed":
            raise RequestError("permission", *no_right(folder / "control"))
        return folder
    return None


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


def _none(word: str, folders: Iterable[Path]) -> RequestError:
    looked = " or ".join(map(str, dict.fromkeys(folders)))
    there = [folder.name for folder in running()]
    name = Path(word).stem
    remedy = f"start it (edged run FILE, or systemctl start edged@{name}), or give its TOML file or runtime folder"
    return RequestError("no_daemon", f"no daemon answers to {word}: none in {looked}", remedy + _others(name, there))


def _others(name: str, there: Sequence[str]) -> str:
    """Among those of another name may be the one that is meant."""
    if not there:
        return ""
    return f"; here runs: {', '.join(there)}" + did_you_mean(name, there)
