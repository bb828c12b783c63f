"""Commands that are processes beside the daemons: metrics."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Insecure = Annotated[bool, typer.Option("--insecure", help="listen on the network without TLS or keys")]


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    app.command()(metrics)


def metrics(
    listen: Annotated[str, typer.Option(help="HOST:PORT to answer scrapes at")] = "127.0.0.1:9464",
    once: Annotated[bool, typer.Option("--once", help="print them once instead")] = False,
    insecure: Insecure = False,
) -> None:
    """Give the metrics of all daemons of this machine to Prometheus."""
    from edged.cli.locate import running
    from edged.services.metrics import serve as job

    if once:
        sys.stdout.write(job.once(running))
        return
    job.serve(running, listen, insecure, lambda url: print(f"metrics of all daemons: {url}", flush=True))
