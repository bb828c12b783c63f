"""Commands for who sets up a cell, or asks for help with it: init, doctor, support."""

from __future__ import annotations

import re
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from edged.cli.config_arg import Sets
from edged.cli.options import AsJson, StorePath, Target, complete_daemon
from edged.cli.output import print_answer
from edged.config.sections import NAME_PATTERN
from edged.core.errors import EdgedError, UsageError
from edged.core.files import write_file, write_new_file

SomeConfig = Annotated[Path | None, typer.Argument(help="TOML file of a daemon that is to run here", metavar="[FILE]")]


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    for command in (init, doctor, support):
        app.command()(command)


def doctor(file: SomeConfig = None, sets: Sets = None, json: AsJson = False) -> None:
    """Say what of this machine makes a loop late or a daemon fail, each with a remedy; exit 1 for an error."""
    from edged.cli.doctor import doctor as examine
    from edged.cli.finding import exit_code, facts, show

    findings = examine(file, sets or ())
    print_answer(json, findings, show, facts)
    raise typer.Exit(exit_code(findings))


def init(
    engine: Target,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file to write; its stem is the daemon's")
    ] = None,
    store: StorePath = None,
    force: Annotated[bool, typer.Option("--force", help="write over the file that is there")] = False,
) -> None:
    """Write a config for an engine: what it needs, with the questions open that only you can answer."""
    from edged.bundle.store import Store
    from edged.cli.engine_arg import find_engine
    from edged.cli.init import questions, scaffold

    found = find_engine(engine, store)
    bundle = found.read()
    path = output or Path(f"{bundle.name}.toml")
    if path.suffix != ".toml" or not re.fullmatch(NAME_PATTERN, path.stem):
        allowed = "lower-case letters, digits, _ and -, then .toml"
        raise UsageError(f"{path.name} cannot be the file of a daemon", f"call it by {allowed}")
    text = scaffold(bundle, path.stem, found.home is not None and Store(found.home.store).current(bundle.name) is None)
    try:
        (write_file if force else write_new_file)(path, text.encode())
    except FileExistsError:
        raise UsageError(f"{path} is there already", "give another with -o, or --force") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror})", "give another with -o") from None
    print(f"{path}: {questions(text)} questions are open; answer them, then: edged check {shlex.quote(str(path))}")


def support(
    daemons: Annotated[
        list[str] | None,
        typer.Argument(help="whose; all if absent", metavar="[DAEMON]...", autocompletion=complete_daemon),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="file to write")] = None,
) -> None:
    """Collect what somebody who was not there has to know: machine, versions, status, configs, history; no secrets."""
    from edged.cli import support as job

    bundle = job.collect(daemons or ())
    path = output or Path(f"edged-support-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    try:
        job.write(bundle, path)
    except OSError as error:
        raise EdgedError(f"{path} cannot be written ({error.strerror})", "give another with -o") from None
    for reason in bundle.missing:
        print(f"not in it: {reason}", file=sys.stderr)
    print(f"{path}: {len(bundle.files) + 1} files; look through it before you send it")
