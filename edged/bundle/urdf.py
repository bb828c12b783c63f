"""A robot's own limits, out of its URDF: position and velocity of each joint, in rad and m."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from edged.core.errors import RefusedError, in_words
from edged.core.files import read_bounded

MAX_BYTES = 16 << 20
ANGULAR = ("revolute", "continuous")
REMEDY = "correct [guard] urdf, or the file"


@dataclass(frozen=True, slots=True)
class Joint:
    """`angular`: rad, else m; what a joint does not limit is None."""

    angular: bool
    low: float | None
    high: float | None
    velocity: float | None


class _EntitiesError(Exception):
    """Entities can make gigabytes of a kilobyte."""


class _Plain(ElementTree.TreeBuilder):
    """Elements alone, in whatever encoding they are written."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _EntitiesError


def read_urdf(path: Path) -> Mapping[str, Joint]:
    """The joints that move, by name. `RefusedError` for what cannot be read or understood.

    http://wiki.ros.org/urdf/XML/joint: `limit` has lower and upper (0 where left out, of no meaning for a continuous
    joint) and velocity; it is required of a revolute or prismatic joint.
    """
    try:
        root = ElementTree.fromstring(read_bounded(path, MAX_BYTES), ElementTree.XMLParser(target=_Plain()))
    except _EntitiesError:
        raise RefusedError(f"{path} declares entities, which no URDF needs", REMEDY) from None
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise RefusedError(f"{path} cannot be read as a URDF: {in_words(error)}", REMEDY) from None
    if root.tag != "robot":
        raise RefusedError(f"{path} is no URDF: its first element is <{root.tag}>, not <robot>", REMEDY)
    found = {}
    for element in root.iter("joint"):
        name, kind = element.get("name", ""), element.get("type", "")
        if kind in (*ANGULAR, "prismatic"):
            if name in found:
                raise RefusedError(f"{path} has two joints {name!r}", REMEDY)
            found[name] = _joint(path, name, kind, element.find("limit"))
    return found


def _joint(path: Path, name: str, kind: str, limit: ElementTree.Element | None) -> Joint:
    if limit is None:
        if kind != "continuous":
            raise RefusedError(f"{path}: joint {name!r} is {kind} and has no <limit>", REMEDY)
        return Joint(True, None, None, None)
    low, high, velocity = (_number(path, name, limit, key) for key in ("lower", "upper", "velocity"))
    if kind == "continuous":
        return Joint(True, None, None, velocity)
    low, high = low or 0.0, high or 0.0
    if low >= high:
        raise RefusedError(f"{path}: joint {name!r} may move from {low:g} to {high:g}, which is nowhere", REMEDY)
    return Joint(kind in ANGULAR, low, high, velocity)


def _number(path: Path, name: str, limit: ElementTree.Element, key: str) -> float | None:
    text = limit.get(key)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (key == "velocity" and number <= 0):
        raise RefusedError(f"{path}: joint {name!r} has {key} = {text!r}, which is no number", REMEDY)
    return number
