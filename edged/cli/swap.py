"""Commands about which engine runs: swap, rollback, reset, engines."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.output import print_json, who
from edged.core.errors import EXIT_OK, EXIT_REFUSED, EdgedError, UsageError

Daemon = Annotated[str, typer.Argument(help="a running daemon, its TOML file, or the engine it runs", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object")]
Wait = Annotated[bool, typer.Option("--wait", help="show progress; exit 0 committed, 3 refused or rolled back")]

POLL_S = 0.1
GONE_S = 5.0  # a daemon that does not answer for so long is gone


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    for command in (swap, rollback, reset, engines):
        app.command()(command)


def swap(
    name: Daemon,
    version: Annotated[str, typer.Argument(help="version in the store", metavar="VERSION")],
    wait: Wait = False,
    allow_contract_change: Annotated[
        bool, typer.Option("--allow-contract-change", help="other inputs, axes or classes; only while holding")
    ] = False,
    json: AsJson = False,
) -> None:
    """Replace the running engine by another version: proved first, watched after, rolled back when it disappoints."""
    args = {"version": version, "allow_contract_change": allow_contract_change}
    _begin(name, "swap", args, wait, json)


def rollback(name: Daemon, wait: Wait = False, json: AsJson = False) -> None:
    """End a swap under way, or go back to the version that was committed before."""
    _begin(name, "rollback", {}, wait, json)


def reset(
    name: Daemon,
    version: Annotated[str | None, typer.Option(help="forget its crashes, so that it may be tried again")] = None,
) -> None:
    """Forget what the running engine remembers (recurrent state, running command), or a version's crashes."""
    from edged.client import request

    args = {"version": version} if version is not None else {}
    done = request(_control(name), "reset", {**args, "who": who()})
    print(f"{name}: forgot {done['reset']}")


def engines(
    name: Annotated[str, typer.Argument(help="a running daemon or its engine; without: a store", metavar="NAME")] = "",
    store: Annotated[Path | None, typer.Option(help="engine store, no daemon needed")] = None,
    json: AsJson = False,
) -> None:
    """List versions with their state, provenance, who asked for them, and when."""
    from edged.cli.show_swap import show_engines

    listed = _from_store(name, store) if store is not None or not name else _from_daemon(name)
    if json:
        print_json(listed)
    else:
        print(show_engines(listed))


def _from_daemon(name: str) -> list[dict[str, Any]]:
    from edged.client import request

    listed: list[dict[str, Any]] = request(_control(name), "engines")
    return listed


def _from_store(name: str, root: Path | None) -> list[dict[str, Any]]:
    from edged.bundle.store import Store
    from edged.config import default_store
    from edged.swap.history import Ledger
    from edged.swap.listing import list_versions

    store = Store(root or default_store())
    listed = []
    for engine in [name] if name else store.names():
        ledger = Ledger(store, engine)
        ledger.read()
        listed += list_versions(store, engine, ledger)
    return listed


def _begin(name: str, op: str, args: Mapping[str, Any], wait: bool, json: bool) -> None:
    from edged.cli.show_swap import show_outcome
    from edged.client import request

    endpoint = _control(name)
    begun = request(endpoint, op, {**args, "who": who()})
    if not wait:
        if json:
            print_json(begun)
        else:
            print(
                f"{name}: job {begun['job']}, {begun['name']} to {begun['version']}; 'edged status {name}' follows it"
            )
        return
    done = _follow(endpoint, int(begun["job"]), quiet=json)
    if json:
        print_json(done)
    else:
        print(show_outcome(begun["name"], done))
    raise typer.Exit(EXIT_OK if done["state"] == "committed" else EXIT_REFUSED)


def _follow(endpoint: str, job: int, quiet: bool) -> dict[str, Any]:
    """Poll until the job is done; raises `EdgedError` when the daemon is gone."""
    from edged.cli.show_swap import Bar
    from edged.client import RequestError, request

    heard = time.monotonic()
    with Bar(sys.stderr, quiet) as bar:
        while True:
            try:
                swaps = request(endpoint, "status")["swap"]
                heard = time.monotonic()
            except RequestError as error:
                if time.monotonic() - heard > GONE_S:
                    fact = f"the daemon went while job {job} was under way: {error.fact}"
                    raise EdgedError(fact, "it starts with what was committed; see its log") from None
                time.sleep(POLL_S)
                continue
            found = [swaps["active"], *swaps["waiting"], *swaps["past"]]
            attempt = next((attempt for attempt in found if attempt and attempt["job"] == job), None)
            if attempt is None:
                raise EdgedError(f"the daemon knows no job {job}: it was restarted", "see 'edged engines'")
            bar.show(attempt)
            if attempt.get("done"):
                return dict(attempt)
            time.sleep(POLL_S)


def _control(name: str) -> str:
    """The control endpoint of the daemon that `name` is, or of the one that runs the engine `name`."""
    from edged.client import RequestError, request
    from edged.config import load_config, running_runtime

    if name.endswith(".toml") or "/" in name:
        return f"ipc://{load_config(Path(name)).daemon.runtime / 'control'}"
    if not name:
        raise UsageError("no daemon named", "give its name, its TOML file, or the engine it runs")
    runtime = running_runtime(name)
    if (runtime / "control").exists():
        return f"ipc://{runtime / 'control'}"
    found = []
    for socket in sorted(runtime.parent.glob("*/control")):
        try:
            if request(f"ipc://{socket}", "status", timeout_ms=1000)["engine"].get("name") == name:
                found.append(socket)
        except RequestError:
            continue
    if len(found) > 1:
        names = ", ".join(socket.parent.name for socket in found)
        raise UsageError(f"{names} run {name}", "name the daemon")
    return f"ipc://{found[0] if found else runtime / 'control'}"
