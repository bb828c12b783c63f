"""What a verdict is on the wire: its kind, its flags, its facts in the header, and its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.core.types import ActionChunk, Hold, Instances, Labels, Verdict
from edged.inspection.inspect import Inspection
from edged.runtime.sender import NO_FLAGS
from edged.wire import MAX_PAYLOAD, Flag, Kind
from edged.wire.bounded import cut

_RAMPING, _EASING, _CHANGED = int(Flag.RAMPING), int(Flag.EASING), int(Flag.CHANGED)  # IntFlag's operators take a us
CHANGES_LISTED = 32  # of the guard's changes in one message; the header always counts them all
MASK_BYTES = MAX_PAYLOAD - 1024 * 1024  # of all masks of a message; the rest is for boxes, scores and padding
MOST_INSTANCES = 16_384


def describe_verdict(
    verdict: Verdict, header: dict[str, Any], inspection: Inspection | None
) -> tuple[Kind, int, Flag, Sequence[tuple[str, NDArray[Any]]]]:
    """Kind, reason, flags and arrays of a verdict; its own facts are added to `header`."""
    measured = () if inspection is None else inspection.per_frame
    match verdict:
        case ActionChunk():
            flags = Flag(describe_action(verdict, header))
            arrays: Sequence[tuple[str, NDArray[Any]]] = (("action", verdict.actions),)
            if verdict.velocities is not None:
                arrays = (*arrays, ("velocity", verdict.velocities))
            return Kind.ACTION, 0, flags, arrays
        case Labels():
            header["camera"] = verdict.camera
            return Kind.LABELS, 0, NO_FLAGS, (("labels", verdict.image), *measured)
        case Instances():
            header["camera"] = verdict.camera
            header["size"] = verdict.size
            rows = () if inspection is None else inspection.per_object
            return Kind.INSTANCES, 0, NO_FLAGS, (*message_arrays(verdict, header, rows), *measured)
        case Hold():
            header["reason"] = verdict.reason.name
            header["detail"] = cut(verdict.detail)
            if verdict.camera:
                header["camera"] = verdict.camera
            return Kind.HOLD, int(verdict.reason), Flag.STOP if verdict.stop else NO_FLAGS, ()


def describe_action(chunk: ActionChunk, header: dict[str, Any]) -> int:
    """Flags of an action; its own facts are added to `header`."""
    header["t0_ns"] = chunk.t0_ns
    header["step_ns"] = chunk.step_ns
    if chunk.oldest_ns:
        header["oldest_ns"] = chunk.oldest_ns
    if chunk.deviation is not None:
        header["deviation"] = chunk.deviation.tolist()
    flags = _RAMPING * chunk.ramping | _EASING * chunk.easing
    if chunk.changes:
        flags |= _CHANGED
        listed = chunk.changes[:CHANGES_LISTED]
        header["changes"] = [(c.name, c.step, c.rule, c.asked, c.given) for c in listed]
        header["changed"] = len(chunk.changes)
    return flags


def rows_kept(found: Instances) -> NDArray[np.intp]:
    """The rows that a message can hold, in order; the best-scored first choice."""
    sizes = np.array([(mask.size + 7) // 8 for mask in found.masks], np.int64)
    best = np.argsort(-found.score, kind="stable")[:MOST_INSTANCES]
    return np.sort(best[np.cumsum(sizes[best]) <= MASK_BYTES])


def message_arrays(
    found: Instances, header: dict[str, Any], measured: Sequence[tuple[str, NDArray[Any]]] = ()
) -> Sequence[tuple[str, NDArray[Any]]]:
    """The arrays of `found`. What is more than a message holds is left out, the lowest scores first, and `truncated` in
    the header counts it, and what was left out before."""
    kept = rows_kept(found)
    if left_out := found.truncated + len(found.score) - len(kept):
        header["truncated"] = left_out
    masks = [found.masks[index] for index in kept.tolist()]
    flat = [np.packbits(mask).ravel() for mask in masks]
    return (
        ("xyxy", found.xyxy[kept]),
        ("score", found.score[kept]),
        ("class_id", found.class_id[kept]),
        ("mask_shape", np.array([mask.shape for mask in masks], np.uint16).reshape(-1, 2)),
        ("mask_bits", np.concatenate(flat) if flat else np.zeros(0, np.uint8)),
        *((name, array[kept]) for name, array in measured),
    )
