"""Small bundles for tests: a manifest with its recipe, golden samples, a version in a store."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from models import policy_golden, policy_model, policy_recipe

from edged.bundle.bundle import (
    write_bundle,
)
from edged.bundle.manifest import Manifest
from edged.bundle.samples import name_samples
from edged.bundle.store import Store
from edged.pipeline.golden import default_tolerance


def a_manifest(**changes: object) -> Manifest:
    recipe = policy_recipe()
    manifest = Manifest(
        schema=1,
        name="reach",
        version="1",
        task="policy",
        precision="fp32",
        provenance={},
        inputs=dict(recipe.inputs),
        outputs=dict(recipe.outputs),
        head=None,
        classes=(),
        tolerance=default_tolerance(recipe.outputs, "fp32"),
    )
    return msgspec.structs.replace(manifest, **changes)


def golden() -> dict[str, np.ndarray]:
    return name_samples(policy_golden(2), [{"action": np.full((1, 2), number, np.float32)} for number in range(2)])


def write(store: Path, model: bytes | None = None, **changes: object) -> Path:
    return write_bundle(store, a_manifest(**changes), policy_model() if model is None else model, golden())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "own").mkdir()
    (tmp_path / "shipped").mkdir()
    return Store(tmp_path / "own", tmp_path / "shipped")
