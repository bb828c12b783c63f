"""What a person names on the command line: a config, and what is to be different from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(help="the daemon's TOML file", metavar="FILE")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key, TOML value")]
