"""What holds for the options of every command."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator

import pytest
import typer
from fake_daemon import edged
from typer.models import OptionInfo

from edged.cli.commands import app
from edged.cli.options import finite
from edged.core.errors import EXIT_USAGE


def options(within: typer.Typer) -> Iterator[tuple[str, object, OptionInfo]]:
    """Command and parameter, type and option of each option there is."""
    for group in within.registered_groups:
        yield from options(typing.cast("typer.Typer", group.typer_instance))
    for command in within.registered_commands:
        assert command.callback is not None
        yield from options_of(command.callback)


def options_of(command: Callable[..., object]) -> Iterator[tuple[str, object, OptionInfo]]:
    hints = typing.get_type_hints(command, include_extras=True)
    for name in inspect.signature(command).parameters:
        # Before Python 3.11 a default of None wraps the whole in Optional.
        for hint in (hints[name], *typing.get_args(hints[name])):
            for extra in getattr(hint, "__metadata__", ()):
                if isinstance(extra, OptionInfo):
                    yield f"{command.__name__} {name}", typing.get_args(hint)[0], extra


def test_no_number_is_anything_but_finite() -> None:
    """`--bound nan`: nothing is greater than that, and so every engine would prove itself."""
    numbers = [(name, option) for name, kind, option in options(app) if kind is float or float in typing.get_args(kind)]
    assert len(numbers) > 15
    assert [name for name, option in numbers if option.callback is not finite] == []


@pytest.mark.parametrize(
    "command",
    [
        ("swap", "pick", "2", "--evidence", "x.mcap", "--bound", "nan"),
        ("eval", "plate", "x", "--masks", "y", "--most-escapes", "NaN"),
        ("verify", "plate", "--seconds", "nan"),
        ("pack", "x.onnx", "--eps", "inf"),
        ("calibrate", "x", "--squares", "9x6", "--square-mm", "nan", "--marker-mm", "10"),
    ],
)
def test_what_is_not_finite_is_a_usage_error(command: tuple[str, ...]) -> None:
    done = edged(*command)  # Typer refuses some by itself, in some versions
    assert (done.code, "Invalid value for" in done.err) == (EXIT_USAGE, True), done.err
