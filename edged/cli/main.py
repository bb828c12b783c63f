"""The command line: how it ends, and `edged run`. The other commands are put together when one is asked for, and import
what they need when they run, so that `edged run` starts in time.

Exit codes: 0 done, 1 failed, 2 usage or config, 3 refused (see errors.py).
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import sys
from typing import Annotated

import typer

from edged import __version__
from edged.cli.config_arg import ConfigFile, Sets
from edged.cli.output import discard_output
from edged.core.errors import EXIT_FAILED, EXIT_OK, EdgedError

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
    if sys.argv[1:2] != ["run"]:  # Typer takes a millisecond for each command that it puts together
        import edged.cli.commands  # noqa: F401 - which adds them to `app`
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
    gc.disable()  # nothing of a start is garbage, and looking for some takes 20 ms; before its first tick it is enabled
    try:
        from edged.daemon import run_daemon

        code = run_daemon(file, sets or ())
    finally:
        gc.enable()
    raise typer.Exit(code)
