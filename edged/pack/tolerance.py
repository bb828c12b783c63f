"""The tolerances a pack is held to, and those it then promises."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
        errors: dict[str, float] = {}
        for item in differences:
            if item.measure == "error" and item.output not in recipe.tolerance:
                errors[item.output] = max(errors.get(item.output, 0.0), item.value)
        for output, error in errors.items():
            bounds[output] = min(bounds[output], max(LEAST, _two_digits_up(SPARE * error)))
    return bounds


def _two_digits_up(value: float) -> float:
    if value <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(value))
    return float(round(math.ceil(value * 10.0**digits) / 10.0**digits, digits))
