"""decode a policy: [1, D] or [1, T, D] float32 becomes an ActionChunk of absolute targets in physical units.

Time: step i of a policy is meant to be reached (i + 1) steps after what it saw. A chunk (T > 1) keeps that time base,
captured_ns + (i + 1) * step_ns, and drops the steps that are due within one step from now: they have really been
consumed, by the chunk before it. Its step 0 is thus due one to two steps from now. A single action (T = 1) is due one
step after the tick started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.manifest import Manifest
from edged.records import ActionChunk, Hold, Observation


class PolicyDecoder:
    """`names`: the value names of each sensor of the config. Raises `RefusedError` when shape or delta axes do not fit."""

    def __init__(
        self, manifest: Manifest, outputs: Mapping[str, NDArray[Any]], names: Mapping[str, Sequence[str]]
    ) -> None:
        raise NotImplementedError

    def decode(
        self,
        outputs: Mapping[str, NDArray[Any]],
        observation: Observation,
        started_ns: int,
        previous: ActionChunk | None,
        anchor: NDArray[np.float64],
    ) -> ActionChunk | Hold:
        """`previous`: the chunk that commands now, None after any break; `anchor`: [D] where the robot is commanded to be or
        was measured (guard.Anchor.values), NaN where unknown. Hold(LATE) when every step has passed, Hold(ANCHOR) when
        a delta has nothing to start from. The chunk owns its actions; non-finite values are left for the guard.

        delta_state adds the measured value of the same name at the observation's time; delta_previous adds the command one
        step earlier; angles come out in the turn nearest to the step before (a multi-turn joint is not spun back);
        binary axes are rounded to 0 or 1 at 0.5.
        """
        raise NotImplementedError
