"""Write the golden samples of a policy with the actions that its trainer's own code gives: the proof of an import.

It needs nothing but numpy. `act` asks the trainer's code; for LeRobot's that is `from_lerobot` in export_lerobot.py:

    record("golden.npz", samples, from_lerobot(policy, preprocess, postprocess))
    edged pack FOLDER --golden golden.npz …

`samples` are what the cell gives: pictures [H, W, 3] uint8 BGR in the network's size, states [D] in physical units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = Mapping[str, NDArray[Any]]


def record(
    path: str | Path, samples: Sequence[Sample], act: Callable[[Sample], NDArray[Any]], output: str = "action"
) -> None:
    """`samples`: one mapping of packed inputs each, without a batch. `act` gives the trainer's action for one, [D] or
    [T, D], in physical units."""
    arrays = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    arrays[f"trained/{output}"] = np.stack([np.asarray(act(sample), np.float32) for sample in samples])
    np.savez(path, **arrays)
