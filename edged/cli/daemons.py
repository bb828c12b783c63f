"""Commands for daemons: list, status, history, hold, resume, tail."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from edged.cli.locate import Located, running
from edged.cli.options import AsJson, Daemon, OwnKey, ServerKey, SomeDaemon, complete_stream, find_daemon, read_keys
from edged.cli.output import discard_output, print_answer, who
from edged.core.errors import EXIT_FAILED, EdgedError, UsageError

Watch = Annotated[bool, typer.Option("--watch", "-w", help="show it again every second until Ctrl-C")]

STREAMS = "action, masks, masks.zstd, health, events or frames-<camera>"
BY_PEOPLE = ("OPERATOR", "DISARMED", "DISABLED")  # holds that end when somebody acts
WATCH_S = 1.0
MOVES_WITHIN_S = 1.0  # a resume that moves has moved by then: two turns of the slowest common loop
LOOK_S = 0.05
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    app.command("list")(list_all)
    for command in (status, history, hold, resume, tail):
        app.command()(command)


def list_all(watch: Watch = False, json: AsJson = False) -> None:
    """List all daemons of this machine, a line each; exit 1 when there is none."""
    from edged.cli.overview import overview, show_overview

    def once() -> bool:
        found = overview()
        print_answer(json, found, show_overview, lambda found: {"daemons": found})
        return bool(found)

    _repeat(once, watch, json)


def status(
    daemon: SomeDaemon = None,
    watch: Watch = False,
    json: AsJson = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="exit 1 unless it gives answers, or a person keeps it from that")
    ] = False,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Show how a running daemon is doing; without a name the only one, or all of them. Exit 1 when none answers."""
    from edged.cli.show import show_status

    if daemon is None:
        found = running()
        if len(found) != 1:
            if server_key or key:
                raise UsageError("keys are for a daemon on the network", "name it: tcp://HOST:PORT")
            if ready and found:
                there = ", ".join(folder.name for folder in found)
                raise UsageError("--ready asks one daemon, and several run here", f"name one of {there}")
            list_all(watch, json)
            return
        daemon = str(found[0])

    def once() -> bool:
        snapshot = find_daemon(daemon, server_key, key).ask("status")
        print_answer(json, snapshot, show_status)
        return not ready or is_ready(snapshot)

    _repeat(once, watch, json)


def is_ready(snapshot: Mapping[str, Any]) -> bool:
    """An engine is loaded, and its answers flow, or a person has to act first: what an orchestrator waits for."""
    return bool(snapshot["engine"]["loaded"]) and snapshot["state"] in ("ok", *BY_PEOPLE)


def _repeat(once: Callable[[], bool], watch: bool, json: bool) -> None:
    """Show once and exit 1 if there was nothing; or again and again, where a daemon that is gone may come back."""
    if not watch:
        if not once():
            raise typer.Exit(EXIT_FAILED)
        return
    clear = sys.stdout.isatty() and not json
    told = ""
    try:
        while True:
            sys.stdout.write(CLEAR if clear else "")
            try:
                once()
                told = ""
            except UsageError:
                raise
            except EdgedError as error:
                if clear or str(error) != told:  # a log is told once
                    print(f"edged: {error}", file=sys.stdout if clear else sys.stderr)
                told = str(error)
            sys.stdout.flush()
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `edged status --watch | head`
        discard_output()


def history(
    daemon: SomeDaemon = None,
    since: Annotated[str, typer.Option(help="22:00, 2026-11-27, '2026-11-27 22:00', or 90m ago")] = "",
    json: AsJson = False,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Show what happened and why: holds by cause, lost inputs, acts, swaps, starts; of one daemon or of all."""
    from edged.cli import history as job

    found = job.read_history(daemon or "", since, keys=read_keys(server_key, key))
    print_answer(json, found, job.show_history, job.facts)


def hold(
    daemon: Daemon,
    reason: Annotated[str, typer.Option(help="why, for the log")] = "",
    lock: Annotated[bool, typer.Option("--lock", help="only you, or this machine's console, may end it")] = False,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Stop commanding the robot, now and after every restart, until `edged resume`."""
    asked = {"reason": reason, "who": who(), **({"lock": True} if lock else {})}
    answer = find_daemon(daemon, server_key, key).ask("hold", asked)
    print(f"{daemon}: {answer['state']}{'' if answer.get('published', True) else ', not yet on the bus'}")


def resume(daemon: Daemon, server_key: ServerKey = None, key: OwnKey = None) -> None:
    """End a hold and arm: the robot may move. Says what still keeps it from moving."""
    found = find_daemon(daemon, server_key, key)
    state = found.ask("resume", {"who": who()})["state"]
    if state == "disabled":
        print(f"{daemon}: {state}: nobody holds it, but its enable input is not high; raising that arms it")
        return
    why = _obstacle(found) if state == "armed" else ""
    print(f"{daemon}: {state}" + (f", and does not move yet: {why}" if why else ""))


def _obstacle(daemon: Located) -> str:
    """What holds an armed daemon a second after it was resumed; "" when it commands."""
    end_s = time.monotonic() + MOVES_WITHIN_S
    while True:
        snapshot: Mapping[str, Any] = daemon.ask("status")
        if snapshot["state"] == "ok":
            return ""
        if time.monotonic() >= end_s:
            detail = f": {snapshot['detail']}" if snapshot["detail"] else ""
            return f"{'STARTING' if snapshot['state'] == 'none' else snapshot['state']}{detail}"
        time.sleep(LOOK_S)


def tail(
    daemon: Daemon,
    stream: Annotated[str, typer.Argument(help=STREAMS, autocompletion=complete_stream)] = "",
    count: Annotated[int, typer.Option("-n", "--count", help="stop after so many; 0 = never", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Print what a daemon publishes, a line per message. tcp://HOST:PORT is here the endpoint of a stream."""
    from edged.cli.tail import find_stream, tail_stream

    found = find_daemon(daemon, server_key, key)
    endpoint, topic = find_stream(found.runtime, stream) if found.runtime else (daemon, stream or None)
    tail_stream(endpoint, topic, count, json, found.keys)
