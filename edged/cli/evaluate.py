"""Commands that run an engine on pictures: infer, eval."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from edged.cli.config_arg import Sets
from edged.cli.options import AsJson, StorePath, Target, finite
from edged.cli.output import check_place, print_answer, printable, to_json, write_given
from edged.cli.progress import Bar
from edged.config import load_config
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, RefusedError, UsageError

if TYPE_CHECKING:
    from edged.evaluation.evaluate import Evaluation

Coco = Annotated[Path | None, typer.Option("--coco", metavar="FILE", help="COCO's JSON, or a folder of it")]
Masks = Annotated[Path | None, typer.Option("--masks", metavar="DIR", help="a folder of masks, see docs/evaluation.md")]
Share = Annotated[float | None, typer.Option(min=0, max=1, callback=finite, help="exit 3 where it is less")]
MostShare = Annotated[
    float | None, typer.Option(min=0, max=1, callback=finite, help="exit 3 where more of the pictures are")
]
SHOWN = 5  # names of pictures in a line
LEFT_OUT = {
    "without_truth": "without truth", "turned": "turned by EXIF", "gone": "gone meanwhile", "other_files": "no pictures"
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    app.command()(infer)
    app.command("eval")(evaluate)


def infer(
    engine: Target,
    image: Annotated[Path, typer.Argument(help="image file to run it on; a folder with --coco or --masks")],
    output: Annotated[Path, typer.Option("-o", "--output", help="where to write the overlay")] = Path("overlay.png"),
    coco: Coco = None,
    masks: Masks = None,
    store: StorePath = None,
    json: AsJson = False,
) -> None:
    """Run one image through an engine and write an overlay, or a folder of them and write what is found."""
    if coco is None and masks is None:
        from edged.cli.infer import infer_file
        from edged.cli.show_infer import show_inferred

        if image.is_dir():
            raise UsageError(f"{image} is a folder", "say what to write: --coco FILE or --masks DIR")
        result = infer_file(engine, image, output, store)
        print_answer(json, result, show_inferred)
        return
    from edged.cli.infer import infer_folder

    with Bar(sys.stderr, quiet=json) as bar:
        done = infer_folder(engine, image, coco, masks, store, partial(_follow, bar))
    print_answer(json, done, _show_folder)
    raise typer.Exit(EXIT_FAILED if done["failed"] else EXIT_OK)


def evaluate(
    engine: Target,
    pictures: Annotated[Path, typer.Argument(help="a folder of pictures", metavar="PICTURES")],
    coco: Coco = None,
    masks: Masks = None,
    config: Annotated[
        Path | None, typer.Option(help="a daemon's TOML file, for its rules, thresholds and calibration")
    ] = None,
    sets: Sets = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="write what --json prints to this file")] = None,
    least_ap50: Share = None,
    most_escapes: MostShare = None,
    most_false_rejects: MostShare = None,
    store: StorePath = None,
    json: AsJson = False,
) -> None:
    """Compare what an engine finds in pictures with what was drawn in them: AP, mIoU, confusion; escapes of rules."""
    from edged.evaluation.evaluate import facts

    if (coco is None) == (masks is None):
        raise UsageError("what was drawn is not known", "give --coco FILE or --masks DIR, one of them")
    if config is None and (most_escapes is not None or most_false_rejects is not None):
        raise UsageError("escapes and false rejects are of rules", "give --config FILE, whose rules they are")
    if config is None and sets:
        raise UsageError(f"--set {sets[0]} overrides nothing", "give --config FILE, whose key it is")
    check_place(output, "-o")
    with Bar(sys.stderr, quiet=json) as bar:
        made = run_evaluation(
            engine, pictures, coco, masks, config, sets or (), store, partial(_follow, bar), least_ap50 is not None
        )
    missed = shortcomings(made, least_ap50, most_escapes, most_false_rejects)
    told = {**facts(made), "missed": missed}
    if output is not None:
        write_given(output, msgspec.json.format(to_json(told), indent=1).encode() + b"\n", "-o")
    print_answer(json, told, show)
    for line in missed:
        print(f"edged: {line}", file=sys.stderr)
    raise typer.Exit(EXIT_REFUSED if missed else EXIT_FAILED if made.failed else EXIT_OK)


def run_evaluation(
    engine: str, pictures: Path, coco: Path | None, masks: Path | None, config: Path | None, sets: Any,
    store: Path | None, progress: Any = lambda at, of, name: None, of_objects: bool = False,
) -> Evaluation:  # fmt: skip
    """What `edged eval` does with what `find_engine` finds; `of_objects`: which has to find some."""
    from edged.cli.engine_arg import find_engine
    from edged.engine.registry import open_engine
    from edged.evaluation.coco import CocoTruth
    from edged.evaluation.evaluate import evaluate
    from edged.evaluation.masks import MaskTruth
    from edged.evaluation.pictures import list_pictures

    loaded = None if config is None else load_config(config, sets)
    bundle, listed = find_engine(engine, store).read(), list_pictures(pictures)
    classes, semantic = bundle.manifest.classes, bundle.manifest.task == "semantic"
    if of_objects and semantic:
        raise UsageError(f"{bundle.name} finds no objects and has no AP", "leave --least-ap50 out")
    truth: CocoTruth | MaskTruth
    if coco is not None and coco.is_dir():  # of evidence, beside its pictures
        listed = replace(listed, others=tuple(name for name in listed.others if not name.endswith(".json")))
    if coco is not None:
        truth = CocoTruth(coco, classes, semantic)
    else:
        assert masks is not None, "one of the two was given"
        truth = MaskTruth(masks, tuple(listed.paths), classes, semantic)
    with open_engine(bundle, "cpu") as opened:
        return evaluate(opened, bundle, listed, truth, loaded, progress)


def prove_by_pictures(folder: Path, engine: str, store: Path | None, daemon: str, bound: float) -> str:
    """What came of an engine on a folder of pictures with COCO's JSON beside them, such as a daemon's evidence, by the
    rules of `daemon`'s file. `RefusedError` where more than `bound` of the bad escape or of the good are rejected, or a
    picture cannot be judged."""
    if not daemon.endswith(".toml"):
        raise UsageError("which rules decide is not known", "name the daemon by its TOML file")
    made = run_evaluation(engine, folder, folder, None, Path(daemon), (), store)
    why = [f"{name} cannot be judged: {reason}" for name, reason in made.failed.items()][:SHOWN]
    escapes, rejects = made.wrong
    shares = (escapes, "of the bad pictures would pass"), (rejects, "of the good pictures would not")
    over = [f"{share:.1%} {what}" for share, what in shares if share > bound]
    why += over
    if not {"FAIL", "PASS"} & set(made.results):
        why.append("the rules of the file make nothing of these pictures")
    if why:
        place, file = shlex.quote(str(folder)), shlex.quote(daemon)
        again = f"edged eval {engine} {place} --coco {place} --config {file}"
        again += f" --store {shlex.quote(str(store))}" * (store is not None)
        remedy = f"'{again}' names them" + "; or raise --bound" * bool(over)
        raise RefusedError(f"on {folder} {engine} does not hold: {'; '.join(why)}", remedy)
    bad, good = (sum(made.results.get(result, {}).values()) for result in ("FAIL", "PASS"))
    return f"of {bad} bad pictures {escapes:.1%} would pass, of {good} good ones {rejects:.1%} would not"


def shortcomings(
    made: Evaluation, least_ap50: float | None, most_escapes: float | None, most_false_rejects: float | None
) -> list[str]:
    """What does not hold of what was asked for. An escape is a bad picture with PASS, a false reject a good one
    without it: nothing but PASS lets a part through."""
    missed = []
    if least_ap50 is not None and made.precision is not None and not made.precision.ap50 >= least_ap50:
        missed.append(f"AP50 is {made.precision.ap50:.4f}, less than {least_ap50:g}")
    escapes, rejects = made.wrong
    if most_escapes is not None:
        if "FAIL" not in made.results:
            missed.append("no picture violates a rule: whether one would escape was not seen")
        elif escapes > most_escapes:
            missed.append(f"{escapes:.2%} of the bad pictures escape, more than {most_escapes:.2%}")
    if most_false_rejects is not None:
        if "PASS" not in made.results:
            missed.append("no picture is good: whether one would be rejected was not seen")
        elif rejects > most_false_rejects:
            missed.append(f"{rejects:.2%} of the good pictures are rejected, more than {most_false_rejects:.2%}")
    return missed


def show(told: dict[str, Any]) -> str:
    """For people."""
    identity = f"{told['engine']} {told['version']} ({told['identity']})"
    scores = "" if told["scores_from"] is None else f", scores from {told['scores_from']:g} on"
    lines = [f"{identity}: {told['evaluated']} pictures, {told['nothing_drawn']} with nothing drawn in them{scores}"]
    if "ap" in told:
        each = "  ".join(f"{name} {_figure(value)}" for name, value in told["ap_of"].items())
        lines.append(f"AP {_figure(told['ap'])}  AP50 {_figure(told['ap50'])}  AP75 {_figure(told['ap75'])}  ({each})")
        lines.append(f"objects: {told['drawn']} drawn, {told['found']} found; {told['truncated']} pictures truncated")
    each = "  ".join(f"{name} {_figure(value)}" for name, value in told["iou_of"].items())
    lines.append(f"mIoU {_figure(told['miou'])}  ({each})")
    lines += _table(told["confusion"]["classes"], told["confusion"]["drawn_by_found"])
    for rule in told["rules"]:
        lines.append(
            f"rule {rule['name']} ({rule['severity']}): {rule['violating']} pictures violate it, {rule['escapes']} "
            f"escaped{_names(rule['escaped'])}; {rule['good']} do not, {rule['false_rejects']} rejected"
            f"{_names(rule['rejected'])}"
        )
    for drawn, found in told["results"].items():
        each = ", ".join(f"{count} {word}" for word, count in sorted(found.items()))
        lines.append(f"of {sum(found.values())} that are {drawn}: {each}")
    if told["digest"]:
        lines.append(f"rules and calibration: {told['digest']}")
    return "\n".join([*lines, *_left_out(told, "not evaluated")])


def _follow(bar: Bar, at: int, of: int, name: str) -> None:
    bar.show(
        at / of, f"looking at {of} pictures", f"{at + 1} of {of}: {printable(name)}" if sys.stderr.isatty() else ""
    )


def _show_folder(done: dict[str, Any]) -> str:
    counts = f"{done['pictures']} pictures, {done['empty']} with nothing found, {done['truncated']} truncated"
    return "\n".join([counts, *_left_out(done, "failed"), *(f"wrote {path}" for path in done["written"])])


def _left_out(told: dict[str, Any], failed: str) -> Iterator[str]:
    """Pictures that were not taken as they are, and files that are none."""
    for key, what in LEFT_OUT.items():
        if names := told.get(key):
            yield f"{what}: {len(names)}{_names(names)}"
    if told["failed"]:
        yield f"{failed}: {len(told['failed'])}"
        yield from (f"  {name}: {why}" for name, why in told["failed"].items())


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f" ({', '.join(names[:SHOWN])}{more})" if names else ""


def _figure(value: float) -> str:
    return "-" if isnan(value) else f"{value:.4f}"


def _table(classes: list[str], rows: list[list[int]]) -> list[str]:
    """Drawn downwards, found across."""
    cells = [["drawn \\ found", *classes], *([name, *map(str, row)] for name, row in zip(classes, rows, strict=False))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
