"""The example manifests of the docs, and one value of them changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "docs" / "manifests"


def example(name: str) -> dict[str, Any]:
    return json.loads((EXAMPLES / f"{name}.json").read_text())


def changed(name: str, path: str, value: object) -> dict[str, Any]:
    """The example with one value set, or removed when `value` is `...`."""
    data = example(name)
    place: Any = data
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return data
