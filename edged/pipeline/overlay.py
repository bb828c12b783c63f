"""Pictures for people: label maps, instances and actions drawn over the image they belong to.

Small images are enlarged first, so that lines and letters stay readable; what the picture means is written in a strip
below it or a panel beside it and never covers it. Input arrays are not changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.core.types import Instances

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

MIN_WIDTH = 640  # images narrower than this are enlarged by a whole factor
PANEL: Colour = (38, 33, 30)
INK: Colour = (235, 232, 228)
DIM: Colour = (150, 144, 138)
TRACK: Colour = (78, 70, 64)
ACCENT: Colour = (80, 190, 255)
ALERT: Colour = (70, 70, 235)
PALETTE: tuple[Colour, ...] = (  # BGR; distinguishable with the common colour blindnesses (Okabe and Ito)
    (233, 180, 86),
    (66, 228, 240),
    (94, 60, 228),
    (115, 158, 0),
    (167, 121, 204),
    (0, 159, 230),
    (178, 114, 0),
)

SHADES = ((0.0, 0), (0.45, 255), (0.35, 0), (0.7, 255), (0.2, 255), (0.55, 0))
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
FEW = 20  # objects that there is room to write a name beside


def colour_of(class_id: int) -> Colour:
    """The colour of a class; 0, the background, has none of its own and is never drawn."""
    return PALETTE[class_id % len(PALETTE)]


def shade_of(class_id: int, index: int) -> Colour:
    """The colour of the `index`-th object of a class: its class's, lighter and darker in turn."""
    share, towards = SHADES[index % len(SHADES)]
    blue, green, red = (round(part + (towards - part) * share) for part in colour_of(class_id))
    return blue, green, red


