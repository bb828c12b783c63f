"""What exporters write into their files, and the names by which their outputs are known.

Ultralytics    metadata_props whose values are Python reprs: task, names, imgsz, end2end
ONNX           Image.BitmapPixelFormat, Image.NominalPixelRange, Image.ColorSpaceGamma
torchvision    outputs boxes, labels, scores, masks; or `out` of its segmenters, with `aux` beside it
rfdetr         outputs dets [1, Q, 4], labels, masks
mmdeploy       outputs dets [1, N, 5], labels, masks
NVIDIA         outputs num_detections, detection_boxes, detection_scores, detection_classes, detection_masks: those of
               the plug-in EfficientNMS_TRT (github.com/NVIDIA/TensorRT, plugin/efficientNMSPlugin/README.md, "Outputs":
               corners, int32 classes, so many rows valid) and the masks of samples/python/detectron2, whose infer.py
               reads a box as y1 x1 y2 x2 in 0..1 of the input
ONNX zoo       outputs 6568, 6570, 6572, 6887 of its Mask R-CNN; with other names, their shapes and types
transformers   outputs class_queries_logits, masks_queries_logits
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from edged.core.errors import RefusedError
from edged.pack.dense import MMDET, TORCHVISION
from edged.pack.network import WHOLE, Network
from edged.pack.spec import HeadSpec, InputSpec, OutputSpec, Spec

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
RANGES = {"NominalRange_0_255": "0..255", "Normalized_0_1": "0..1", "Normalized_1_1": "-1..1"}
CHANNELS = {"Rgb8": "rgb", "Bgr8": "bgr"}
ZOO = {"6568", "6570", "6572", "6887"}
ZOO_MEAN = (102.9801, 115.9465, 122.7717)
NVIDIA = {part: f"detection_{part}" for part in ("boxes", "scores", "masks")} | {
    "labels": "detection_classes",
    "count": "num_detections",
}


def descriptions(network: Network) -> Iterator[tuple[str, Spec]]:
    """(source, spec) for each description in this network's file, the surest first."""
    outputs = set(network.outputs)
    if {"task", "names", "stride"} <= set(network.metadata):
        yield "Ultralytics metadata", _ultralytics(network)
    if any(key.startswith("Image.") for key in network.metadata):
        yield "ONNX image metadata", _image_metadata(network)
    if set(TORCHVISION) <= outputs:
        yield "torchvision output names", _torchvision(network)
    elif tensors := _parts(network):
        yield "ONNX zoo Mask R-CNN" if outputs == ZOO else "Mask R-CNN output shapes", _zoo(network, tensors)
    if {"dets", "labels", "masks"} == outputs:
        mmdeploy = network.outputs["dets"].shape[-1:] == (5,)
        yield ("mmdeploy output names", _mmdet(network)) if mmdeploy else ("rfdetr output names", _rfdetr(network))
    if set(NVIDIA.values()) <= outputs:
        yield "NVIDIA output names", _nvidia(network)
    if outputs == {"out", "aux"}:
        yield "torchvision output names", Spec(task="semantic", outputs={"aux": OutputSpec(role="drop")})
    if {"class_queries_logits", "masks_queries_logits"} <= outputs:
        yield "transformers output names", _queries(network)


