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
    canvas, factor = _enlarged(image)
    size = max(0.4, canvas.shape[1] / 2600)
    few = len(instances.score) <= FEW
    seen: Counter[int] = Counter()
    tags = []
    for index, (box, score, number, mask) in enumerate(
        zip(instances.xyxy, instances.score, instances.class_id.tolist(), instances.masks, strict=True)
    ):
        colour = shade_of(number, seen[number])
        seen[number] += 1
        left, top = (max(0, int(np.floor(edge))) * factor for edge in box[:2])
        big = mask.astype(np.uint8)
        if factor > 1:
            big = cv2.resize(big, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        window = canvas[top : top + big.shape[0], left : left + big.shape[1]]
        _tint_part(window, big[: window.shape[0], : window.shape[1]], colour)
        corners = np.round(box * factor).astype(int).tolist()
        cv2.rectangle(canvas, corners[:2], corners[2:], colour, 1)
        text = f"{index} {_name(classes, number)} {score:.2f}" if few else str(index)
        tags.append((text, (corners[0], corners[1]), colour))
    for text, corner, colour in tags:  # after all masks, so that none covers a number
        _tag(canvas, text, corner, colour, size)
    entries = [(colour_of(number), f"{_name(classes, number)} x{count}") for number, count in sorted(seen.items())]
    if instances.truncated:
        entries.append((ALERT, f"truncated: at least {instances.truncated} more"))
    return np.vstack([canvas, _legend(canvas.shape[1], entries or [(DIM, "nothing found")], caption)])


def overlay_action(
    image: Image,
    names: Sequence[str],
    values: Sequence[float],
    units: Sequence[str] = (),
    ranges: Sequence[tuple[float, float]] = (),
    measured: Sequence[float | None] = (),
    caption: str = "",
    alert: str = "",
) -> Image:
    """`image` with a panel beside it: per axis its name, commanded value, and where that lies in its range.

    `units`, `ranges` and `measured` may be shorter than `names`. Where a measured value is known an arrow shows which
    way the command asks to go. `alert` (such as a Hold) is written in red across the top of the panel.
    """
    canvas, _ = _enlarged(image)
    height = max(canvas.shape[0], 96 + 58 * len(names))
    panel = np.full((height, 380, 3), PANEL, np.uint8)
    _text(panel, caption or "action", (24, 40), 0.62, INK)
    if alert:
        _text(panel, alert, (24, 66), 0.48, ALERT)
    pitch = (height - 96) / max(1, len(names))
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        unit = units[row] if row < len(units) else ""
        limits = ranges[row] if row < len(ranges) else (min(-1.0, value), max(1.0, value))
        seen = measured[row] if row < len(measured) else None
        _axis(panel, round(84 + pitch * (row + 0.5)), name, value, unit, limits, seen)
    picture = np.full((height, canvas.shape[1], 3), PANEL, np.uint8)
    top = (height - canvas.shape[0]) // 2
    picture[top : top + canvas.shape[0]] = canvas
    return np.hstack([picture, panel])


def _axis(
    panel: Image, y: int, name: str, value: float, unit: str, limits: tuple[float, float], seen: float | None
) -> None:
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
    asks = 0 if seen is None else place(value) - place(seen)
    if seen is not None and abs(asks) > 3:
        cv2.circle(panel, (place(seen), y + 6), 5, DIM, -1, cv2.LINE_AA)
    if seen is not None and abs(asks) > 16:
        tip = 9 / abs(asks)
        cv2.arrowedLine(panel, (place(seen), y + 6), (place(value), y + 6), ACCENT, 2, cv2.LINE_AA, 0, tip)
    else:
        cv2.circle(panel, (place(value), y + 6), 6, ACCENT, -1, cv2.LINE_AA)


def _name(classes: Sequence[str], class_id: int) -> str:
    return classes[class_id] if class_id < len(classes) else f"class {class_id}"


def _enlarged(image: Image) -> tuple[Image, int]:
    """A private copy of `image`, at least MIN_WIDTH wide, and the whole factor it was enlarged by."""
    factor = max(1, -(-MIN_WIDTH // image.shape[1]))
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
    inside = mask > 0
    window[inside] = (window[inside] * np.float32(0.6) + np.float32(0.4) * np.array(colour, np.float32)).astype(
        np.uint8
    )
    edge = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    edge = (edge - cv2.erode(edge, CROSS))[1:-1, 1:-1]
    window[edge > 0] = colour


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


def _tag(canvas: Image, text: str, corner: tuple[int, int], colour: Colour, size: float) -> None:
    """Dark letters on `colour`, above `corner` where there is room and below where not, and within the canvas."""
    width, high = _width(text, size) + 6, round(36 * size)
    x = max(0, min(corner[0], canvas.shape[1] - width))
    top = corner[1] - high if corner[1] >= high else max(0, corner[1])
    canvas[top : top + high, x : x + width] = colour
    ink = (20, 20, 20) if sum(colour) > 280 else (245, 245, 245)
    _text(canvas, text, (x + 3, top + round(26 * size)), size, ink)


def _text(canvas: Image, text: str, corner: tuple[int, int], size: float, colour: Colour) -> None:
    plain = text.encode("ascii", "replace").decode()  # the built-in letters know no others
    cv2.putText(canvas, plain, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _width(text: str, size: float) -> int:
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    return int(width)
