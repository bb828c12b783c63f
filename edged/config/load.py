"""load_config: --set beats EDGED_LOOP__RATE_HZ beats the file; whatever is wrong is reported at once, a line each."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from edged import __version__
from edged.config.explain import OPEN, explain, line, open_questions
from edged.config.paths import default_cache, default_runtime, default_store
from edged.config.schema import Config
from edged.config.sections import NAME_PATTERN
from edged.config.validation import camera_kind, cross_checks, quoted
from edged.core.depth import MAX_DEPTH, check_depth
from edged.core.errors import UNREADABLE, ConfigError, EdgedError
from edged.core.redact import redact

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tables = dict[str, Any]
PREFIX, NESTED = "EDGED_", "__"
_PATHS = {("daemon", "store"), ("daemon", "cache"), ("daemon", "runtime")} | {
    ("engine", "trusted"),
    ("guard", "urdf"),
    ("bus", "secret_key"),
    ("bus", "authorized"),
    ("record", "folder"),
}


@dataclass(frozen=True, slots=True)
class DaemonPlaces:
    """Where the daemon of a file is to be found. `runtime` None: that is left open. `engine`: what it is to run."""

    name: str
    runtime: Path | None
    store: Path
    cache: Path
    engine: str
    version: str


def load_daemon(path: Path, environ: Mapping[str, str] = os.environ) -> DaemonPlaces:
    """Read of a config no more than it takes to find its daemon: a fault elsewhere must not be in the way of a hold.

    Raises `ConfigError` for a file that cannot be read, is not TOML or has no usable name.
    """
    tables = read_tables(path)
    with contextlib.suppress(ConfigError):
        _merge(tables, _variables())
    daemon, engine = _section(tables, "daemon"), _section(tables, "engine")
    name = daemon.get("name", path.stem)
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"{path}: daemon.name = {name!r} cannot name a daemon", "give a daemon's TOML file")
    given = (daemon.get(key) for key in ("runtime", "store", "cache"))
    runtime, store, cache = (Path(text) if isinstance(text, str) and text else None for text in given)
    return DaemonPlaces(
        name,
        runtime,
        store or default_store(environ),
        cache or default_cache(environ),
        str(engine.get("name", "")),
        str(engine.get("version", "current")),
    )


def load_config(path: Path, sets: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check the config of one daemon.

    `sets` are `section.key=value` with a TOML value (a bare word is a string). Relative paths are taken from the
    file's folder; `environ` places those of a daemon's files that the config does not. `ConfigError` lists every
    fault, one per line: file, key, value, what is allowed.
    """
    path = Path(path)
    layers = (
        (f"{path} (--set)", _parse_sets(sets)),
        (f"{path} (environment)", _environment()),
        (str(path), read_tables(path)),
    )
    tables: Tables = {}
    for _, layer in reversed(layers):
        _merge(tables, layer)
    if left := list(open_questions(tables)):
        raise ConfigError("\n".join(f"{path}: {question}" for question in left))
    _fill_defaults(tables, path, environ)
    try:
        config = Config(**tables)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, layers))) from None
    meant = config.model_dump()
    written = [line(*finding, [layer]) for layer in (layers[0], layers[2]) for finding in quoted(layer[1], meant)]
    if lines := written + [line(key, value, allowed, layers) for key, value, allowed in cross_checks(config)]:
        raise ConfigError("\n".join(lines))
    return config


def read_config(given: object, whose: str, remedy: str) -> Config:
    """The config that a process has told or recorded, whole. Raises `EdgedError` with `remedy` for one of another
    version of edged."""
    try:
        return Config.model_validate(given)
    except ValueError as error:
        raise EdgedError(f"{whose} is none that edged {__version__} knows: {error}", remedy) from None


def read_tables(path: Path) -> Tables:
    """The tables of a TOML file, with absolute paths. Raises `ConfigError` where it cannot be read as one."""
    try:
        tables: Tables = tomllib.loads(path.read_bytes().decode("utf-8"))
        check_depth(tables)
    except OSError as error:
        denied = isinstance(error, PermissionError)
        remedy = f"use sudo, or join the group of {path.parent}" if denied else "give the path of a TOML file"
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", remedy) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except UNREADABLE as error:
        raise ConfigError(f"{path}: not TOML: {error}", "see https://toml.io") from None
    try:
        _anchor_paths(tables, path.absolute().parent)
    except RuntimeError as error:  # of a ~ that nobody has
        raise ConfigError(f"{path}: a path begins with ~: {error}", "write the path out") from None
    return tables


