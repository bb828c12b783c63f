"""The tolerances a pack is held to, and those it then promises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edged.pack.recipe import Recipe
from edged.pipeline.golden import Difference, default_tolerance

SPARE = 2.0  # another CPU or a GPU rounds some values to their other neighbour
LEAST = 1e-3


def promised(recipe: Recipe) -> dict[str, float]:
    """What the precision promises, or the recipe instead: what a conversion is refused by."""
    return {**default_tolerance(recipe.outputs, recipe.precision, recipe.task), **recipe.tolerance}


def proved(recipe: Recipe, differences: Sequence[Difference]) -> dict[str, float]:
    """The bounds in the manifest. For an int8 error twice what was proved, never more than was promised.

    Eight bits of one network are worth more than those of another, and only the proof knows.
    """
    bounds = promised(recipe)
    if recipe.precision == "int8":
        for output, item in worst(differences).items():
            if item.measure == "error" and output not in recipe.tolerance:
                bounds[output] = min(bounds[output], max(LEAST, _two_digits_up(SPARE * item.value)))
    return bounds


def worst(differences: Iterable[Difference]) -> dict[str, Difference]:
    """The worst sample of each judged output."""
    found: dict[str, Difference] = {}
    for item in differences:
        sign = 1 if item.measure == "error" else -1
        if item.output not in found or sign * item.value > sign * found[item.output].value:
            found[item.output] = item
    return found


def _two_digits_up(value: float) -> float:
    if value <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(value))
    return float(round(math.ceil(value * 10.0**digits) / 10.0**digits, digits))