def _ultralytics(network: Network) -> Spec:
    facts = {
        key: _literal(network.metadata[key]) for key in ("task", "names", "imgsz", "end2end") & network.metadata.keys()
    }
    if facts["task"] != "segment":
        remedy = "export a segmentation model, yolo export model=…-seg.pt format=onnx"
        raise RefusedError(f"an Ultralytics model for {facts['task']!r} has no masks", remedy)
    names = facts["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))):
        raise RefusedError(f"the metadata's names are {str(names)[:80]!r}, not one for each class", "say --classes")
    classes = tuple(str(names[number]) for number in range(len(names)))
    tensors = {"predictions" if tensor.rank == 3 else "prototypes": name for name, tensor in network.outputs.items()}
    if len(tensors) != 2 or len(network.outputs) != 2:
        raise RefusedError(
            f"outputs {sorted(network.outputs)} are not one of rank 3 and one of rank 4", "say head.tensors"
        )
    shape = network.outputs[tensors["predictions"]].shape
    prototypes = network.outputs[tensors["prototypes"]].shape[1]
    suppressed = isinstance(prototypes, int) and shape[2] == 6 + prototypes
    image: dict[str, Any] = {
        "channels": "rgb",
        "pixels": "0..1",
        "mean": ZERO,
        "std": ONE,
        "resize": "letterbox",
        "pad": 114,
    }
    if isinstance(facts.get("imgsz"), list):
        image["size"] = tuple(facts["imgsz"])
    return Spec(
        task="instance",
        classes=classes,
        inputs={_only(network): InputSpec(role="image", interpolation="linear", layout="NCHW", **image)},
        head=HeadSpec(
            layout="yolo-seg-nms" if suppressed else "yolo-seg",
            tensors=tensors,
            boxes="xyxy" if suppressed else "cxcywh",
            unit=False,
            background="none",
            nms_threshold=1.0 if suppressed else 0.7,
        ),
    )


def _image_metadata(network: Network) -> Spec:
    image: dict[str, Any] = {"role": "image"}
    if form := network.metadata.get("Image.BitmapPixelFormat"):
        image["channels"] = _of(CHANNELS, "Image.BitmapPixelFormat", form)
    if span := network.metadata.get("Image.NominalPixelRange"):
        image["pixels"] = _of(RANGES, "Image.NominalPixelRange", span)
    if (gamma := network.metadata.get("Image.ColorSpaceGamma", "SRGB")) != "SRGB":
        raise RefusedError(f"Image.ColorSpaceGamma {gamma!r}: cameras give sRGB", "export it without that conversion")
    return Spec(inputs={_only(network): InputSpec(**image)})


def _torchvision(network: Network) -> Spec:
    # what is fed is scaled and normalised inside, and resized too
    plain = InputSpec(role="image", channels="rgb", pixels="0..1", mean=ZERO, std=ONE)
    image = InputSpec(role="image") if _small(network, "masks") else plain
    return _mask_rcnn(network, {name: name for name in TORCHVISION}, image)


def _parts(network: Network) -> dict[str, str]:
    """Which output is which part of a Mask R-CNN, if their shapes and types leave no doubt."""
    found: dict[str, list[str]] = {part: [] for part in TORCHVISION}
    for name, tensor in network.outputs.items():
        if tensor.rank == 2 and tensor.shape[1] == 4:
            found["boxes"].append(name)
        elif tensor.rank == 1:
            found["labels" if tensor.kind in WHOLE else "scores"].append(name)
        elif tensor.rank == 4 and tensor.shape[1] == 1:
            found["masks"].append(name)
    only = all(len(names) == 1 for names in found.values()) and len(network.outputs) == 4
    return {part: names[0] for part, names in found.items()} if only else {}


def _zoo(network: Network, tensors: dict[str, str]) -> Spec:
    """The zoo's own takes BGR without its mean; of another nothing is known but its outputs."""
    own = InputSpec(role="image", channels="bgr", pixels="0..255", mean=ZOO_MEAN, std=ONE)
    return _mask_rcnn(network, tensors, own if set(network.outputs) == ZOO else InputSpec(role="image"))


def _mask_rcnn(network: Network, tensors: dict[str, str], image: InputSpec) -> Spec:
    head = HeadSpec(
        layout="mask-rcnn-roi" if _small(network, tensors["masks"]) else "mask-rcnn",
        tensors=tensors,
        boxes="xyxy",
        unit=False,
        background="first",
        nms_threshold=1.0,
    )
    return _instance(network, image, head)


def _mmdet(network: Network) -> Spec:
    tensors = {name: name for name in MMDET}
    head = HeadSpec(layout="mmdet-roi" if _small(network, "masks") else "mmdet", tensors=tensors, nms_threshold=1.0)
    return _instance(network, InputSpec(role="image"), head)


def _nvidia(network: Network) -> Spec:
    """Boxes are y1 x1 y2 x2 in 0..1, as in the sample of TensorFlow's detectors; another export says --boxes."""
    head = HeadSpec(layout="detections", tensors=NVIDIA, boxes="yxyx", unit=True, nms_threshold=1.0)
    return _instance(network, InputSpec(role="image"), head, drops=True)


def _small(network: Network, masks: str) -> bool:
    """Whether masks are over their boxes, not pasted into the image."""
    height, width = network.outputs[masks].shape[-2:]
    return isinstance(height, int) and height == width and height <= 56


def _rfdetr(network: Network) -> Spec:
    image = InputSpec(
        role="image",
        channels="rgb",
        pixels="0..1",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        resize="stretch",
        interpolation="linear",
        layout="NCHW",
    )
    tensors = {"boxes": "dets", "logits": "labels", "masks": "masks"}
    head = HeadSpec(layout="rfdetr-seg", tensors=tensors, boxes="cxcywh", unit=True, nms_threshold=1.0)
    return _instance(network, image, head)


def _queries(network: Network) -> Spec:
    tensors = {"logits": "class_queries_logits", "masks": "masks_queries_logits"}
    head = HeadSpec(layout="query-mask", tensors=tensors, background="last", nms_threshold=1.0, mask_scores=True)
    return _instance(network, InputSpec(role="image"), head, drops=True)


def _instance(network: Network, image: InputSpec, head: HeadSpec, drops: bool = False) -> Spec:
    """`drops`: what is no part of the head is left out, without a question."""
    parts = (head.tensors or {}).values()
    dropped = {name: OutputSpec(role="drop") for name in network.outputs if drops and name not in parts}
    return Spec(task="instance", inputs={_only(network): image}, outputs=dropped or None, head=head)


def _only(network: Network) -> str:
    if len(network.inputs) != 1:
        raise RefusedError(f"{len(network.inputs)} inputs {sorted(network.inputs)}, one image expected", "say inputs")
    return next(iter(network.inputs))


def _literal(text: str) -> Any:
    """Ultralytics writes str(value): a Python literal, or a bare word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _of(words: dict[str, str], key: str, value: str) -> str:
    if value not in words:
        raise RefusedError(f"{key} is {value!r}; {', '.join(words)} are packed", "export it with another pixel format")
    return words[value]
