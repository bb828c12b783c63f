"""What a person names on the command line: an engine by name, a version directory, a `.edged` file, or who runs it.

A name is looked for where engines of this machine are: in this user's store and in those of the daemons, services
included (`stores`). What comes with edged is taken last, and only where no store could hide another of that name.
"""

from __future__ import annotations

import json
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path

from edged.bundle.bundle import MANIFEST, SUFFIX, SUMS, Bundle, read_bundle
from edged.bundle.store import CURRENT, Store, shipped_store
from edged.cli.locate import locate
from edged.cli.stores import Home, homes, of_daemon, of_file
from edged.client import RequestError
from edged.config import default_store, load_daemon, unit_environ
from edged.core.errors import UNREADABLE, EngineError, UsageError

HEADER = struct.Struct("<I")  # Ultralytics: how long the JSON before the plan is
MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """An engine's files. `home`: the store it was found in by name, None for a path."""

    path: Path
    home: Home | None = None

    @property
    def cache(self) -> Path | None:
        """The cache of the daemon whose engine it is; None where none is known."""
        return self.home.cache if self.home else None

    def read(self) -> Bundle:
        """Read it; by name it also has to be what its folders call it."""
        if self.home is None:
            return read_bundle(self.path)
        return Store(self.home.store).read(self.path.parent.name, self.path.name)


def find_engine(word: str, store: Path | None = None) -> Found:
    """Find it: NAME (its current version), NAME/VERSION, a path, or a daemon by name, TOML file or runtime folder.

    A path wins over a name when something is there, an engine over a daemon; `store` is then the only one looked in.
    Raises `UsageError` for files of other kinds, naming the kind, and for a name that may mean several;
    `EngineError` for names that no store knows.
    """
    path = Path(word)
    if path.is_file() and path.suffix not in (SUFFIX, ".toml"):
        refuse_file(path)
    named = path.suffix == SUFFIX or word.startswith(("/", ".")) or word.count("/") > 1
    if named and path.suffix != ".toml" and not path.exists():
        raise UsageError(f"there is no {word}", "give a version's folder, a .edged file, NAME or NAME/VERSION")
    if path.suffix == SUFFIX or (path / SUMS).exists() or (path / MANIFEST).exists():
        return Found(path)
    if path.suffix == ".toml":
        return _of_file(word)
    if path.is_dir() and "/" in word.rstrip("/"):
        if (path / "control").exists():
            return _of_daemon(word)
        raise UsageError(f"{word} holds no engine", f"give a folder with {MANIFEST} and {SUMS}, or a {SUFFIX} file")
    name, _, version = word.partition("/")
    home = _home(name, bool(version)) if store is None else Home(store)
    if home is None:
        return _of_daemon(word)
    return Found(Store(home.store).resolve(name, version or CURRENT), home)


def _home(name: str, versioned: bool) -> Home | None:
    """The store that has the engine; None when none has and `name` is a daemon's."""
    known, closed = homes()
    holding = [home for home in known if Store(home.store, home.store).versions(name)]  # what comes with edged apart
    if len(holding) > 1:
        there = " and ".join(f"{home.store} ({home.owner})" for home in holding)
        raise UsageError(
            f"{name} lies in {there}", f"say which: --store {shlex.quote(str(holding[0].store))}, or name the daemon"
        )
    if holding:
        return holding[0]
    if closed:
        fact, remedy = closed[0]
        shipped = f"or give --store {shlex.quote(str(shipped_store()))} for what comes with edged"
        raise UsageError(f"whose {name} is meant is not known: {fact}", f"{remedy}, {shipped}")
    if Store(default_store()).versions(name) or versioned:
        return Home(default_store())
    return None


def _of_daemon(word: str) -> Found:
    """What the daemon `word` runs; where there is none of that name either, what no store knows."""
    try:
        found = locate(word)
    except RequestError as error:
        if error.code != "no_daemon":
            raise
        Store(default_store()).resolve(word)  # its error lists the engines there are
        raise
    engine = found.ask("status")
    home = of_daemon(found, engine)
    if home is None:
        raise EngineError(f"{word} does not say where its store is", "give --store")
    running = engine["engine"]
    if not running.get("name"):
        raise EngineError(f"{word} runs no engine: {running.get('detail', '')}", "name the engine")
    return Found(Store(home.store).resolve(running["name"], running["version"]), home)


def _of_file(word: str) -> Found:
    """What the daemon of a TOML file runs; where it does not run, what the file names."""
    try:
        return _of_daemon(word)
    except (RequestError, EngineError):
        pass
    path = Path(word)
    places = load_daemon(path, unit_environ(path))
    if not places.engine:
        raise UsageError(f"{word} names no engine", "give a daemon's TOML file, or an engine")
    return Found(Store(places.store).resolve(places.engine, places.version), of_file(path))


def refuse_file(path: Path) -> None:
    """Raise what kind of file it is, as it is no bundle, and how it becomes one."""
    with path.open("rb") as file:
        start = file.read(HEADER.size + MAX_HEADER_BYTES)
    if (about := ultralytics_header(start)) is not None:
        made_by = about.get("description") or "a model"
        raise UsageError(
            f"{path} is a TensorRT plan that Ultralytics wrapped ({made_by}): it fits one GPU and one TensorRT, and "
            "nothing proves what it does",
            "export the model again (yolo export format=onnx) and pack that: edged pack MODEL.onnx",
        )
    if path.suffix == ".onnx":
        raise UsageError(
            f"{path} is a graph without a manifest", f"edged pack {shlex.quote(str(path))} --name NAME --task TASK"
        )
    if path.suffix in (".engine", ".plan", ".trt"):
        raise UsageError(f"{path} is a TensorRT plan: it fits one GPU and one TensorRT", "pack the ONNX it came from")
    raise UsageError(f"{path} is not an engine", f"give a version folder or a {SUFFIX} file")


def ultralytics_header(data: bytes) -> dict[str, object] | None:
    """The JSON that Ultralytics writes before a plan (4-byte little-endian length, JSON, plan), None for other data."""
    if len(data) < HEADER.size:
        return None
    (length,) = HEADER.unpack_from(data)
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - HEADER.size):
        return None
    try:
        about = json.loads(data[HEADER.size : HEADER.size + length])
    except UNREADABLE:
        return None
    return about if isinstance(about, dict) else None
