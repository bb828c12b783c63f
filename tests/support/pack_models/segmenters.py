"""Segmenters: logits at a quarter of the size, and heads that find coloured rectangles on a dark ground.

The instance heads are wired by hand, not trained: a cell whose colour is bright is an object of that colour's class,
its masks are the bright pixels. So every one of them finds known objects in `scene`.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from pack_models.net import Net

SIZE = 64
COLOURS = np.eye(3)
CLASSES = ("red", "green", "blue")
PLACES = ((4, 8), (4, 36), (36, 8), (36, 36))
SIDE = 20


def scene(seed: int, size: int = SIZE) -> np.ndarray:
    """[1, H, W, 3] uint8 BGR: two to four rectangles of 20 x 20 px, each red, green or blue."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 24, (1, size, size, 3)).astype(np.uint8)
    for top, left in rng.permutation(PLACES)[: rng.integers(2, 5)]:
        image[0, top : top + SIDE, left : left + SIDE, rng.integers(0, 3)] = rng.integers(225, 256)
    return image


def segformer(opset: int = 17, classes: int = 4, size: int = SIZE, hot: float = 1.0) -> bytes:
    """pixel_values [batch, 3, H, W] -> logits [batch, 4, H / 4, W / 4].

    `hot`: by how much its tokens are larger, as trained transformers have them: what their norms square is then beyond
    half precision, and so is nothing else.
    """
    net, width, side = Net(21, opset), 16, size // 4
    image = net.input("pixel_values", ["batch", 3, size, size])
    fine = net.conv(net.conv(image, 3, 8, stride=2), 8, width, stride=2)
    small = net.conv(fine, width, width, size=4, stride=4)
    tokens = net.add("Transpose", net.add("Reshape", small, net.ints(1, width, -1)), perm=[0, 2, 1])
    count = (side // 4) ** 2
    if hot != 1.0:
        tokens = net.add("Mul", tokens, net.const(hot))
    tokens = net.block(tokens, width, count)
    if hot != 1.0:
        tokens = net.norm(tokens, width)
    coarse = net.add("Reshape", net.add("Transpose", tokens, perm=[0, 2, 1]), net.ints(1, width, side // 4, side // 4))
    scales = net.const([1, 1, 4, 4])
    half = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    wide = net.add("Resize", coarse, "", scales, **half)
    both = net.conv(net.add("Concat", fine, wide, axis=1), 2 * width, width, size=1)
    logits = net.conv(both, width, classes, size=1, relu=False)
    colours = np.zeros((classes, 3, 4, 4))
    colours[range(1, classes), range(classes - 1)] = 4 / 16  # a bright red pixel is of class 1, a dark one of class 0
    seen = net.fixed_conv(image, colours, np.zeros(classes), stride=4)
    logits = net.add("Add", net.add("Mul", logits, net.const(0.3)), seen)
    net.output(logits, "logits", ["batch", classes, side, side])
    return net.model()


def bright(net: Net, image: str) -> str:
    """[1, 3, H, W] 0..1 RGB to logits per pixel and colour: above 0 where it is bright."""
    weight = np.zeros((3, 3, 1, 1), np.float32)
    weight[range(3), range(3)] = 16.0
    return net.fixed_conv(image, weight, [-8.0] * 3)


def cells(net: Net, image: str) -> str:
    """[1, 3, H / 4, W / 4]: the mean brightness logit around every fourth pixel, in a window of 20 x 20."""
    pixels = bright(net, image)
    return net.add("AveragePool", pixels, kernel_shape=[SIDE, SIDE], strides=[4, 4], pads=[8, 8, 8, 8])


def yolo_seg(opset: int = 17, nms: bool = False) -> bytes:
    """images [1, 3, 64, 64] -> output0 [1, 4 + 3 + 3, A], output1 [1, 3, 16, 16], with Ultralytics' metadata.

    `nms`: output0 [1, 30, 6 + 3], best first, as end-to-end exports have it.
    """
    net = Net(22, opset)
    image = net.input("images", [1, 3, SIZE, SIZE])
    side = SIZE // 4
    scores = net.add("Reshape", net.add("Sigmoid", cells(net, image)), net.ints(1, 3, side * side))
    y, x = np.mgrid[:side, :side].astype(np.float32) * 4 + 2
    boxes = np.stack([x.ravel(), y.ravel(), np.full(side * side, SIDE), np.full(side * side, SIDE)])[None]
    prototypes = net.add("AveragePool", bright(net, image), kernel_shape=[4, 4], strides=[4, 4])
    coefficients = net.add("Sub", net.add("Mul", scores, net.const(2.0)), net.const(0.5))
    if nms:
        best = net.add("ReduceMax", scores, axes=[1], keepdims=0)
        _, order = net.add("TopK", best, net.ints(30), outputs=2, axis=1)
        order = net.add("Reshape", order, net.ints(-1))
        number = net.add("Cast", net.add("ArgMax", scores, axis=1, keepdims=0), to=TensorProto.FLOAT)
        corners = np.concatenate([boxes[:, :2] - SIDE / 2, boxes[:, :2] + SIDE / 2], axis=1)
        parts = [net.const(corners), net.add("Unsqueeze", best, net.ints(1)), net.add("Unsqueeze", number, net.ints(1))]
        rows = net.add("Transpose", net.add("Concat", *parts, coefficients, axis=1), perm=[0, 2, 1])
        net.output(net.add("Gather", rows, order, axis=1), "output0", [1, 30, 9])
    else:
        net.output(net.add("Concat", net.const(boxes), scores, coefficients, axis=1), "output0", [1, 10, side * side])
    net.output(prototypes, "output1", [1, 3, side, side])
    net.metadata = {
        "task": "segment",
        "imgsz": f"[{SIZE}, {SIZE}]",
        "names": str(dict(enumerate(CLASSES))),
        "stride": "4",
        "end2end": str(nms),
        "date": "2026-01-01T00:00:00",
    }
    return net.model()


def rfdetr_seg(opset: int = 17) -> bytes:
    """input [1, 3, 64, 64] (ImageNet statistics) -> dets [1, Q, 4], labels [1, Q, 3], masks [1, Q, 16, 16]."""
    net = Net(23, opset)
    image = net.input("input", [1, 3, SIZE, SIZE])
    mean, std = (
        net.const(np.reshape([0.485, 0.456, 0.406], (3, 1, 1))),
        net.const(np.reshape([0.229, 0.224, 0.225], (3, 1, 1))),
    )
    plain = net.add("Add", net.add("Mul", image, std), mean)
    side = SIZE // 4
    centres = [(top + 10) // 4 * side + (left + 10) // 4 for top, left in PLACES]
    logits = net.add("Reshape", cells(net, plain), net.ints(1, 3, side * side))
    queries = net.add("Transpose", net.add("Gather", logits, net.ints(*centres), axis=2), perm=[0, 2, 1])
    boxes = [[(left + 10) / SIZE, (top + 10) / SIZE, SIDE / SIZE, SIDE / SIZE] for top, left in PLACES]
    net.output(net.add("Identity", net.const([boxes])), "dets", [1, 4, 4])
    net.output(queries, "labels", [1, 4, 3])
    small = net.add("AveragePool", bright(net, plain), kernel_shape=[4, 4], strides=[4, 4])
    brightest = net.add("ReduceMax", small, axes=[1], keepdims=1)
    net.output(net.add("Add", brightest, net.const(_windows(side))), "masks", [1, 4, side, side])
    return net.model()


def query_mask(opset: int = 17) -> bytes:
    """pixel_values [1, 3, 64, 64] -> class_queries_logits [1, 4, 3 + 1], masks_queries_logits [1, 4, 16, 16]."""
    net = Net(24, opset)
    image = net.input("pixel_values", [1, 3, SIZE, SIZE])
    side = SIZE // 4
    centres = [(top + 10) // 4 * side + (left + 10) // 4 for top, left in PLACES]
    logits = net.add("Reshape", cells(net, image), net.ints(1, 3, side * side))
    queries = net.add("Transpose", net.add("Gather", logits, net.ints(*centres), axis=2), perm=[0, 2, 1])
    net.output(net.add("Concat", queries, net.const(np.zeros((1, 4, 1))), axis=2), "class_queries_logits", [1, 4, 4])
    small = net.add("AveragePool", bright(net, image), kernel_shape=[4, 4], strides=[4, 4])
    brightest = net.add("ReduceMax", small, axes=[1], keepdims=1)
    net.output(net.add("Add", brightest, net.const(_windows(side))), "masks_queries_logits", [1, 4, side, side])
    return net.model()


def mask_rcnn(opset: int = 16) -> bytes:
    """image [3, 64, 64] -> boxes [N, 4], labels [N] from 1, scores [N], masks [N, 1, 64, 64]: torchvision's outputs.

    N is open: it is what NonMaxSuppression leaves.
    """
    net = Net(25, opset)
    image = net.input("image", [3, "height", "width"])
    batched = net.add("Unsqueeze", image, net.ints(0))
    side, count = SIZE // 4, (SIZE // 4) ** 2
    scores = net.add("Reshape", net.add("Sigmoid", cells(net, batched)), net.ints(1, 3, count))
    y, x = (axis.ravel() * 4 + 2 for axis in np.mgrid[:side, :side].astype(np.float32))
    boxes = net.const(np.stack([x - 10, y - 10, x + 10, y + 10], axis=1)[None])
    kept = net.add("NonMaxSuppression", boxes, scores, net.ints(20), net.const([0.2]), net.const([0.5]))
    row, number = (net.add("Gather", kept, net.const(column, np.int64), axis=1) for column in (2, 1))
    chosen = net.add("Gather", net.add("Reshape", scores, net.ints(3, count)), row, axis=1)
    at = net.add("Unsqueeze", number, net.ints(0))
    score = net.add("Reshape", net.add("GatherElements", chosen, at, axis=0), net.ints(-1))
    count_kept = net.add("Gather", net.add("Shape", score), net.const([0], np.int64), axis=0)
    score, order = net.add("TopK", score, count_kept, outputs=2, axis=0)
    row, number = (net.add("Gather", item, order, axis=0) for item in (row, number))
    net.output(net.add("Gather", net.add("Reshape", boxes, net.ints(count, 4)), row, axis=0), "boxes", ["N", 4])
    net.output(net.add("Add", number, net.const(1, np.int64)), "labels", ["N"], TensorProto.INT64)
    net.output(score, "scores", ["N"])
    shares = net.add("Reshape", net.add("Sigmoid", bright(net, batched)), net.ints(3, 1, SIZE, SIZE))
    net.output(net.add("Gather", shares, number, axis=0), "masks", ["N", 1, SIZE, SIZE])
    return net.model()


def _windows(side: int) -> np.ndarray:
    """[1, 4, side, side]: 0 in each place, far below it elsewhere."""
    apart = np.full((1, 4, side, side), -30.0, np.float32)
    for query, (top, left) in enumerate(PLACES):
        apart[0, query, top // 4 : (top + SIDE) // 4 + 1, left // 4 : (left + SIDE) // 4 + 1] = 0
    return apart
