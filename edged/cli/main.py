"""The command line. What finds daemons and reads configs is imported by all; whatever else a command needs it imports
when it runs, so that `edged run` starts in time.

Exit codes: 0 done, 1 failed, 2 usage or config, 3 refused (see errors.py).
"""

from __future__ import annotations

import contextlib
import errno
import io
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edged import __version__
from edged.cli import calibrate, daemons, engines, evaluate, gateway, pack, pull, record, services, setup, swap
from edged.cli import set as set_input
from edged.cli.options import AsJson, ConfigFile, Sets, finite
from edged.cli.output import discard_output, print_answer
from edged.core.errors import EXIT_FAILED, EXIT_OK, EdgedError, UsageError


class Controller(Enum):
    """Who drives the demo's arm."""

    python = "python"
    cpp = "cpp"


PAGE = "127.0.0.1:8080"
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EACCES: "use sudo, or join the group that owns it",
    errno.EPERM: "use sudo, or ask its owner",
    errno.EROFS: "give a place that can be written",
    errno.EIO: "look whether the disk is sound",
    errno.ENAMETOOLONG: "give a shorter one",
    errno.ENOTDIR: "correct the path",
    errno.EISDIR: "correct the path",
    errno.EEXIST: "correct the path, or move away what is there",
}
"""What a machine may refuse anywhere; other errors of the system are our own, and told with their trace."""

app = typer.Typer(
    name="edged",
    help="Runs policies and segmenters in a steady loop beside a robot.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of `edged`. What goes wrong ends in one line, an output that cannot be written included."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of ASCII alone
    code = _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        print(f"edged: the output cannot be written: {error.strerror}; make room", file=sys.stderr)
        code = code or EXIT_FAILED
    sys.exit(code)


def _run() -> int | str | None:
    """`edged tail pick | head -1`: whoever read has seen enough, also of help and of what completes a line."""
    out, told = sys.stdout, sys.stderr
    try:
        app()
    except EdgedError as error:
        with contextlib.suppress(BrokenPipeError):
            print(f"edged: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            return end.code
        sys.stdout, sys.stderr = out, told  # Click puts its own there, Rich does not; both end with 1
        discard_output()
        return getattr(end.__context__.__context__, "exit_code", EXIT_OK)  # of what was being told
    except OSError as error:
        if error.errno == errno.EPIPE:
            discard_output()
            return EXIT_OK
        if error.errno not in REMEDIES:
            raise
        what = "" if error.filename is None else f"{error.filename}: "
        print(f"edged: {EdgedError(f'{what}{error.strerror}', REMEDIES[error.errno])}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit(EXIT_OK)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Runs policies and segmenters in a steady loop beside a robot."""


@app.command()
def run(file: ConfigFile, sets: Sets = None) -> None:
    """Run a daemon in the foreground until SIGTERM."""
    from edged.daemon import run_daemon

    raise typer.Exit(run_daemon(file, sets or ()))


@app.command()
def check(
    file: ConfigFile,
    sets: Sets = None,
    live: Annotated[bool, typer.Option("--live", help="listen to every camera and sensor for two seconds")] = False,
    json: AsJson = False,
) -> None:
    """Check a config, its engine and the cell without running anything."""
    from edged.cli.check import check as run_check
    from edged.cli.finding import exit_code, facts, show

    findings = run_check(file, sets or (), live)
    print_answer(json, findings, show, facts)
    raise typer.Exit(exit_code(findings))


@app.command()
def bench(
    json: AsJson = False,
    row: Annotated[list[str] | None, typer.Option("--row", help="only this row; may be repeated")] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="measure engines on the GPU instead")] = False,
    soak: Annotated[
        float, typer.Option("--soak", help="instead, watch memory for so many seconds", min=0, callback=finite)
    ] = 0.0,
) -> None:
    """Measure this machine against the budgets; exit 1 when a row fails."""
    if gpu:
        from edged.bench.gpu import run_gpu_bench

        raise typer.Exit(run_gpu_bench(json))
    from edged.bench import run_bench

    raise typer.Exit(run_bench(row or (), json, soak))


CELL_ALONE = ("targets", "blank", "swap", "controller", "policy", "delay")


def _refuse_idle(given: typer.Context, names: Sequence[str], why: str, remedy: str) -> None:
    """`UsageError` for options that were typed and would do nothing: who typed them expects something."""
    sources = {name: given.get_parameter_source(name) for name in names}
    idle = [f"--{name}" for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if idle:
        leave = "leave it out" if len(idle) == 1 else "leave them out"
        raise UsageError(f"{' and '.join(idle)} would do nothing {why}", f"{leave}, or {remedy}")


@app.command()
def demo(
    given: typer.Context,
    seconds: Annotated[float, typer.Option(help="run for so long at most", min=1, callback=finite)] = 240.0,
    targets: Annotated[int, typer.Option(help="stop after so many targets", min=1)] = 40,
    seed: Annotated[int, typer.Option(help="of the targets and plates")] = 2026,
    json: AsJson = False,
    snapshot: Annotated[Path | None, typer.Option(help="folder for PNGs of both cameras and a latency plot")] = None,
    blank: Annotated[bool, typer.Option("--blank", help="blank the tool camera: the policy is blind")] = False,
    page: Annotated[bool, typer.Option("--ui", help="show it in the browser, at http://127.0.0.1:8080")] = False,
    swap: Annotated[bool, typer.Option("--swap", help="swap engines live: a better one, then a poisoned one")] = False,
    controller: Annotated[Controller, typer.Option(help="drives the arm; cpp needs a compiler")] = Controller.python,
    policy: Annotated[
        str, typer.Option(help="reach, reach-chunk (16 steps at a time) or reach-lstm (with a memory)")
    ] = "reach",
    delay: Annotated[
        float, typer.Option(help="ms that the policy's engine takes longer", min=0, max=2000, callback=finite)
    ] = 0.0,
    line: Annotated[bool, typer.Option("--line", help="sort trays of parts instead: triggers, rules, results")] = False,
    trays: Annotated[int, typer.Option(help="with --line: stop after so many trays", min=1, max=1_000_000)] = 200,
) -> None:
    """Drive a simulated robot cell: a policy, an inspection, and a controller that obeys the bus."""
    shown = PAGE if page else ""
    if line:
        _refuse_idle(given, CELL_ALONE, "with --line", "--line")
        from edged.demo.sorting import run_line

        raise typer.Exit(run_line(seconds, trays, seed, json, snapshot, shown))
    _refuse_idle(given, ("trays",), "without --line", "add --line")
    from edged.demo.run import run_demo

    played = run_demo(seconds, targets, seed, json, snapshot, blank, swap, controller.value, shown, policy, delay)
    raise typer.Exit(played)


@app.command()
def camera(
    file: Annotated[Path, typer.Argument(help="TOML file with cameras.<name> as in a daemon's", metavar="FILE")],
    name: Annotated[str, typer.Argument(help="which of its cameras; not needed for the only one")] = "",
    shared_as: Annotated[str, typer.Option("--as", help="share it as shm:NAME instead of its own name")] = "",
) -> None:
    """Own a camera and share its frames in memory, for any number of daemons."""
    from edged.services.camera.share import run_camera

    raise typer.Exit(run_camera(file, name, shared_as))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


for part in (daemons, engines, evaluate, services, record, gateway, swap, pack, pull, set_input, calibrate, setup):
    part.register(app)
