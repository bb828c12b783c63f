"""`edged pull`: an engine from an OCI registry to a daemon of this machine."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edged.cli.locate import locate
from edged.cli.options import AsJson, StorePath, complete_daemon, finite
from edged.cli.output import print_answer
from edged.client import RequestError
from edged.config import default_store, load_daemon, paths, unit_environ
from edged.core.errors import UsageError

if TYPE_CHECKING:
    from edged.services.pull.pull import Pulled, Target


def register(app: typer.Typer) -> None:
    """Add the command to `edged`."""
    app.command()(pull)


def pull(
    reference: Annotated[
        str, typer.Argument(help="REGISTRY/REPOSITORY@sha256:DIGEST, with a tag before the digest or without")
    ],
    daemon: Annotated[
        str,
        typer.Argument(
            help="whom it is for: a daemon's name or its TOML file; without, --store",
            metavar="[DAEMON]",
            autocompletion=complete_daemon,
        ),
    ] = "",
    store: StorePath = None,
    trusted: Annotated[Path | None, typer.Option(help="folder of public keys; one of them has to have signed")] = None,
    auth: Annotated[
        Path | None, typer.Option(help="logins, as 'docker login' writes them; ~/.docker/config.json is read anyway")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="certificate of who signed the registry's own")] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="no TLS; logins are then sent to loopback only")
    ] = False,
    seconds: Annotated[float, typer.Option(help="give up after so long", min=1, max=86_400, callback=finite)] = 600.0,
    json: AsJson = False,
) -> None:
    """Bring an engine from an OCI registry into incoming/, where its daemon proves it and takes it over."""
    from edged.services.pull.pull import pull as run_pull
    from edged.services.pull.reference import parse_reference
    from edged.services.pull.registry import Access

    found = parse_reference(reference)
    target = _target(daemon, store, trusted)
    done = run_pull(found, target, Access(auth, ca, plain_http, seconds))
    print_answer(json, done, lambda done: _show(done, daemon), _facts)


def _target(daemon: str, store: Path | None, trusted: Path | None) -> Target:
    from edged.cli.stores import of_daemon
    from edged.services.pull.pull import Target

    if daemon and store is not None:
        raise UsageError("a daemon has a store already", "give one of DAEMON and --store")
    if not daemon:
        return Target((store or default_store()).absolute(), "", trusted)
    path = Path(daemon)
    if not daemon.endswith(".toml"):
        try:
            located = locate(daemon)
            status = located.ask("status")
            home = of_daemon(located, status)
            if home is None:
                raise UsageError(f"{daemon} is on the network", "pull on its machine: edged pull REFERENCE NAME")
            incoming = status.get("folders", {}).get("incoming", "")  # a daemon of before tells what it runs alone
            engine = Path(incoming).parent.name if incoming else str(status["engine"].get("name", ""))
            return Target(home.store, engine, trusted)
        except RequestError as error:
            path = paths.SYSTEM_CONFIGS / f"{daemon}.toml"
            if error.code != "no_daemon" or not os.access(path, os.R_OK):
                raise
    places = load_daemon(path, unit_environ(path))
    return Target(places.store.absolute(), places.engine, trusted)


def _show(done: Pulled, daemon: str) -> str:
    name = shlex.quote(daemon or "DAEMON")
    if done.was_there:
        return f"{done.name} {done.version} is in the store: {done.path}; 'edged swap {name} {done.version}' takes it"
    return f"{done.name} {done.version} ({done.identity}): {done.path}; 'edged status {name}' follows it"


def _facts(done: Pulled) -> dict[str, object]:
    return {
        "reference": done.reference, "name": done.name, "version": done.version, "engine": done.identity,
        "path": str(done.path), "was_there": done.was_there,
    }  # fmt: skip
