"""Commands of recordings: record, replay."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edged.cli.options import AsJson, Daemon, StorePath, find_daemon, finite
from edged.cli.output import check_place, print_answer, write_given
from edged.client import RequestError
from edged.config import load_config
from edged.core.errors import EXIT_FAILED, EdgedError, RefusedError, UsageError
from edged.runtime.logs import logged

if TYPE_CHECKING:
    from edged.engine.base import Engine
    from edged.services.replay.repeat import Repeated


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    for command in (record, replay):
        app.command()(command)


def record(
    daemon: Daemon,
    folder: Annotated[Path | None, typer.Option(help="where recordings go, instead of record.folder")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="record at once, for so many seconds, and end", min=0.1, max=3600, callback=finite),
    ] = None,
    now: Annotated[str | None, typer.Option("--now", help="tell the recorder at work to record now, and why")] = None,
) -> None:
    """Record a daemon around each stop, FAIL, rollback and alarm, as `record` in its config says, until SIGTERM."""
    from edged.services.record.run import ask, run_recorder

    if now is not None:
        print(f"asked the recorder of {ask([folder] if folder else _recordings(daemon), now)}")
        return
    found = find_daemon(daemon)
    if found.runtime is None:
        raise UsageError("a recorder works on the daemon's machine", "name the daemon there")
    if folder is None:  # the daemon's word for it: its store may be another user's than ours
        with contextlib.suppress(EdgedError):
            folder = Path(str(found.ask("status")["folders"]["recordings"]))
    with logged():
        code = run_recorder(found.runtime, folder, seconds, lambda text: print(text, flush=True))
    raise typer.Exit(code)


def _recordings(word: str) -> list[Path]:
    """Where the recorder of a daemon may work, also while the daemon is gone: what it heard last is still to be had.

    Raises `EdgedError` where that cannot be known.
    """
    from edged.cli.stores import recordings_of

    try:
        found = find_daemon(word)
        if found.runtime is None:
            raise UsageError("a recorder works on the daemon's machine", "name the daemon there")
        return [Path(str(found.ask("status")["folders"]["recordings"]))]
    except LookupError:
        raise EdgedError(f"{word} does not say where its recordings are", "give the recorder's --folder") from None
    except RequestError as error:
        if error.code not in ("no_daemon", "no_answer") or not (places := recordings_of(word)):
            raise
        return places


def replay(
    file: Annotated[Path, typer.Argument(help="a recording, whole or not", metavar="FILE")],
    engine: Annotated[str | None, typer.Option(help="run this engine instead, and say what would be different")] = None,
    config: Annotated[Path | None, typer.Option(help="with this daemon's config instead of the recorded one")] = None,
    plot: Annotated[Path | None, typer.Option(help="draw what differs into this PNG")] = None,
    store: StorePath = None,
    json: AsJson = False,
) -> None:
    """Run the recorded ticks again; exit 1 when a verdict is another one, or nothing can be replayed.

    Ticks that something is missing of are counted as not replayable, and change nothing of that. With --engine or
    --config differences are what was asked for: exit 0.
    """
    from edged.services.replay.report import make_report, show

    check_place(plot, "--plot")
    if plot is not None:  # what is not installed is told before the run as well
        from edged.services.replay.plot import plot_replay
    with _repeated(file, engine, store, config) as (ticks, threshold):
        done = list(ticks)
    told = make_report(done, threshold).describe()
    if plot is not None:
        write_given(plot, plot_replay(done, f"{file.name}, {engine or 'the recorded engine'}"), "--plot")
        told["plot"] = str(plot)
    print_answer(json, told, show)
    if not told["equal"] + told["different"]:
        raise EdgedError(f"nothing of {file} can be replayed", "the lines above say what is missing")
    if told["different"] and engine is None and config is None:
        raise typer.Exit(EXIT_FAILED)


def prove(file: Path, engine: str, store: Path, bound: float) -> str:
    """What was compared where a recording is replayed with an engine. `RefusedError` where that disagrees with what was
    recorded beyond `bound`, or nothing can be compared."""
    from edged.services.replay.report import make_report, show

    with _repeated(file, engine, store) as (repeated, threshold):
        report = make_report(repeated, threshold)
    if not report.is_evidence:
        what = "nothing but Holds" if report.compared else "nothing"
        fact = f"{file} proves nothing of {engine}: {what} could be compared\n{show(report.describe())}\n"
        raise RefusedError(fact, "give a recording with answers in it that 'edged replay FILE' can replay")
    worst, what = report.worst
    if worst > bound:
        told = show(report.describe())
        fact = f"on {file} {engine} disagrees with what was recorded: {what} {worst:.3g} > {bound:g}\n{told}\n"
        again = f"edged replay {shlex.quote(str(file))} --engine {engine} --store {shlex.quote(str(store))}"
        raise RefusedError(fact, f"look at '{again}', or raise --bound if it is meant to differ")
    ticks = sum(report.states.values())
    compared = ticks - report.states["not replayable"]
    return f"{compared} of {ticks} ticks could be compared, {report.answers} answers; {what} {worst:.3g}"


@contextlib.contextmanager
def _repeated(
    file: Path, engine: str | None, store: Path | None, config: Path | None = None
) -> Iterator[tuple[Iterator[Repeated], float]]:
    """The ticks of a recording once more, one after the other, and the least score of an object of `engine`: 0 where
    none is given, or it finds none."""
    from edged.services.replay.cell import RecordedCell
    from edged.services.replay.file import read_tape
    from edged.services.replay.repeat import repeat

    tape = read_tape(file)
    given = None if config is None else load_config(config)
    instead = None if engine is None else _open(engine, store)
    cell = RecordedCell(tape, lambda name, version, _: _open(f"{name}/{version}", store), instead, given)
    head = None if instead is None else instead.manifest.head
    with contextlib.closing(cell):
        yield repeat(tape, cell), 0.0 if head is None else head.score_threshold


def _open(word: str, store: Path | None) -> Engine:
    """An engine, warm."""
    from edged.cli.engine_arg import find_engine
    from edged.engine.registry import open_engine
    from edged.swap.load import warm

    opened = open_engine(find_engine(word, store).read(), "cpu")
    warm(opened)
    return opened