def _anchor_paths(tables: Tables, folder: Path) -> None:
    """Make the file's relative paths absolute: a unit's working directory is no place that a user expects."""
    for section, key in _PATHS:
        table = tables.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = str(folder / Path(table[key]).expanduser())
    for section, key in (("cameras", "uri"), ("sensors", "endpoint")):
        sources = tables.get(section)
        for source in sources.values() if isinstance(sources, dict) else ():
            address = source.get(key) if isinstance(source, dict) else None
            if address == OPEN:
                continue
            if isinstance(address, str) and address.startswith("replay:"):
                source[key] = f"replay:{folder / Path(address.removeprefix('replay:')).expanduser()}"
            elif section == "cameras" and isinstance(address, str) and address and camera_kind(address) == "path":
                source[key] = str(folder / Path(address).expanduser())


def _parse_sets(sets: Sequence[str]) -> Tables:
    tables: Tables = {}
    for text in sets:
        key, equals, value = text.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not 2 <= len(parts) <= MAX_DEPTH or not all(parts):
            raise ConfigError(f"--set {redact(text)}: not section.key=value", "for example --set loop.rate_hz=100")
        _refuse_guard(parts[0], f"--set {redact(text)}")
        nested: Any = _toml_value(value.strip())
        for part in reversed(parts):
            nested = {part: nested}
        _merge(tables, nested)
    return tables


def _toml_value(text: str) -> Any:
    try:
        tables = tomllib.loads(f"value = {text}")
        check_depth(tables)
    except UNREADABLE:
        return text
    return tables["value"] if len(tables) == 1 else text  # a newline in `text` could smuggle other keys in


def _environment() -> Tables:
    for variable in _ours():
        section, nested, _ = variable[len(PREFIX) :].lower().partition(NESTED)
        _refuse_guard(section, variable)
        if nested and section not in Config.model_fields:
            raise ConfigError(f"{variable}: no section {section!r}", f"sections are {', '.join(Config.model_fields)}")
    return _variables()


def _ours() -> list[str]:
    """The variables that are read, in capitals or not."""
    return [variable for variable in os.environ if variable.upper().startswith(PREFIX)]


def _variables() -> Tables:
    """What the environment sets. Where that is nothing, 31 modules and 4 MB are not needed."""
    if not _ours():
        return {}
    from pydantic_settings import EnvSettingsSource

    fields = cast("Any", Config)  # it reads no more of a BaseSettings than its fields
    try:
        found = EnvSettingsSource(fields, env_prefix=PREFIX, env_nested_delimiter=NESTED)()
        check_depth(found)
    except UNREADABLE as error:  # its SettingsError is a ValueError
        raise ConfigError(f"environment: {error}", "write it as EDGED_<SECTION>__<KEY>=<value>") from None
    return found


def _refuse_guard(section: str, what: str) -> None:
    if section == "guard":
        raise ConfigError(
            f"{what}: [guard] is read from the file alone",
            "write it into the config file: limits are reviewed, not typed",
        )


def _merge(into: Tables, over: Mapping[str, Any]) -> None:
    """Tables merge key by key, anything else is replaced. `over` is not kept: it stays as it was."""
    for key, value in over.items():
        if isinstance(value, Mapping):
            below = into.get(key)
            fresh: Tables = dict(below) if isinstance(below, dict) else {}
            _merge(fresh, value)
            into[key] = fresh
        else:
            into[key] = value


def _section(tables: Tables, name: str) -> Tables:
    found = tables.get(name)
    return found if isinstance(found, dict) else {}


def _fill_defaults(tables: Tables, path: Path, environ: Mapping[str, str]) -> None:
    daemon = tables.setdefault("daemon", {})
    if not isinstance(daemon, dict):
        return
    daemon.setdefault("name", path.stem)
    if "runtime" not in daemon:
        daemon["runtime"] = default_runtime(str(daemon["name"]), environ)
    daemon.setdefault("store", default_store(environ))
    daemon.setdefault("cache", default_cache(environ))