def overlay_labels(image: Image, labels: NDArray[np.uint8], classes: Sequence[str], caption: str = "") -> Image:
    """Label map [H, W] tinted and outlined over `image` [H, W, 3] BGR, with each class's name and share of the view."""
    canvas, factor = _enlarged(image)
    big = cv2.resize(labels, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    entries = []
    for class_id, name in enumerate(classes):
        if class_id == 0:
            continue
        mask = (big == class_id).astype(np.uint8)
        _tint(canvas, mask, colour_of(class_id))
        entries.append((colour_of(class_id), f"{name} {100 * mask.mean():.1f}%"))
    return np.vstack([canvas, _legend(canvas.shape[1], entries, caption)])


def overlay_instances(image: Image, instances: Instances, classes: Sequence[str], caption: str = "") -> Image:
    """Masks and boxes of `instances` over `image` [H, W, 3] BGR, each with its number in the message and a shade of its
    class's colour; with few of them also the class and score. A count per class is below, and what was left out."""
    kinds = instances.class_id.tolist()
    entries = [(colour_of(number), f"{_name(classes, number)} x{n}") for number, n in sorted(Counter(kinds).items())]
    if instances.truncated:
        entries.append((ALERT, f"truncated: at least {instances.truncated} more"))
    entries = entries or [(DIM, "nothing found")]
    factor = _factor(image)
    height, width = image.shape[0] * factor, image.shape[1] * factor
    legend = _legend(width, entries, caption)
    picture = np.empty((height + len(legend), width, 3), np.uint8)
    picture[height:] = legend
    canvas = picture[:height]
    canvas[:] = image if factor == 1 else cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    size = max(0.4, width / 2600)
    few = len(kinds) <= FEW
    seen: Counter[int] = Counter()
    tags = []
    firsts = instances.corners
    corners = np.round(instances.xyxy * factor).astype(int).tolist()
    for index, (score, number, mask) in enumerate(zip(instances.score.tolist(), kinds, instances.masks, strict=True)):
        colour = shade_of(number, seen[number])
        seen[number] += 1
        big = np.ascontiguousarray(mask).view(np.uint8)
        if factor > 1 and big.size:
            big = cv2.resize(big, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        left, top = (factor * edge for edge in firsts[index])
        window = canvas[top : top + big.shape[0], left : left + big.shape[1]]
        if window.size:
            _tint_part(window, big[: window.shape[0], : window.shape[1]], colour)
        box = corners[index]
        cv2.rectangle(canvas, box[:2], box[2:], colour, 1)
        text = f"{index} {_name(classes, number)} {score:.2f}" if few else str(index)
        tags.append((text, box, colour))
    taken = np.zeros((len(tags), 4), int)
    for row, (text, box, colour) in enumerate(tags):  # after all masks, so that none covers a number
        taken[row] = _tag(canvas, text, box, colour, size, taken[:row])
    return picture


def overlay_action(
    image: Image,
    names: Sequence[str],
    values: Sequence[float],
    units: Sequence[str] = (),
    ranges: Sequence[tuple[float, float]] = (),
    caption: str = "",
) -> Image:
    """`image` with a panel beside it: per axis its name, commanded value, and where that lies in its range. `units` and
    `ranges` may be shorter than `names`."""
    canvas, _ = _enlarged(image)
    height = max(canvas.shape[0], 96 + 58 * len(names))
    panel = np.full((height, 380, 3), PANEL, np.uint8)
    _text(panel, caption or "action", (24, 40), 0.62, INK)
    pitch = (height - 96) / max(1, len(names))
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        unit = units[row] if row < len(units) else ""
        limits = ranges[row] if row < len(ranges) else (min(-1.0, value), max(1.0, value))
        _axis(panel, round(84 + pitch * (row + 0.5)), name, value, unit, limits)
    picture = np.full((height, canvas.shape[1], 3), PANEL, np.uint8)
    top = (height - canvas.shape[0]) // 2
    picture[top : top + canvas.shape[0]] = canvas
    return np.hstack([picture, panel])


def _axis(panel: Image, y: int, name: str, value: float, unit: str, limits: tuple[float, float]) -> None:
    """One row: name at the left, value at the right, and under both a bar over `limits` with the command's mark."""
    left, right = 24, panel.shape[1] - 24
    low, high = limits

    def place(v: float) -> int:
        share = (v - low) / ((high - low) or 1.0)
        return int(left + (right - left) * min(1.0, max(0.0, share)) + 0.5)

    _text(panel, name, (left, y - 10), 0.52, INK)
    text = f"{value:+.3f} {unit}".rstrip()
    _text(panel, text, (right - _width(text, 0.52), y - 10), 0.52, INK)
    cv2.line(panel, (left, y + 6), (right, y + 6), TRACK, 4, cv2.LINE_AA)
    if low < 0 < high:
        cv2.line(panel, (place(0), y), (place(0), y + 12), DIM, 1)
    cv2.circle(panel, (place(value), y + 6), 6, ACCENT, -1, cv2.LINE_AA)


def _name(classes: Sequence[str], class_id: int) -> str:
    return classes[class_id] if class_id < len(classes) else f"class {class_id}"


def _factor(image: Image) -> int:
    """By which whole number a small image is enlarged."""
    return max(1, -(-MIN_WIDTH // int(image.shape[1])))


def _enlarged(image: Image) -> tuple[Image, int]:
    """A private copy of `image`, at least MIN_WIDTH wide, and the whole factor it was enlarged by."""
    factor = _factor(image)
    if factor == 1:
        return image.copy(), 1
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(np.uint8), factor


def _tint(canvas: Image, mask: NDArray[np.uint8], colour: Colour) -> None:
    """Blend `colour` into the masked pixels and draw their outline."""
    inside = mask > 0
    canvas[inside] = (0.6 * canvas[inside] + 0.4 * np.array(colour)).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colour, 2, cv2.LINE_AA)


def _tint_part(window: Image, mask: NDArray[np.uint8], colour: Colour) -> None:
    """Blend `colour` into the masked pixels of a part of the canvas and draw their outline, a pixel wide."""
    flat = np.empty_like(window)
    flat[:] = colour
    cv2.copyTo(cv2.addWeighted(window, 0.6, flat, 0.4, 0.0), mask, window)
    inner = cv2.erode(mask, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    cv2.copyTo(flat, mask - inner, window)


def _legend(width: int, entries: Sequence[tuple[Colour, str]], caption: str) -> Image:
    """A strip with a swatch per entry, wrapped over as many lines as it takes, the caption at the right of the last."""
    spots, x, line = [], 20, 0
    for colour, text in entries:
        advance = 30 + _width(text, 0.52) + 26
        if x > 20 and x + advance > width:
            x, line = 20, line + 1
        spots.append((colour, text, x, line))
        x += advance
    if caption and x + _width(caption, 0.48) + 20 > width:
        line += 1
    strip = np.full((44 + 30 * line, width, 3), PANEL, np.uint8)
    for colour, text, left, row in spots:
        cv2.rectangle(strip, (left, 14 + 30 * row), (left + 18, 31 + 30 * row), colour, -1)
        _text(strip, text, (left + 28, 28 + 30 * row), 0.52, INK)
    _text(strip, caption, (max(20, width - 20 - _width(caption, 0.48)), 28 + 30 * line), 0.48, DIM)
    return strip


def _tag(
    canvas: Image, text: str, box: Sequence[int], colour: Colour, size: float, taken: NDArray[np.int_]
) -> tuple[int, int, int, int]:
    """Dark letters on `colour` at a corner of `box`, the first where there is room beside those `taken` [N, 4], and
    within the canvas; where it went: x1, y1, x2, y2."""
    width, high = _width(text, size) + 6, round(36 * size)
    left, top, right, bottom = box
    spots = [(left, top - high), (left, bottom), (right - width, top - high), (right - width, bottom), (left, top),
             (right, top), (left - width, top), (right, bottom - high), (left - width, bottom - high)]  # fmt: skip
    fitting = [(x, y) for x, y in spots if 0 <= x <= canvas.shape[1] - width and 0 <= y <= canvas.shape[0] - high]
    first = max(0, min(left, canvas.shape[1] - width)), max(0, min(top, canvas.shape[0] - high))
    free = (spot for spot in fitting if not _meets(spot, width, high, taken))
    x, y = next(free, fitting[0] if fitting else first)
    canvas[y : y + high, x : x + width] = colour
    ink = (20, 20, 20) if sum(colour) > 280 else (245, 245, 245)
    _text(canvas, text, (x + 3, y + round(26 * size)), size, ink)
    return x, y, x + width, y + high


def _meets(spot: tuple[int, int], width: int, high: int, taken: NDArray[np.int_]) -> bool:
    x, y = spot
    apart = (taken[:, 0] >= x + width) | (taken[:, 2] <= x) | (taken[:, 1] >= y + high) | (taken[:, 3] <= y)
    return not apart.all()


def _text(canvas: Image, text: str, corner: tuple[int, int], size: float, colour: Colour) -> None:
    plain = text.encode("ascii", "replace").decode()  # the built-in letters know no others
    cv2.putText(canvas, plain, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _width(text: str, size: float) -> int:
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    return int(width)
