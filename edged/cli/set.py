"""`edged set`: give the running engine another value for a constant that its manifest lets an operator set."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.options import AsJson, Daemon, OwnKey, ServerKey, complete_input, find_daemon
from edged.cli.output import print_answer, who
from edged.core.errors import UNREADABLE, UsageError

REMEDY = "a number, a list as 0.1,0.2 or [[1, 2], [3, 4]], or @FILE with such a list (.json) or an array (.npy)"


def register(app: typer.Typer) -> None:
    """Add `edged set`."""
    app.command(name="set", context_settings={"ignore_unknown_options": True})(set_)  # -0.5 is a value


def set_(
    daemon: Daemon,
    name: Annotated[
        str,
        typer.Argument(
            help="an input that may be set; 'edged status' lists them",
            metavar="INPUT",
            autocompletion=complete_input,
        ),
    ],
    value: Annotated[str, typer.Argument(help="number, list, or @FILE (.json, .npy)", metavar="VALUE")] = "",
    default: Annotated[bool, typer.Option("--default", help="the value that was packed, instead of VALUE")] = False,
    json: AsJson = False,
    server_key: ServerKey = None,
    key: OwnKey = None,
) -> None:
    """Set a constant of the running engine, a goal or an instruction, before its next inference."""
    if default == bool(value):
        raise UsageError("give either a value or --default", REMEDY)
    made = None if default else read_value(value)
    done = find_daemon(daemon, server_key, key).ask("set", {"input": name, "value": made, "who": who()})
    print_answer(json, done, lambda done: f"{daemon}: {done['input']} is {_shown(done['value'])} from now on")


def read_value(text: str) -> Any:
    """A number or nested lists. `UsageError` for anything else."""
    if text.startswith("@"):
        return _read_file(Path(text[1:]))
    try:
        return json_text.loads(text if text[:1] in "[" or "," not in text else f"[{text}]")
    except UNREADABLE:
        raise UsageError(f"{text!r} is no value", REMEDY) from None


def _read_file(path: Path) -> Any:
    try:
        if path.suffix == ".npy":
            import numpy as np

            return np.load(path, allow_pickle=False).tolist()
        return json_text.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "check the path") from None
    except (*UNREADABLE, EOFError) as error:
        raise UsageError(f"{path} holds no value: {error}", REMEDY) from None


def _shown(value: Any) -> str:
    return "as packed" if value == "packed" else str(value)
