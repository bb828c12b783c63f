"""Commands about which engine runs: swap, rollback, reset, minimum, engines."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.locate import Located
from edged.cli.options import AsJson, Daemon, OwnKey, ServerKey, StorePath, complete_version, find_daemon, finite
from edged.cli.output import print_answer, who
from edged.cli.progress import Bar
from edged.client import RequestError
from edged.core.errors import EXIT_OK, EXIT_REFUSED, EdgedError, EngineError, UsageError

Wait = Annotated[bool, typer.Option("--wait", help="show progress; exit 0 committed, 3 refused or rolled back")]

POLL_S = 0.1
GONE_S = 5.0  # a daemon that does not answer for so long is gone


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    for command in (swap, rollback, reset, minimum, engines):
        app.command()(command)


def swap(
    daemon: Daemon,
    version: Annotated[
        str, typer.Argument(help="version in the store", metavar="VERSION", autocompletion=complete_version)
    ],
    wait: Wait = False,
    allow_contract_change: Annotated[
        bool, typer.Option("--allow-contract-change", help="other inputs, axes or classes; only while holding")
    ] = False,
    evidence: Annotated[
        Path | None,
        typer.Option(help="first replay this recording, or judge this folder of pictures; refuse what differs"),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(help="with --evidence: largest disagreement, or share of escapes", min=0, max=1, callback=finite),
    ] = 0.05,
    json: AsJson = False,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Replace the running engine by another version: proved first, watched after, rolled back when it disappoints."""
    args = {"version": version, "allow_contract_change": allow_contract_change}
    found = find_daemon(daemon, server_key, key)
    try:
        if evidence is not None:
            print(f"{evidence}: {_prove(found, version, evidence, bound)}", file=sys.stderr)
        begun = found.ask("swap", {**args, "who": who()})
    except EdgedError as error:
        if error.code == EngineError.code and not _lists(found, version):
            raise UsageError(error.fact, error.remedy) from None
        raise
    _go_on(found, begun, wait, json)


def rollback(
    daemon: Daemon, wait: Wait = False, json: AsJson = False, server_key: ServerKey = None, key: OwnKey = None
) -> None:
    """End a swap under way, or go back to the version that was committed before."""
    found = find_daemon(daemon, server_key, key)
    _go_on(found, found.ask("rollback", {"who": who()}), wait, json)


def reset(
    daemon: Daemon,
    version: Annotated[
        str | None,
        typer.Option(help="forget its crashes, so that it may be tried again", autocompletion=complete_version),
    ] = None,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Forget what the running engine remembers (recurrent state, running command), or a version's crashes."""
    args = {"version": version} if version is not None else {}
    done = find_daemon(daemon, server_key, key).ask("reset", {**args, "who": who()})
    print(f"{daemon}: forgot {done['reset']}")


def minimum(
    name: Annotated[
        str, typer.Argument(help="a running daemon, as elsewhere; with --store an engine", metavar="DAEMON")
    ],
    version: Annotated[
        str,
        typer.Argument(
            help="the oldest version that may run from now on", metavar="VERSION", autocompletion=complete_version
        ),
    ],
    store: StorePath = None,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Keep older versions of an engine from running ever again, signed or not. It can only be raised."""
    if store is not None:
        from edged.cli.stores import raise_stored

        done = raise_stored(store, name, version, who())
    else:
        done = find_daemon(name, server_key, key).ask("minimum", {"version": version, "who": who()})
    before = done["before"]
    was = "no change" if before == version else f"it was {before}" if before else "there was none"
    print(f"{done['name']}: nothing older than {done['minimum']} is let in ({was})")


def engines(
    name: Annotated[
        str, typer.Argument(help="a running daemon, as elsewhere; with --store an engine; without: every store")
    ] = "",
    store: StorePath = None,
    json: AsJson = False,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """List versions with their state, provenance, who asked for them, and when."""
    from edged.cli.show_swap import show_engines

    if store is not None or not name:
        from edged.cli.list_engines import list_engines

        listed, hidden = list_engines(name, store)
        for line in hidden:
            print(f"edged: not listed: {line}", file=sys.stderr)
    else:
        listed = find_daemon(name, server_key, key).ask("engines")
    print_answer(json, listed, show_engines)


def _prove(daemon: Located, version: str, evidence: Path, bound: float) -> str:
    """What the version makes of a recording, or of pictures. Raises `RefusedError` where it disagrees with what was
    recorded or drawn."""
    if daemon.runtime is None:  # a version of the same name may lie here, and is not the one
        raise UsageError(f"{daemon.word} has its engines on another machine", "give --evidence there, or leave it out")
    status = daemon.ask("status")
    if not status["engine"].get("name"):
        raise EdgedError(f"{daemon.word} runs no engine: {status['engine'].get('detail')}", "leave --evidence out")
    engine, store = f"{status['engine']['name']}/{version}", Path(status["folders"]["store"])
    if evidence.is_dir():
        from edged.cli.evaluate import prove_by_pictures

        return prove_by_pictures(evidence, engine, store, daemon.word, bound)
    from edged.cli.record import prove

    return prove(evidence, engine, store, bound)


def _lists(daemon: Located, version: str) -> bool:
    """Whether the daemon's store has that version; taken for granted where it does not say."""
    try:
        return version in [str(one["version"]) for one in daemon.ask("engines")]
    except EdgedError:
        return True


def _go_on(daemon: Located, begun: Mapping[str, Any], wait: bool, json: bool) -> None:
    """Say what was begun, or follow it to its end."""
    from edged.cli.show_swap import show_outcome

    if not wait:
        what = f"job {begun['job']}, {begun['name']} to {begun['version']}"
        follow = f"'edged status {shlex.quote(daemon.word)}' follows it"
        print_answer(json, begun, lambda _: f"{daemon.word}: {what}; {follow}")
        return
    done = _follow(daemon, int(begun["job"]), begun.get("token"), quiet=json)
    print_answer(json, done, lambda done: daemon.as_typed(show_outcome(begun["name"], done)))
    raise typer.Exit(EXIT_OK if done["state"] == "committed" else EXIT_REFUSED)


def _follow(daemon: Located, job: int, token: str | None, quiet: bool) -> dict[str, Any]:
    """Poll until the job is done; raises `EdgedError` when the daemon is gone, or another one has its name by now.

    `token`: of the job, whose number the next daemon gives to another one; None of a daemon that has no such thing.
    """
    from edged.cli.show_swap import jobs_before, show_attempt

    answered = time.monotonic()
    with Bar(sys.stderr, quiet) as bar:
        while True:
            try:
                swaps = daemon.ask("status")["swap"]
                answered = time.monotonic()
            except RequestError as error:
                if time.monotonic() - answered > GONE_S:
                    fact = f"the daemon went while job {job} was under way: {error.fact}"
                    raise EdgedError(fact, "it starts with what was committed; see its log") from None
                time.sleep(POLL_S)
                continue
            found = [swaps["active"], *swaps["waiting"], *swaps["past"]]
            attempt = next((attempt for attempt in found if attempt and attempt["job"] == job), None)
            if attempt is None or (token is not None and attempt.get("token") != token):
                fact = f"the daemon knows no job {job}: it was restarted"
                raise EdgedError(fact, f"see 'edged engines {shlex.quote(daemon.word)}'")
            show_attempt(bar, attempt, jobs_before(swaps, job))
            if attempt.get("done"):
                return dict(attempt)
            time.sleep(POLL_S)
