"""`edged calibrate`: from pictures of a ChArUco board to the section of a config that makes mm of pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.options import AsJson, finite
from edged.cli.output import print_answer
from edged.core.errors import UsageError

SIDE = re.compile(r"[0-9]{1,4}")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def register(app: typer.Typer) -> None:
    """Add `edged calibrate`."""
    app.command(name="calibrate")(calibrate)


def calibrate(
    pictures: Annotated[list[Path], typer.Argument(help="pictures of the board, or a folder", metavar="PICTURES")],
    squares: Annotated[str, typer.Option(help="squares across and down, as 9x6", metavar="COLUMNSxROWS")],
    square_mm: Annotated[float, typer.Option(help="side of a square as printed", min=0.01, callback=finite)],
    marker_mm: Annotated[float, typer.Option(help="side of a marker as printed", min=0.01, callback=finite)],
    dictionary: Annotated[str, typer.Option(help="ArUco dictionary of the markers")] = "5X5_100",
    plane: Annotated[str, typer.Option(help="name of the picture in which the board lies where parts will; default the "
                                            "last", metavar="PICTURE")] = "",
    plane_mm: Annotated[float, typer.Option(help="how far above the board parts are measured", callback=finite)] = 0.0,
    json: AsJson = False,
) -> None:  # fmt: skip
    """Make `inspection.calibration` of pictures of a ChArUco board, and say how far it is off in mm.

    Ten pictures or more, the board tilted and in every corner, taken as the daemon takes frames; in one it lies flat.
    """
    from edged.evaluation.pictures import read_named
    from edged.inspection.charuco import Board, as_toml, fit_calibration

    files = [path for given in pictures for path in (_folder(given) if given.is_dir() else [given])]
    across, cross, down = squares.partition("x")
    if not (cross and SIDE.fullmatch(across) and SIDE.fullmatch(down)):
        raise UsageError(f"--squares {squares}: COLUMNSxROWS expected", "such as 9x6")
    board = Board((int(across), int(down)), square_mm, marker_mm, dictionary)
    read = {str(path): read_named(path) for path in files}
    fitted = fit_calibration(read, board, _plane(files, plane), plane_mm)
    print_answer(json, fitted, as_toml, facts)


def facts(fitted: Any) -> dict[str, Any]:
    """The same for programs."""
    return {
        "calibration": fitted.config.model_dump(mode="json"), "rms_px": fitted.rms_px, "rms_mm": fitted.rms_mm,
        "worst_mm": fitted.worst_mm, "pictures": fitted.used, "unused": list(fitted.unused),
        "reached": round(fitted.reached, 3),
    }  # fmt: skip


def _plane(files: list[Path], plane: str) -> str:
    """The picture that `--plane` names, by its path or its name alone; without it the last."""
    asked = Path(plane).resolve()
    named = files[-1:] if not plane else [path for path in files if plane == path.name or path.resolve() == asked]
    if len(set(named)) > 1:
        raise UsageError(f"--plane {plane}: {len(set(named))} pictures are called so", f"give its path, as {named[0]}")
    return str(named[0]) if named else plane


def _folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
