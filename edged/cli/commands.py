"""Every command but `edged run`. What finds daemons and reads configs is imported by all; whatever else a command needs
it imports when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edged import __version__
from edged.cli import calibrate, daemons, engines, evaluate, gateway, pack, pull, record, services, setup, swap
from edged.cli import set as set_input
from edged.cli.config_arg import ConfigFile, Sets
from edged.cli.main import app
from edged.cli.options import AsJson, finite
from edged.cli.output import print_answer
from edged.core.errors import UsageError


class Controller(Enum):
    """Who drives the demo's arm."""

    python = "python"
    cpp = "cpp"


PAGE = "127.0.0.1:8080"


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
