"""The cubic between two knots, of a guard's trajectory and of a player's alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def hermite_terms(
    positions: tuple[Floats, Floats], velocities: tuple[Floats, Floats], span: Floats | float
) -> tuple[Floats, Floats, Floats]:
    """What the share, its square and its cube are multiplied with in `hermite`."""
    begin, way = velocities[0] * span, positions[1] - positions[0]
    ends = begin + velocities[1] * span
    return begin, 3 * way - begin - ends, ends - 2 * way


def hermite(
    positions: tuple[Floats, Floats], velocities: tuple[Floats, Floats], share: Floats | float, span: Floats | float
) -> tuple[Floats, Floats]:
    """Position and velocity at `share` (0 to 1) of a cubic that takes `span` seconds, from both at its two ends.

    https://en.wikipedia.org/wiki/Cubic_Hermite_spline
    """
    return along(positions[0], hermite_terms(positions, velocities, span), share, span)


def along(
    position: Floats, terms: tuple[Floats, Floats, Floats], share: Floats | float, span: Floats | float
) -> tuple[Floats, Floats]:
    """The same from `position`, where it begins, and its `hermite_terms`."""
    begin, rise, bend = terms
    where: Floats = position + share * (begin + share * (rise + share * bend))
    how_fast: Floats = (begin + share * (2 * rise + share * 3 * bend)) / span
    return where, how_fast
