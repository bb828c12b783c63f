"""Commands that are processes beside the daemons: metrics, ui; and who may act on the page: person."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.locate import running
from edged.core.errors import EdgedError, UsageError
from edged.runtime.logs import logged

MOST_RECORDINGS = 1 << 14  # what is remembered of them; those that are gone go first
Insecure = Annotated[bool, typer.Option("--insecure", help="listen on the network without TLS or keys")]


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    for command in (metrics, ui, person):
        app.command()(command)


def metrics(
    listen: Annotated[str, typer.Option(help="HOST:PORT to answer scrapes at")] = "127.0.0.1:9464",
    once: Annotated[bool, typer.Option("--once", help="print them once instead")] = False,
    insecure: Insecure = False,
) -> None:
    """Give the metrics of all daemons of this machine to Prometheus."""
    from edged.engine.gpu_info import read_gpu
    from edged.services.metrics import serve as job

    if once:
        sys.stdout.write(job.once(running, read_gpu))
        return
    job.serve(running, listen, insecure, lambda url: print(f"metrics of all daemons: {url}", flush=True), read_gpu)


PeopleFile = Annotated[
    Path | None, typer.Option("--people", help="file of people; /etc/edged/people.json, or your own")
]


def ui(
    listen: Annotated[str, typer.Option(help="HOST:PORT of the page")] = "127.0.0.1:8080",
    operate: Annotated[bool, typer.Option("--operate", help="let people act, each by their rights")] = False,
    arm: Annotated[bool, typer.Option("--arm", help="also resume, where an enable input is configured")] = False,
    people: PeopleFile = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS: the certificate, and what signed it")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS: its key")] = None,
    name: Annotated[list[str] | None, typer.Option(help="HOST that browsers call it; may be repeated")] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="runtime folder of a daemon elsewhere; may be repeated")
    ] = None,
) -> None:
    """Show all daemons of this machine in the browser: states, pictures, ages, causes, engines; with --operate act."""
    from edged.engine.gpu_info import read_gpu
    from edged.services.ui.cell import May
    from edged.services.ui.people import people_file
    from edged.services.ui.serve import Settings, serve

    settings = Settings(
        listen, May(operate, arm), people or people_file(), certificate, key, name or (), read_gpu, _page_recordings()
    )  # fmt: skip
    with logged("warning"):
        found = lambda: [*running(), *(also or ())]  # noqa: E731
        serve(found, _page_history(), settings, lambda url: print(f"page: {url}", flush=True))


def _page_history() -> Callable[[Path, float], list[dict[str, Any]]]:
    """Entries of a journal for the page, which is asked every few seconds: a journal that is as it was is not read."""
    from edged.cli.history import page_entries

    kept: dict[Path, tuple[Any, list[dict[str, Any]]]] = {}

    def entries(folder: Path, since: float) -> list[dict[str, Any]]:
        try:
            looked = ((path.name, path.stat()) for path in folder.iterdir())
            state = sorted((name, status.st_size, status.st_ino) for name, status in looked)
        except OSError:
            return []
        if folder not in kept or kept[folder][0] != state:
            kept[folder] = state, page_entries(folder)
        now = time.time()
        return [entry for entry in kept[folder][1] if (entry["end"] or now) >= since]

    return entries


def _page_recordings() -> Callable[[Path], list[dict[str, Any]]]:
    """Recordings of a folder for the page, each looked into once; none where edged[record] is not installed."""
    try:
        from edged.services.record.file import WHOLE, span
    except ImportError:
        return lambda folder: []

    @lru_cache(MOST_RECORDINGS)
    def look(path: Path, state: int) -> dict[str, Any] | None:
        try:
            begin_ns, end_ns = span(path)
            size_mb = round(path.stat().st_size / 1e6, 1)
        except (EdgedError, OSError):  # none, or gone by now: the oldest make way
            return None
        return {"name": path.name, "path": str(path), "begin": begin_ns / 1e9, "end": end_ns / 1e9, "mb": size_mb}

    def recordings(folder: Path) -> list[dict[str, Any]]:
        try:
            found = {path: path.stat().st_mtime_ns for path in sorted(folder.glob(f"*{WHOLE}"))}
        except OSError:
            return []
        return [told for path, state in found.items() if (told := look(path, state)) is not None]

    return recordings


def person(
    name: Annotated[str, typer.Argument(help="who")],
    rights: Annotated[str, typer.Option(help="hold, operate, arm, separated by commas; none = may look")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="take them out")] = False,
    people: PeopleFile = None,
) -> None:
    """Say who may log in to the page and what they may do there; the password is asked, or read from a pipe."""
    from edged.services.ui.people import people_file, put_person, remove_person

    file = people or people_file()
    if remove:
        remove_person(file, name)
        print(f"{file}: {name} is out")
        return
    given = frozenset(right.strip() for right in rights.split(",") if right.strip())
    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}: ")
        if getpass.getpass("again: ") != password:
            raise UsageError("the passwords differ", "try again")
    else:
        password = sys.stdin.readline().rstrip("\n")
    put_person(file, name, password, given)
    print(f"{file}: {name} may {', '.join(sorted(given)) or 'look'}")
