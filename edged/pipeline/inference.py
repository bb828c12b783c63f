"""Inference: the part of the way that needs an engine and no robot: encode, run, decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from edged.core.errors import EngineError
from edged.core.profiling import span
from edged.core.stopwatch import Stopwatch
from edged.core.types import Hold, Observation, Prediction, Reason
from edged.engine.base import Engine
from edged.guard import Anchor
from edged.guard.follow import Floats
from edged.pipeline.decode_instance import NO_THRESHOLDS, InstanceDecoder
from edged.pipeline.decode_policy import PolicyDecoder
from edged.pipeline.decode_semantic import SemanticDecoder
from edged.pipeline.encode import Encoder

Decoder = PolicyDecoder | SemanticDecoder | InstanceDecoder


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """Made by `make_inference` for an engine that was warmed and proved. One thread at a time, the engine's owner.

    `moves`: what it predicts is an action; `counts`: actions are relative to the command before them.
    """

    engine: Engine
    encoder: Encoder
    decoder: Decoder
    moves: bool
    counts: bool

    def run(self, observation: Observation, watch: Stopwatch) -> Hold | None:
        """encode and run: the engine's outputs are valid until the next run. A Hold has the reason why there are none.

        Raises `MachineryError` for a device that is lost.
        """
        unfit = self.encoder.encode(observation)
        if self.encoder.prefix is not None and isinstance(self.decoder, PolicyDecoder):
            self.encoder.continue_from(*self.decoder.prefix(observation, self.encoder.prefix.shape[1]))
        if unfit is not None:
            return unfit
        watch.lap("encode")
        try:
            self.engine.run()
        except EngineError as error:
            return Hold(Reason.ENGINE, str(error), observation.captured_ns)
        watch.lap("engine")
        spoiled = self.encoder.carry(self.engine.outputs)
        return None if spoiled is None else replace(spoiled, captured_ns=observation.captured_ns)

    @property
    def continues(self) -> bool:
        """Whether it is told what the running plan is going to command."""
        return self.encoder.prefix is not None

    @span("decode")
    def decode(
        self, observation: Observation, begin_ns: int, start: Anchor | None = None, before: Floats | None = None
    ) -> Prediction | Hold:
        """The outputs of the last run as a prediction. For a policy, `begin_ns` is when it begins to be obeyed, `start`
        where motion starts then, None when that is unknown, and `before` the command it counts from, if not there."""
        if not isinstance(self.decoder, PolicyDecoder):
            return self.decoder.decode(self.engine.outputs, observation)
        if start is None:
            nowhere = np.full(self.decoder.width, np.nan)
            return self.decoder.decode(self.engine.outputs, observation, begin_ns, nowhere, nowhere)
        before = start.values if before is None else before
        return self.decoder.decode(self.engine.outputs, observation, begin_ns, before, start.values)


def make_inference(
    engine: Engine, names: Mapping[str, Sequence[str]], thresholds: Mapping[str, float] = NO_THRESHOLDS
) -> Inference:
    """`names`: the value names of each sensor, in order. `thresholds`: class -> least score of its objects, where that
    is more than the engine's own. `RefusedError` when they do not fit the engine."""
    encoder = Encoder(engine.manifest, engine.inputs, engine.outputs, names, engine.identity)
    decoder = _decoder(engine, names, thresholds)
    moves = isinstance(decoder, PolicyDecoder)
    counts = isinstance(decoder, PolicyDecoder) and bool(decoder.from_previous.size)
    return Inference(engine, encoder, decoder, moves, counts)


def _decoder(engine: Engine, names: Mapping[str, Sequence[str]], thresholds: Mapping[str, float]) -> Decoder:
    match engine.manifest.task:
        case "policy":
            return PolicyDecoder(engine.manifest, engine.outputs, names)
        case "semantic":
            return SemanticDecoder(engine.manifest, engine.outputs)
        case "instance":
            return InstanceDecoder(engine.manifest, engine.outputs, thresholds)
