"""Arguments and options that several commands take, each written once."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from edged.cli.locate import ASK_MS, Located, locate, running
from edged.client import CurveKeys
from edged.config import default_store
from edged.core.errors import EdgedError, UsageError

AsJson = Annotated[bool, typer.Option("--json", help="one JSON object")]


T = TypeVar("T")


def finite(value: T) -> T:
    """Of every option that is a number: NaN lies within any bounds, and is neither more nor less than a figure."""
    if isinstance(value, float) and not isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def complete_daemon(incomplete: str) -> list[str]:
    """For the shell: the names of the daemons that run here."""
    return sorted({folder.name for folder in running() if folder.name.startswith(incomplete)})


def complete_engine(incomplete: str) -> list[str]:
    """For the shell: the daemons that run one, and the engines of this user's store and of what comes with edged; other
    stores take too long while one types."""
    from edged.bundle.store import Store

    names = Store(default_store()).names()
    return sorted({*complete_daemon(incomplete), *(name for name in names if name.startswith(incomplete))})


def complete_stream(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the streams of the daemon that is named before it."""
    try:
        folder = locate(str(ctx.params.get("daemon") or "")).runtime
        found = [path.name for path in folder.iterdir() if path.is_socket()] if folder else []
    except (EdgedError, OSError):
        return []
    return sorted(name for name in found if name != "control" and name.startswith(incomplete))


def complete_version(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the versions that the daemon named before it could run."""
    listed = _told(ctx, "engines")
    return [entry["version"] for entry in listed if entry["version"].startswith(incomplete)]


def complete_input(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the constants that the engine of the daemon named before it lets an operator set."""
    settings = _told(ctx, "status").get("engine", {}).get("settings", {})
    return sorted(name for name in settings if name.startswith(incomplete))


def _told(ctx: typer.Context, op: str) -> Any:
    """What the daemon answers that is named on the line so far; nothing where none does."""
    try:
        return locate(str(ctx.params.get("daemon") or "")).ask(op, timeout_ms=ASK_MS)
    except EdgedError:
        return {}


WHICH = "a running daemon: its name (or its engine's), its TOML file, its runtime folder, or tcp://HOST:PORT"
Daemon = Annotated[str, typer.Argument(help=WHICH, metavar="DAEMON", autocompletion=complete_daemon)]
SomeDaemon = Annotated[str | None, typer.Argument(help=WHICH, metavar="[DAEMON]", autocompletion=complete_daemon)]
ServerKey = Annotated[Path | None, typer.Option(help="a daemon that asks for keys: its .key file")]
OwnKey = Annotated[Path | None, typer.Option(help="beside it: your own .key_secret file")]

Target = Annotated[
    str,
    typer.Argument(
        help="an engine: NAME (its current version), NAME/VERSION, a version's folder, a .edged file; or a daemon, by "
        "name or TOML file: what it runs",
        metavar="ENGINE",
        autocompletion=complete_engine,
    ),
]
StorePath = Annotated[Path | None, typer.Option("--store", help="engine store")]
CachePath = Annotated[Path | None, typer.Option("--cache", help="the daemon's cache, where plans are")]


def read_keys(server_key: Path | None, key: Path | None) -> CurveKeys | None:
    """Both keys or none. Raises `UsageError`."""
    if (server_key is None) != (key is None):
        raise UsageError("one key alone opens nothing", "give both --server-key and --key")
    return CurveKeys.read(server_key, key) if server_key and key else None


def find_daemon(word: str, server_key: Path | None = None, key: Path | None = None) -> Located:
    """The daemon that is meant, with the keys to ask it."""
    return locate(word, read_keys(server_key, key))
