"""What is wrong with the polygon of a rule, so that it would count other objects than whoever drew it means."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Corner = tuple[float, float]


def polygon_fault(polygon: Sequence[Corner], sizes: Collection[tuple[int, int]]) -> str:
    """What a polygon should be, where it is not; "" = it is good. `sizes`: (width, height) of pictures, in one of
    which something of it has to lie."""
    if len(set(polygon)) < 3:
        return "three corners or more"
    crossing = _crossing(polygon)
    if crossing is not None:
        first, second = crossing
        return f"corners in their order around it: the edges behind corners {first + 1} and {second + 1} cross"
    if _area(polygon) < 1:
        return "a polygon of a pixel or more: its corners lie on a line"
    low, high = (tuple(end(corner[axis] for corner in polygon) for axis in (0, 1)) for end in (min, max))
    outside = [any(high[axis] <= 0 or low[axis] >= size[axis] for axis in (0, 1)) for size in sizes]
    if outside and all(outside):
        listed = " and ".join(f"{width}x{height}" for width, height in sorted(sizes))
        return f"corners in pixels of the picture, {listed}: all of it lies outside"
    return ""


def _crossing(polygon: Sequence[Corner]) -> tuple[int, int] | None:
    """The first two edges that cross each other, each by the number of the corner that it begins at."""
    count = len(polygon)
    edges = [(polygon[at], polygon[(at + 1) % count]) for at in range(count)]
    for first in range(count):
        a, b = edges[first]
        for second in range(first + 1, count):
            c, d = edges[second]
            if _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0:
                return first, second
    return None


def _side(a: Corner, b: Corner, point: Corner) -> int:
    """On which side of the line from `a` to `b` a point is: -1, 1, or 0 for on it."""
    turn = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
    return (turn > 0) - (turn < 0)


def _area(polygon: Sequence[Corner]) -> float:
    pairs = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
