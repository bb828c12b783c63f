"""The nouns of the flow: frozen values that stages hand to each other. Units are in the names.

`captured_ns` is always CLOCK_MONOTONIC of this machine at the moment of capture, as well as it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

NEVER_NS = 1 << 62


class Reason(IntEnum):
    """Why there is no prediction. The numbers are on the wire: listed in WIRE.md and never reused."""

    STALE = 1
    SKEW = 2
    LATE = 3
    STARTING = 4
    WAITING = 5
    NON_FINITE = 16
    BOUNDS = 17
    ENGINE = 18
    OPERATOR = 19
    DISARMED = 20
    DISABLED = 21
    ANCHOR = 22
    TRACKING = 23
    STOPPING = 24

    @property
    def stop(self) -> bool:
        """True: drop what is queued and stop under control now. False: go on until validity ends."""
        return self >= Reason.NON_FINITE


class Frame(msgspec.Struct, frozen=True, eq=False):
    """One camera image. `image`, read-only: [H, W, 3] uint8 BGR, or of a camera without colours [H, W] uint8 or uint16;
    `flaw`: why nothing may be made of it, "" = none."""

    camera: str
    seq: int
    captured_ns: int
    image: NDArray[Any]
    flaw: str = ""


class Sample(msgspec.Struct, frozen=True, eq=False):
    """One sensor reading. `values`: [D] float64 in the unit the config declares, read-only."""

    sensor: str
    seq: int
    captured_ns: int
    values: NDArray[np.float64]


class Ahead(msgspec.Struct, frozen=True, eq=False):
    """What the running plan asks for while the next one is inferred: `actions` [N, D] float64, absolute, before the
    guard, at `times_ns` [N]; the columns in `binary` are switches.

    `taken_over_ns`: when the next plan is expected to take over; `before`: [D] the command at the capture of what it is
    inferred from, None where none is needed.
    """

    times_ns: NDArray[np.int64]
    actions: NDArray[np.float64]
    binary: NDArray[np.intp]
    taken_over_ns: int
    before: NDArray[np.float64] | None = None


class Observation(msgspec.Struct, frozen=True, eq=False):
    """What one tick sees: a frame per camera and a sample per sensor, aligned to one capture time.

    `captured_ns` is that of the oldest part; the reference was captured at `reference_ns` (0 = the newest of each
    stream is its own). `stretch` numbers the times between two breaks of the input. `past_frames`, `past_samples`: of
    streams of which several moments are looked at, what was seen in this stretch, the oldest first and this
    observation's own part last. `ahead`: for a policy that continues the running plan, None where nothing runs.
    """

    frames: Mapping[str, Frame]
    samples: Mapping[str, Sample]
    captured_ns: int
    reference_ns: int = 0
    stretch: int = 0
    past_frames: Mapping[str, tuple[Frame, ...]] = msgspec.field(default_factory=dict)
    past_samples: Mapping[str, tuple[Sample, ...]] = msgspec.field(default_factory=dict)
    ahead: Ahead | None = None


class Change(msgspec.Struct, frozen=True):
    """One thing the guard changed: axis `name` at chunk `step` went from `asked` to `given` because of `rule`."""

    name: str
    step: int
    rule: str
    asked: float
    given: float


class ActionChunk(msgspec.Struct, frozen=True, eq=False):
    """Absolute targets in physical units. `actions`: [T, D] float32; step i is to be reached at t0_ns + i * step_ns.

    `ends`: it commands nothing a step after its last one; a policy of single actions has no such end. `until_ns`: nor
    from here on, however many steps it has. `velocities`: [T, D] float32 per second at the steps of a trajectory,
    between which it is a cubic; None where nothing says how a step is reached. `ramping`: the plan has ended, this is
    the way to rest. `passed`: [K, D] float32 the steps before step 0, which were due too soon to be reached; a switch
    has taken their values all the same. `oldest_ns`: the capture of the oldest prediction that has a part in it, 0 =
    it has this one's alone; it gates nothing. `deviation`: [D] how far limits keep it from the plan's own path at most,
    None = not at all. `easing`: velocity limits are still growing, for a motion or an engine has just begun.
    """

    actions: NDArray[np.float32]
    t0_ns: int
    step_ns: int
    captured_ns: int
    changes: tuple[Change, ...] = ()
    ends: bool = True
    until_ns: int = NEVER_NS
    velocities: NDArray[np.float32] | None = None
    ramping: bool = False
    passed: NDArray[np.float32] | None = None
    oldest_ns: int = 0
    deviation: NDArray[np.float64] | None = None
    easing: bool = False

    @property
    def end_ns(self) -> int:
        """From here on it commands nothing."""
        return min(self.until_ns, self.t0_ns + len(self.actions) * self.step_ns) if self.ends else self.until_ns


class Labels(msgspec.Struct, frozen=True, eq=False):
    """A label map. `image`: [H, W] uint8 class numbers in the source frame's geometry; 0 is the background."""

    image: NDArray[np.uint8]
    camera: str
    captured_ns: int


class Instances(msgspec.Struct, frozen=True, eq=False):
    """N found objects. `xyxy`: [N, 4] float32 pixels of the source frame; `score`: [N] float32; `class_id`: [N]
    uint16; `masks`: N boolean arrays, each cropped to its box (rounded outwards).

    `truncated`: at least so many candidates or objects were left out because of a cap; 0 = these are all there are.
    `cells`: [N] how many pixels of the frame a cell of the network's own map of each mask is across; None = not known.
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.uint16]
    masks: tuple[NDArray[np.bool_], ...]
    size: tuple[int, int]  # (height, width) of the source frame
    camera: str = ""
    captured_ns: int = 0
    truncated: int = 0
    cells: NDArray[np.float32] | None = None

    @property
    def corners(self) -> list[list[int]]:
        """Where each mask begins in the frame: the column and the row of its first pixel."""
        made: list[list[int]] = np.maximum(np.floor(self.xyxy[:, :2]), 0).astype(int).tolist()
        return made


class Hold(msgspec.Struct, frozen=True):
    """No prediction, and why. `captured_ns` is that of the oldest input seen, 0 = none yet; `camera`: of several that a
    daemon serves, the one that it is about."""

    reason: Reason
    detail: str
    captured_ns: int = 0
    camera: str = ""

    @property
    def stop(self) -> bool:
        return self.reason.stop


Prediction: TypeAlias = ActionChunk | Labels | Instances
Verdict: TypeAlias = ActionChunk | Labels | Instances | Hold


class Tick(msgspec.Struct, frozen=True):
    """One turn of the loop. `seq` counts from 1; `skipped` slots passed without a tick just before this one.

    `timed_out`: the clock camera had no new frame in time.
    """

    seq: int
    due_ns: int
    started_ns: int
    skipped: int = 0
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once: `name` such as "swapped" or "alarm", with facts for programs."""

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
