"""Overlap: what a perception engine gave is decoded by the loop while the engine runs on the next input.

It owns a copy of the outputs, which the next run overwrites: one, since the loop takes no result before it is done
with the one before. So an engine that is swapped away or freed takes nothing from what is being decoded, and no more
is under way than one run and one decoding, whichever of them is the slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edged.bundle.roles import HiddenOutput
from edged.core.clock import ms
from edged.core.histogram import Histogram
from edged.core.profiling import span
from edged.core.stopwatch import Stopwatch
from edged.core.types import Hold, Observation, Prediction
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.inference import Inference


class Overlap:
    """One engine's, for as long as a thread runs it; the loop's alone. `waited`: how long outputs lay there before the
    loop began to decode them; `decoded`: what that took, beside the next run."""

    def __init__(self, inference: Inference) -> None:
        assert not isinstance(inference.decoder, PolicyDecoder), "a plan is decoded where its message begins"
        roles, self._outputs = inference.engine.manifest.outputs, inference.engine.outputs
        read = [name for name, role in roles.items() if not isinstance(role, HiddenOutput)]
        self._decoder = inference.decoder
        self._kept = {name: np.empty_like(self._outputs[name]) for name in read}
        self.waited, self.decoded = Histogram(), Histogram()

    def keep(self) -> None:
        """Copy the engine's outputs: after a run that did not fail, before the next one begins."""
        for name, array in self._kept.items():
            np.copyto(array, self._outputs[name])

    @span("decode")
    def decode(self, observation: Observation, watch: Stopwatch) -> Prediction | Hold:
        """What was kept last, as a prediction. `watch`: of its run, whose step this is."""
        self.waited.record(watch.rest())
        prediction = self._decoder.decode(self._kept, observation)
        watch.lap("decode")
        self.decoded.record(watch.took_ns["decode"])
        return prediction

    def describe(self) -> dict[str, Any]:
        """For health: medians of what it costs a result, and of what the engine was spared."""
        return {
            "waited_ms": round(ms(self.waited.quantile_ns(0.5)), 3),
            "decode_ms": round(ms(self.decoded.quantile_ns(0.5)), 3),
        }
