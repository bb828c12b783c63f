"""`edged pack`: from a trainer's ONNX file to an engine. Flags, recipe and the model's own metadata make one spec."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.options import finite
from edged.cli.output import print_answer
from edged.cli.progress import Bar
from edged.config import default_store
from edged.core.errors import EngineError, UsageError

IMAGE, POLICY, HEAD, HALF, OUT = "Image", "Policy", "Instance head", "Precision", "What is written"


def register(app: typer.Typer) -> None:
    """Add `edged pack`."""
    app.command(name="pack")(pack)


def option(help_text: str, panel: str | None = None, metavar: str | None = None, name: str | None = None) -> Any:
    """A flag without a default in its help; `panel`: the group of flags it is listed in."""
    names = [name] if name else []
    return typer.Option(
        *names, help=help_text, rich_help_panel=panel, metavar=metavar, show_default=False, callback=finite
    )


def pack(
    target: Annotated[Path, typer.Argument(help="ONNX file, TOML recipe, or LeRobot policy folder", metavar="MODEL")],
    name: Annotated[str | None, option("name of the engine")] = None,
    version: Annotated[str | None, option("its version; default the first 12 hex of the model's sha256")] = None,
    task: Annotated[str | None, option("policy, semantic or instance")] = None,
    classes: Annotated[str | None, option("a,b,c in the order of class numbers")] = None,
    camera: Annotated[
        list[str] | None, option("the camera that feeds the image; repeat for several", IMAGE, "[TENSOR=]NAME")
    ] = None,
    size: Annotated[str | None, option("HEIGHTxWIDTH, where the network leaves it open", IMAGE)] = None,
    channels: Annotated[str | None, option("rgb or bgr: what the network takes", IMAGE)] = None,
    pixels: Annotated[str | None, option("0..255 (0..65535), 0..1 or -1..1: before mean and std", IMAGE)] = None,
    format: Annotated[str | None, option("bgr8, mono8 or mono16: what the camera gives", IMAGE)] = None,
    mean: Annotated[str | None, option("three numbers in those units, one without colours", IMAGE, "R,G,B")] = None,
    std: Annotated[str | None, option("three numbers in those units", IMAGE, "R,G,B")] = None,
    resize: Annotated[str | None, option("stretch, letterbox, crop or none: how a frame gets to size", IMAGE)] = None,
    interpolation: Annotated[str | None, option("linear, area or cubic", IMAGE)] = None,
    pad: Annotated[int | None, option("grey around a letterboxed image, 0 to 255", IMAGE)] = None,
    frame: Annotated[str | None, option("HEIGHTxWIDTH of the frames: resize in the graph", IMAGE)] = None,
    state: Annotated[
        list[str] | None, option("sensor values in the order of the state; repeat", POLICY, "SENSOR:NAMES:UNIT")
    ] = None,
    axes: Annotated[
        list[str] | None, option("axes of the action in order; repeat", POLICY, "NAMES:UNIT[:KIND[:MODE]]")
    ] = None,
    ranges: Annotated[
        list[str] | None, option("what an axis was trained on; repeat", POLICY, "AXIS=LOW:HIGH", "--range")
    ] = None,
    take: Annotated[
        str | None,
        option("columns of the action that are its axes, where others are padding", POLICY, "N,N,…"),
    ] = None,
    pad_to: Annotated[int | None, option("values that the state takes: zeros behind those named", POLICY)] = None,
    step_ms: Annotated[float | None, option("time between two steps of the policy", POLICY)] = None,
    statistics: Annotated[Path | None, option("file that normalises state and action", POLICY)] = None,
    form: Annotated[
        str | None, option("mean_std, min_max, min_max_01, q01_q99, q02_q98, q10_q90, none", POLICY)
    ] = None,
    eps: Annotated[float | None, option("what the trainer added to the divisor", POLICY)] = None,
    lerobot: Annotated[Path | None, option("LeRobot policy folder to read", POLICY)] = None,
    head: Annotated[
        str | None,
        option(
            "yolo-seg, yolo-seg-nms, rfdetr-seg, query-mask, mask-rcnn, mask-rcnn-roi, detections, mmdet, mmdet-roi",
            HEAD,
        ),
    ] = None,
    tensor: Annotated[
        list[str] | None, option("which output is a part of the head; repeat", HEAD, "PART=OUTPUT")
    ] = None,
    boxes: Annotated[str | None, option("xyxy, cxcywh or yxyx: what a box's four numbers are", HEAD)] = None,
    box_unit: Annotated[str | None, option("pixels, or image: 0..1 of its width and height", HEAD)] = None,
    nms: Annotated[float | None, option("IoU above which the lesser box of a class goes; 1 = none does", HEAD)] = None,
    mask_threshold: Annotated[float | None, option("probability above which a pixel is the object's", HEAD)] = None,
    mask_side: Annotated[int | None, option("of masks pasted full size: the square each is read back to", HEAD)] = None,
    mask_scores: Annotated[
        bool | None,
        typer.Option(
            "--mask-scores/--no-mask-scores",
            help="of queries: score = class share x mean mask share, as transformers has it",
            rich_help_panel=HEAD,
            show_default=False,
        ),
    ] = None,
    drop: Annotated[list[str] | None, option("an output to leave out; repeat", None, "OUTPUT")] = None,
    background: Annotated[str | None, option("which class number is none: first, last or none", HEAD)] = None,
    above: Annotated[str | None, option("of one score per pixel: the class above the threshold", HEAD)] = None,
    top_k: Annotated[int | None, option("rows that the graph gives", HEAD)] = None,
    score: Annotated[float | None, option("least score of an object", HEAD)] = None,
    fixed: Annotated[list[str] | None, option("size of an open dimension; repeat", None, "DIM=SIZE", "--fix")] = None,
    precision: Annotated[str | None, option("fp32, fp16 or int8", HALF)] = None,
    keep: Annotated[list[str] | None, option("a node that stays in float32; repeat", HALF, "NODE")] = None,
    search_s: Annotated[
        float | None, option("how long to look for nodes that have to stay; 0 = not, default 120", HALF, "SECONDS")
    ] = None,
    backend: Annotated[
        str | None, option("one that is here, such as cuda: proved and timed there too", HALF, "BACKEND")
    ] = None,
    golden: Annotated[Path | None, option("samples to prove it on: folder, recording or .npz")] = None,
    calibration: Annotated[Path | None, option("the same for int8's ranges, 50 and more")] = None,
    reduce_range: Annotated[
        bool, option("7-bit weights, for int8 on CPUs without VNNI", HALF, None, "--reduce-range")
    ] = False,
    store: Annotated[Path | None, option("engine store to write to", OUT)] = None,
    archive: Annotated[bool, option("also write NAME-VERSION.edged here", OUT, None, "--archive")] = False,
    replace: Annotated[bool, option("overwrite that version", OUT, None, "--replace")] = False,
    sign: Annotated[Path | None, option("secret key to sign with", OUT, "KEY")] = None,
    upgrade: Annotated[
        bool, option("MODEL is an engine of schema 1: write it again, with schema 2", OUT, None, "--upgrade")
    ] = False,
    json: Annotated[bool, option("one JSON object", OUT, None, "--json")] = False,
) -> None:
    """Make an engine of an ONNX model: pre- and post-processing in the graph, proved against the original.

    What the model says of itself is used and printed; what is ambiguous is asked for. Exit 3: it does not prove itself.
    """
    flags = {**locals(), "range": ranges, "fix": fixed}
    if upgrade:
        _upgrade(flags)
        return
    flags |= {key: str(path) for key, path in flags.items() if isinstance(path, Path)}
    job, from_flags = _packer()
    emit: Callable[[str], None] = (lambda line: None) if json else print
    bar = Bar(sys.stderr, quiet=json or not sys.stderr.isatty())
    result = job.pack_job(
        target,
        lambda network: from_flags(flags, network),
        store or default_store(),
        archive=archive,
        replace=replace,
        backend=backend or "",
        sign=_signer(sign) if sign else None,
        emit=emit,
        progress=lambda what, done, count: _draw(bar, what, done, count),
    )
    print_answer(json, result, job.show, job.facts)


def _upgrade(flags: dict[str, Any]) -> None:
    """Only what is written where can be said here: the engine says everything else itself."""
    taken = ("target", "version", "store", "replace", "sign", "json", "upgrade", "ranges", "fixed")
    if odd := [name for name, value in flags.items() if value and name not in taken]:
        raise UsageError(
            f"--{odd[0].replace('_', '-')} has no meaning with --upgrade", "leave it out, or pack the model"
        )
    _packer()  # says what has to be installed
    from edged.cli.engine_arg import find_engine
    from edged.pack.upgrade import upgrade

    bundle = find_engine(str(flags["target"]), flags["store"]).read()
    signer = _signer(flags["sign"]) if flags["sign"] else None
    path, made = upgrade(bundle, flags["store"] or default_store(), flags["version"], flags["replace"], signer)
    about = {"path": str(path), "name": made.name, "version": made.version, "schema": made.schema}
    print_answer(flags["json"], about, lambda about: f"wrote    {about['path']} (schema {about['schema']})")


def _draw(bar: Bar, what: str, done: int, count: int) -> None:
    bar.show(done / max(1, count), what, f"{what} {done}/{count}")
    if done == count:
        bar.close()


def _packer() -> tuple[Any, Any]:
    try:
        from edged.pack import job
        from edged.pack.flags import from_flags
    except ImportError as error:
        fact = f"nothing can be packed: {error.name} is not installed"
        raise EngineError(fact, "pip install 'edged[cpu,pack]'") from None
    return job, from_flags


def _signer(key: Path) -> Callable[[bytes], bytes]:
    from edged.bundle.signature import load_secret

    secret = load_secret(key)
    return lambda sums: secret.public_key().public_bytes_raw() + secret.sign(sums)
